"""Whether a problem has a plan at all, and one that shows it."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from core.domain.infeasibility import Constraint
from core.domain.offer import objections
from core.domain.plan import PlanScore, ServingPlan
from core.domain.planning import PlanningFacts
from core.domain.trace import Trace
from core.errors import NotReady
from core.optimize.comparison import Contest
from core.optimize.problem import Problem
from core.optimize.rescoring import Rescorer
from core.optimize.seeds import SeedPlanner

EVALUATIONS = 900
"""Neighbours tried per question where latency counts: many questions are asked."""
THOROUGH = 3
"""Times as many where one answer settles the matter."""

Solved = tuple[ServingPlan, PlanScore]


@dataclass(frozen=True)
class Planner:
    """Answers whether facts have a plan.

    Attributes:
        solve: Returns a plan that meets all limits, and its score; None when none was found.
        without: The same without one limit, which is then made as small as can be: the budget or
            the wanted latency.
    """

    solve: Callable[[PlanningFacts], Solved | None]
    without: Callable[[PlanningFacts, Constraint], Solved | None]


def by_program() -> Planner:
    """Return the planner for hard limits: an integer program, optimal but for its tolerance."""
    return Planner(_by_program, lambda facts, _: _by_program(_without_budget(facts)))


def by_search(trace: Trace | None, seed: int, evaluations: int) -> Planner:
    """Return the planner for hard limits and the wanted latency, at 95 % confidence.

    The search of savings mode, verified by simulation; it may miss a plan that only just exists.
    """

    def solve(facts: PlanningFacts) -> Solved | None:
        return _offered(facts, _by_search(facts, trace, seed, evaluations, fast=False))

    def without(facts: PlanningFacts, constraint: Constraint) -> Solved | None:
        many = THOROUGH * evaluations
        if constraint is Constraint.BUDGET:
            free = _without_budget(facts)
            return _offered(free, _by_search(free, trace, seed, many, fast=False))
        free = replace(facts, limits=replace(facts.limits, sla_p95_e2e_s=None))
        return _by_search(free, trace, seed, many, fast=True)

    return Planner(solve, without)


def _offered(facts: PlanningFacts, found: Solved | None) -> Solved | None:
    return found if found and not objections(found[1], facts.limits) else None


def _without_budget(facts: PlanningFacts) -> PlanningFacts:
    return replace(facts, limits=replace(facts.limits, budget_usd_per_hour=None))


def _by_program(facts: PlanningFacts) -> Solved | None:
    problem = Problem(facts)
    plan = SeedPlanner(problem).anchor() if problem.kinds else None
    score = problem.score(plan) if plan else None
    return (plan, score) if plan and score and score.feasible else None


def _by_search(
    facts: PlanningFacts, trace: Trace | None, seed: int, evaluations: int, *, fast: bool
) -> Solved | None:
    try:
        contest = Contest(facts, seed=seed, trace=trace, evaluations=evaluations, sure=True)
    except NotReady:
        return None
    plan = contest.joint_optimum(facts.limits, fast=fast)
    return None if plan is None else (plan, Rescorer(facts, trace).score(plan))
