"""Neighbours of a plan within what an approach leaves open: placement, routing, or both."""

from collections.abc import Callable

import numpy as np

from core.domain.plan import ReplicaKind, ServingPlan
from core.estimate.speed import Vector
from core.estimate.validity import placement_of
from core.optimize.decoder import Decoder
from core.optimize.problem import Problem
from core.optimize.repair_kernels import QUALITY_MARGIN

STEPS = (0.01, 0.03, 0.08, 0.2, 0.5, 1.0)
SECOND_MOVE = 0.35
CRUMB = 0.005
Counts = dict[ReplicaKind, int]


class Variation:
    """Random neighbours of plans.

    Args:
        rng: Source of all randomness.
        placement, routing: What may change.
    """

    def __init__(
        self,
        problem: Problem,
        rng: np.random.Generator,
        *,
        placement: bool = True,
        routing: bool = True,
    ) -> None:
        self._problem = problem
        self._rng = rng
        self._placement, self._routing = placement, routing
        self._place: list[Callable[[Counts, Vector], Counts]] = [
            self._add,
            self._remove,
            self._swap,
            self._swap,
            self._replace_all,
            self._tighten,
        ]
        self._route: list[Callable[[Vector], Vector]] = [
            self._shift,
            self._shift,
            self._exchange,
            self._exchange,
            self._lean,
            self._drain,
        ]

    def repaired(
        self, plan: ServingPlan, decoder: Decoder, best_shares: Vector
    ) -> ServingPlan | None:
        """Return a neighbour that keeps the quality floor, the inventory and the utilisation
        limit; None when the change does not fit.

        Shares move towards the best routing until the floor holds; replicas are added and removed
        as the decoder does it.

        Args:
            best_shares: K x O; routing with the highest lower bound of quality.
        """
        counts, shares = self.changed(plan)
        if self._routing:
            shares = self._with_quality(shares, best_shares)
        if self._placement:
            fitted = decoder.fit(counts, shares)
            if fitted is None:
                return None
            counts = fitted
        return self._problem.plan(counts, shares)

    def changed(self, plan: ServingPlan) -> tuple[Counts, Vector]:
        """Return replicas and shares (K x O) after a change, whatever limits it breaks."""
        counts, shares = placement_of(plan), self._problem.shares(plan)
        for _ in range(2 if self._rng.random() < SECOND_MOVE else 1):
            if self._placement and (not self._routing or self._rng.random() < 0.5):
                counts = self._place[self._rng.integers(len(self._place))](counts, shares)
            else:
                shares = self._route[self._rng.integers(len(self._route))](shares)
        return counts, _without_crumbs(shares) if self._routing else shares

    def _with_quality(self, shares: Vector, best_shares: Vector) -> Vector:
        """Move towards the best routing until the lower bound holds (bisection; it is concave)."""
        floor = self._problem.facts.limits.quality_floor
        if self._problem.quality(shares)[1] >= floor:
            return shares
        low, high = 0.0, 1.0
        for _ in range(12):
            middle = (low + high) / 2
            mixed = (1 - middle) * shares + middle * best_shares
            enough = self._problem.quality(mixed)[1] >= floor + QUALITY_MARGIN
            low, high = (low, middle) if enough else (middle, high)
        repaired: Vector = (1 - high) * shares + high * best_shares
        return repaired

    def _random_kind(self, shares: Vector) -> ReplicaKind:
        """Any kind of a model in use."""
        routed = self._problem.needed(shares)
        choices = np.flatnonzero(routed[self._problem.owner])
        return self._problem.kinds[int(self._rng.choice(choices))]

    def _placed(self, counts: Counts) -> ReplicaKind:
        return sorted(counts)[self._rng.integers(len(counts))]

    def _add(self, counts: Counts, shares: Vector) -> Counts:
        kind = self._random_kind(shares)
        return {**counts, kind: counts.get(kind, 0) + 1}

    def _remove(self, counts: Counts, _: Vector) -> Counts:
        if not counts:
            return counts
        kind = self._placed(counts)
        fewer = {k: n - (k == kind) for k, n in counts.items()}
        return {k: n for k, n in fewer.items() if n}

    def _swap(self, counts: Counts, shares: Vector) -> Counts:
        """One replica becomes one or two of another kind."""
        fewer, kind = self._remove(counts, shares), self._random_kind(shares)
        return {**fewer, kind: fewer.get(kind, 0) + int(self._rng.integers(1, 3))}

    def _replace_all(self, counts: Counts, shares: Vector) -> Counts:
        """All replicas of a kind become replicas of another kind of the same model, worth as
        much."""
        if not counts:
            return counts
        p, kind = self._problem, self._placed(counts)
        r = p.index[kind]
        same = np.flatnonzero(p.owner == p.owner[r])
        other = int(same[self._rng.integers(len(same))])
        worth = counts[kind] * p.strength[r] / p.strength[other]
        left = {k: n for k, n in counts.items() if k != kind}
        new = p.kinds[other]
        return {**left, new: left.get(new, 0) + max(1, round(float(worth)))}

    def _tighten(self, _: Counts, __: Vector) -> Counts:
        """Start over with the fewest replicas that carry the same routing."""
        return {}

    def _step(self, most: float) -> float:
        return min(STEPS[self._rng.integers(len(STEPS))], most)

    def _shift(self, shares: Vector) -> Vector:
        """Part of a class moves from one option to another."""
        moved = shares.copy()
        row = moved[self._rng.integers(len(moved))]
        source = self._rng.choice(np.flatnonzero(row > 0))
        target = self._rng.integers(len(row))
        step = self._step(row[source])
        row[source] -= step
        row[target] += step
        return moved

    def _exchange(self, shares: Vector) -> Vector:
        """One class moves up to an option while another moves down from it, at equal quality."""
        p, rng = self._problem, self._rng
        a, b = rng.integers(len(shares), size=2)
        low, high = rng.integers(shares.shape[1], size=2)
        gain = p.weights[a] * (p.mean[a, high] - p.mean[a, low])
        loss = p.weights[b] * (p.mean[b, high] - p.mean[b, low])
        if a == b or low == high or gain <= 0 or loss <= 0:
            return self._shift(shares)
        up = self._step(shares[a, low])
        down = min(up * gain / loss, shares[b, high])
        up = min(up, down * loss / gain)
        moved = shares.copy()
        moved[a, [low, high]] += (-up, up)
        moved[b, [low, high]] += (down, -down)
        return moved

    def _lean(self, shares: Vector) -> Vector:
        """Everything moves a little towards one option."""
        target, step = self._rng.integers(shares.shape[1]), self._step(1.0)
        moved: Vector = (1 - step) * shares
        moved[:, target] += step
        return moved

    def _drain(self, shares: Vector) -> Vector:
        """Everything an option gets moves to another."""
        source = self._rng.choice(np.flatnonzero(shares.max(axis=0) > 0))
        target = self._rng.integers(shares.shape[1])
        moved = shares.copy()
        if source != target:
            moved[:, target] += moved[:, source]
            moved[:, source] = 0
        return moved


def _without_crumbs(shares: Vector) -> Vector:
    """Drop shares below half a percent."""
    kept = np.where(shares < CRUMB, 0.0, shares)
    normal: Vector = kept / kept.sum(axis=1, keepdims=True)
    return normal
