"""Turns any real vector into a plan that keeps every hard limit.

Random encodings are almost never valid, so a search on them needs repair. A vector is first read
literally: if that is a valid plan it is the answer, so every valid plan can be reached. Otherwise
it is moved as little as the limits demand: towards the best quality until the floor holds, towards
a known valid plan (the anchor) where the fleet is too small for the rest.
"""

from collections.abc import Mapping

import numpy as np

from core.domain.plan import PlanScore, ReplicaKind, ServingPlan
from core.estimate.speed import Vector
from core.optimize.compiling import Integers
from core.optimize.encoding import Encoding
from core.optimize.problem import Problem
from core.optimize.repair import Repair, fitted

BLENDS = (0.0, 0.25, 0.5, 0.75)


class Decoder:
    """Repairs encodings of one problem.

    Args:
        problem: What to plan.
        anchor: A plan that keeps every hard limit.
        best_shares: K x O; routing with the highest lower bound of quality.

    Attributes:
        anchor: As given.
        encoding: The space of vectors.
        repairs: Compiled repair of many candidates.
    """

    def __init__(self, problem: Problem, anchor: ServingPlan, best_shares: Vector) -> None:
        self.problem = problem
        self.anchor = anchor
        self.encoding = Encoding(problem)
        self.repairs = Repair(problem, best_shares)
        self._anchor_shares = problem.shares(anchor)

    def decode(self, vector: Vector) -> ServingPlan:
        """Return a valid plan for a vector of `encoding.size` numbers, whatever they are."""
        return self._nearest(*self.encoding.read(vector))[0]

    def repair(
        self, counts: Mapping[ReplicaKind, int], shares: Vector
    ) -> tuple[ServingPlan, PlanScore]:
        """Return a valid plan near the wanted replicas and shares (K x O), and its score."""
        return self._nearest(self._as_array(counts), shares)

    def fit(
        self, counts: Mapping[ReplicaKind, int], shares: Vector
    ) -> dict[ReplicaKind, int] | None:
        """Change replicas as little as needed so that the routing is sustained and all fits.

        Returns:
            Replicas per kind, or None when greedy repair finds no room.
        """
        p = self.problem
        wanted = self._as_array(counts)
        found = fitted(p, p.bounds, wanted, np.ascontiguousarray(shares), fewest=False)
        return None if found is None else p.placed(found)

    def _as_array(self, counts: Mapping[ReplicaKind, int]) -> Integers:
        return np.array([counts.get(kind, 0) for kind in self.problem.kinds], dtype=np.int64)

    def _nearest(self, counts: Integers, shares: Vector) -> tuple[ServingPlan, PlanScore]:
        literal = self.problem.plan_of(counts, shares)
        score = self.problem.score(literal)
        if score.feasible:
            return literal, score
        for blend in BLENDS:
            mixed = (1 - blend) * shares + blend * self._anchor_shares
            found = self._repaired(counts, mixed)
            if found:
                return found
        return self.anchor, self.problem.score(self.anchor)

    def _repaired(self, counts: Integers, shares: Vector) -> tuple[ServingPlan, PlanScore] | None:
        """Keep the routing but for quality and trickles of less than 2 %; None if it does not
        fit.
        """
        changed, routed = counts[None].copy(), np.array(shares, dtype=float)[None]
        if not self.repairs.all(changed, routed)[0]:
            return None
        plan = self.problem.plan_of(changed[0], routed[0])
        score = self.problem.score(plan)
        return (plan, score) if score.feasible else None
