"""Overview: where the operator is in the loop, and the one thing to do next."""

import streamlit as st

from core.demo.first_start import start_built_in_fleet
from core.domain.deployment import SERVING, ReplicaState
from core.domain.ids import utc_now
from ui import components, components_checks, components_jobs, loop, queries
from ui.actions import attempt
from ui.components_serving import gateway_addresses, overview_facts
from ui.context import uow
from ui.formatting import change, markdown, placement_in_words, seconds, usd_per_hour
from ui.live import live_numbers


def _start() -> None:
    attempt(
        "start",
        "Started: measuring both models. This page shows how far it is.",
        start_built_in_fleet,
        uow(),
        utc_now(),
    )


facts = overview_facts()
action = loop.next_action(facts)
components.outcome("start")
with st.container(border=True, key="next_action"):
    st.subheader(markdown(action.title), anchor=False, icon=":material/arrow_circle_right:")
    st.markdown(action.text)
    if action.page:
        components.link(action.page, action.label)
    else:
        with st.container(horizontal=True, vertical_alignment="center"):
            st.button(
                action.label,
                key="start_built_in",
                type="primary",
                icon=":material/play_arrow:",
                on_click=_start,
            )
            components.link("models", "or register a model of your own")
components_jobs.watch_active_jobs()
components_jobs.failures(queries.all_jobs(), utc_now())
components_checks.drift_alert()

deployment = queries.current_deployment()
if deployment:
    serving = [r for r in queries.replicas() if r.owner == SERVING and r.wanted]
    ready = sum(r.state == ReplicaState.READY for r in serving)
    hour = live_numbers(queries.requests_since(1))
    predicted = deployment.predicted
    with st.container(horizontal=True, vertical_alignment="center"):
        st.badge(deployment.state.value, color="green" if ready else "blue")
        st.markdown(
            f"**Running plan {deployment.plan.plan_id[:6]}:** "
            + markdown(placement_in_words(deployment.plan)),
            width="content",
        )
    with st.grid(4, min_column_width=190, gap="small"):
        st.metric(
            "Replicas ready",
            f"{ready} of {sum(p.count for p in deployment.plan.placement)}",
            border=True,
            height="stretch",
        )
        st.metric(
            "Requests, last hour",
            f"{hour.requests:,}",
            f"{hour.failed} failed" if hour.failed else None,
            delta_color="inverse",
            delta_arrow="off",
            border=True,
            height="stretch",
        )
        st.metric(
            "Cost",
            markdown(usd_per_hour(predicted.cost_usd_per_hour if predicted else None)),
            change(
                predicted.cost_usd_per_hour if predicted else None,
                deployment.baseline_usd_per_hour,
            ),
            delta_color="inverse",
            delta_description="vs best model only",
            border=True,
            height="stretch",
            help=f"Predicted baseline: {deployment.baseline_note or 'unknown'}",
        )
        st.metric(
            "P95 measured, last hour",
            seconds(hour.p95_e2e_s),
            change(hour.p95_e2e_s, predicted.p95_e2e_s if predicted else None),
            delta_color="off",
            delta_description=f"vs {seconds(predicted.p95_e2e_s)} predicted"
            if predicted
            else None,
            border=True,
            height="stretch",
        )

st.subheader("The loop", anchor=False)
with st.grid(4, min_column_width=130, gap="small", border=True):
    for step in loop.steps(facts):
        with st.container(gap="xxsmall"):
            done = ":material/check_circle:" if step.done else ":material/radio_button_unchecked:"
            components.link(step.page, step.title, done)
            st.caption(step.fact)

st.subheader("Send requests", anchor=False)
gateway_addresses()
