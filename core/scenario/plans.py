"""From the plan section of a scenario to a plan; needs nothing that estimates need."""

from core.domain.cascade import CascadeKey
from core.domain.plan import ReplicaKind, Route, ServingPlan, make_plan
from core.scenario.schema import PlanSection


def plan_of(section: PlanSection) -> ServingPlan:
    """Return a plan; entries of the same replica kind add up, and so do those of a route."""
    placement: dict[ReplicaKind, int] = {}
    for entry in section.placement:
        kind = ReplicaKind(entry.model, entry.sku, entry.tp, entry.pp)
        placement[kind] = placement.get(kind, 0) + entry.replicas
    routing: dict[str, dict[str, float]] = {}
    cascades: dict[CascadeKey, float] = {}
    for route in section.routing:
        if route.escalate_to:
            key = route.query_class, route.model, route.escalate_to, route.threshold
            cascades[key] = cascades.get(key, 0.0) + route.share
        else:
            shares = routing.setdefault(route.query_class, {})
            shares[route.model] = shares.get(route.model, 0.0) + route.share
    escalating = (Route(*key[:2], share, *key[2:]) for key, share in cascades.items())
    return make_plan(placement, routing, escalating)
