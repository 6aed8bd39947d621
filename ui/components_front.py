"""The Pareto front as pages show it: a chart to click on, and a table for the keyboard."""

from collections.abc import Sequence

import streamlit as st

from core.domain.study import Origin, Study, Trial
from core.services.whatif import cheapest_meeting
from ui import charts_plan, queries, state, tables

FRONT = "study_front"
TABLE = "study_table"
COLUMNS = [
    "number",
    "note",
    "cost",
    "p95_s",
    "p95_interval",
    "quality",
    "quality_lower",
    "attainment",
    "provenance",
    "placement",
    "limits",
]


def best_model_baseline(trials: Sequence[Trial]) -> Trial | None:
    """Return the study's "everything on the best model" plan."""
    return next((t for t in trials if t.origin == Origin.BASELINE_LARGE), None)


def cheapest_within_sla(trials: Sequence[Trial], sla_s: float | None) -> Trial | None:
    """Return the cheapest plan of the front that meets the wanted latency, or comes closest."""
    front = [t for t in trials if t.on_front]
    best = cheapest_meeting([t.plan for t in front], [t.score for t in front], sla_s)
    return None if best is None else front[best]


def front_picker(study: Study, trials: Sequence[Trial], every_plan: bool) -> None:
    """Draw the Pareto front; a click on a point or on a row chooses that plan."""
    running, chosen = queries.current_deployment(), state.trial_number()
    frame = tables.trials_frame(trials, running.plan.plan_id if running else None, chosen)
    if not every_plan:
        frame = frame[frame["on_front"] | frame["baseline"] | frame["running"]]
    limits = study.limits
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
            "limits": st.column_config.TextColumn("Limits broken", width="medium"),
        },
    )
