"""Deploying as pages show it: what would change, confirm, roll-out, history, live numbers."""

from datetime import datetime, timedelta

import streamlit as st

from core.domain.deployment import SERVING, Deployment, DeploymentState, Replica, ReplicaState
from core.domain.guard import Guard
from core.domain.ids import utc_now
from core.domain.offer import doubts
from core.domain.study import Trial
from core.services import deployments
from ui import queries, tables
from ui.actions import attempt
from ui.components import outcome
from ui.components_serving import COLORS
from ui.context import uow
from ui.formatting import (
    ago,
    change,
    duration,
    markdown,
    moment,
    percent,
    placement_in_words,
    plan_in_words,
    seconds,
    usd_per_hour,
)
from ui.live import live_numbers

PLACE = "deploy"
DONE = "dialog_done"
OVERRIDE = "deploy_override"
GUARDED = "deploy_guarded"
WATCHED = "watched_rollout"
SETTLING = {ReplicaState.PENDING, ReplicaState.STARTING, ReplicaState.DRAINING}


def serving_replicas() -> list[Replica]:
    """Return the deployment's replicas that are not over, and those that failed while wanted."""
    return [
        r
        for r in queries.replicas()
        if r.owner == SERVING and (r.wanted or r.live) and r.state != ReplicaState.STOPPED
    ]


@st.dialog("Deploy this plan?", icon=":material/rocket_launch:")
def confirm_deploy(study_id: str, trial: Trial) -> None:
    """Ask once more, with what will happen."""
    if st.session_state.pop(DONE, False):
        st.rerun()
    outcome(PLACE)  # Here only when it was refused.
    st.markdown(markdown(plan_in_words(trial.plan, queries.known_cascades())))
    _changes(trial)
    # In a form, a reason that was just typed goes with the click.
    with st.form("deploy_form", border=False, enter_to_submit=False):
        _override(study_id, trial)
        _guard(study_id, trial)
        with st.container(horizontal=True, horizontal_alignment="right"):
            st.form_submit_button("Cancel", key="deploy_cancel", on_click=_close)
            st.form_submit_button(
                "Deploy",
                key="deploy_confirm",
                type="primary",
                on_click=_deploy,
                args=(study_id, trial.number),
            )


def _override(study_id: str, trial: Trial) -> None:
    """Say why the plan is not offered, and ask for a reason to deploy it all the same."""
    study = queries.study(study_id)
    against = doubts(trial.score, study.limits) if study else ()
    if against:
        st.warning(markdown(" ".join(against)), title="Not offered", icon=":material/report:")
        st.text_input(
            "Why deploy it all the same?",
            key=OVERRIDE,
            placeholder="Kept with the deployment",
            help="Only a wanted latency can be overridden, not a hard limit",
        )


def _guard(study_id: str, trial: Trial) -> None:
    """Offer to take the plan back by itself when it does not keep what it should."""
    study = queries.study(study_id)
    if study is None:
        return
    st.checkbox(
        "Go back by itself if it goes wrong",
        value=True,
        key=GUARDED,
        help=guard_in_words(deployments.guard_for(trial.score, study.limits)),
    )


def guard_in_words(guard: Guard) -> str:
    """Return what a plan is watched for."""
    slow = f", or P95 is above {seconds(guard.max_p95_e2e_s)}" if guard.max_p95_e2e_s else ""
    return (
        f"Back to the plan before it when, within {guard.minutes:g} minutes, more than "
        f"{percent(guard.max_error_rate, 0)} of requests fail{slow}"
    )


@st.dialog("Stop this plan?", icon=":material/stop_circle:")
def confirm_stop(deployment: Deployment) -> None:
    """Ask once more before applications get no answers."""
    if st.session_state.pop(DONE, False):
        st.rerun()
    st.markdown(f"{markdown(placement_in_words(deployment.plan))}: stops.")
    if deployment.state == DeploymentState.ROLLING:
        st.caption("The plan that was active before, if there was one, keeps serving.")
    else:
        st.caption(
            "Running requests are finished first. Then the gateway refuses requests (503) until "
            "another plan is active."
        )
    with st.container(horizontal=True, horizontal_alignment="right"):
        st.button("Keep it running", key="stop_cancel", on_click=_close)
        st.button(
            "Stop",
            key="stop_confirm",
            type="primary",
            on_click=_stop,
            args=(deployment.deployment_id,),
        )


