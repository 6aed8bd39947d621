"""Savings mode and performance mode as pages show them, beside what is done without BOute."""

from collections.abc import Sequence

import streamlit as st

from core.domain.comparison import Aim, Comparison
from core.domain.study import Study, Trial
from ui import charts_studies, state, tables_studies
from ui.formatting import markdown, percent, seconds, usd_per_hour

MODES = {Aim.SAVINGS: "Cheapest at SLA and quality", Aim.LATENCY: "Fastest within budget"}


def modes(study: Study, trials: Sequence[Trial]) -> None:
    """Let the operator look at one mode, and choose its plan."""
    known = {MODES[c.aim]: c for c in study.comparisons if c.aim in MODES}
    if not known:
        return
    st.subheader("What joint planning brings", anchor=False)
    chosen = st.segmented_control(
        "Mode",
        list(known),
        default=next(iter(known)),
        required=True,
        key=f"mode_{study.study_id[:8]}",
        label_visibility="collapsed",
    )
    comparison = known[str(chosen)]
    st.caption(markdown(targets_in_words(comparison)))
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(markdown(verdict(comparison)), width="stretch")
        number = next((t.number for t in trials if t.plan == comparison.best.plan), None)
        if number is not None:
            st.button(
                f"Choose plan {number}",
                key="choose_mode",
                on_click=state.choose_plan,
                args=(number,),
            )
    _contenders(comparison)


def targets_in_words(comparison: Comparison) -> str:
    """Say what every contender has to keep."""
    wanted = [f"quality at least {percent(comparison.quality_floor, 0)}"]
    if comparison.sla_p95_e2e_s is not None:
        wanted.append(f"P95 within {seconds(comparison.sla_p95_e2e_s)} with 95 % confidence")
    if comparison.aim is not Aim.SAVINGS:
        budget = comparison.budget_usd_per_hour
        wanted.append(
            "at most " + (usd_per_hour(budget) if budget is not None else "the whole fleet")
        )
    return (
        f"For all: {', '.join(wanted)}; the same fleet, requests and simulator. Predicted, not "
        "measured."
    )


def verdict(comparison: Comparison) -> str:
    """Say in a sentence or two what the joint optimum is worth."""
    best, value = comparison.best, _value_in_words(comparison)
    if not best.meets:
        return f"**No plan was found that meets these limits.** {best.note}".strip()
    gains = [(gain, b) for b in comparison.baselines if (gain := comparison.gain(b)) is not None]
    missing = len(comparison.baselines) - len(gains)
    parts = [f"**{value}.**"]
    if gains:
        least, rival = min(gains, key=lambda pair: pair[0])
        rival_name = tables_studies.APPROACHES[rival.approach].lower()
        parts.append(
            f"The strongest of the others ({rival_name}) does as well here."
            if least < 0.005
            else f"Against the strongest of the others ({rival_name}), "
            f"{tables_studies.gain_in_words(comparison, rival)}."
        )
    if missing:
        parts.append(f"{missing} of the others find no plan within the limits.")
    return " ".join(parts)


def _value_in_words(comparison: Comparison) -> str:
    value = comparison.value(comparison.best)
    if comparison.aim is Aim.SAVINGS:
        return f"BOute's plan costs {usd_per_hour(value)}"
    if comparison.aim is Aim.LATENCY:
        return f"BOute's plan has a P95 of {seconds(value)}"
    return f"BOute's plan sustains {value or 0:.3g} requests per second"


def _contenders(comparison: Comparison) -> None:
    frame = tables_studies.comparison_frame(comparison)
    st.plotly_chart(
        charts_studies.comparison_bars(frame, comparison.aim),
        key="mode_bars",
        config={"displayModeBar": False},
        alt="What BOute's plan and the baselines reach",
    )
    with st.expander("The plans in numbers", key="mode_table"):
        st.dataframe(
            frame,
            hide_index=True,
            alt="Contenders with cost, latency, quality and placement",
            column_order=[
                "approach",
                "cost",
                "p95_s",
                "p95_interval",
                "quality_lower",
                "gain",
                "placement",
                "note",
            ],
            column_config={
                "approach": st.column_config.TextColumn("Approach", width="medium"),
                "cost": st.column_config.NumberColumn("Cost ($/h)", format="$%.4f"),
                "p95_s": st.column_config.NumberColumn("P95 (s)", format="%.2f"),
                "p95_interval": st.column_config.TextColumn("P95 is within", help="90 % interval"),
                "quality_lower": st.column_config.NumberColumn(
                    "Quality, at least", format="percent"
                ),
                "gain": "In comparison",
                "placement": st.column_config.TextColumn("Runs", width="medium"),
                "note": st.column_config.TextColumn("Limits missed", width="medium"),
            },
        )
