"""What if prices, traffic, limits or the fleet change: scores plans again, at once.

Runs in the dashboard's process, so it uses estimates only (`core.estimate`), never a search.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from core.domain.plan import PlanScore, ServingPlan
from core.domain.planning import PlanningFacts
from core.domain.study import Limits
from core.domain.workload import Workload
from core.errors import InvalidInput
from core.estimate import AnalyticEvaluator


def changed_facts(
    facts: PlanningFacts,
    *,
    price_factor: Mapping[str, float] | None = None,
    traffic_factor: float = 1.0,
    limits: Limits | None = None,
    devices: Mapping[str, int] | None = None,
) -> PlanningFacts:
    """Return the facts after a change.

    Args:
        price_factor: Multiplies the price of a device type; those left out keep theirs.
        traffic_factor: Multiplies every arrival rate.
        limits: Replaces the limits; None keeps them.
        devices: Replaces the number of devices of a type. Nodes keep their sizes: whole nodes
            are added or taken away, the last one may be smaller.

    Raises:
        InvalidInput: A factor is not above zero, or a device count is negative.
    """
    for factor in (traffic_factor, *(price_factor or {}).values()):
        if not (factor > 0 and math.isfinite(factor)):
            raise InvalidInput(f"A factor must be above zero, not {factor}.", "1 changes nothing.")
    prices = {
        sku: price * (price_factor or {}).get(sku, 1.0)
        for sku, price in facts.price_usd_per_hour.items()
    }
    nodes = {**facts.devices_per_node}
    for sku, count in (devices or {}).items():
        nodes[sku] = _resized(nodes.get(sku, ()), count)
    return replace(
        facts,
        workload=_scaled(facts.workload, traffic_factor),
        limits=limits or facts.limits,
        price_usd_per_hour=prices,
        devices_per_node=nodes,
    )


def rescore(facts: PlanningFacts, plans: Sequence[ServingPlan]) -> list[PlanScore]:
    """Return the predicted score of each plan under these facts, broken limits in words."""
    evaluator = AnalyticEvaluator(facts)
    return [evaluator.evaluate(plan) for plan in plans]


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


def _scaled(workload: Workload, factor: float) -> Workload:
    classes = tuple(replace(t, rate_rps=t.rate_rps * factor) for t in workload.classes)
    return replace(workload, classes=classes)


def _resized(nodes: Sequence[int], count: int) -> tuple[int, ...]:
    """Fill nodes of the known sizes, largest first, then more of the largest size."""
    if count < 0:
        raise InvalidInput(f"There cannot be {count} devices.", "0 takes the type away.")
    sizes = sorted(nodes, reverse=True)
    largest, filled, left = (sizes or [max(count, 1)])[0], [], count
    while left > 0:
        size = min(left, sizes.pop(0) if sizes else largest)
        filled.append(size)
        left -= size
    return tuple(filled)
