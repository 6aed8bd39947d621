"""From a query to a class, a model and a replica, by the active plan."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from core.domain.deployment import Replica
from core.domain.plan import Route, ServingPlan
from core.errors import NotReady
from core.routing.classifier import Classified, QueryClassifier


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided for one query.

    Attributes:
        query_class: Class of the query.
        model: Model to ask.
        confidence: The classifier's probability of that class; 0 without a classifier.
        is_new: Whether the query is unlike everything the classifier learned from, and was
            routed the safest way for that reason.
        escalate_to: Model to ask instead when `model` is unsure of its answer; empty for none.
        threshold: Mean token log-probability below which it counts as unsure.
    """

    query_class: str
    model: str
    confidence: float
    is_new: bool = False
    escalate_to: str = ""
    threshold: float = 0.0


class Router:
    """Routes by a plan's shares, so evenly that realised shares track the plan closely.

    Smooth weighted round robin per class: with every query each usable route earns its share of
    a turn, and the one with most credit is taken and pays one. A route with a model that is away
    earns nothing, so it is not flooded when the model comes back. No randomness: the same queries
    in the same order are always routed the same.

    A class of which no route is whole is answered by what is left of its cascades, better by the
    models they escalate to. Queries whose class is a guess are not left to a cascade either: its
    threshold was calibrated on other ones.

    Args:
        plan: Its routing table.
        classifier: Assigns classes; None sends everything the safest way.
        quality_order: Models from best to worst; alphabetical when unknown. Queries of a class the
            plan does not know, and those unlike everything the classifier learned from, take the
            route of the class that leans most on the best model.

    Attributes:
        new_queries: How many queries were unlike what the classifier learned from.
    """

    def __init__(
        self,
        plan: ServingPlan,
        classifier: QueryClassifier | None,
        quality_order: Sequence[str] = (),
    ) -> None:
        self.new_queries = 0
        self._classifier = classifier
        self._routes = {
            name: plan.routes(name) for name in sorted({r.query_class for r in plan.routing})
        }
        self._order = tuple(quality_order)
        self._credit = {name: [0.0] * len(routes) for name, routes in self._routes.items()}

    def choose(
        self,
        text: str,
        available_models: Collection[str] | None = None,
        earlier: Sequence[str] = (),
    ) -> Decision:
        """Decide for one query.

        Args:
            text: What is asked.
            available_models: Models with a ready replica; shares of others go to those. None
                means all.
            earlier: Messages of the conversation before it.

        Raises:
            NotReady: No model of the class's route is available.
        """
        (query_class, confidence, is_new), calibrated = self._classify(text, earlier)
        routes = self._routes[query_class]
        usable = [
            place
            for place, route in enumerate(routes)
            if available_models is None
            or (
                route.model in available_models
                and (not route.escalate_to or route.escalate_to in available_models)
            )
        ]
        if not usable:
            model = _what_is_left(routes, available_models or ())
            return Decision(query_class, model, confidence, is_new)
        route = self._next_in_turn(query_class, usable)
        if route.escalate_to and not calibrated:
            return Decision(query_class, route.escalate_to, confidence, is_new)
        return Decision(
            query_class, route.model, confidence, is_new, route.escalate_to, route.threshold
        )

    def _classify(self, text: str, earlier: Sequence[str]) -> tuple[Classified, bool]:
        """Return the class, and whether thresholds of its cascades hold for the query.

        They were calibrated on the class's own queries.
        """
        if not self._routes:
            raise NotReady("The active plan routes nothing.", "Deploy a plan with a routing.")
        if self._classifier is None:
            return Classified(self._safest(), 0.0, is_new=False), len(self._routes) == 1
        found = self._classifier.classify(text, earlier)
        self.new_queries += found.is_new
        if found.is_new or found.query_class not in self._routes:
            return found._replace(query_class=self._safest()), False
        return found, True

    def _safest(self) -> str:
        """The class whose routes lean most on the best model."""
        best = self._order[0] if self._order else None

        def lean(name: str) -> tuple[float, float, str]:
            routes = self._routes[name]
            alone = [r.share for r in routes if not r.escalate_to and best in (None, r.model)]
            if best is None:
                return (max(alone, default=0.0), 0.0, name)
            return (sum(alone), sum(r.share for r in routes if r.escalate_to == best), name)

        return max(self._routes, key=lean)

    def _next_in_turn(self, query_class: str, usable: Sequence[int]) -> Route:
        credit, routes = self._credit[query_class], self._routes[query_class]
        weight = sum(routes[place].share for place in usable)
        for place in usable:
            credit[place] += routes[place].share / weight
        chosen = max(usable, key=credit.__getitem__)
        credit[chosen] -= 1
        return routes[chosen]


def _what_is_left(routes: Sequence[Route], available: Collection[str]) -> str:
    """Return the model of a broken cascade that is there, better one it escalates to."""
    for model in (*(r.escalate_to for r in routes), *(r.model for r in routes)):
        if model in available:
            return model
    asked = sorted({m for r in routes for m in (r.model, r.escalate_to) if m})
    raise NotReady(
        f"No replica is ready for class {routes[0].query_class!r} "
        f"(its models: {', '.join(asked)}).",
        "Replicas may be starting: try again in a few seconds.",
    )


def in_turn(replicas: Sequence[Replica], turn: int) -> list[Replica]:
    """Rotate replicas by a counter, so that equally busy ones take turns."""
    first = turn % len(replicas)
    return [*replicas[first:], *replicas[:first]]


def pick_replica(replicas: Sequence[Replica], outstanding: Mapping[str, int]) -> Replica:
    """Return the replica with the least outstanding requests per device, first one on a tie.

    Args:
        replicas: At least one; rotated with `in_turn`, so that ties take turns.
        outstanding: Requests in flight per replica id.
    """
    return min(replicas, key=lambda r: outstanding.get(r.replica_id, 0) / r.kind.devices)
