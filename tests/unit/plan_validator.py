"""Says whether a plan is valid, from the definitions alone; slow, and shares no code with them."""

from collections.abc import Iterator
from functools import lru_cache

from core.domain.cascade import CascadeEstimate
from core.domain.plan import ReplicaKind, Route, ServingPlan
from core.domain.planning import PlanningFacts


def faults(plan: ServingPlan, facts: PlanningFacts) -> list[str]:
    """Return every limit that a plan breaks.

    For workloads whose answer lengths do not depend on the model, and profiles without a
    step-time model.
    """
    return [
        *_unknown(plan, facts),
        *_unplaceable(plan, facts),
        *_unrouted(plan, facts),
        *_below_floor(plan, facts),
        *_overloaded(plan, facts),
    ]


def _unknown(plan: ServingPlan, facts: PlanningFacts) -> Iterator[str]:
    for placed in plan.placement:
        if placed.kind not in facts.profiles or placed.count < 1:
            yield f"{placed} is not a number of a known kind"
    cost = sum(
        p.count * p.kind.tp * p.kind.pp * facts.price_usd_per_hour[p.kind.sku]
        for p in plan.placement
    )
    budget = facts.limits.budget_usd_per_hour
    if budget is not None and cost > budget + 1e-6:
        yield f"costs {cost} of {budget}"


def _unplaceable(plan: ServingPlan, facts: PlanningFacts) -> Iterator[str]:
    for sku in {placed.kind.sku for placed in plan.placement}:
        groups = [
            placed.kind.tp
            for placed in plan.placement
            if placed.kind.sku == sku
            for _ in range(placed.count * placed.kind.pp)
        ]
        nodes = tuple(sorted(facts.devices_per_node.get(sku, ())))
        if not _seated(tuple(sorted(groups, reverse=True)), nodes):
            yield f"{groups} do not fit on {nodes} of {sku}"


@lru_cache(maxsize=100_000)
def _seated(groups: tuple[int, ...], nodes: tuple[int, ...]) -> bool:
    """Put the first group on each node in turn and try the others."""
    if not groups:
        return True
    return any(
        _seated(groups[1:], tuple(sorted((*nodes[:i], room - groups[0], *nodes[i + 1 :]))))
        for i, room in enumerate(nodes)
        if room >= groups[0]
    )


def _unrouted(plan: ServingPlan, facts: PlanningFacts) -> Iterator[str]:
    names = [traffic.query_class for traffic in facts.workload.classes]
    placed = {p.kind.model for p in plan.placement}
    for route in plan.routing:
        if route.query_class not in names or route.model not in placed or not route.share > 0:
            yield f"{route} leads nowhere"
        if route.escalate_to and (route.escalate_to not in placed or not _cascade(route, facts)):
            yield f"{route} goes on to nowhere"
    for name in names:
        total = sum(route.share for route in plan.routing if route.query_class == name)
        if abs(total - 1) > 1e-6:
            yield f"{name} is routed for {total}"


def _cascade(route: Route, facts: PlanningFacts) -> CascadeEstimate | None:
    wanted = (route.query_class, route.model, route.escalate_to, route.threshold)
    for known in facts.cascades:
        if (known.query_class, known.model, known.escalate_to, known.threshold) == wanted:
            return known
    return None


def _below_floor(plan: ServingPlan, facts: PlanningFacts) -> Iterator[str]:
    total = sum(traffic.rate_rps for traffic in facts.workload.classes)
    mean, variance = 0.0, 0.0
    for traffic in facts.workload.classes:
        independent, added = 0.0, 0.0
        for route in plan.routing:
            if route.query_class == traffic.query_class:
                part = route.share * traffic.rate_rps / total
                known = _cascade(route, facts) or facts.quality[route.model, route.query_class]
                error = part * (known.mean - known.lower)
                mean += part * known.mean
                if route.escalate_to:
                    added += error
                else:
                    independent += error**2
        variance += (independent**0.5 + added) ** 2
    if mean - variance**0.5 < facts.limits.quality_floor - 1e-7:
        yield f"quality {mean - variance**0.5} of {facts.limits.quality_floor}"


def _overloaded(plan: ServingPlan, facts: PlanningFacts) -> Iterator[str]:
    for model in {placed.kind.model for placed in plan.placement}:
        rates = {
            traffic.query_class: traffic.rate_rps * _calls(plan, facts, traffic.query_class, model)
            for traffic in facts.workload.classes
        }
        capacity = sum(
            placed.count * _capacity_rps(facts, placed.kind, rates)
            for placed in plan.placement
            if placed.kind.model == model
        )
        if sum(rates.values()) > facts.limits.max_utilisation * capacity * (1 + 1e-6):
            yield f"{model} is asked {sum(rates.values())}/s and can do {capacity}/s"


def _calls(plan: ServingPlan, facts: PlanningFacts, query_class: str, model: str) -> float:
    """How often a query of a class is answered by a model, thrown away or not."""
    calls = 0.0
    for route in plan.routing:
        if route.query_class == query_class and route.model == model:
            calls += route.share
        if route.query_class == query_class and route.escalate_to == model:
            cascade = _cascade(route, facts)
            calls += route.share * (cascade.escalated if cascade else 1.0)
    return calls


def _capacity_rps(facts: PlanningFacts, kind: ReplicaKind, rates: dict[str, float]) -> float:
    """Most answers per second of any level: what it did, scaled by how much longer these take."""
    best = 0.0
    for level in facts.profiles[kind].levels:
        seen_ms = level.ttft_ms.mean + level.tpot_ms.mean * (level.output_tokens_mean - 1)
        mean_ms = 0.0
        for traffic in facts.workload.classes:
            longer = max(1.0, traffic.input_tokens_mean / level.input_tokens_mean)
            answer_ms = level.tpot_ms.mean * (traffic.output_tokens_mean - 1)
            part = rates.get(traffic.query_class, 0.0) / max(sum(rates.values()), 1e-12)
            mean_ms += part * (level.ttft_ms.mean * longer + answer_ms)
        if mean_ms > 0:
            best = max(best, level.requests_per_s * seen_ms / mean_ms)
    return best
