"""From a query to a class, a model and a replica, by the active plan."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from core.domain.deployment import Replica
from core.domain.plan import ServingPlan
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
    """

    query_class: str
    model: str
    confidence: float
    is_new: bool = False


class Router:
    """Routes by a plan's shares, so evenly that realised shares track the plan closely.

    Smooth weighted round robin per class: with every query each usable model earns its share of
    a turn, and the one with most credit answers and pays one. A model that is away earns
    nothing, so it is not flooded when it comes back. No randomness: the same queries in the same
    order are always routed the same.

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
        self._shares = {
            name: plan.shares(name) for name in sorted({r.query_class for r in plan.routing})
        }
        self._order = tuple(quality_order)
        self._credit: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))

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
        query_class, confidence, is_new = self._classify(text, earlier)
        shares = self._shares[query_class]
        usable = {
            m: s for m, s in shares.items() if available_models is None or m in available_models
        }
        if not usable:
            raise NotReady(
                f"No replica is ready for class {query_class!r} "
                f"(its models: {', '.join(sorted(shares)) or 'none'}).",
                "Replicas may be starting: try again in a few seconds.",
            )
        return Decision(query_class, self._next_in_turn(query_class, usable), confidence, is_new)

    def _classify(self, text: str, earlier: Sequence[str]) -> Classified:
        if not self._shares:
            raise NotReady("The active plan routes nothing.", "Deploy a plan with a routing.")
        if self._classifier is None:
            return Classified(self._safest(), 0.0, is_new=False)
        found = self._classifier.classify(text, earlier)
        self.new_queries += found.is_new
        if found.is_new or found.query_class not in self._shares:
            return found._replace(query_class=self._safest())
        return found

    def _safest(self) -> str:
        """The class whose route leans most on the best model."""
        best = self._order[0] if self._order else None

        def lean(name: str) -> tuple[float, str]:
            shares = self._shares[name]
            return (shares.get(best, 0.0) if best else max(shares.values()), name)

        return max(self._shares, key=lean)

    def _next_in_turn(self, query_class: str, shares: Mapping[str, float]) -> str:
        credit, weight = self._credit[query_class], sum(shares.values())
        for model, share in shares.items():
            credit[model] += share / weight
        chosen = max(sorted(shares), key=lambda model: credit[model])
        credit[chosen] -= 1
        return chosen


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
