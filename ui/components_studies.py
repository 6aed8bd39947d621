"""Studies as pages show them: ask for one, choose one, say how it went."""

import streamlit as st

from core.domain.ids import utc_now
from core.domain.study import Limits, Method, Study, StudyState
from core.services import studies
from ui import components, queries, state, tables
from ui.actions import attempt
from ui.context import uow
from ui.formatting import ago, markdown, percent, seconds, usd_per_hour

PICKER = "study_choice"
METHODS = {"recalibrated estimates": Method.GREY_BOX, "the paper's qNEHVI": Method.PAPER}


def study_picker() -> Study | None:
    """Let the operator choose a study; the newest one until they do."""
    known = {s.study_id: s for s in queries.all_studies()}
    if not known:
        return None
    if state.study_id() not in known:
        newest_done = next((i for i, s in known.items() if s.state == StudyState.DONE), None)
        state.choose_study(newest_done or next(iter(known)))
    st.session_state[PICKER] = state.study_id()
    st.selectbox(
        "Study",
        list(known),
        format_func=lambda study_id: _name(known[study_id]),
        key=PICKER,
        on_change=lambda: state.choose_study(st.session_state[PICKER]),
    )
    return known[str(state.study_id())]


def study_limits(study: Study) -> None:
    """Say what the study was asked for."""
    workload = next(
        (w for w in queries.all_workloads() if w.workload_id == study.workload_id), None
    )
    limits = study.limits
    wanted = [f"quality at least {percent(limits.quality_floor, 0)}"]
    if limits.sla_p95_e2e_s is not None:
        wanted.append(f"P95 wanted within {seconds(limits.sla_p95_e2e_s)}")
    if limits.budget_usd_per_hour is not None:
        wanted.append(f"at most {usd_per_hour(limits.budget_usd_per_hour)}")
    traffic = f"{workload.name}: {tables.classes_of(workload)}. " if workload else ""
    st.caption(markdown(f"{traffic}Limits: {', '.join(wanted)}."))


def study_state(study: Study) -> None:
    """Say why a study has no front, when it has none."""
    if study.state == StudyState.RUNNING:
        st.info("The front appears when the search is done.", title="This study is running")
    elif study.state == StudyState.INFEASIBLE:
        st.warning(
            markdown(study.message) or "Lower the quality floor, or raise the budget.",
            title="No plan meets the hard limits",
            icon=":material/block:",
        )
    elif study.state in {StudyState.FAILED, StudyState.CANCELLED}:
        how = "failed" if study.state == StudyState.FAILED else "was cancelled"
        st.error(
            markdown(study.message) or "See Models & profiling, Jobs.",
            title=f"This study {how}",
            icon=":material/error:",
        )


def study_form() -> None:
    """Ask for a study."""
    components.outcome("study")
    known = {w.workload_id: w for w in queries.all_workloads()}
    if not known:
        components.empty_state(
            "There is no workload to plan for.", "Describe your traffic first.", "workload"
        )
        return
    with st.form("study_form"):
        st.text_input("Name", "New study", key="study_name")
        st.selectbox(
            "Workload", list(known), format_func=lambda w: known[w].name, key="study_workload"
        )
        with st.container(horizontal=True):
            # Not as the field's default: a relaxation found for another study may be put in.
            st.session_state.setdefault("study_floor", 85.0)
            st.number_input(
                "Quality floor (%)",
                0.0,
                100.0,
                step=1.0,
                key="study_floor",
                help="Hard limit on the lower bound of the traffic's mean score",
            )
            st.number_input(
                "Wanted P95 latency (s)",
                min_value=0.0,
                value=None,
                key="study_sla",
                placeholder="none",
                help="Soft, but a plan is only offered if it is sure to keep it",
            )
            st.number_input(
                "Budget ($ per hour)",
                min_value=0.0,
                value=None,
                format="%.4f",
                key="study_budget",
                placeholder="none",
                help="Hard limit on the allocation cost",
            )
            st.number_input(
                "Plans to measure live",
                0,
                50,
                0,
                key="study_live",
                help="Measured on real replicas, about a minute each; 0 predicts only",
            )
            st.selectbox(
                "Chosen by",
                tuple(METHODS),
                key="study_method",
                help="How the plans to measure are chosen; the paper's method is for comparison",
            )
        st.form_submit_button(
            "Start the study", key="study_start", type="primary", on_click=_create
        )


def _create() -> None:
    chosen = st.session_state
    limits = Limits(
        quality_floor=float(chosen["study_floor"]) / 100,
        budget_usd_per_hour=chosen["study_budget"] or None,
        sla_p95_e2e_s=chosen["study_sla"] or None,
    )

    def create() -> None:
        name = chosen["study_name"].strip() or "Study"
        live = int(chosen["study_live"])
        made = studies.create_study(
            uow(),
            name,
            chosen["study_workload"],
            limits,
            utc_now(),
            live_evaluations=live,
            method=METHODS[chosen["study_method"]],
        )
        state.choose_study(made.study_id)

    attempt("study", "The study waits for its turn.", create)


def _name(study: Study) -> str:
    live = f", {study.live_evaluations} live" if study.live_evaluations else ""
    return f"{study.name} ({study.state.value}{live}, {ago(study.created_at, utc_now())})"
