"""What stands in the way of a plan, as pages show it, and the way to a study that has one."""

import streamlit as st

from core.domain.infeasibility import Constraint, Infeasibility, NearestPlan, Relaxation
from core.domain.study import Study
from ui import tables_studies
from ui.formatting import markdown, percent, plan_in_words, seconds, usd_per_hour

FIELDS = {
    Constraint.FLOOR: ("study_floor", 100.0),
    Constraint.BUDGET: ("study_budget", 1.0),
    Constraint.LATENCY: ("study_sla", 1.0),
}
"""Field of the form for a new study, and its unit in the limit's."""
FORM = "new_study"


def infeasibility(study: Study) -> None:
    """Show the smallest change of each limit, a way to try it, and the nearest plan."""
    found = study.infeasibility
    if found is None:
        return
    st.subheader("What would have to change", anchor=False)
    st.markdown(markdown(binding_in_words(found)))
    if found.relaxations:
        _table(found)
        _ways_out(study, found)
    if found.nearest:
        _nearest(found.nearest)


def binding_in_words(found: Infeasibility) -> str:
    """Name the limits that bind."""
    what = (
        "No plan is sure to keep the wanted latency beside the other limits."
        if found.latency_counts
        else "No plan keeps all hard limits."
    )
    names = [f"{r.constraint.value} {r.sku}".strip() for r in found.binding]
    if not names:
        return f"{what} **Changing one limit alone does not help:** two or more have to give way."
    listed = names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"
    return f"{what} Changing **one** of these is enough: **{listed}**."


def _table(found: Infeasibility) -> None:
    st.dataframe(
        tables_studies.relaxations_frame(found),
        hide_index=True,
        alt="The smallest change of each limit that alone makes a plan possible",
        column_config={
            "limit": "Limit",
            "now": "Is",
            "needed": st.column_config.TextColumn(
                "Would have to be", help="The smallest change; the plan beside it was computed"
            ),
            "then": st.column_config.TextColumn("Then this could run", width="large"),
            "cost": "Cost",
            "p95": "P95",
        },
    )


def _ways_out(study: Study, found: Infeasibility) -> None:
    """One button per limit that a study sets; devices and traffic are set elsewhere."""
    usable = [r for r in found.binding if r.constraint in FIELDS]
    if not usable:
        return
    with st.container(horizontal=True):
        for relaxation in usable:
            needed = tables_studies.amount(relaxation, relaxation.needed or 0.0)
            st.button(
                markdown(f"New study with {relaxation.constraint.value} {needed}"),
                key=f"relax_{relaxation.constraint.name.lower()}",
                icon=":material/edit:",
                on_click=_prefill,
                args=(study, relaxation),
            )


def _prefill(study: Study, relaxation: Relaxation) -> None:
    """Fill the form for a new study with this one's limits, one of them relaxed, and open it."""
    form, limits = st.session_state, study.limits
    form["study_workload"] = study.workload_id
    form["study_floor"] = 100 * limits.quality_floor
    form["study_budget"] = limits.budget_usd_per_hour
    form["study_sla"] = limits.sla_p95_e2e_s
    field, unit = FIELDS[relaxation.constraint]
    form[field] = round(unit * (relaxation.needed or 0.0), 6)
    form[FORM] = True


def _nearest(nearest: NearestPlan) -> None:
    score = nearest.score
    with st.container(border=True, key="nearest_plan"):
        st.markdown(f"**Nearest plan.** {markdown(plan_in_words(nearest.plan))}")
        st.caption(
            markdown(
                f"{usd_per_hour(score.cost_usd_per_hour)}, P95 {seconds(score.p95_e2e_s)}, "
                f"quality at least {percent(score.quality_lower)}. It exceeds the limits by "
                f"{percent(nearest.violation, 0)} in sum, the least that was found. "
                f"{' '.join(score.violations)}"
            )
        )
