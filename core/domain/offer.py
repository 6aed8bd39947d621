"""Whether a plan may be offered for deployment, and why not."""

from core.domain.plan import PlanScore
from core.domain.profile import Provenance
from core.domain.study import Limits

CONFIDENCE = 0.95
"""Of the latency: the P95's interval covers 90 %, so its upper end is exceeded in 5 % of cases.
The quality bound has its own: the lower end of a 95 % interval."""
TOLERANCE = 1e-9


def broken_limits(score: PlanScore, limits: Limits) -> tuple[str, ...]:
    """Return which hard limits a plan breaks, in words; empty for a feasible plan."""
    broken = list(score.violations)
    if score.p95_e2e_s is None and not broken:
        broken.append("It cannot keep up with the traffic.")
    if score.quality_lower < limits.quality_floor - TOLERANCE and not score.violations:
        broken.append(
            f"Quality is at least {score.quality_lower:.3f}, below the floor of "
            f"{limits.quality_floor:.3f}."
        )
    return tuple(broken)


def doubts(score: PlanScore, limits: Limits) -> tuple[str, ...]:
    """Return why a plan that keeps every hard limit is not sure to keep the wanted latency.

    A plan is sure when the upper end of its P95's interval is within the wanted latency. A
    measured P95 without an interval is taken as it is.
    """
    sla_s, p95_s = limits.sla_p95_e2e_s, score.p95_e2e_s
    if sla_s is None or p95_s is None or _sure_p95_s(score, sla_s) <= sla_s:
        return ()
    if p95_s > sla_s:
        return (f"Its P95 of {p95_s:.3g} s is above the wanted {sla_s:.3g} s.",)
    if score.p95_e2e_low_s is None:
        return ("How sure its P95 is, is unknown.",)
    if score.p95_e2e_high_s is None:
        return (
            f"It is not sure to keep the wanted {sla_s:.3g} s: nothing bounds its P95 from above "
            f"with {CONFIDENCE:.0%} confidence.",
        )
    return (
        f"It is not sure to keep the wanted {sla_s:.3g} s: its P95 may be up to "
        f"{score.p95_e2e_high_s:.3g} s ({CONFIDENCE:.0%} confidence).",
    )


def objections(score: PlanScore, limits: Limits) -> tuple[str, ...]:
    """Return every reason why a plan is not offered for deployment; empty when it is."""
    return broken_limits(score, limits) or doubts(score, limits)


def _sure_p95_s(score: PlanScore, sla_s: float) -> float:
    """The P95 to judge by; above the wanted latency where nothing is known of its upper end."""
    if score.p95_e2e_high_s is not None:
        return score.p95_e2e_high_s
    if score.provenance is Provenance.MEASURED and score.p95_e2e_low_s is None:
        return score.p95_e2e_s or 0.0
    return 2 * sla_s
