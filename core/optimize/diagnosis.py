"""Why no plan meets the hard limits, and what would have to change."""

import math

from core.errors import Infeasible
from core.estimate.speed import Vector
from core.optimize.baselines import only
from core.optimize.milp import Goal
from core.optimize.problem import Problem
from core.optimize.seeds import SeedPlanner

FLOOR_STEP = 1000


def diagnose(problem: Problem, planner: SeedPlanner, best_shares: Vector) -> Infeasible:
    """Name the binding limit: quality first, then devices, then money.

    Args:
        best_shares: K x O; routing with the highest lower bound of quality.
    """
    return (
        _quality_out_of_reach(problem, planner, best_shares)
        or _too_little_capacity(problem, planner)
        or _budget_too_small(problem, planner)
        or Infeasible(
            "No plan was found that meets every hard limit at once.",
            "Relax the quality floor, the budget or the utilisation limit a little.",
        )
    )


def _quality_out_of_reach(
    problem: Problem, planner: SeedPlanner, best_shares: Vector
) -> Infeasible | None:
    floor = problem.facts.limits.quality_floor
    _, lower = problem.quality(best_shares)
    if lower >= floor:
        return None
    single, single_lower = _best_single_model(problem)
    closest = _routing_in_words(problem, best_shares)
    alone = (
        ""
        if closest == f"{single} for everything"
        else (f" The best single model, {single}, is sure of {single_lower:.3f}.")
    )
    return Infeasible(
        f"No routing reaches the quality floor of {floor:.3f}. The closest, {closest}, is sure of "
        f"{lower:.3f}: {floor - lower:.3f} short.{alone}",
        f"{_lower_floor(problem, planner, lower)}, score more queries per class (the bound "
        "rises as the interval narrows), or add a better model.",
    )


def _lower_floor(problem: Problem, planner: SeedPlanner, lower: float) -> str:
    """Name the floor that can be reached, if the fleet and the budget let it be."""
    limits, floor = problem.facts.limits, _rounded_down(lower)
    goal = Goal(floor, limits.max_utilisation, limits.budget_usd_per_hour)
    if planner.solve(goal):
        return f"Lower the floor to {floor:.3f}"
    return f"Lower the floor (to less than {floor:.3f}: the other limits bind too)"


def _best_single_model(problem: Problem) -> tuple[str, float]:
    lowers = {}
    for m, model in enumerate(problem.models):
        lowers[model] = problem.quality(only(problem, m))[1]
    best = max(lowers, key=lambda model: lowers[model])
    return best, lowers[best]


def _routing_in_words(problem: Problem, shares: Vector) -> str:
    answers: dict[str, list[str]] = {}
    for k, query_class in enumerate(problem.classes):
        label = problem.options.label(k, int(shares[k].argmax()))
        answers.setdefault(label, []).append(query_class)
    if len(answers) == 1:
        return f"{next(iter(answers))} for everything"
    return ", ".join(f"{model} for {' and '.join(names)}" for model, names in answers.items())


def _too_little_capacity(problem: Problem, planner: SeedPlanner) -> Infeasible | None:
    limits = problem.facts.limits
    goal = Goal(limits.quality_floor, limits.max_utilisation, None, "unserved")
    found = planner.solve(goal)
    if found is None or found.served >= 1 - 1e-6:
        return None
    rate_rps = problem.facts.workload.rate_rps
    served_rps = found.served * rate_rps
    missing = _devices_short(problem, found.served)
    return Infeasible(
        f"The fleet is too small: at a quality floor of {limits.quality_floor:.3f} and "
        f"{limits.max_utilisation:.0%} utilisation it can serve {served_rps:.3g} of the "
        f"{rate_rps:.3g} requests per second ({found.served:.0%}).",
        f"Add devices (about {missing} more), enable disabled ones on the Inventory page, plan "
        "for less traffic, or lower the quality floor.",
    )


def _devices_short(problem: Problem, served: float) -> int:
    skus = {kind.sku for kind in problem.kinds}
    devices = sum(sum(problem.facts.devices_per_node[sku]) for sku in skus)
    return max(1, math.ceil(devices * (1 / max(served, 1e-3) - 1)))


def _budget_too_small(problem: Problem, planner: SeedPlanner) -> Infeasible | None:
    limits = problem.facts.limits
    budget = limits.budget_usd_per_hour
    found = planner.solve(Goal(limits.quality_floor, limits.max_utilisation))
    if budget is None or found is None:
        return None
    cost = problem.facts.cost_usd_per_hour(found.counts)
    return Infeasible(
        f"The budget of ${budget:.4g}/h is too small: the cheapest plan that meets the other "
        f"limits costs ${cost:.4g}/h.",
        f"Raise the budget to ${_rounded_up(cost):.4g}/h, lower the quality floor, or plan for "
        "less traffic.",
    )


def _rounded_down(value: float) -> float:
    return math.floor(value * FLOOR_STEP) / FLOOR_STEP


def _rounded_up(cost: float) -> float:
    """Round up to four significant digits, so that typing it in really is enough."""
    if cost <= 0:
        return cost
    unit: float = 10.0 ** (math.floor(math.log10(cost)) - 3)
    return math.ceil(cost / unit - 1e-9) * unit
