"""One plan as pages show it: words, numbers, placement, routing."""

from collections.abc import Sequence

import streamlit as st

from core.domain.offer import objections
from core.domain.plan import PlanScore, ServingPlan
from core.domain.study import Limits, Trial
from ui import charts, queries, tables
from ui.components import provenance
from ui.formatting import (
    change,
    interval,
    markdown,
    percent,
    plan_in_words,
    points,
    seconds,
    usd,
    usd_per_hour,
)


def score_metrics(score: PlanScore, baseline: PlanScore | None) -> None:
    """Show what a plan costs and gives, against running everything on the best model."""
    against = "vs best model only" if baseline else None
    base_cost = baseline.cost_usd_per_hour if baseline else None
    base_p95 = baseline.p95_e2e_s if baseline else None
    with st.grid(4, min_column_width=190, gap="small"):
        st.metric(
            "Cost",
            markdown(usd_per_hour(score.cost_usd_per_hour)),
            change(score.cost_usd_per_hour, base_cost),
            delta_color="inverse",
            delta_description=against if base_cost else None,
            border=True,
            height="stretch",
            help="Allocation cost: devices times their price, busy or not",
        )
        st.metric(
            "P95 latency",
            seconds(score.p95_e2e_s) if score.p95_e2e_s is not None else "cannot keep up",
            change(score.p95_e2e_s, base_p95),
            delta_color="inverse",
            border=True,
            height="stretch",
            help=_p95_help(score),
        )
        st.metric(
            "Quality, at least",
            percent(score.quality_lower),
            points(score.quality_lower - baseline.quality_lower) if baseline else None,
            border=True,
            height="stretch",
            help=f"Lower 95 % bound, which the floor is compared with; "
            f"the mean is {percent(score.quality_mean)}",
        )
        st.metric(
            "Within wanted latency",
            percent(score.sla_attainment),
            border=True,
            height="stretch",
            help="Share of the requests; needs a wanted latency in the study",
        )


def _p95_help(score: PlanScore) -> str:
    """What P95 means, how it was computed and how sure it is."""
    by = {
        "simulated": " Simulated request by request.",
        "analytic": " From queueing formulas.",
    }.get(score.estimator, "")
    within = interval(score.p95_e2e_low_s, score.p95_e2e_high_s)
    sure = f" With 90 % confidence: {within}." if within else ""
    return f"End to end: 95 of 100 requests finish within this time.{by}{sure}"


def plan_detail(
    trial: Trial, baseline: Trial | None, limits: Limits, trials: Sequence[Trial]
) -> None:
    """Show one plan: words, numbers, placement, routing, measured against predicted.

    Args:
        limits: Of its study: what speaks against deploying it.
        trials: Of its study: some may be folded under it.
    """
    with st.container(horizontal=True, vertical_alignment="center"):
        st.subheader(f"Plan {trial.number}", anchor=False, width="content")
        provenance(trial.score.provenance.value)
        st.caption(tables.ORIGINS[trial.origin.value], width="content")
        if within := interval(trial.score.p95_e2e_low_s, trial.score.p95_e2e_high_s):
            st.caption(f"P95 within {within} (90 %)", width="content")
    st.markdown(markdown(plan_in_words(trial.plan, queries.known_cascades())))
    for objection in objections(trial.score, limits):
        st.warning(markdown(objection), title="Not offered", icon=":material/block:")
    score_metrics(trial.predicted, baseline.predicted if baseline else None)
    if trial.measured:
        predicted_and_measured(trial.predicted, trial.measured)
    plan_parts(trial.plan)
    _alike(trial, trials, limits)


def _alike(trial: Trial, trials: Sequence[Trial], limits: Limits) -> None:
    """List the plans folded under this one, or name the one that this is folded under."""
    if trial.alike is not None:
        st.caption(
            f"Plan {trial.alike} costs no more, and this one is not surely faster or better."
        )
    folded = [t for t in trials if t.on_front and t.alike == trial.number]
    if not folded:
        return
    with st.expander(f"{len(folded)} alike: not surely faster or better, and no cheaper"):
        st.dataframe(
            tables.trials_frame(folded, limits=limits)[
                ["number", "cost", "p95_s", "p95_interval", "quality", "placement"]
            ],
            hide_index=True,
            alt="Plans that differ from this one by less than the noise",
            column_config={
                "number": st.column_config.NumberColumn("Plan", width="small"),
                "cost": st.column_config.NumberColumn("Cost ($/h)", format="$%.4f"),
                "p95_s": st.column_config.NumberColumn("P95 (s)", format="%.2f"),
                "p95_interval": "P95 is within",
                "quality": st.column_config.NumberColumn("Quality", format="percent"),
                "placement": "Runs",
            },
        )


def plan_parts(plan: ServingPlan) -> None:
    """Show placement and routing side by side."""
    placement, routing = st.columns(2)
    with placement:
        st.markdown("**Placement**")
        st.dataframe(
            tables.placement_frame(plan, queries.current_prices()),
            hide_index=True,
            alt="What runs on which devices",
            column_config={
                "model": "Model",
                "sku": "Device type",
                "replicas": "Replicas",
                "devices": "Devices",
                "usd_per_hour": st.column_config.NumberColumn("$/h", format="$%.4f"),
            },
        )
    with routing:
        st.markdown("**Routing**")
        routes = tables.routes_frame(plan)
        st.plotly_chart(
            charts.routing_bars(routes),
            key="plan_routing",
            config={"displayModeBar": False},
            alt="Share of each query class that each model answers",
        )


def predicted_and_measured(predicted: PlanScore, measured: PlanScore) -> None:
    """Compare an estimate with what replicas really did."""
    rows = [
        ("P50 latency", seconds(predicted.p50_e2e_s), seconds(measured.p50_e2e_s)),
        ("P95 latency", seconds(predicted.p95_e2e_s), seconds(measured.p95_e2e_s)),
        ("Quality (mean)", percent(predicted.quality_mean), percent(measured.quality_mean)),
        (
            "$ per million output tokens",
            markdown(usd(predicted.cost_usd_per_million_tokens)),
            markdown(usd(measured.cost_usd_per_million_tokens)),
        ),
    ]
    st.table(
        {
            "": [row[0] for row in rows],
            "predicted": [row[1] for row in rows],
            "measured": [row[2] for row in rows],
        },
        hide_index=True,
        border="horizontal",
        width="content",
        alt="Predicted against measured",
    )
