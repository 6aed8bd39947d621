"""What may answer a query, as the columns of a routing: every model alone, then the cascades.

A column of a cascade is a pair of models and a rank among the thresholds that a class has for that
pair, the least escalation first: what the column means differs from class to class. A class
without a cascade of that rank takes such a column for the first model alone, so that every routing
(K x O) means something.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from core.domain.cascade import CascadeEstimate, CascadeKey
from core.domain.plan import Route
from core.domain.planning import PlanningFacts
from core.estimate.quality import CascadeShare
from core.estimate.speed import Vector

Integers = NDArray[np.int64]
NOBODY = -1


@dataclass(frozen=True)
class Options:
    """Columns of routings of K classes: M models, then cascades; O in all.

    Attributes:
        classes: K query classes.
        models: M models.
        cascades: Per class and column after the models: what the class has there, if anything.
        first: O; position of the model that is asked first.
        second: O; position of the model that is asked when the first is unsure; -1 for none.
        goes_on: K x O; share of the queries that go on to the second.
        stands_for: K x O; column that means the same to the class: itself, or the first model
            alone.
        mean, lower: K x O; quality and its lower bound.
    """

    classes: tuple[str, ...]
    models: tuple[str, ...]
    cascades: tuple[tuple[CascadeEstimate | None, ...], ...]
    first: Integers
    second: Integers
    goes_on: Vector
    stands_for: Integers
    mean: Vector
    lower: Vector

    def __len__(self) -> int:
        return len(self.first)

    @cached_property
    def calls(self) -> Vector:
        """K x O x M; calls to each model that a query of a class makes on average."""
        first, second = self._called
        calls: Vector = first + self.goes_on[:, :, None] * second
        return calls

    def answered_by(self, shares: Vector) -> Vector:
        """Return K x M; the share of each class whose answer comes from a model."""
        first, second = self._called
        goes_on = self.goes_on[:, :, None]
        answered: Vector = np.einsum(
            "ko,kom->km", shares, (1 - goes_on) * first + goes_on * second
        )
        return answered

    @cached_property
    def asks(self) -> NDArray[np.bool_]:
        """O x M; whether a column needs a model at all, however rarely it is asked."""
        first, second = self._called
        return first | second

    @cached_property
    def _called(self) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """O x M each; whether a column asks a model first, and whether second."""
        model = np.arange(len(self.models))
        return self.first[:, None] == model, self.second[:, None] == model

    @cached_property
    def _columns(self) -> dict[CascadeKey, int]:
        return {
            cascade.key: len(self.models) + c
            for of_class in self.cascades
            for c, cascade in enumerate(of_class)
            if cascade is not None
        }

    def calls_of(self, shares: Vector) -> Vector:
        """Return ... x K x M; calls to each model per query of a class, for ... x K x O shares."""
        called: Vector = np.einsum("...ko,kom->...km", shares, self.calls)
        return called

    def needed(self, shares: Vector) -> NDArray[np.bool_]:
        """Return M; which models a routing K x O needs replicas of."""
        used: NDArray[np.bool_] = np.dot(shares.max(axis=0) > 0, self.asks)
        return used

    def plain(self, shares: Vector) -> Vector:
        """Return the routing (K x O) with what goes to cascades that a class does not have given
        to their first models; the same array where there is no such column.
        """
        if not self._foreign:
            return shares
        moved: Vector = np.array(shares, dtype=float)
        for k, o in self._foreign:
            moved[k, self.stands_for[k, o]] += moved[k, o]
            moved[k, o] = 0.0
        return moved

    @cached_property
    def _foreign(self) -> list[tuple[int, int]]:
        """Classes and columns of cascades that they do not have."""
        return [(int(k), int(o)) for k, o in np.argwhere(self.stands_for != np.arange(len(self)))]

    def column(self, route: Route) -> int | None:
        """Return the column of a route; None for one that is not an option."""
        if route.cascade is not None:
            return self._columns.get(route.cascade)
        return self.models.index(route.model) if route.model in self.models else None

    def route(self, k: int, o: int, share: float) -> Route:
        """Return the route that a share of a column is to class k."""
        cascade = self.cascades[k][o - len(self.models)] if o >= len(self.models) else None
        if cascade is None:
            return Route(self.classes[k], self.models[self.first[o]], share)
        return Route(*cascade.key[:2], share, *cascade.key[2:])

    def cascade_shares(self, shares: Vector) -> list[CascadeShare]:
        """Return share and estimate of each cascade that a `plain` routing K x O uses."""
        rows = shares[:, len(self.models) :]
        if not rows.any():
            return []
        pairs = [(float(rows[k, c]), self.cascades[k][c]) for k, c in np.argwhere(rows)]
        return [(share, cascade) for share, cascade in pairs if cascade is not None]

    def label(self, k: int, o: int) -> str:
        """Return in words what a column is to class k: `small`, or `small, then large`."""
        route = self.route(k, o, 1.0)
        return f"{route.model}, then {route.escalate_to}" if route.escalate_to else route.model


def options_of(facts: PlanningFacts, models: Sequence[str]) -> Options:
    """Return the columns for the models of some facts, and the facts' cascades between them.

    Args:
        models: M models with a quality estimate for every class.
    """
    classes = [traffic.query_class for traffic in facts.workload.classes]
    pairs = _by_pair(facts, classes, models)
    columns = [
        (first, second, rank)
        for (first, second), of_class in sorted(pairs.items())
        for rank in range(max(map(len, of_class.values())))
    ]
    cascades = tuple(
        tuple(_at(pairs[first, second].get(name, []), rank) for first, second, rank in columns)
        for name in classes
    )
    estimates = [
        [*(facts.quality[m, name] for m in models), *of_class]
        for name, of_class in zip(classes, cascades, strict=True)
    ]
    first = [*range(len(models)), *(models.index(name) for name, _, _ in columns)]
    second = [NOBODY] * len(models) + [models.index(name) for _, name, _ in columns]
    stands_for = [
        [o if estimate else first[o] for o, estimate in enumerate(row)] for row in estimates
    ]
    known = [
        [estimate or facts.quality[models[first[o]], name] for o, estimate in enumerate(row)]
        for name, row in zip(classes, estimates, strict=True)
    ]
    shape = (len(classes), len(first))
    nothing = [0.0] * len(models)
    goes_on = [[*nothing, *(c.escalated if c else 0.0 for c in row)] for row in cascades]
    return Options(
        tuple(classes),
        tuple(models),
        cascades,
        np.array(first, dtype=np.int64),
        np.array(second, dtype=np.int64),
        np.array(goes_on, dtype=float).reshape(shape),
        np.array(stands_for, dtype=np.int64).reshape(shape),
        np.array([[e.mean for e in row] for row in known]).reshape(shape),
        np.array([[e.lower for e in row] for row in known]).reshape(shape),
    )


def _by_pair(
    facts: PlanningFacts, classes: Sequence[str], models: Sequence[str]
) -> dict[tuple[str, str], dict[str, list[CascadeEstimate]]]:
    """Return the cascades by pair of models and class, the least escalation first."""
    pairs: dict[tuple[str, str], dict[str, list[CascadeEstimate]]] = {}
    for cascade in sorted({c.key: c for c in facts.cascades}.values()):
        pair = cascade.model, cascade.escalate_to
        if cascade.query_class in classes and set(pair) <= set(models) and len(set(pair)) == 2:
            of_class = pairs.setdefault(pair, {})
            of_class.setdefault(cascade.query_class, []).append(cascade)
    return pairs


def _at(cascades: Sequence[CascadeEstimate], rank: int) -> CascadeEstimate | None:
    return cascades[rank] if rank < len(cascades) else None
