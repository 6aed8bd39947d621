"""What if prices, traffic, limits or the fleet change: scores plans again, at once.

Runs in the dashboard's process, so it uses estimates only (`core.estimate`), never a search.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from core.domain.plan import PlanScore, ServingPlan
from core.domain.planning import PlanningFacts
from core.domain.study import Limits
from core.domain.workload import Workload
from core.errors import InvalidInput
from core.estimate import AnalyticEvaluator


@dataclass(frozen=True)
class Change:
    """What somebody imagines; as it stands it changes nothing.

    Attributes:
        price_factor: On every price in force.
        prices_usd_per_hour: New price per device type, instead of price times factor.
        traffic_factor: On every arrival rate.
        class_factors: On the arrival rate of single query classes, beside `traffic_factor`;
            0 takes a class away.
        limits: Instead of the limits; None keeps them.
        devices: Usable devices per device type; types left out stay as they are. Nodes keep
            their sizes: whole nodes come or go, the last one may be smaller.

    Raises:
        InvalidInput: A factor or a price is not above zero, or a count is negative.
    """

    price_factor: float = 1.0
    prices_usd_per_hour: Mapping[str, float] = field(default_factory=dict)
    traffic_factor: float = 1.0
    class_factors: Mapping[str, float] = field(default_factory=dict)
    limits: Limits | None = None
    devices: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for factor in (self.price_factor, self.traffic_factor):
            if not (factor > 0 and math.isfinite(factor)):
                raise InvalidInput(
                    f"A factor must be above zero, not {factor}.", "1 changes nothing."
                )
        for name, factor in self.class_factors.items():
            if not (factor >= 0 and math.isfinite(factor)):
                raise InvalidInput(
                    f"The factor of class {name} must not be negative, as {factor} is.",
                    "1 changes nothing, 0 takes the class away.",
                )
        for sku, price in self.prices_usd_per_hour.items():
            if not (price > 0 and math.isfinite(price)):
                raise InvalidInput(f"The price of {sku} must be above zero, not {price}.")
        for sku, count in self.devices.items():
            if count < 0:
                raise InvalidInput(
                    f"There cannot be {count} devices of {sku}.", "0 takes the type away."
                )


def changed_facts(facts: PlanningFacts, change: Change) -> PlanningFacts:
    """Return the facts after a change.

    Raises:
        InvalidInput: No traffic is left.
    """
    prices = {sku: p * change.price_factor for sku, p in facts.price_usd_per_hour.items()}
    nodes = {
        sku: _resized(facts.devices_per_node.get(sku, ()), count)
        for sku, count in change.devices.items()
    }
    return replace(
        facts,
        workload=_scaled(facts.workload, change),
        limits=change.limits or facts.limits,
        price_usd_per_hour={**prices, **change.prices_usd_per_hour},
        devices_per_node={**facts.devices_per_node, **nodes},
    )


def latency_ratios(
    facts: PlanningFacts, plans: Sequence[ServingPlan], known: Sequence[PlanScore]
) -> list[float]:
    """Return by what factor better scores of plans differ from analytic ones; 1 where unknown.

    Args:
        facts: As things are.
        known: Scores of the plans under these facts: simulated, or corrected by measurements.
    """
    evaluator = AnalyticEvaluator(facts)
    return [_ratio(evaluator, plan, score) for plan, score in zip(plans, known, strict=True)]


def re_evaluated(
    facts: PlanningFacts,
    plans: Sequence[ServingPlan],
    change: Change,
    ratios: Sequence[float] | None = None,
) -> list[PlanScore]:
    """Return the predicted score of each plan after a change, broken limits in words.

    Profiles are compiled once for all plans: 200 plans take about a tenth of a second of one core.

    Args:
        ratios: Factors on each plan's latencies (`latency_ratios`): what a better estimator knows
            of a plan as things are is taken to hold after the change too.

    Raises:
        InvalidInput: No traffic is left.
    """
    evaluator = AnalyticEvaluator(changed_facts(facts, change))
    factors = [1.0] * len(plans) if ratios is None else ratios
    return [evaluator.evaluate(plan, factor) for plan, factor in zip(plans, factors, strict=True)]


def cheapest_meeting(
    plans: Sequence[ServingPlan], scores: Sequence[PlanScore], sla_p95_e2e_s: float | None = None
) -> int | None:
    """Return the index of the cheapest feasible plan; None when there is none.

    Args:
        plans: n plans; of equally cheap ones the fastest wins, then the first.
        scores: n; their scores.
        sla_p95_e2e_s: Plans slower than this are only taken when no plan is as fast.
    """
    feasible = [i for i in range(len(plans)) if scores[i].feasible]

    def order(i: int) -> tuple[bool, float, float]:
        p95_s = scores[i].p95_e2e_s or math.inf
        late = sla_p95_e2e_s is not None and p95_s > sla_p95_e2e_s
        return late, scores[i].cost_usd_per_hour, p95_s

    return min(feasible, key=order, default=None)


def _ratio(evaluator: AnalyticEvaluator, plan: ServingPlan, known: PlanScore) -> float:
    if known.p95_e2e_s is None or known.estimator == "analytic":
        return 1.0
    p95_s = evaluator.evaluate(plan).p95_e2e_s
    return 1.0 if p95_s is None else known.p95_e2e_s / p95_s


def _scaled(workload: Workload, change: Change) -> Workload:
    def factor(query_class: str) -> float:
        return change.traffic_factor * change.class_factors.get(query_class, 1.0)

    classes = tuple(
        replace(t, rate_rps=t.rate_rps * factor(t.query_class)) for t in workload.classes
    )
    return replace(workload, classes=classes)


def _resized(nodes: Sequence[int], count: int) -> tuple[int, ...]:
    """Fill nodes of the known sizes, largest first, then more of the largest size."""
    sizes = sorted(nodes, reverse=True)
    largest, filled, left = (sizes or [max(count, 1)])[0], [], count
    while left > 0:
        size = min(left, sizes.pop(0) if sizes else largest)
        filled.append(size)
        left -= size
    return tuple(filled)
