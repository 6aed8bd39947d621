"""Good plans to start from: optimal placements for a grid of quality floors and headrooms."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from core.domain.plan import ServingPlan
from core.estimate.quality import error_slope
from core.estimate.speed import Vector
from core.optimize.compiling import Integers
from core.optimize.linear import exact_at, necessary, safe
from core.optimize.milp import Goal, Programs, Solution
from core.optimize.problem import Problem
from core.optimize.repair import Repair, fitted
from core.optimize.repair_kernels import Bounds, trim

FLOORS = 4
HEADROOMS = (1.0, 0.5, 0.2)
"""Load limits to plan for, as fractions of the operator's own limit: less load, less latency."""
ROUNDS = 3
"""Programs solved in turn, each exact for the mixes of the one before."""
CERTIFIED_GAP = 2e-3


def best_quality_shares(problem: Problem) -> Vector:
    """Return the routing K x O with the highest lower bound of quality, capacity aside.

    Frank-Wolfe steps from the best model per class: the bound is concave in the shares, and
    splitting a class between equally good models narrows the interval a little.
    """
    best = _pure(problem.lower)
    value = problem.quality(best)[1]
    shares, models = best, len(problem.models)
    for step in range(40):
        slope = problem.weights[:, None] * problem.mean - error_slope(shares, problem.gap, models)
        shares = shares + 2 / (step + 3) * (_pure(slope) - shares)
        tried = problem.quality(shares)[1]
        if tried > value + 1e-3:
            best, value = shares, tried
    return best


def _pure(values: Vector) -> Vector:
    """Route each class to its option of the highest value (K x O)."""
    shares: Vector = np.zeros_like(values)
    shares[np.arange(len(values)), np.argmax(values, axis=1)] = 1
    return shares


