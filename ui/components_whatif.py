"""What-if as pages show it: the change, the front before and after, the chosen plan's bill."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import streamlit as st

from core.domain.plan import PlanScore
from core.domain.study import Limits, Study, Trial
from ui import charts_plan, queries, tables
from ui.formatting import change, markdown, percent, points, seconds, usd

HOURS_PER_MONTH = 730.0
"""Hours of an average month: 365.25 x 24 / 12."""


@dataclass(frozen=True)
class Change:
    """What the operator imagines.

    Attributes:
        price_factor: On every price in force.
        traffic_factor: On every arrival rate.
        devices: Usable devices per device type; types left out stay as they are.
    """

    price_factor: float
    traffic_factor: float
    limits: Limits
    devices: dict[str, int]

    def nothing(self, study: Study, owned: dict[str, int]) -> bool:
        """Whether it changes anything at all."""
        same_factors = self.price_factor == 1 and self.traffic_factor == 1
        return same_factors and self.limits == study.limits and self.devices == owned


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
    return Change(price, traffic, limits, devices)


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
            change(after.p95_e2e_s, before.p95_e2e_s),
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
