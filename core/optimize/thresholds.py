"""Plans as replicas and routing thresholds, the way a difficulty router is set.

Queries are ordered by difficulty, easiest first, and models by quality, weakest first. Thresholds
0 <= t_1 <= ... <= t_(M-1) <= 1 cut the traffic: model j answers the queries whose rank lies
between t_j and t_(j+1). A query class is an interval of ranks as wide as its share of the traffic.
Models answer alone: what is measured so has no cascades.
"""

import numpy as np

from core.domain.plan import ServingPlan
from core.estimate.speed import Vector
from core.optimize.decoder import Decoder


class ThresholdSpace:
    """The unit cube of R + M - 1 numbers: replicas per kind, then thresholds.

    Args:
        decoder: Repairs plans to valid ones.

    Attributes:
        size: R + M - 1.
    """

    def __init__(self, decoder: Decoder) -> None:
        self._decoder = decoder
        problem = decoder.problem
        self._problem = problem
        alone = problem.mean[:, : len(problem.models)]
        self._weakest_first = np.argsort(problem.weights @ alone, kind="stable")
        self._easiest_first = np.argsort(-alone.mean(axis=1), kind="stable")
        self._most = np.maximum(np.array(decoder.encoding.most, dtype=float), 1.0)
        self.size = len(problem.kinds) + len(problem.models) - 1

    def plan(self, unit: Vector) -> ServingPlan:
        """Return the valid plan nearest to a point of the cube."""
        inside = np.clip(unit, 0.0, 1.0)
        kinds = self._problem.kinds
        counts = np.round(inside[: len(kinds)] * self._most).astype(int)
        wanted = {kind: int(n) for kind, n in zip(kinds, counts, strict=True) if n > 0}
        return self._decoder.repair(wanted, self.shares(inside[len(kinds) :]))[0]

    def unit(self, plan: ServingPlan) -> Vector:
        """Return the point of a plan; of a routing that no thresholds make, the nearest in the
        traffic that each model answers.
        """
        placed = {p.kind: p.count for p in plan.placement}
        counts = np.array([placed.get(kind, 0) for kind in self._problem.kinds])
        answered = self._problem.options.answered_by(self._problem.shares(plan))
        traffic = self._problem.weights @ answered
        thresholds = np.cumsum(traffic[self._weakest_first])[:-1]
        unit: Vector = np.clip(np.concatenate([counts / self._most, thresholds]), 0.0, 1.0)
        return unit

    def shares(self, thresholds: Vector) -> Vector:
        """Return K x O; the routing that M - 1 thresholds make, in any order."""
        cuts = np.concatenate([[0.0], np.sort(thresholds), [1.0]])
        widths = self._problem.weights[self._easiest_first]
        ends = np.concatenate([[0.0], np.cumsum(widths)])
        low = np.maximum(ends[:-1, None], cuts[None, :-1])
        high = np.minimum(ends[1:, None], cuts[None, 1:])
        overlap = np.maximum(high - low, 0.0)
        shares = self._problem.nothing()
        shares[np.ix_(self._easiest_first, self._weakest_first)] = overlap
        total = shares.sum(axis=1, keepdims=True)
        # A class without traffic is an interval without width: it goes to the best model.
        shares[total[:, 0] <= 0, self._weakest_first[-1]] = 1.0
        routing: Vector = shares / shares.sum(axis=1, keepdims=True)
        return routing
