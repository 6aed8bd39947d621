"""Frames about what a study found: modes beside baselines, and what would have to change."""

import pandas as pd

from core.domain.comparison import Aim, Approach, Comparison, Contender
from core.domain.infeasibility import Constraint, Infeasibility, Relaxation
from ui.formatting import (
    interval,
    percent,
    placement_in_words,
    placement_short,
    rate,
    seconds,
    usd_per_hour,
)

APPROACHES = {
    Approach.JOINT: "BOute: routing and placement together",
    Approach.ONE_MODEL_ONE_SKU: "Best single model on one device type",
    Approach.ROUTING_ONLY: "Best routing on a uniform placement",
    Approach.PLACEMENT_ONLY: "Best placement for a random split",
    Approach.ROUTING_THEN_PLACEMENT: "Best routing first, then placement",
}
"""What the contenders are, in words."""


def comparison_frame(comparison: Comparison) -> pd.DataFrame:
    """Return one row per contender, the joint optimum first."""
    return pd.DataFrame(
        {
            "approach": APPROACHES[contender.approach],
            "ours": contender.approach is Approach.JOINT,
            "value": comparison.value(contender),
            "cost": contender.score.cost_usd_per_hour if contender.score else None,
            "p95_s": contender.score.p95_e2e_s if contender.score else None,
            "p95_interval": interval(contender.score.p95_e2e_low_s, contender.score.p95_e2e_high_s)
            if contender.score
            else "",
            "quality_lower": contender.score.quality_lower if contender.score else None,
            "gain": gain_in_words(comparison, contender),
            "placement": placement_short(contender.plan) if contender.plan else "",
            "meets": contender.meets,
            "note": contender.note,
        }
        for contender in comparison.contenders
    )


def gain_in_words(comparison: Comparison, contender: Contender) -> str:
    """Return what BOute's plan gains over a baseline: `costs 38 % less`; empty for itself."""
    gain = comparison.gain(contender)
    if contender.approach is Approach.JOINT:
        return ""
    if gain is None:
        return "no plan meets the limits" if not contender.meets else ""
    if gain < 0.005:
        return "no difference"
    if comparison.aim is Aim.SAVINGS:
        return f"BOute costs {percent(gain, 0)} less"
    more = "faster" if comparison.aim is Aim.LATENCY else "more throughput"
    return f"BOute is {percent(gain, 0)} {more}"


def relaxations_frame(infeasibility: Infeasibility) -> pd.DataFrame:
    """Return one row per limit: what it is, and what it alone would have to be."""
    return pd.DataFrame(
        {
            "limit": limit_name(relaxation),
            "now": amount(relaxation, relaxation.now),
            "needed": amount(relaxation, relaxation.needed)
            if relaxation.needed is not None
            else "does not help alone",
            "then": placement_in_words(relaxation.plan) if relaxation.plan else "",
            "cost": usd_per_hour(relaxation.score.cost_usd_per_hour) if relaxation.score else "",
            "p95": seconds(relaxation.score.p95_e2e_s) if relaxation.score else "",
        }
        for relaxation in infeasibility.relaxations
    )


def limit_name(relaxation: Relaxation) -> str:
    """Return the limit in words: `Quality floor`, `Devices: cpu-core`."""
    name = relaxation.constraint.value
    name = name[0].upper() + name[1:]
    return f"{name}: {relaxation.sku}" if relaxation.sku else name


def amount(relaxation: Relaxation, value: float) -> str:
    """Return a limit's value with its unit, with all the digits that it is found with."""
    if relaxation.constraint is Constraint.FLOOR:
        return percent(value)
    if relaxation.constraint is Constraint.BUDGET:
        return f"${value:.4g}/h"
    if relaxation.constraint is Constraint.LATENCY:
        return f"{value:.4g} s"
    return f"{value:.0f}" if relaxation.constraint is Constraint.DEVICES else rate(value)
