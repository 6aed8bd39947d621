"""What makes a plan impossible, in words; independent of how the plan was made."""

from core.domain.plan import ReplicaKind, ServingPlan
from core.domain.planning import PlanningFacts
from core.estimate.packing import groups_per_sku, packs

SHARE_TOLERANCE = 1e-6


def validate(plan: ServingPlan, facts: PlanningFacts) -> tuple[str, ...]:
    """Return every reason why a plan cannot run on this fleet; empty when it can.

    Looks at structure only: known kinds, inventory with node packing, shares, replicas for every
    routed model, known quality. What a plan costs and whether it keeps up is the evaluator's.
    """
    return (*_placement_faults(plan, facts), *_routing_faults(plan, facts))


def placement_of(plan: ServingPlan) -> dict[ReplicaKind, int]:
    """Return replicas per kind."""
    counts: dict[ReplicaKind, int] = {}
    for placed in plan.placement:
        counts[placed.kind] = counts.get(placed.kind, 0) + placed.count
    return counts


def _placement_faults(plan: ServingPlan, facts: PlanningFacts) -> list[str]:
    faults = []
    placement = placement_of(plan)
    for kind, count in placement.items():
        if count < 1:
            faults.append(f"{kind.label}: {count} replicas.")
        if kind not in facts.profiles:
            faults.append(f"{kind.label} was not profiled.")
        if kind.sku not in facts.price_usd_per_hour:
            faults.append(f"{kind.sku} has no price.")
    return faults + inventory_faults(placement, facts)


def inventory_faults(placement: dict[ReplicaKind, int], facts: PlanningFacts) -> list[str]:
    """Return which device types a placement has too few of, or cannot pack on its nodes."""
    faults = []
    for sku, groups in sorted(groups_per_sku(placement).items()):
        nodes = facts.devices_per_node.get(sku, ())
        needed = sum(size * count for size, count in groups.items())
        if needed > sum(nodes):
            faults.append(f"Needs {needed} x {sku}, the fleet has {sum(nodes)}.")
        elif not packs(groups, nodes):
            sizes = ", ".join(f"{n} x TP {size}" for size, n in sorted(groups.items()))
            faults.append(
                f"{sizes} on {sku} do not fit: a TP group stays inside one node, and the nodes "
                f"have {', '.join(map(str, nodes))}."
            )
    return faults


def _routing_faults(plan: ServingPlan, facts: PlanningFacts) -> list[str]:
    faults = []
    placed, cascades = set(plan.models), {cascade.key for cascade in facts.cascades}
    for traffic in facts.workload.classes:
        name = traffic.query_class
        routes = plan.routes(name)
        total = sum(route.share for route in routes)
        if abs(total - 1) > SHARE_TOLERANCE:
            faults.append(f"Class {name} is routed for {total:.1%} of it.")
        for route in routes:
            if route.share < 0:
                faults.append(f"Class {name} has a negative share for {route.model}.")
            faults += [
                f"{model} has no replica but answers {name}."
                for model in (route.model, route.escalate_to)
                if model and model not in placed
            ]
            if route.cascade is None and (route.model, name) not in facts.quality:
                faults.append(f"Quality of {route.model} on {name} is unknown.")
            if route.cascade is not None and route.cascade not in cascades:
                faults.append(
                    f"What {route.model}, then {route.escalate_to} at a threshold of "
                    f"{route.threshold:g} does with {name} is unknown."
                )
    return faults
