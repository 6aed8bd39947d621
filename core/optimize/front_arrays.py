"""The best plans of a search, as arrays."""

from collections.abc import Sequence

import numpy as np

from core.domain.plan import PlanScore, ServingPlan
from core.estimate.batch import BatchScores
from core.estimate.speed import Vector
from core.optimize.archive_kernels import offer_all
from core.optimize.compiling import Flags, Integers
from core.optimize.pareto import distinct, non_dominated
from core.optimize.problem import Problem

FIRST_ROWS = 256
MOST_SHOWN = 60


class FrontArrays:
    """Plans that none beats by more than a small slack; bounded in size by that slack."""

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self._size = 0
        self._values = np.empty((FIRST_ROWS, 3))
        self._counts = np.empty((FIRST_ROWS, len(problem.kinds)), dtype=np.int64)
        self._shares = np.empty((FIRST_ROWS, *problem.mean.shape))

    def __len__(self) -> int:
        return self._size

    @property
    def values(self) -> Vector:
        """n x 3; objectives as `core.optimize.pareto` has them, all maximised."""
        return self._values[: self._size]

    @property
    def counts(self) -> Integers:
        """n x R; replicas per kind."""
        return self._counts[: self._size]

    @property
    def shares(self) -> Vector:
        """n x K x O; routing."""
        return self._shares[: self._size]

    @property
    def plans(self) -> list[ServingPlan]:
        """The plans as such; made anew at each call."""
        return self.picked(range(self._size))

    @property
    def scores(self) -> list[PlanScore]:
        """What the analytic evaluator says of the plans."""
        return [self._problem.score(plan) for plan in self.plans]

    def picked(self, rows: Sequence[int]) -> list[ServingPlan]:
        """Return the plans of some rows."""
        return [self._problem.plan_of(self._counts[i], self._shares[i]) for i in rows]

    def spread_out(self, most: int = MOST_SHOWN) -> list[int]:
        """Return the rows of the plans that say most of the front."""
        best = np.flatnonzero(non_dominated(self.values))
        return [int(best[i]) for i in distinct(self.values[best], most)]

    def offer(self, counts: Integers, shares: Vector, scores: BatchScores) -> Flags:
        """Add plans unless one in the archive is as good; drop what they beat.

        Args:
            counts: P x R; of plans that fit on the fleet.
            shares: P x K x O.
            scores: Of the P plans; those that break a limit are not added.

        Returns:
            P; which were added.
        """
        while self._size + len(counts) > len(self._values):
            self._grow()
        taken = np.zeros(len(counts), dtype=np.bool_)
        self._size = offer_all(
            self._values,
            self._counts,
            self._shares,
            self._size,
            self._judged(scores),
            counts,
            shares,
            taken,
        )
        return taken

    def _judged(self, scores: BatchScores) -> Vector:
        bounds = self._problem.bounds
        valid = (
            np.isfinite(scores.p95_e2e_s)
            & (scores.load <= bounds.utilisation + 1e-9)
            & (scores.quality_lower >= bounds.floor - 1e-9)
            & (scores.cost_usd_per_hour <= bounds.budget_usd_per_hour * (1 + 1e-9))
        )
        latency = np.where(valid, -scores.p95_e2e_s, -np.inf)
        return np.stack([-scores.cost_usd_per_hour, latency, scores.quality_mean], axis=1)

    def _grow(self) -> None:
        self._values, self._counts, self._shares = (
            np.concatenate([rows, np.empty_like(rows)])
            for rows in (self._values, self._counts, self._shares)
        )
