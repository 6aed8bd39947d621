"""The planning problem as arrays: M models, K query classes, R replica kinds."""

from collections.abc import Mapping

import numpy as np

from core.domain.plan import PlanScore, ReplicaKind, ServingPlan, make_plan
from core.domain.planning import PlanningFacts
from core.estimate import AnalyticEvaluator
from core.estimate.packing import packs
from core.estimate.quality import mixture_quality
from core.estimate.speed import Vector

SHARE_DIGITS = 6


class Problem:
    """Facts, their evaluator, and the linear view of both that seeds and decoder work on.

    The work of a request is measured in replica-seconds of a reference kind of its model, so that
    a model's capacity constraint is linear in routing and replicas. Where kinds rank classes
    differently the work is rounded up: what is feasible here is feasible for the evaluator.

    Attributes:
        kinds: R kinds that fit on some node and belong to a model of known quality.
        models: M models with at least one such kind, sorted.
        classes: K query classes.
        rates: K; arrivals per second.
        mean, lower: K x M; quality and its lower bound.
        work_s: K x M; replica-seconds of the model's reference kind per request.
        strength: R; reference replicas that one replica of the kind is worth.
        index: Position of each kind.
        price: R; $/h of one replica.
        capacity_price: R; $/h of one replica per reference replica that it is worth.
        owner: R; index of the kind's model.
    """

    def __init__(self, facts: PlanningFacts) -> None:
        self.facts = facts
        self.evaluator = AnalyticEvaluator(facts)
        self.classes = [traffic.query_class for traffic in facts.workload.classes]
        self.rates = np.array([traffic.rate_rps for traffic in facts.workload.classes])
        self.weights = self.rates / self.rates.sum()
        known = set(facts.models)
        self.kinds = sorted(k for k in facts.profiles if k.model in known and placeable(k, facts))
        self.models = sorted({kind.model for kind in self.kinds})
        self.owner = np.array([self.models.index(kind.model) for kind in self.kinds], dtype=int)
        self.price = np.array([facts.cost_usd_per_hour({kind: 1}) for kind in self.kinds])
        pairs = [[facts.quality[m, c] for m in self.models] for c in self.classes]
        self.mean = np.array([[e.mean for e in row] for row in pairs])
        self.lower = np.array([[e.lower for e in row] for row in pairs])
        self.index = {kind: r for r, kind in enumerate(self.kinds)}
        self.work_s, self.strength = self._work()
        self.capacity_price = self.price / self.strength
        self._cheapest_first = [
            [self.kinds[r] for r in np.argsort(self.capacity_price) if self.owner[r] == m]
            for m in range(len(self.models))
        ]
        self._scores: dict[ServingPlan, PlanScore] = {}

    def _work(self) -> tuple[Vector, Vector]:
        work_s = np.ones((len(self.classes), len(self.models)))
        strength = np.ones(len(self.kinds))
        for m in range(len(self.models)):
            mine = np.flatnonzero(self.owner == m)
            busy = {r: self.evaluator.speeds[self.kinds[r]].busy_s(self.weights) for r in mine}
            work_s[:, m] = busy[mine[0]]
            for r in mine:
                strength[r] = 1 / np.max(busy[r] / work_s[:, m])
        return work_s, strength

    def score(self, plan: ServingPlan) -> PlanScore:
        """Predict how a plan does; a search comes back to the same plans, so scores are kept."""
        if plan not in self._scores:
            self._scores[plan] = self.evaluator.evaluate(plan)
        return self._scores[plan]

    def plan(self, counts: Mapping[ReplicaKind, int], shares: Vector) -> ServingPlan:
        """Build a plan from replicas per kind and shares (K x M); idle replicas are left out."""
        rounded = round_shares(shares)
        used = {self.models[m] for m in np.flatnonzero(rounded.max(axis=0) > 0)}
        routing = {
            name: {model: float(rounded[k, m]) for m, model in enumerate(self.models)}
            for k, name in enumerate(self.classes)
        }
        return make_plan({k: n for k, n in counts.items() if k.model in used}, routing)

    def shares(self, plan: ServingPlan) -> Vector:
        """Return the routing of a plan as shares K x M."""
        shares = np.zeros((len(self.classes), len(self.models)))
        for route in plan.routing:
            if route.model in self.models and route.query_class in self.classes:
                k, m = self.classes.index(route.query_class), self.models.index(route.model)
                shares[k, m] = route.share
        return shares

    def quality(self, shares: Vector) -> tuple[float, float]:
        """Return mean and lower bound of the quality of a routing (K x M)."""
        routing = {
            name: dict(zip(self.models, map(float, shares[k]), strict=True))
            for k, name in enumerate(self.classes)
        }
        return mixture_quality(self.facts.workload, self.facts.quality, routing)

    def demand(self, shares: Vector) -> Vector:
        """Return M; busy reference replicas that a routing (K x M) keeps."""
        demand: Vector = self.rates @ (shares * self.work_s)
        return demand

    def supply(self, counts: Mapping[ReplicaKind, int]) -> Vector:
        """Return M; reference replicas that a placement is worth."""
        supply = np.zeros(len(self.models))
        for kind, count in counts.items():
            r = self.index[kind]
            supply[self.owner[r]] += count * self.strength[r]
        return supply

    def cheapest_first(self, model: int) -> list[ReplicaKind]:
        """Return the kinds of a model by rising price of capacity."""
        return self._cheapest_first[model]


def placeable(kind: ReplicaKind, facts: PlanningFacts) -> bool:
    """Whether one replica of a kind fits on the empty fleet, its device having a price."""
    nodes = facts.devices_per_node.get(kind.sku, ())
    return kind.sku in facts.price_usd_per_hour and packs({kind.tp: kind.pp}, nodes)


def round_shares(shares: Vector) -> Vector:
    """Round shares (K x M) to six digits; each row still sums to 1."""
    rounded: Vector = np.clip(shares, 0, 1).round(SHARE_DIGITS)
    for row in rounded:
        row[np.argmax(row)] += 1 - row.sum()
    return rounded.round(SHARE_DIGITS)
