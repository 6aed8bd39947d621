"""Good plans to start from: optimal placements for a grid of quality floors and headrooms."""

from collections.abc import Callable

import numpy as np

from core.domain.plan import ServingPlan
from core.estimate.speed import Vector
from core.optimize.milp import Goal, Programs, Solution
from core.optimize.problem import Problem

FLOORS = 7
HEADROOMS = (1.0, 0.75, 0.5, 0.3, 0.15)
"""Load limits to plan for, as fractions of the operator's own limit: less load, less latency."""


def best_quality_shares(problem: Problem) -> Vector:
    """Return the routing K x M with the highest lower bound of quality, capacity aside.

    Frank-Wolfe steps from the best model per class: the bound is concave in the shares, and
    splitting a class between equally good models narrows the interval a little.
    """
    best = _pure(problem.lower)
    value = problem.quality(best)[1]
    gap = problem.weights[:, None] * (problem.mean - problem.lower)
    shares = best
    for step in range(40):
        norm = max(float(np.linalg.norm(gap * shares)), 1e-12)
        slope = problem.weights[:, None] * problem.mean - gap**2 * shares / norm
        shares = shares + 2 / (step + 3) * (_pure(slope) - shares)
        tried = problem.quality(shares)[1]
        if tried > value + 1e-3:
            best, value = shares, tried
    return best


def _pure(values: Vector) -> Vector:
    """Route each class to its model of the highest value (K x M)."""
    shares: Vector = np.zeros_like(values)
    shares[np.arange(len(values)), np.argmax(values, axis=1)] = 1
    return shares


class SeedPlanner:
    """Solves the grid of programs of one problem."""

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self._programs = Programs(problem)

    def anchor(self) -> ServingPlan | None:
        """Return the cheapest plan that keeps every hard limit; None when there is none."""
        limits = self._problem.facts.limits
        found = self._programs.solve(
            Goal(limits.quality_floor, limits.max_utilisation, limits.budget_usd_per_hour)
        )
        return self._plan(found) if found else None

    def solve(self, goal: Goal) -> Solution | None:
        """Solve one program."""
        return self._programs.solve(goal)

    def plans(self, best_lower: float, on_plan: Callable[[float], None]) -> list[ServingPlan]:
        """Return distinct plans over floors x headrooms x (least cost, least service time).

        Args:
            best_lower: Highest lower bound any routing reaches.
            on_plan: Told the done fraction after each floor.
        """
        limits = self._problem.facts.limits
        floors = self._floors(best_lower)
        plans: dict[ServingPlan, None] = {}
        for i, floor in enumerate(floors):
            for headroom in HEADROOMS:
                for aim in ("cost", "time"):
                    load = headroom * limits.max_utilisation
                    goal = Goal(floor, load, limits.budget_usd_per_hour, aim)
                    if found := self._programs.solve(goal):
                        plans[self._plan(found)] = None
            on_plan((i + 1) / len(floors))
        return list(plans)

    def _floors(self, best_lower: float) -> list[float]:
        """Floors from the operator's to the highest that the fleet can sustain (bisected)."""
        limits = self._problem.facts.limits
        low, high = limits.quality_floor, max(best_lower, limits.quality_floor)
        reached, unknown = low, high
        for _ in range(5):
            goal = Goal(unknown, limits.max_utilisation, limits.budget_usd_per_hour)
            if self._programs.solve(goal):
                reached = unknown
                break
            unknown = (reached + unknown) / 2
        lowest = max(low, float(self._problem.weights @ self._problem.lower.min(axis=1)))
        return [float(f) for f in np.linspace(lowest, max(reached, lowest), FLOORS)]

    def _plan(self, found: Solution) -> ServingPlan:
        return self._problem.plan(found.counts, found.shares)