def chosen_plan(trial: Trial, study_id: str) -> None:
    """Show the chosen plan, what it would change, and the way to deploy it."""
    current = queries.current_deployment()
    words = plan_in_words(trial.plan, queries.known_cascades())
    st.markdown(f"**Plan {trial.number}** · {markdown(words)}")
    score = trial.score
    st.caption(
        markdown(
            f"{score.provenance.value}: {usd_per_hour(score.cost_usd_per_hour)}, "
            f"P95 {seconds(score.p95_e2e_s)}, quality at least {percent(score.quality_lower)}"
        )
    )
    if current and current.plan == trial.plan:
        rolling = current.state == DeploymentState.ROLLING
        words = "This plan is being rolled out." if rolling else "This plan is what runs now."
        st.info(words, icon=":material/check_circle:")
        return
    _changes(trial)
    if st.button(
        "Deploy ...",
        key="deploy_open",
        type="primary",
        icon=":material/rocket_launch:",
    ):
        confirm_deploy(study_id, trial)


def running_plan(deployment: Deployment | None) -> None:
    """Show the wanted plan with its replicas; polls only until they have settled."""
    replicas = serving_replicas()
    st.session_state[WATCHED] = _signature(deployment, replicas)
    if unsettled(deployment, replicas):
        st.fragment(_rollout, run_every="1s", key="rollout")()
    else:
        _rollout()
    if deployment and st.button(
        "Stop serving ...", key="stop_open", icon=":material/stop_circle:"
    ):
        confirm_stop(deployment)


def unsettled(deployment: Deployment | None, replicas: list[Replica]) -> bool:
    """Whether the controller still has to bring things to the wanted plan."""
    rolling = deployment is not None and deployment.state == DeploymentState.ROLLING
    return rolling or any(r.state in SETTLING for r in replicas)


def _rollout() -> None:
    deployment, replicas = queries.current_deployment(), serving_replicas()
    if _signature(deployment, replicas) != st.session_state.get(WATCHED):
        st.rerun()  # a state changed: buttons and numbers elsewhere change too
    if deployment:
        _wanted_plan(deployment, replicas)
    for replica in replicas:
        _replica(replica)


def _wanted_plan(deployment: Deployment, replicas: list[Replica]) -> None:
    ready, wanted = tables.ready_of(deployment.plan, replicas)
    with st.container(horizontal=True, vertical_alignment="center", key="deployment_state"):
        active = deployment.state == DeploymentState.ACTIVE
        st.badge(
            deployment.state.value,
            color="green" if active else "blue",
            icon=":material/check_circle:" if active else ":material/progress_activity:",
        )
        since = deployment.active_at or deployment.created_at
        st.caption(f"plan {deployment.plan.plan_id[:6]}, {ago(since, utc_now())}", width="content")
    st.markdown(markdown(plan_in_words(deployment.plan, queries.known_cascades())))
    if unsettled(deployment, replicas):
        share = min(1.0, ready / max(1, wanted))
        st.progress(share, text=f"{ready} of {wanted} replicas ready")
    if deployment.message:
        if deployment.reverts:
            st.warning(markdown(deployment.message), icon=":material/undo:")
        else:
            st.caption(markdown(deployment.message))
    watched = guard_ends_at(deployment)
    if watched and deployment.guard and watched > utc_now():
        left = duration((watched - utc_now()).total_seconds())
        st.caption(f"Watched for another {left}. {guard_in_words(deployment.guard)}.")


def guard_ends_at(deployment: Deployment) -> datetime | None:
    """Return until when a deployment is watched; None when it is not."""
    if deployment.guard is None or deployment.active_at is None:
        return None
    return deployment.active_at + timedelta(minutes=deployment.guard.minutes)


def _replica(replica: Replica) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        st.badge(replica.state.value, color=COLORS[replica.state.value])  # type: ignore[arg-type]
        st.markdown(f"**{markdown(replica.kind.label)}**", width="content")
        devices = ", ".join(replica.device_ids) or "no device yet"
        took = (
            f", ready after {duration((replica.ready_at - replica.started_at).total_seconds())}"
            if replica.ready_at and replica.started_at
            else ""
        )
        if replica.state is ReplicaState.STARTING and replica.started_at:
            took = f", for {duration((utc_now() - replica.started_at).total_seconds())}"
        restarts = f", restarted {replica.restarts} times" if replica.restarts else ""
        st.caption(f"{markdown(devices)}{took}{restarts}", width="content")
    if replica.message:
        st.code(replica.message, language=None, wrap_lines=True)


