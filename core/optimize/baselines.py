"""What an operator would do without an optimiser: one model for everything."""

from math import ceil

import numpy as np

from core.domain.plan import ReplicaKind, ServingPlan
from core.domain.study import Origin
from core.estimate.speed import Vector
from core.optimize.problem import Problem


def baselines(problem: Problem) -> list[tuple[Origin, ServingPlan]]:
    """Return everything on the best model, and everything on the cheapest.

    Each has the fewest replicas of one kind that sustain the load, at the least cost. The fleet's
    size is ignored: with fewer devices than that the plan's score says so, and what it would
    cost is still the fair thing to compare with.
    """
    by_model = {m: _alone(problem, m) for m in range(len(problem.models))}
    costs = {m: problem.facts.cost_usd_per_hour(counts) for m, counts in by_model.items()}
    best = max(by_model, key=lambda m: float(problem.weights @ problem.mean[:, m]))
    cheapest = min(by_model, key=lambda m: costs[m])
    return [
        (Origin.BASELINE_LARGE, problem.plan(by_model[best], only(problem, best))),
        (Origin.BASELINE_SMALL, problem.plan(by_model[cheapest], only(problem, cheapest))),
    ]


def only(problem: Problem, model: int) -> Vector:
    """Return the routing K x O that gives everything to one model."""
    shares = problem.nothing()
    shares[:, model] = 1
    return shares


def _alone(problem: Problem, model: int) -> dict[ReplicaKind, int]:
    """Cheapest placement of one kind that sustains all the traffic on one model."""
    limit = problem.facts.limits.max_utilisation
    rate_rps = float(problem.rates.sum())
    options = []
    for r in np.flatnonzero(problem.owner == model):
        kind = problem.kinds[r]
        capacity_rps = problem.evaluator.speeds[kind].capacity_rps(problem.weights)
        count = max(1, ceil(rate_rps / (limit * capacity_rps) - 1e-9))
        options.append({kind: count})
    return min(options, key=problem.facts.cost_usd_per_hour)
