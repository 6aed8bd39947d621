"""Repair of placements: what a routing needs is added, what does not fit is taken away."""

import numpy as np

from core.estimate.speed import Vector
from core.optimize.compiling import Flags, Integers
from core.optimize.problem import Problem
from core.optimize.repair_kernels import Bounds, fit, repair_all, trim


class Repair:
    """Compiled repair for one problem.

    Args:
        problem: What to plan.
        best_shares: K x O; routing with the highest lower bound of quality.
    """

    def __init__(self, problem: Problem, best_shares: Vector) -> None:
        self._problem = problem
        self._best = np.ascontiguousarray(best_shares)

    def all(self, counts: Integers, shares: Vector, bounds: Bounds | None = None) -> Flags:
        """Repair P candidates in place.

        Args:
            counts: P x R; replicas per kind.
            shares: P x K x O; routing.
            bounds: Hard limits; None for the problem's.

        Returns:
            P; whether each keeps every hard limit now. False where greedy repair found no room.
        """
        fits = np.zeros(len(counts), dtype=np.bool_)
        limits = self._problem.bounds if bounds is None else bounds
        repair_all(self._problem.rules, limits, self._best, counts, shares, fits)
        return fits


def fitted(
    problem: Problem, bounds: Bounds, counts: Integers, shares: Vector, *, fewest: bool
) -> Integers | None:
    """Return replicas (R) that sustain a routing (K x O) within bounds; None if they do not fit.

    Args:
        counts: R; wanted replicas, changed as little as needed.
        fewest: Whether to take away what the routing does without.
    """
    changed = counts.copy()
    if not fit(problem.rules, bounds, changed, shares):
        return None
    if fewest:
        trim(problem.rules, bounds, changed, shares)
    return changed
