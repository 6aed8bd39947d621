"""The most traffic that each approach's plans sustain within a budget: exact, by integer programs.

Scaling all classes alike, a fluid model says when the busiest pool reaches the utilisation limit;
that is linear in routing and replicas, so no search is needed.
"""

import numpy as np

from core.domain.comparison import Approach
from core.domain.plan import PlacedKind, ServingPlan
from core.domain.study import Limits
from core.optimize import approaches
from core.optimize.baselines import only
from core.optimize.milp import Goal
from core.optimize.problem import Problem
from core.optimize.seeds import SeedPlanner


def throughput_rps(problem: Problem, plan: ServingPlan) -> float | None:
    """Return the rate in the workload's mix at which a plan reaches the utilisation limit."""
    load = problem.score(plan).utilisation
    if load <= 0:
        return None
    return float(problem.rates.sum()) * problem.facts.limits.max_utilisation / load


def most_throughput_plan(
    problem: Problem, planner: SeedPlanner, approach: Approach, limits: Limits
) -> ServingPlan | None:
    """Return the plan of an approach that sustains most at the floor and within the budget.

    Args:
        limits: Floor, utilisation and budget count.
    """
    plans = [plan for plan in _plans(problem, planner, approach, limits) if plan is not None]
    return max(plans, key=lambda plan: _rank(problem, plan), default=None)


def _rank(problem: Problem, plan: ServingPlan) -> tuple[float, float]:
    """Most throughput first, rounded to what matters; then least cost."""
    rate_rps = throughput_rps(problem, plan) or 0.0
    return round(float(np.log(max(rate_rps, 1e-12))), 5), -problem.score(plan).cost_usd_per_hour


def _plans(
    problem: Problem, planner: SeedPlanner, approach: Approach, limits: Limits
) -> list[ServingPlan | None]:
    def solved(goal: Goal) -> ServingPlan | None:
        found = planner.solve(goal)
        if found is None or found.served <= 0:
            return None
        return problem.plan(found.counts, found.shares)

    floor, load, budget = _bounds(limits)
    if approach is Approach.JOINT:
        return [solved(Goal(floor, load, budget, "unserved"))]
    if approach is Approach.ONE_MODEL_ONE_SKU:
        return list(_largest_of_one_kind(problem, limits))
    if approach is Approach.ROUTING_ONLY:
        return [
            solved(Goal(floor, load, budget, "unserved", placement=placed))
            for placed in _largest_uniform(problem, budget)
        ]
    routings = (
        approaches.blind_splits(problem)
        if approach is Approach.PLACEMENT_ONLY
        else approaches.good_routings(problem)
    )
    rows = map(approaches.as_rows, routings)
    return [solved(Goal(0.0, load, budget, "unserved", routing=r)) for r in rows]


def _bounds(limits: Limits) -> tuple[float, float, float | None]:
    return limits.quality_floor, limits.max_utilisation, limits.budget_usd_per_hour


def _largest_of_one_kind(problem: Problem, limits: Limits) -> list[ServingPlan]:
    """Per kind as many replicas as fit on the fleet and in the budget."""
    plans = []
    for r, kind in enumerate(problem.kinds):
        shares = only(problem, int(problem.owner[r]))
        if problem.quality(shares)[1] >= limits.quality_floor:
            count = approaches.most_that_fit(problem, kind, limits.budget_usd_per_hour)
            if count:
                plans.append(problem.plan({kind: count}, shares))
    return plans


def _largest_uniform(problem: Problem, budget: float | None) -> list[tuple[PlacedKind, ...]]:
    """Uniform placements within the budget."""
    cost = problem.facts.cost_usd_per_hour
    return [
        tuple(PlacedKind(kind, count) for kind, count in sorted(placement.items()))
        for placement in approaches.uniform_placements(problem)
        if budget is None or cost(placement) <= budget * (1 + 1e-9)
    ]
