"""The Pareto front as pages show it: a chart to click on, and a table for the keyboard."""

from collections.abc import Sequence

import streamlit as st

from core.domain.offer import doubts
from core.domain.study import Limits, Origin, Study, Trial
from core.services.whatif import cheapest_meeting
from ui import charts_plan, queries, state, tables

FRONT = "study_front"
TABLE = "study_table"
COLUMNS = [
    "number",
    "note",
    "alike",
    "cost",
    "p95_s",
    "p95_interval",
    "quality",
    "quality_lower",
    "attainment",
    "provenance",
    "placement",
    "not_offered",
]


def best_model_baseline(trials: Sequence[Trial]) -> Trial | None:
    """Return the study's "everything on the best model" plan."""
    return next((t for t in trials if t.origin == Origin.BASELINE_LARGE), None)


def cheapest_within_sla(trials: Sequence[Trial], sla_s: float | None) -> Trial | None:
    """Return the cheapest plan of the front that is sure to keep the wanted latency; else the
    cheapest that is expected to, or comes closest."""
    front = [t for t in trials if t.on_front]
    sure = [t for t in front if not doubts(t.score, Limits(sla_p95_e2e_s=sla_s))]
    front = sure or front
    best = cheapest_meeting([t.plan for t in front], [t.score for t in front], sla_s)
    return None if best is None else front[best]


def front_in_words(trials: Sequence[Trial]) -> None:
    """Say how many plans are on the front, and how many of them are folded."""
    front = [t for t in trials if t.on_front]
    folded = sum(t.alike is not None for t in front)
    alike = f" {folded} of them differ from another by less than the noise and are folded." * (
        folded > 0
    )
    st.markdown(
        ":material/ads_click: **Click a point, or select a row below.** "
        f"{len(front)} plans of {len(trials)} tried are on the Pareto front: no other plan is "
        f"better in cost, latency and quality at once.{alike}",
        width="stretch",
    )


def front_picker(study: Study, trials: Sequence[Trial], every_plan: bool) -> None:
    """Draw the Pareto front; a click on a point or on a row chooses that plan."""
    running, chosen = queries.current_deployment(), state.trial_number()
    limits, running_id = study.limits, running.plan.plan_id if running else None
    frame = tables.trials_frame(trials, running_id, chosen, limits)
    if not every_plan:
        shown = frame["on_front"] & ~frame["folded"]
        always = frame["baseline"] | frame["running"] | (frame["number"] == chosen)
        frame = frame[shown | always]
    view = st.segmented_control(
        "Axes",
        list(charts_plan.VIEWS),
        default=charts_plan.usual_view(frame),
        required=True,
        key=f"front_view_{study.study_id[:8]}",
        help="What is across; the third objective is the colour",
    )
    st.plotly_chart(
        charts_plan.pareto(
            frame, chosen, limits.sla_p95_e2e_s, limits.budget_usd_per_hour, str(view)
        ),
        key=FRONT,
        on_select=lambda: state.pick_from_chart(FRONT),
        selection_mode="points",
        config={"displayModeBar": False},
        alt=f"Scatter of plans: {str(view).lower()}; the third objective is the colour",
    )
    numbers = [int(number) for number in frame["number"]]
    st.dataframe(
        frame,
        key=TABLE,
        hide_index=True,
        on_select=lambda: state.pick_from_table(TABLE, numbers),
        selection_mode="single-row",
        alt="Plans of the study; select a row to choose one",
        column_order=COLUMNS,
        column_config={
            "number": st.column_config.NumberColumn("Plan", width="small"),
            "note": st.column_config.TextColumn("Note", width=150),
            "cost": st.column_config.NumberColumn("Cost ($/h)", format="$%.4f"),
            "p95_s": st.column_config.NumberColumn("P95 (s)", format="%.2f"),
            "p95_interval": st.column_config.TextColumn(
                "P95 is within", width=130, help="90 % interval of the prediction"
            ),
            "quality": st.column_config.NumberColumn("Quality", format="percent"),
            "quality_lower": st.column_config.NumberColumn(
                "At least", format="percent", help="Lower bound: what the quality floor uses"
            ),
            "attainment": st.column_config.NumberColumn(
                "On time", format="percent", help="Share of requests within the wanted latency"
            ),
            "provenance": "Numbers are",
            "placement": "Runs",
            "alike": st.column_config.TextColumn(
                "Alike",
                width="small",
                help="Plans that cost as much or more and are better by less than the noise; "
                "shown with every plan tried, and with the plan they are like",
            ),
            "not_offered": st.column_config.TextColumn(
                "Not offered because",
                width="medium",
                help="Offered plans keep the quality floor and the wanted latency with 95 % "
                "confidence",
            ),
        },
    )
