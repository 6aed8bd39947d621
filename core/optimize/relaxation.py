"""When nothing is feasible: the smallest change of each limit that alone would make it so.

Every limit is loosened by itself. First as far as it goes: if that has no plan, changing it alone
does not help. Then the smallest change that has one is found: in closed form where the planner
gives it (the least cost, the least latency), by bisection elsewhere. Each value that is reported
was planned for, and its plan is kept; for devices and traffic the next smaller value was planned
for too, and failed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from core.domain.infeasibility import Constraint, Infeasibility, Relaxation
from core.domain.plan import PlanScore, ServingPlan
from core.domain.planning import PlanningFacts
from core.domain.trace import Trace
from core.domain.workload import Workload
from core.optimize.feasibility import EVALUATIONS, Planner, by_program, by_search
from core.optimize.nearest import nearest_plan

FLOOR_STEP = 0.001
TRAFFIC_STEP = 0.01
LEAST_TRAFFIC = 1e-3
MOST_DEVICES = 16
"""Times the devices there are, at most."""
SIGNIFICANT = 4

Solved = tuple[ServingPlan, PlanScore]
OnProgress = Callable[[float, str], None]


@dataclass(frozen=True)
class _Loosened:
    """A limit on a scale from 0 (as it is) to `steps` (as loose as it gets).

    Attributes:
        value: What the limit is at a step.
        facts: The facts at a step.
    """

    steps: int
    value: Callable[[int], float]
    facts: Callable[[int], PlanningFacts]


def explain(
    facts: PlanningFacts,
    *,
    latency_counts: bool = False,
    trace: Trace | None = None,
    seed: int = 0,
    evaluations: int = EVALUATIONS,
    on_progress: OnProgress | None = None,
) -> Infeasibility:
    """Return the smallest relaxation of each limit, and the plan that breaks the limits least.

    Args:
        facts: A problem without a plan.
        latency_counts: Whether the wanted latency has to be kept too, at 95 % confidence.
        trace: The workload's requests; None draws them from its description.
        evaluations: Plans tried by formula per question, where the latency counts.
        on_progress: Told the done fraction and which limit is looked at; may raise to stop.

    Raises:
        NotReady: Nothing can be placed at all.
    """
    plan = by_search(trace, seed, evaluations) if latency_counts else by_program()
    wanted = _wanted(facts, latency_counts)
    found: list[Relaxation] = []
    for number, (constraint, sku) in enumerate(wanted):
        if on_progress:
            what = f"{constraint.value} {sku}".strip()
            on_progress(number / len(wanted), f"Looking for the smallest change: {what}")
        found.append(_relaxation(facts, constraint, sku, plan))
    nearest = nearest_plan(facts, found, latency_counts=latency_counts, seed=seed)
    return Infeasibility(latency_counts, tuple(found), nearest)


def relaxed(facts: PlanningFacts, relaxation: Relaxation) -> PlanningFacts:
    """Return the facts with one limit changed to what is needed.

    Raises:
        ValueError: Changing this alone does not help.
    """
    if relaxation.needed is None:
        raise ValueError("this relaxation does not help")
    return _with_limit(facts, relaxation.constraint, relaxation.sku, relaxation.needed)


def _wanted(facts: PlanningFacts, latency_counts: bool) -> list[tuple[Constraint, str]]:
    limits = facts.limits
    wanted = [(Constraint.FLOOR, "")] if limits.quality_floor > 0 else []
    if limits.budget_usd_per_hour is not None:
        wanted.append((Constraint.BUDGET, ""))
    if latency_counts and limits.sla_p95_e2e_s is not None:
        wanted.append((Constraint.LATENCY, ""))
    skus = sorted({k.sku for k in facts.profiles} & facts.price_usd_per_hour.keys())
    wanted += [(Constraint.DEVICES, sku) for sku in skus]
    return [*wanted, (Constraint.TRAFFIC, "")]


def _relaxation(
    facts: PlanningFacts, constraint: Constraint, sku: str, plan: Planner
) -> Relaxation:
    now = _limit_now(facts, constraint, sku)
    if constraint is Constraint.BUDGET:
        return _by_value(facts, constraint, now, plan, lambda score: score.cost_usd_per_hour)
    if constraint is Constraint.LATENCY:
        return _by_value(facts, constraint, now, plan, lambda score: score.p95_e2e_high_s)
    scale = _scale(facts, constraint, sku, now)
    found = _smallest(scale, plan)
    if found is None:
        return Relaxation(constraint, sku, now, None)
    step, (its_plan, score) = found
    return Relaxation(constraint, sku, now, scale.value(step), its_plan, score)


def _by_value(
    facts: PlanningFacts,
    constraint: Constraint,
    now: float,
    plan: Planner,
    value: Callable[[PlanScore], float | None],
) -> Relaxation:
    """Without the limit its value is made least; that value, rounded up, is planned for again."""
    free = plan.without(facts, constraint)
    least = value(free[1]) if free else None
    if free is None or least is None:
        return Relaxation(constraint, "", now, None)
    needed = rounded_up(least)
    again = plan.solve(_with_limit(facts, constraint, "", needed)) or free
    return Relaxation(constraint, "", now, needed, *again)


def _smallest(scale: _Loosened, plan: Planner) -> tuple[int, Solved] | None:
    """Bisect the steps: step 0 has no plan, looser limits keep every plan of tighter ones."""
    loosest = plan.solve(scale.facts(scale.steps))
    if loosest is None:
        return None
    low, high, best = 0, scale.steps, loosest
    while high - low > 1:
        middle = (low + high) // 2
        found = plan.solve(scale.facts(middle))
        if found is None:
            low = middle
        else:
            high, best = middle, found
    return high, best


def _scale(facts: PlanningFacts, constraint: Constraint, sku: str, now: float) -> _Loosened:
    def facts_at(step: int) -> PlanningFacts:
        return _with_limit(facts, constraint, sku, value(step))

    if constraint is Constraint.FLOOR:
        steps = round(now / FLOOR_STEP + 0.5)

        def value(step: int) -> float:
            return max(0.0, round((steps - step) * FLOOR_STEP, 6))
    elif constraint is Constraint.DEVICES:
        steps = max(MOST_DEVICES, MOST_DEVICES * round(now))

        def value(step: int) -> float:
            return now + step
    else:
        steps = round((1 - LEAST_TRAFFIC) / TRAFFIC_STEP)

        def value(step: int) -> float:
            return now * max(LEAST_TRAFFIC, 1 - step * TRAFFIC_STEP)

    return _Loosened(steps, value, facts_at)


def _limit_now(facts: PlanningFacts, constraint: Constraint, sku: str) -> float:
    limits = facts.limits
    return {
        Constraint.FLOOR: limits.quality_floor,
        Constraint.BUDGET: limits.budget_usd_per_hour or 0.0,
        Constraint.LATENCY: limits.sla_p95_e2e_s or 0.0,
        Constraint.DEVICES: float(sum(facts.devices_per_node.get(sku, ()))),
        Constraint.TRAFFIC: facts.workload.rate_rps,
    }[constraint]


def _with_limit(
    facts: PlanningFacts, constraint: Constraint, sku: str, value: float
) -> PlanningFacts:
    limits = facts.limits
    if constraint is Constraint.FLOOR:
        return replace(facts, limits=replace(limits, quality_floor=value))
    if constraint is Constraint.BUDGET:
        return replace(facts, limits=replace(limits, budget_usd_per_hour=value))
    if constraint is Constraint.LATENCY:
        return replace(facts, limits=replace(limits, sla_p95_e2e_s=value))
    if constraint is Constraint.DEVICES:
        nodes = with_more(facts.devices_per_node.get(sku, ()), round(value), _group(facts, sku))
        return replace(facts, devices_per_node={**facts.devices_per_node, sku: nodes})
    return replace(facts, workload=_scaled(facts.workload, value / facts.workload.rate_rps))


def with_more(nodes: Sequence[int], devices: int, group: int) -> tuple[int, ...]:
    """Return nodes with devices added until there are so many: in further nodes of the usual size.

    Args:
        group: Devices that a new node must at least have: the largest TP group of any profile.
    """
    size = max([*nodes, group, 1])
    missing = devices - sum(nodes)
    return (*nodes, *[size] * (missing // size), *([missing % size] if missing % size else []))


def _group(facts: PlanningFacts, sku: str) -> int:
    return max((kind.tp for kind in facts.profiles if kind.sku == sku), default=1)


def _scaled(workload: Workload, factor: float) -> Workload:
    classes = tuple(replace(t, rate_rps=t.rate_rps * factor) for t in workload.classes)
    return replace(workload, classes=classes)


def rounded_up(value: float) -> float:
    """Round up to four significant digits, so that typing it in really is enough."""
    if value <= 0:
        return value
    text = f"{value:.{SIGNIFICANT - 1}e}"
    rounded = float(text)
    unit = 10.0 ** (int(text.split("e")[1]) - SIGNIFICANT + 1)
    return rounded if rounded >= value else round(rounded + unit, 12)
