"""What a plan asks of each model: plain calls, first calls of cascades, and what goes on."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter

import numpy as np

from core.domain.cascade import CascadeEstimate, CascadeKey
from core.domain.plan import Route, ServingPlan
from core.estimate.speed import Vector


@dataclass(frozen=True)
class Escalation:
    """Queries that two models answer, one after the other.

    Attributes:
        query_class: Position of the class.
        rate_rps: How many there are per second.
    """

    query_class: int
    first: str
    second: str
    rate_rps: float


@dataclass(frozen=True)
class Flows:
    """Calls by model, K query classes each.

    Attributes:
        calls: All calls, per query of the class.
        calls_rps: The same per second.
        plain: Calls of plain routes, per query of the class.
        accepted: First calls of cascades whose answer is given, per query of the class.
        escalations: What becomes of the other first calls; of each cascade one.
    """

    calls: Mapping[str, Sequence[float]]
    calls_rps: Mapping[str, Vector]
    plain: Mapping[str, Sequence[float]]
    accepted: Mapping[str, Sequence[float]]
    escalations: Sequence[Escalation]

    @property
    def second_rps(self) -> float:
        """Second calls per second."""
        return sum(escalation.rate_rps for escalation in self.escalations)


def flows_of(
    plan: ServingPlan,
    classes: Sequence[str],
    rates: Vector,
    cascades: Mapping[CascadeKey, CascadeEstimate],
) -> Flows:
    """Return the calls that a plan's routes make.

    Of a cascade that is not among the known ones everything goes on.

    Args:
        classes: K classes; routes of others are left out.
        rates: K; arrivals per second.
        cascades: Those that are known.
    """
    position = {name: k for k, name in enumerate(classes)}
    calls, plain, accepted = _by_model(classes), _by_model(classes), _by_model(classes)
    escalations = []
    for route in plan.routing:
        k = position.get(route.query_class)
        if k is None:
            continue
        calls[route.model][k] += route.share
        if not route.escalate_to:
            plain[route.model][k] += route.share
            continue
        going = route.share * escalated(route, cascades)
        accepted[route.model][k] += route.share - going
        calls[route.escalate_to][k] += going
        rate_rps = float(rates[k]) * going
        escalations.append(Escalation(k, route.model, route.escalate_to, rate_rps))
    calls_rps = {model: rates * np.array(of_model) for model, of_model in calls.items()}
    return Flows(calls, calls_rps, plain, accepted, escalations)


def _by_model(classes: Sequence[str]) -> defaultdict[str, list[float]]:
    return defaultdict(lambda: [0.0] * len(classes))


def goes_in_circles(plan: ServingPlan) -> bool:
    """Whether models pass queries on to each other in a circle: simulations cannot play that."""
    order: TopologicalSorter[str] = TopologicalSorter()
    for route in plan.routing:
        if route.escalate_to:
            order.add(route.escalate_to, route.model)
    try:
        order.prepare()
    except CycleError:
        return True
    return False


def escalated(route: Route, cascades: Mapping[CascadeKey, CascadeEstimate]) -> float:
    """Return the share (0..1) of a route's queries that go on to its second model."""
    cascade = route.cascade
    if cascade is None:
        return 0.0
    known = cascades.get(cascade)
    return 1.0 if known is None else known.escalated