class SeedPlanner:
    """Plans of one problem that programs say are good.

    Args:
        problem: What to plan.
        best_shares: K x O; routing with the highest lower bound of quality.
    """

    def __init__(self, problem: Problem, best_shares: Vector | None = None) -> None:
        self._problem = problem
        if best_shares is None:
            best_shares = best_quality_shares(problem)
        self._best_shares = best_shares
        self._repair = Repair(problem, best_shares)
        self._programs = Programs(problem)

    def first(self) -> ServingPlan | None:
        """Return a plan that keeps every hard limit, in milliseconds; None when there is none.

        Rounding a program without whole numbers nearly always works; where it does not, the
        programs with whole numbers decide.
        """
        routings = [self._best_shares, *self._single_models()]
        rough = [*self._rounded(self._goal()), *map(self._completed, routings)]
        plans = [plan for plan in rough if plan and self._problem.score(plan).feasible]
        return min(plans, key=self._cost_of, default=None) or self.anchor()

    def anchor(self) -> ServingPlan | None:
        """Return the cheapest plan that keeps every hard limit; None when there is none."""
        found = self.solve(self._goal())
        plans = [*self._rounded(self._goal()), *([self._plan(found)] if found else [])]
        kept = [plan for plan in plans if self._problem.score(plan).feasible]
        return min(kept, key=self._cost_of, default=None)

    def _cost_of(self, plan: ServingPlan) -> float:
        return self._problem.score(plan).cost_usd_per_hour

    def _single_models(self) -> list[Vector]:
        classes, options = self._problem.mean.shape
        each = np.eye(options)[: len(self._problem.models)]
        return [np.tile(row, (classes, 1)) for row in each]

    def cost_bound_usd_per_hour(self) -> float | None:
        """Return a cost in $/h that no plan within the hard limits goes below, as proved by HiGHS.

        Returns:
            None when nothing was proved.
        """
        goal = replace(self._goal(), gap=CERTIFIED_GAP)
        return Programs(self._problem, necessary(self._problem)).bound_usd_per_hour(goal)

    def solve(self, goal: Goal) -> Solution | None:
        """Solve one program; replicas and routing it returns really keep up, as the evaluator
        sees it. (Where "unserved" is minimised they are what the program says.)
        """
        p = self._problem
        mixes = np.tile(p.weights, (len(p.models), 1))
        best: Solution | None = None
        for _ in range(ROUNDS):
            self._programs.capacity = exact_at(p, mixes)
            found = self._programs.solve(goal)
            if found is None or goal.minimise == "unserved":
                return best or found
            exact = self._exact(found, goal)
            best = min(filter(None, [best, exact]), key=self._cost, default=None)
            if exact and self._cost(exact) <= self._cost(found) * (1 + goal.gap):
                return best
            mixes = self._mixes(found.shares)
        return best or self._solve_safely(goal)

    def _cost(self, found: Solution) -> float:
        return self._problem.facts.cost_usd_per_hour(found.counts)

    def _mixes(self, shares: Vector) -> Vector:
        """M x K; what each model is given by a routing; the mix of all traffic if nothing."""
        flows = self._problem.flows(shares).T
        totals = flows.sum(axis=1, keepdims=True)
        mixes: Vector = np.where(
            totals > 0, flows / np.maximum(totals, 1e-12), self._problem.weights
        )
        return mixes

    def _solve_safely(self, goal: Goal) -> Solution | None:
        found = Programs(self._problem, safe(self._problem)).solve(goal)
        return self._exact(found, goal) if found else None

    def _exact(self, found: Solution, goal: Goal) -> Solution | None:
        """Change replicas so that the found routing keeps up; None when they do not fit."""
        p = self._problem
        counts = np.array([found.counts.get(kind, 0) for kind in p.kinds], dtype=np.int64)
        shares = p.shares(p.plan(found.counts, found.shares))
        fewest = goal.minimise == "cost" and goal.placement is None
        changed = fitted(p, _bounds(goal), counts, shares, fewest=fewest)
        if changed is None or (goal.placement is not None and not np.array_equal(changed, counts)):
            return None
        return Solution(p.placed(changed), shares, found.served)

    def plans(self, best_lower: float, on_plan: Callable[[float], None]) -> list[ServingPlan]:
        """Return distinct plans: the cheapest over floors x headrooms, the fastest over floors.

        They are rounded, not optimal: a local search improves them sooner than proofs would.

        Args:
            best_lower: Highest lower bound any routing reaches.
            on_plan: Told the done fraction after each floor.
        """
        lowest = max(
            self._problem.bounds.floor,
            float(self._problem.weights @ self._problem.lower.min(axis=1)),
        )
        plans: dict[ServingPlan, None] = {}
        for i, floor in enumerate(np.linspace(lowest, max(best_lower, lowest), FLOORS)):
            goal = replace(self._goal(), floor=float(floor))
            loads = [headroom * goal.utilisation for headroom in HEADROOMS]
            goals = [replace(goal, minimise="time")]
            goals += [replace(goal, utilisation=load) for load in loads]
            plans.update(dict.fromkeys(plan for g in goals for plan in self._rounded(g)))
            on_plan((i + 1) / FLOORS)
        return list(plans)

    def _rounded(self, goal: Goal) -> list[ServingPlan]:
        """Return plans near a program's solution without whole numbers."""
        p = self._problem
        self._programs.capacity = exact_at(p, np.tile(p.weights, (len(p.models), 1)))
        found = self._programs.relaxed(goal)
        if found is None:
            return []
        whole = np.floor(found[0] + 1e-6).astype(np.int64)
        nothing = np.zeros_like(whole)
        both = (self._completed(found[1], counts, goal) for counts in (whole, nothing))
        return [plan for plan in both if plan]

    def _completed(
        self, shares: Vector, counts: Integers | None = None, goal: Goal | None = None
    ) -> ServingPlan | None:
        """Return a plan with a routing, raised to the floor, and the replicas that it needs."""
        p, goal = self._problem, goal or self._goal()
        wanted = np.zeros((1, len(p.kinds)), dtype=np.int64) if counts is None else counts[None]
        routed = np.array(shares, dtype=float)[None]
        if not self._repair.all(wanted, routed, _bounds(goal))[0]:
            return None
        if goal.minimise == "cost":
            trim(p.rules, _bounds(goal), wanted[0], routed[0])
        return p.plan_of(wanted[0], routed[0])

    def _goal(self) -> Goal:
        limits = self._problem.facts.limits
        return Goal(limits.quality_floor, limits.max_utilisation, limits.budget_usd_per_hour)

    def _plan(self, found: Solution) -> ServingPlan:
        return self._problem.plan(found.counts, found.shares)


def _bounds(goal: Goal) -> Bounds:
    budget = goal.budget_usd_per_hour
    return Bounds(goal.floor, goal.utilisation, np.inf if budget is None else float(budget))
