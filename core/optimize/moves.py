"""Small changes to a plan: what a local search tries."""

from collections.abc import Callable

import numpy as np

from core.domain.plan import PlanScore, ReplicaKind, ServingPlan
from core.estimate.speed import Vector
from core.estimate.validity import placement_of
from core.optimize.decoder import Decoder

STEPS = (0.05, 0.1, 0.2, 0.35, 0.5, 1.0)
SECOND_MOVE = 0.35

Counts = dict[ReplicaKind, int]
State = tuple[Counts, Vector]


class Neighbourhood:
    """Random neighbours of plans; all of them keep every hard limit.

    Args:
        decoder: Repairs what a change broke.
        rng: Source of all randomness.
    """

    def __init__(self, decoder: Decoder, rng: np.random.Generator) -> None:
        self._decoder = decoder
        self._problem = decoder.problem
        self._rng = rng
        self._moves: list[Callable[[Counts, Vector], State]] = [
            self._add,
            self._remove,
            self._swap,
            self._shift,
            self._shift,
            self._shift,
            self._drain,
            self._tighten,
        ]

    def of(self, plan: ServingPlan) -> tuple[ServingPlan, PlanScore] | None:
        """Return a valid neighbour and its score; None when the change does not fit."""
        counts, shares = placement_of(plan), self._problem.shares(plan)
        for _ in range(2 if self._rng.random() < SECOND_MOVE else 1):
            counts, shares = self._moves[self._rng.integers(len(self._moves))](counts, shares)
        return self._decoder.try_repair(counts, shares)

    def anywhere(self) -> tuple[ServingPlan, PlanScore]:
        """Return a valid plan decoded from a random vector, and its score."""
        vector = self._decoder.encoding.random(self._rng)
        return self._decoder.repair(*self._decoder.encoding.read(vector))

    def _add(self, counts: Counts, shares: Vector) -> State:
        """One replica more, of any kind of a model in use."""
        used = set(np.flatnonzero(shares.max(axis=0) > 0))
        choices = [k for r, k in enumerate(self._problem.kinds) if self._problem.owner[r] in used]
        kind = choices[self._rng.integers(len(choices))]
        return {**counts, kind: counts.get(kind, 0) + 1}, shares

    def _remove(self, counts: Counts, shares: Vector) -> State:
        """One replica less, if there is one (an earlier move may have taken them all away)."""
        if not counts:
            return counts, shares
        kind = sorted(counts)[self._rng.integers(len(counts))]
        fewer = {k: n - (k == kind) for k, n in counts.items()}
        return {k: n for k, n in fewer.items() if n}, shares

    def _swap(self, counts: Counts, shares: Vector) -> State:
        """One replica becomes one or two of another kind."""
        fewer, _ = self._remove(counts, shares)
        kind = self._problem.kinds[self._rng.integers(len(self._problem.kinds))]
        return {**fewer, kind: fewer.get(kind, 0) + int(self._rng.integers(1, 3))}, shares

    def _shift(self, counts: Counts, shares: Vector) -> State:
        """Part of a class moves from one model to another."""
        moved = shares.copy()
        row = moved[self._rng.integers(len(moved))]
        source = self._rng.choice(np.flatnonzero(row > 0))
        target = self._rng.integers(len(row))
        step = min(STEPS[self._rng.integers(len(STEPS))], row[source])
        row[source] -= step
        row[target] += step
        return counts, moved

    def _drain(self, counts: Counts, shares: Vector) -> State:
        """Everything a model answers moves to another; the repair drops its replicas."""
        source = self._rng.choice(np.flatnonzero(shares.max(axis=0) > 0))
        target = self._rng.integers(shares.shape[1])
        moved = shares.copy()
        if source != target:
            moved[:, target] += moved[:, source]
            moved[:, source] = 0
        return counts, moved

    def _tighten(self, counts: Counts, shares: Vector) -> State:
        """Start over with the fewest replicas that carry the same routing."""
        return {}, shares
