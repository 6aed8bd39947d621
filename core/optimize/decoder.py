"""Turns any real vector into a plan that keeps every hard limit.

Random encodings are almost never valid, so a search on them needs repair. A vector is first read
literally, then moved as little as the limits demand: towards the best quality until the floor
holds, towards a known valid plan (the anchor) where the fleet is too small for the rest.
"""

from collections.abc import Mapping
from math import ceil

import numpy as np
from numpy.typing import NDArray

from core.domain.plan import PlanScore, ReplicaKind, ServingPlan
from core.estimate.packing import groups_per_sku, packs
from core.estimate.speed import Vector
from core.optimize.encoding import Encoding
from core.optimize.problem import Problem

Mask = NDArray[np.bool_]

MIN_SHARE = 0.02
QUALITY_MARGIN = 2e-4
BLENDS = (0.0, 0.25, 0.5, 0.75)


class Decoder:
    """Repairs encodings of one problem.

    Args:
        problem: What to plan.
        anchor: A plan that keeps every hard limit.
        best_shares: K x M; routing with the highest lower bound of quality.
    """

    def __init__(self, problem: Problem, anchor: ServingPlan, best_shares: Vector) -> None:
        self.problem = problem
        self.encoding = Encoding(problem)
        self._anchor = anchor
        self._anchor_shares = problem.shares(anchor)
        self._best_shares = best_shares

    def decode(self, vector: Vector) -> ServingPlan:
        """Return a valid plan for a vector of `encoding.size` numbers, whatever they are."""
        counts, shares = self.encoding.read(vector)
        return self.repair(counts, shares)[0]

    def repair(
        self, counts: Mapping[ReplicaKind, int], shares: Vector
    ) -> tuple[ServingPlan, PlanScore]:
        """Return a valid plan near the wanted replicas and shares (K x M), and its score."""
        for blend in BLENDS:
            mixed = (1 - blend) * without_crumbs(shares) + blend * self._anchor_shares
            found = self.try_repair(counts, mixed)
            if found:
                return found
        return self._anchor, self.problem.score(self._anchor)

    def try_repair(
        self, counts: Mapping[ReplicaKind, int], shares: Vector
    ) -> tuple[ServingPlan, PlanScore] | None:
        """Return a valid plan that keeps the routing but for quality; None if it does not fit."""
        enough = self._with_quality(without_crumbs(shares))
        fitted = self.fit(counts, enough)
        if fitted is None:
            return None
        plan = self.problem.plan(fitted, enough)
        score = self.problem.score(plan)
        return (plan, score) if score.feasible else None

    def fit(
        self, counts: Mapping[ReplicaKind, int], shares: Vector
    ) -> dict[ReplicaKind, int] | None:
        """Change replicas as little as needed so that the routing is sustained and all fits.

        Returns:
            Replicas per kind, or None when greedy repair finds no room.
        """
        limit = self.problem.facts.limits.max_utilisation
        need = self.problem.demand(shares) / limit
        routed: Mask = shares.max(axis=0) > 0
        fitted = {k: n for k, n in counts.items() if n > 0 and routed[self._owner(k)]}
        while not self._has_room(fitted):
            if not self._drop_surplus(fitted, need):
                return None
        while (short := self._short_model(fitted, need, routed)) is not None:
            if not self._grow(fitted, short, need) and not self._drop_surplus(fitted, need):
                return None
        return fitted

    def _owner(self, kind: ReplicaKind) -> int:
        return int(self.problem.owner[self.problem.index[kind]])

    def _has_room(self, counts: Mapping[ReplicaKind, int]) -> bool:
        facts = self.problem.facts
        budget = facts.limits.budget_usd_per_hour
        if budget is not None and facts.cost_usd_per_hour(counts) > budget * (1 + 1e-9):
            return False
        nodes = facts.devices_per_node
        return all(packs(groups, nodes[sku]) for sku, groups in groups_per_sku(counts).items())

    def _short_model(
        self, counts: Mapping[ReplicaKind, int], need: Vector, routed: Mask
    ) -> int | None:
        """Index of the model that lacks most, relative to its need; None when none does."""
        supply = self.problem.supply(counts)
        short = np.flatnonzero(routed & ((supply < need - 1e-9) | (supply <= 0)))
        if not len(short):
            return None
        return int(short[np.argmin(supply[short] / np.maximum(need[short], 1e-12))])

    def _grow(self, counts: dict[ReplicaKind, int], model: int, need: Vector) -> bool:
        """Add as many as are missing, or fit, of the kind that gives capacity most cheaply."""
        missing = need[model] - self.problem.supply(counts)[model]
        for kind in self.problem.cheapest_first(model):
            wanted = ceil(missing / self.problem.strength[self.problem.index[kind]] - 1e-9)
            more = min(max(1, wanted), self._free(counts, kind.sku) // kind.devices)
            while more:
                grown = {**counts, kind: counts.get(kind, 0) + more}
                if self._has_room(grown):
                    counts.update(grown)
                    return True
                more //= 2
        return False

    def _free(self, counts: Mapping[ReplicaKind, int], sku: str) -> int:
        used = sum(n * kind.devices for kind, n in counts.items() if kind.sku == sku)
        return sum(self.problem.facts.devices_per_node[sku]) - used

    def _drop_surplus(self, counts: dict[ReplicaKind, int], need: Vector) -> bool:
        """Remove the dearest replica that its model can do without, if there is one."""
        p = self.problem
        supply = p.supply(counts)
        spare = []
        for kind in counts:
            r = p.index[kind]
            left = supply[p.owner[r]] - p.strength[r]
            if left >= need[p.owner[r]] - 1e-9 and left > 1e-12:
                spare.append(kind)
        if not spare:
            return self._drop_least_useful(counts)
        _take_one(counts, max(spare, key=lambda kind: p.price[p.index[kind]]))
        return True

    def _drop_least_useful(self, counts: dict[ReplicaKind, int]) -> bool:
        """Without surplus, give up the kind that pays worst, if its model has a better one."""
        p = self.problem

        def pays(kind: ReplicaKind) -> float:
            return float(p.capacity_price[p.index[kind]])

        best = {m: pays(p.cheapest_first(m)[0]) for m in range(len(p.models))}
        worse = [k for k in counts if pays(k) > best[self._owner(k)] * (1 + 1e-9)]
        if not worse or self._has_room(counts):
            return False
        _take_one(counts, max(worse, key=pays))
        return True

    def _with_quality(self, shares: Vector) -> Vector:
        """Move towards the best routing until the lower bound holds (bisection; it is concave)."""
        floor = self.problem.facts.limits.quality_floor
        if self.problem.quality(shares)[1] >= floor:
            return shares
        low, high = 0.0, 1.0
        for _ in range(12):
            middle = (low + high) / 2
            mixed = (1 - middle) * shares + middle * self._best_shares
            enough = self.problem.quality(mixed)[1] >= floor + QUALITY_MARGIN
            low, high = (low, middle) if enough else (middle, high)
        repaired: Vector = (1 - high) * shares + high * self._best_shares
        return repaired


def without_crumbs(shares: Vector) -> Vector:
    """Drop shares below 2 %: a whole replica for a trickle is never worth it."""
    kept = np.where(shares < MIN_SHARE, 0.0, shares)
    normal: Vector = kept / kept.sum(axis=1, keepdims=True)
    return normal


def _take_one(counts: dict[ReplicaKind, int], kind: ReplicaKind) -> None:
    counts[kind] -= 1
    if not counts[kind]:
        del counts[kind]
