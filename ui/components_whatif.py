"""What-if as pages show it: the change, the front before and after, the chosen plan's bill."""

from collections.abc import Sequence
from dataclasses import replace

import streamlit as st

from core.domain.plan import PlanScore
from core.domain.study import Limits, Study, Trial
from core.errors import BOuteError
from core.services.whatif import Change
from ui import charts_plan, components, queries, tables
from ui.formatting import change as relative
from ui.formatting import markdown, percent, points, seconds, usd

HOURS_PER_MONTH = 730.0
"""Hours of an average month: 365.25 x 24 / 12."""


def controls(study: Study, owned: dict[str, int]) -> Change:
    """Let the operator imagine a change; every control is in the URL, so a link shares it."""
    with st.container(border=True):
        left, right = st.columns(2)
        with left:
            price = _factor("Prices", "wi_price", "On every device price in force")
            traffic = _factor("Traffic", "wi_traffic", "On the arrival rate of every class")
        with right:
            limits = _limits(study.limits, study.study_id[:8])
            with st.container(horizontal=True):
                devices = {sku: _devices(sku, count) for sku, count in owned.items()}
        classes = _class_factors(study)
    # What is as it was is not part of the change.
    return Change(
        price_factor=price,
        traffic_factor=traffic,
        class_factors={name: factor for name, factor in classes.items() if factor != 1},
        limits=limits if limits != study.limits else None,
        devices={sku: count for sku, count in devices.items() if count != owned[sku]},
    )


def _class_factors(study: Study) -> dict[str, float]:
    """Ask for factors on single classes; nothing to ask when there is only one."""
    workload = queries.workload(study.workload_id)
    names = [t.query_class for t in workload.classes if t.rate_rps > 0] if workload else []
    if len(names) < 2:
        return {}
    st.caption("Traffic of single classes, times")
    with st.container(horizontal=True):
        return {
            name: float(
                st.number_input(
                    name,
                    min_value=0.0,
                    max_value=10.0,
                    value=1.0,
                    step=0.25,
                    format="%.2f",
                    key=f"wi_class_{name}",
                    bind="query-params",
                    help="Beside the factor on all traffic; 0 takes the class away",
                )
            )
            for name in names
        }


def _factor(label: str, key: str, explanation: str) -> float:
    return float(
        st.slider(
            f"{label}, times",
            0.25,
            4.0,
            1.0,
            0.05,
            format="%.2f x",
            key=key,
            bind="query-params",
            help=explanation,
        )
    )


def _limits(asked: Limits, study: str) -> Limits:
    with st.container(horizontal=True):
        floor = st.number_input(
            "Quality floor (%)",
            0.0,
            100.0,
            round(asked.quality_floor * 100, 2),
            1.0,
            key=f"wi_floor_{study}",
            bind="query-params",
            help="Hard limit on the lower bound of the mean score",
        )
        sla_s = st.number_input(
            "Wanted P95 latency (s)",
            min_value=0.0,
            value=float(asked.sla_p95_e2e_s or 0.0),
            step=0.5,
            key=f"wi_sla_{study}",
            bind="query-params",
            help="0 for none",
        )
    return replace(asked, quality_floor=float(floor) / 100, sla_p95_e2e_s=float(sla_s) or None)


def _devices(sku: str, count: int) -> int:
    return int(
        st.number_input(
            f"Devices: {sku}",
            min_value=0,
            value=count,
            step=1,
            key=f"wi_devices_{sku}",
            bind="query-params",
            help="How many of them there are to use",
        )
    )


def fronts(trials: Sequence[Trial], scores: Sequence[PlanScore], chosen: int | None) -> None:
    """Draw the front before and after, and say which plans no longer hold."""
    frame = tables.whatif_frame(trials, scores)
    st.plotly_chart(
        charts_plan.whatif_fronts(frame, chosen),
        key="whatif_front",
        config={"displayModeBar": False},
        alt="The front as optimised and after the change, joined plan by plan",
    )
    broken = frame[~frame["feasible_after"]]
    if broken.empty:
        st.success(
            f"All {len(frame)} plans of the front still hold.", icon=":material/check_circle:"
        )
        return
    st.warning(
        "Their points are crosses above, where they can be drawn at all. A new study would find "
        "plans for the new situation.",
        title=f"{len(broken)} of {len(frame)} plans no longer hold",
        icon=":material/block:",
    )
    st.dataframe(
        broken,
        hide_index=True,
        alt="Plans that are infeasible after the change, and why",
        column_order=["number", "placement", "why"],
        column_config={
            "number": st.column_config.NumberColumn("Plan", width="small"),
            "placement": "Runs",
            "why": st.column_config.TextColumn("Why not", width="large"),
        },
    )


def chosen_plan(trial: Trial, after: PlanScore) -> None:
    """Show what the change does to the chosen plan."""
    before = trial.predicted
    st.subheader(f"Plan {trial.number} after the change", anchor=False)
    for reason in after.violations:
        st.warning(markdown(reason), icon=":material/block:")
    monthly = after.cost_usd_per_hour * HOURS_PER_MONTH
    more = (after.cost_usd_per_hour - before.cost_usd_per_hour) * HOURS_PER_MONTH
    with st.grid(4, min_column_width=190, gap="small"):
        st.metric(
            "Cost per month",
            markdown(usd(monthly)),
            markdown(f"{'+' if more >= 0 else ''}{usd(more)}") if abs(more) > 1e-9 else "0",
            delta_color="inverse",
            border=True,
            height="stretch",
            help=f"{HOURS_PER_MONTH:.0f} hours",
        )
        st.metric(
            "P95 latency",
            seconds(after.p95_e2e_s) if after.p95_e2e_s is not None else "cannot keep up",
            relative(after.p95_e2e_s, before.p95_e2e_s),
            delta_color="inverse",
            delta_description=f"was {seconds(before.p95_e2e_s)}",
            border=True,
            height="stretch",
        )
        st.metric(
            "Quality, at least",
            percent(after.quality_lower),
            points(after.quality_lower - before.quality_lower),
            border=True,
            height="stretch",
        )
        st.metric(
            "Within wanted latency",
            percent(after.sla_attainment),
            points(after.sla_attainment - before.sla_attainment)
            if after.sla_attainment is not None and before.sla_attainment is not None
            else None,
            border=True,
            height="stretch",
        )


def owned_devices() -> dict[str, int]:
    """Return how many devices of each type BOute may use now."""
    usable = [d for d in queries.devices() if d.schedulable]
    return {sku: sum(d.sku == sku for d in usable) for sku in queries.skus(usable)}


def export(study: Study, trial: Trial | None, imagined: Change) -> None:
    """Offer the study's problem after the change, with the chosen plan, as a scenario file."""
    try:
        text = queries.scenario(study, trial.plan if trial else None, imagined)
    except BOuteError as error:
        components.show_error(error)
        return
    st.download_button(
        "Download as a scenario",
        text,
        file_name="scenario.yaml",
        mime="application/yaml",
        key="wi_export",
        icon=":material/download:",
        on_click="ignore",
        help="Prices, traffic, limits and devices as set above, profiles and quality as known, "
        "and this plan: for `boute plan`, `boute simulate`, or another BOute",
    )
