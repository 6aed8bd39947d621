"""Plans, comparisons and what stands in the way of a plan, as lines for a terminal."""

from core.domain.comparison import Aim, Comparison, Contender
from core.domain.infeasibility import Constraint, Infeasibility, Relaxation
from core.domain.plan import PlanScore

UNITS = {
    Constraint.FLOOR: "{:.3f}",
    Constraint.BUDGET: "${:.4g}/h",
    Constraint.LATENCY: "{:.4g} s",
    Constraint.DEVICES: "{:.0f}",
    Constraint.TRAFFIC: "{:.4g} requests/s",
}
HEADINGS = {Aim.SAVINGS: "$/h", Aim.LATENCY: "P95 s", Aim.THROUGHPUT: "requests/s"}


def seconds(value: float | None) -> str:
    """A latency with milliseconds; a dash for none."""
    return "-" if value is None else f"{value:.3f}"


def interval_in_words(score: PlanScore) -> str:
    """A P95 with its interval: `0.612 (0.580 to 0.660)`."""
    if score.p95_e2e_s is None:
        return "cannot keep up"
    low, high = score.p95_e2e_low_s, score.p95_e2e_high_s
    around = f" ({seconds(low)} to {seconds(high)})" if low is not None else ""
    return seconds(score.p95_e2e_s) + around.replace("to -", "or more")


def infeasibility_in_words(why: Infeasibility) -> list[str]:
    """Lines: the smallest change of each limit, and the plan that comes nearest."""
    what = "keeps the wanted latency too" if why.latency_counts else "keeps all hard limits"
    lines = ["", f"No plan {what}. Changing one limit alone:", *map(_relaxation, why.relaxations)]
    if not why.binding:
        lines.append("None alone is enough: two or more have to give way.")
    if why.nearest:
        plan, score = why.nearest.plan, why.nearest.score
        placed = ", ".join(f"{p.count} x {p.kind.label}" for p in plan.placement)
        lines += [
            f"Nearest plan ({why.nearest.violation:.0%} over the limits in sum): {placed}; "
            f"${score.cost_usd_per_hour:.4g}/h, P95 {interval_in_words(score)}, quality at least "
            f"{score.quality_lower:.3f}"
        ]
    return lines


def _relaxation(relaxation: Relaxation) -> str:
    form = UNITS[relaxation.constraint]
    name = f"{relaxation.constraint.value} {relaxation.sku}".strip()
    if relaxation.needed is None:
        return f"  {name:28} {form.format(relaxation.now)}: does not help"
    return f"  {name:28} {form.format(relaxation.now)} -> {form.format(relaxation.needed)}"


def comparison_in_words(comparison: Comparison) -> str:
    """A table: what the joint optimum and each baseline reach."""
    heading = HEADINGS[comparison.aim]
    header = f"{'':32} {heading:>10}  {'gain':>6}  {'$/h':>9}  {'P95 s (90 %)':>27}  runs"
    return "\n".join([header, *(_contender(comparison, c) for c in comparison.contenders)])


def _contender(comparison: Comparison, contender: Contender) -> str:
    if contender.plan is None or contender.score is None:
        return f"{contender.approach.value:32} {'-':>10}  {contender.note}"
    gain = comparison.gain(contender) if contender is not comparison.best else None
    placed = ", ".join(f"{p.count} x {p.kind.label}" for p in contender.plan.placement)
    value = comparison.value(contender)
    return (
        f"{contender.approach.value:32} {'-' if value is None else format(value, '10.4f'):>10}  "
        f"{'' if gain is None else format(gain, '.1%'):>6}  "
        f"{contender.score.cost_usd_per_hour:9.4f}  {interval_in_words(contender.score):>27}  "
        f"{placed}{f'  (misses: {contender.note})' if contender.note else ''}"
    )
