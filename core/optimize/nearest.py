"""The plan that breaks the limits least, when none keeps them all."""

import math
from collections.abc import Sequence

import numpy as np

from core.domain.infeasibility import NearestPlan, Relaxation
from core.domain.plan import PlanScore, ServingPlan
from core.domain.planning import PlanningFacts
from core.estimate.packing import groups_per_sku
from core.estimate.uncertainty import Intervals
from core.estimate.validity import inventory_faults, placement_of
from core.optimize.baselines import baselines
from core.optimize.problem import Problem
from core.optimize.variation import Variation

STEPS = 1500
NO_LATENCY = 10.0
"""Counts for a plan that may not keep up, whose latency has no end."""


def nearest_plan(
    facts: PlanningFacts, relaxations: Sequence[Relaxation], *, latency_counts: bool, seed: int
) -> NearestPlan | None:
    """Return the plan with the least total violation that a local search finds.

    It starts from the plans that one relaxed limit makes possible, and from everything on the
    best and on the cheapest model; neighbours are not repaired.
    """
    problem = Problem(facts)
    if not problem.kinds:
        return None
    violations = Violations(problem, latency_counts=latency_counts)
    starts = [r.plan for r in relaxations if r.plan is not None and _placeable(problem, r.plan)]
    starts += [plan for _, plan in baselines(problem)]
    least, _, best = min((violations.of(plan), plan.plan_id, plan) for plan in starts)
    variation = Variation(problem, np.random.default_rng([seed, 7]))
    for _ in range(STEPS):
        tried = problem.plan(*variation.changed(best))
        amount = violations.of(tried)
        if amount < least:
            best, least = tried, amount
    return NearestPlan(best, Intervals(facts).on(best, problem.score(best)), least)


def _placeable(problem: Problem, plan: ServingPlan) -> bool:
    """A plan of relaxed facts may use kinds that do not fit on the fleet as it is."""
    return all(placed.kind in problem.index for placed in plan.placement)


class Violations:
    """Sums over all limits how far each is exceeded, as a fraction of the limit.

    Args:
        latency_counts: Whether the wanted latency is a limit: for the upper end of a P95's
            interval.
    """

    def __init__(self, problem: Problem, *, latency_counts: bool) -> None:
        self._problem = problem
        limits = problem.facts.limits
        self._sla_s = limits.sla_p95_e2e_s if latency_counts else None
        self._intervals = Intervals(problem.facts)

    def of(self, plan: ServingPlan) -> float:
        """Return the total violation of a plan; infinite when a model answers without a replica.

        Devices count per type, as a fraction of those there are. A plan with devices enough that
        do not pack on the nodes lacks one.
        """
        facts, score = self._problem.facts, self._problem.score(plan)
        if plan.asked - set(plan.models):
            return math.inf
        limits = facts.limits
        short = limits.quality_floor - score.quality_lower
        total = max(0.0, short) / limits.quality_floor if limits.quality_floor else 0.0
        if limits.budget_usd_per_hour is not None:
            total += _excess(score.cost_usd_per_hour, limits.budget_usd_per_hour)
        total += _excess(score.utilisation, limits.max_utilisation)
        return total + _missing_devices(facts, plan) + self._late(plan, score)

    def _late(self, plan: ServingPlan, score: PlanScore) -> float:
        if self._sla_s is None:
            return 0.0
        high_s = self._intervals.on(plan, score).p95_e2e_high_s
        return NO_LATENCY if high_s is None else _excess(high_s, self._sla_s)


def _excess(value: float, limit: float) -> float:
    """How far a value is above a limit, as a fraction of the limit."""
    return max(0.0, value / limit - 1 - 1e-9)


def _missing_devices(facts: PlanningFacts, plan: ServingPlan) -> float:
    total, placement = 0.0, placement_of(plan)
    for sku, groups in groups_per_sku(placement).items():
        there = sum(facts.devices_per_node.get(sku, ()))
        needed = sum(size * count for size, count in groups.items())
        of_sku = {kind: count for kind, count in placement.items() if kind.sku == sku}
        if needed > there:
            total += (needed - there) / max(there, 1)
        elif inventory_faults(of_sku, facts):
            total += 1 / max(there, 1)
    return total
