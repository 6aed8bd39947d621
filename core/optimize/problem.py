"""The planning problem as arrays: M models, O options, K query classes, R replica kinds."""

from collections.abc import Mapping
from functools import cached_property

import numpy as np

from core.domain.plan import PlanScore, ReplicaKind, ServingPlan, make_plan
from core.domain.planning import PlanningFacts
from core.estimate import AnalyticEvaluator
from core.estimate.batch import BatchEvaluator
from core.estimate.options import options_of
from core.estimate.packing import packs
from core.estimate.quality import mixture_quality
from core.estimate.speed import Vector
from core.estimate.validity import placement_of
from core.optimize.compiling import Flags, Integers
from core.optimize.repair_kernels import Bounds, Rules, round_rows


class Problem:
    """Facts, their evaluator, and both as arrays, which the search works on.

    Attributes:
        kinds: R kinds that fit on some node and belong to a model of known quality.
        models: M models with at least one such kind, sorted.
        options: What may answer a query: the models, then cascades; O in all.
        classes: K query classes.
        rates: K; arrivals per second.
        weights: K; shares of the traffic.
        mean, lower: K x O; quality and its lower bound.
        gap: K x O; mean less lower bound, times the class's share of the traffic.
        index: Position of each kind.
        price: R; $/h of one replica.
        owner: R; index of the kind's model.
        bounds: The hard limits.
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
        self.options = options_of(facts, self.models)
        self.mean, self.lower = self.options.mean, self.options.lower
        self.gap = self.weights[:, None] * (self.mean - self.lower)
        self.index = {kind: r for r, kind in enumerate(self.kinds)}
        self.bounds = bounds_of(facts)
        self._scores: dict[ServingPlan, PlanScore] = {}

    @cached_property
    def batch(self) -> BatchEvaluator:
        """Scores many plans at once."""
        return BatchEvaluator(self.evaluator, self.kinds, self.options)

    @cached_property
    def level_work_s(self) -> Vector:
        """R x J x K; replica-seconds of one request by load level.

        At one level a replica sustains 1 / (work @ mix) requests per second of a mix of classes;
        its capacity is the best level's. Levels that a kind does not have are infinite.
        """
        fleet = self.batch.fleet
        work = fleet.e2e_s / (fleet.concurrency * fleet.efficiency)[:, :, None]
        there = np.arange(work.shape[1]) < fleet.levels[:, None]
        return np.where(there[:, :, None], work, np.inf)

    def work_at(self, mix: Vector) -> Vector:
        """Return R x K; replica-seconds of a request at the level that is best for a mix (K)."""
        by_level = np.where(np.isinf(self.level_work_s), 1e300, self.level_work_s) @ mix
        best: Vector = self.level_work_s[np.arange(len(by_level)), by_level.argmin(axis=1)]
        return best

    def reference(self, model: int, mean_s: Vector) -> int:
        """Return the kind of a model whose capacity costs least, given R seconds of work."""
        mine = np.flatnonzero(self.owner == model)
        return int(mine[np.argmin((self.price * mean_s)[mine])])

    @cached_property
    def _usual(self) -> tuple[Vector, Vector]:
        work = self.work_at(self.weights)
        mean_s = work @ self.weights
        references = [self.reference(m, mean_s) for m in range(len(self.models))]
        chosen = np.array(references, dtype=int)
        return work[chosen].T, mean_s[chosen][self.owner] / mean_s

    @property
    def work_s(self) -> Vector:
        """K x M; replica-seconds of a request on the model's kind whose capacity costs least."""
        return self._usual[0]

    @property
    def strength(self) -> Vector:
        """R; replicas of that kind that one replica is worth under the mix of all traffic."""
        return self._usual[1]

    @property
    def capacity_price(self) -> Vector:
        """R; $/h of one replica per replica of that kind that it is worth."""
        price: Vector = self.price / self.strength
        return price

    def cheapest_first(self, model: int) -> list[ReplicaKind]:
        """Return the kinds of a model by rising price of capacity."""
        order = np.argsort(self.capacity_price, kind="stable")
        return [self.kinds[r] for r in order if self.owner[r] == model]

    @cached_property
    def alone_s(self) -> Vector:
        """K x O; time of an answer alone on the models' fastest kinds, both calls of a cascade."""
        fastest = np.full((len(self.classes), len(self.models)), np.inf)
        for r, kind in enumerate(self.kinds):
            m = self.owner[r]
            fastest[:, m] = np.minimum(fastest[:, m], self.evaluator.speeds[kind].e2e_s[0])
        return self.per_option(fastest)

    @cached_property
    def rules(self) -> Rules:
        """What plans must keep to, for compiled code."""
        skus = sorted({kind.sku for kind in self.kinds})
        sizes = {
            sku: sorted({k.tp for k in self.kinds if k.sku == sku}, reverse=True) for sku in skus
        }
        nodes = [sorted(self.facts.devices_per_node[sku], reverse=True) for sku in skus]
        options = self.options
        return Rules(
            rates_rps=self.rates,
            mean=self.weights[:, None] * self.mean,
            gap=self.gap,
            models=len(self.models),
            first=options.first,
            second=options.second,
            goes_on=options.goes_on,
            stands_for=options.stands_for,
            owner=self.owner,
            price=self.price,
            sku=np.array([skus.index(k.sku) for k in self.kinds], dtype=np.int64),
            size=np.array([sizes[k.sku].index(k.tp) for k in self.kinds], dtype=np.int64),
            groups=np.array([k.pp for k in self.kinds], dtype=np.int64),
            most=np.array([self.most_replicas(k) for k in self.kinds], dtype=np.int64),
            levels=self.batch.fleet.levels,
            work_s=np.ascontiguousarray(self.level_work_s),
            sizes=_padded([sizes[sku] for sku in skus]),
            nodes=_padded(nodes),
        )

    def most_replicas(self, kind: ReplicaKind) -> int:
        """Return how many replicas of a kind the empty fleet holds."""
        nodes = self.facts.devices_per_node[kind.sku]
        return sum(node // kind.tp for node in nodes) // kind.pp

    def score(self, plan: ServingPlan) -> PlanScore:
        """Predict how a plan does; a search comes back to the same plans, so scores are kept."""
        if plan not in self._scores:
            self._scores[plan] = self.evaluator.evaluate(plan)
        return self._scores[plan]

    def plan(self, counts: Mapping[ReplicaKind, int], shares: Vector) -> ServingPlan:
        """Build a plan from replicas per kind and shares (K x O); idle replicas are left out."""
        rounded = round_shares(self.options.plain(shares))
        used = {self.models[m] for m in np.flatnonzero(self.options.needed(rounded))}
        alone = len(self.models)
        routing = {
            name: dict(zip(self.models, map(float, rounded[k, :alone]), strict=True))
            for k, name in enumerate(self.classes)
        }
        cascades = [
            self.options.route(k, alone + c, float(rounded[k, alone + c]))
            for k, c in zip(*np.nonzero(rounded[:, alone:]), strict=True)
        ]
        return make_plan({k: n for k, n in counts.items() if k.model in used}, routing, cascades)

    def plan_of(self, counts: Integers, shares: Vector) -> ServingPlan:
        """Build a plan from arrays: replicas (R) and shares (K x O)."""
        return self.plan(self.placed(counts), shares)

    def placed(self, counts: Integers) -> dict[ReplicaKind, int]:
        """Return replicas per kind, without zeros."""
        return {self.kinds[r]: int(counts[r]) for r in np.flatnonzero(counts)}

    def counts(self, plan: ServingPlan) -> Integers:
        """Return the placement of a plan as R numbers; unknown kinds are left out."""
        placement = placement_of(plan)
        return np.array([placement.get(kind, 0) for kind in self.kinds], dtype=np.int64)

    def shares(self, plan: ServingPlan) -> Vector:
        """Return the routing of a plan as shares K x O; what is no option is left out."""
        shares = self.nothing()
        for route in plan.routing:
            column = self.options.column(route)
            if column is not None and route.query_class in self.classes:
                shares[self.classes.index(route.query_class), column] = route.share
        return shares

    def nothing(self) -> Vector:
        """Return a routing K x O of no shares."""
        return np.zeros((len(self.classes), len(self.options)))

    def needed(self, shares: Vector) -> Flags:
        """Return M; which models a routing K x O needs replicas of."""
        return self.options.needed(shares)

    def flows(self, shares: Vector) -> Vector:
        """Return K x M; calls per second to each model that a routing K x O makes."""
        flows: Vector = self.rates[:, None] * self.options.calls_of(shares)
        return flows

    def per_option(self, of_model: Vector) -> Vector:
        """Return K x O; what a query costs by each option if a call costs so much (K x M)."""
        total: Vector = np.einsum("km,kom->ko", of_model, self.options.calls)
        return total

    def quality(self, shares: Vector) -> tuple[float, float]:
        """Return mean and lower bound of the quality of a routing (K x O)."""
        plain = self.options.plain(shares)
        routing = {
            name: dict(zip(self.models, map(float, plain[k]), strict=False))
            for k, name in enumerate(self.classes)
        }
        cascades = self.options.cascade_shares(plain)
        return mixture_quality(self.facts.workload, self.facts.quality, routing, cascades)


def bounds_of(facts: PlanningFacts) -> Bounds:
    """Return the hard limits of facts as numbers."""
    budget = facts.limits.budget_usd_per_hour
    return Bounds(
        floor=float(facts.limits.quality_floor),
        utilisation=float(facts.limits.max_utilisation),
        budget_usd_per_hour=np.inf if budget is None else float(budget),
    )


def placeable(kind: ReplicaKind, facts: PlanningFacts) -> bool:
    """Whether one replica of a kind fits on the empty fleet, its device having a price."""
    nodes = facts.devices_per_node.get(kind.sku, ())
    return kind.sku in facts.price_usd_per_hour and packs({kind.tp: kind.pp}, nodes)


def round_shares(shares: Vector) -> Vector:
    """Round shares (K x O) to six digits; each row still sums to 1."""
    rounded: Vector = np.array(shares, dtype=float)
    round_rows(rounded)
    return rounded


def _padded(rows: list[list[int]]) -> Integers:
    """Return the rows as one array, zeros behind the shorter ones."""
    table = np.zeros((len(rows), max(map(len, rows), default=0)), dtype=np.int64)
    for i, row in enumerate(rows):
        table[i, : len(row)] = row
    return table