def live_against_predicted(deployment: Deployment) -> None:
    """Show what the gateway measured in the last hour beside what was predicted."""
    study = queries.study(deployment.study_id)
    sla_s = study.limits.sla_p95_e2e_s if study else None
    records = [r for r in queries.requests_since(1) if r.plan_id in {deployment.plan.plan_id, ""}]
    now, predicted = live_numbers(records, sla_s), deployment.predicted
    with st.grid(4, min_column_width=190, gap="small"):
        st.metric(
            "Requests",
            f"{now.requests:,}",
            f"{now.failed} failed" if now.failed else None,
            delta_color="inverse" if now.failed else "off",
            delta_arrow="off",
            border=True,
            height="stretch",
            help="Through the gateway by this plan in the last hour",
        )
        for label, measured, expected in [
            ("P50 latency", now.p50_e2e_s, predicted.p50_e2e_s if predicted else None),
            ("P95 latency", now.p95_e2e_s, predicted.p95_e2e_s if predicted else None),
        ]:
            st.metric(
                label,
                seconds(measured),
                change(measured, expected),
                delta_color="off",
                delta_description=f"vs {seconds(expected)} predicted" if expected else None,
                border=True,
                height="stretch",
            )
        st.metric(
            "Within wanted latency",
            percent(now.sla_attainment),
            border=True,
            height="stretch",
            help=f"Share within {seconds(sla_s)}" if sla_s else "The study wanted no latency",
        )


def history() -> None:
    """List deployments and let the operator go back to one."""
    outcome("history")
    known = queries.all_deployments()
    st.dataframe(
        tables.deployments_frame(known).drop(columns=["deployment_id"]),
        hide_index=True,
        alt="Deployments, newest first",
        column_config={
            "plan": "Plan",
            "state": "State",
            "placement": "Ran",
            "routing": st.column_config.TextColumn("Routing", width="medium"),
            "usd_per_hour": st.column_config.NumberColumn("Predicted $/h", format="$%.4f"),
            "created_at": st.column_config.DatetimeColumn(
                "Deployed (UTC)", format="YYYY-MM-DD HH:mm", timezone="UTC"
            ),
            "until": "Until",
            "override": st.column_config.TextColumn(
                "Deployed all the same because", help="The plan was not offered"
            ),
            "message": st.column_config.TextColumn("Message", width="medium"),
        },
    )
    current = queries.current_deployment()
    earlier = {d.deployment_id: d for d in known if current is None or d.plan != current.plan}
    if not earlier:
        return
    with st.container(horizontal=True, vertical_alignment="bottom"):
        chosen = st.selectbox(
            "Go back to an earlier plan",
            list(earlier),
            format_func=lambda i: (
                f"{placement_in_words(earlier[i].plan)} ({moment(earlier[i].created_at)})"
            ),
            key="again_choice",
        )
        st.button(
            "Deploy again",
            key="deploy_again",
            icon=":material/history:",
            on_click=_again,
            args=(chosen,),
        )


def _changes(trial: Trial) -> None:
    changes = tables.plan_changes(trial.plan, serving_replicas())
    st.dataframe(
        changes,
        hide_index=True,
        alt="Replicas to keep, start and stop",
        column_config={
            "replica": "Replica",
            "keep": st.column_config.NumberColumn("Keep", width="small"),
            "start": st.column_config.NumberColumn("Start", width="small"),
            "stop": st.column_config.NumberColumn("Stop", width="small"),
        },
    )
    if not changes[["start", "stop"]].to_numpy().any():
        st.caption("No replica starts or stops: only the routing changes.")
    elif tables.has_room(trial.plan, serving_replicas(), queries.devices()):
        st.caption(
            "What runs keeps answering until the new replicas are ready; what is no longer "
            "needed then finishes its requests and stops."
        )
    else:
        st.caption(
            "There is no room for both plans: replicas are exchanged one after another, in an "
            "order that keeps every query class answered where there is one. Until the end "
            "fewer replicas answer."
        )


def _signature(deployment: Deployment | None, replicas: list[Replica]) -> tuple[str, ...]:
    state = f"{deployment.deployment_id} {deployment.state.value}" if deployment else ""
    return (state, *sorted(f"{r.replica_id} {r.state.value}" for r in replicas))


def _deploy(study_id: str, number: int) -> None:
    done = "Deploying: the controller starts what is missing, then switches over."
    how = {
        "override": st.session_state.get(OVERRIDE, ""),
        "guarded": st.session_state.get(GUARDED, True),
    }
    if attempt(PLACE, done, deployments.deploy, uow(), study_id, number, utc_now(), **how):
        _close()


def _stop(deployment_id: str) -> None:
    done = "Stopping: running requests are finished first."
    attempt(PLACE, done, deployments.stop, uow(), deployment_id, utc_now())
    _close()


def _again(deployment_id: str) -> None:
    done = "Going back: the controller starts what is missing, then switches over."
    attempt("history", done, deployments.deploy_again, uow(), deployment_id, utc_now())


def _close() -> None:
    # A dialog closes when the page reruns; its own body does that, callbacks must not.
    st.session_state[DONE] = True
