"""The smallest change of each limit is enough, and a little less is not."""

from dataclasses import replace

import numpy as np
import pytest

from core.domain.infeasibility import Constraint, Infeasibility, Relaxation
from core.domain.offer import objections
from core.domain.plan import ReplicaKind, make_plan
from core.domain.planning import PlanningFacts
from core.domain.study import Limits
from core.errors import Infeasible
from core.estimate.packing import packs
from core.optimize.nearest import Violations
from core.optimize.problem import Problem
from core.optimize.relaxation import explain, relaxed, rounded_up, with_more
from core.optimize.rescoring import Rescorer
from core.optimize.search import Search
from tests.unit.planning_problems import random_problem, two_models


def of(found: Infeasibility, constraint: Constraint, sku: str = "") -> Relaxation:
    return next(r for r in found.relaxations if (r.constraint, r.sku) == (constraint, sku))


def has_plan(facts: PlanningFacts) -> bool:
    try:
        return Search(facts).problem is not None
    except Infeasible:
        return False


SLIGHTLY_LESS = {
    Constraint.FLOOR: lambda r: r.needed + 0.002,
    Constraint.BUDGET: lambda r: r.needed * 0.99,
    Constraint.DEVICES: lambda r: r.needed - 1,
    Constraint.TRAFFIC: lambda r: r.needed + 0.03 * r.now,
}

CASES = {
    "floor": two_models(devices=6, quality_floor=0.99),
    "fleet": two_models(load=20.0, quality_floor=0.85),
    "budget": two_models(quality_floor=0.85, budget_usd_per_hour=0.05),
    "floor and budget": two_models(
        devices=4, load=3.0, quality_floor=0.9, budget_usd_per_hour=0.1
    ),
    "mixed fleet": random_problem(
        np.random.default_rng(4), 3, 2, 2, 2, 2, (1, 2), 6.0, Limits(0.8, 20.0)
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_what_is_needed_is_enough_and_a_little_less_is_not(name: str) -> None:
    facts = CASES[name]
    assert not has_plan(facts)
    found = explain(facts)
    for relaxation in found.relaxations:
        if relaxation.needed is None:
            assert relaxation.plan is None
            continue
        enough = relaxed(facts, relaxation)
        assert has_plan(enough), relaxation
        assert Problem(enough).score(relaxation.plan).feasible
        needed = SLIGHTLY_LESS[relaxation.constraint](relaxation)
        assert not has_plan(relaxed(facts, replace(relaxation, needed=needed))), relaxation


def test_a_limit_that_does_not_help_does_not_help_at_its_loosest() -> None:
    found = explain(CASES["floor"])
    assert of(found, Constraint.FLOOR).helps
    assert not of(found, Constraint.DEVICES, "cpu-core").helps
    assert not of(found, Constraint.TRAFFIC).helps
    more = {"cpu-core": (1000,)}
    assert not has_plan(replace(CASES["floor"], devices_per_node=more))
    assert [r.constraint for r in found.binding] == [Constraint.FLOOR]
    with pytest.raises(ValueError, match="does not help"):
        relaxed(CASES["floor"], of(found, Constraint.TRAFFIC))


def test_none_alone_helps() -> None:
    """Too much traffic for the fleet and the budget, and a floor that nobody reaches."""
    facts = two_models(load=5000.0, quality_floor=0.99, budget_usd_per_hour=0.05)
    found = explain(facts)
    assert found.binding == ()
    assert found.nearest is not None
    assert len(found.nearest.score.violations) >= 2


def test_the_wanted_latency_counts_where_it_is_asked_for() -> None:
    facts = two_models(devices=2, quality_floor=0.85, sla_p95_e2e_s=0.45)
    found = explain(facts, latency_counts=True, evaluations=60)
    latency = of(found, Constraint.LATENCY)
    assert latency.helps
    assert latency.needed > 0.45
    limits = replace(facts.limits, sla_p95_e2e_s=latency.needed)
    score = Rescorer(replace(facts, limits=limits)).score(latency.plan)
    assert objections(score, limits) == ()
    assert score.p95_e2e_high_s <= latency.needed
    for relaxation in found.binding:
        after = relaxed(facts, relaxation)
        assert objections(Rescorer(after).score(relaxation.plan), after.limits) == ()


@pytest.mark.parametrize("name", ["floor", "budget", "floor and budget"])
def test_the_nearest_plan_is_nearer_than_any_on_a_grid(name: str) -> None:
    facts = CASES[name]
    problem = Problem(facts)
    nearest = explain(facts).nearest
    assert nearest is not None
    mine = Violations(problem, latency_counts=False).of(nearest.plan)
    assert nearest.violation == pytest.approx(mine)
    assert all(mine <= by_hand(problem, plan) + 0.01 for plan in grid_of_plans())


def grid_of_plans():
    small, large = ReplicaKind("small", "cpu-core"), ReplicaKind("large", "cpu-core")
    for medium in (0.0, 0.5, 1.0):
        for hard in (0.0, 0.5, 1.0):
            routing = {
                "easy": {"small": 1.0},
                "medium": {"small": 1 - medium, "large": medium},
                "hard": {"small": 1 - hard, "large": hard},
            }
            for a in range(1, 4):
                for b in range(0 if medium + hard == 0 else 1, 5):
                    yield make_plan({small: a, large: b}, routing)
    for b in range(1, 7):
        yield make_plan({large: b}, {k: {"large": 1.0} for k in ("easy", "medium", "hard")})


def by_hand(problem: Problem, plan) -> float:
    """The definition, for one device type on one node."""
    score, limits = problem.score(plan), problem.facts.limits
    devices = sum(problem.facts.devices_per_node["cpu-core"])
    total = max(0.0, limits.quality_floor - score.quality_lower) / limits.quality_floor
    if limits.budget_usd_per_hour:
        total += max(0.0, score.cost_usd_per_hour / limits.budget_usd_per_hour - 1)
    total += max(0.0, score.utilisation / limits.max_utilisation - 1)
    return total + max(0, plan.devices - devices) / devices


def test_more_devices_come_in_nodes_of_the_usual_size() -> None:
    assert with_more((4, 4), 8, 2) == (4, 4)
    assert with_more((4, 4), 11, 2) == (4, 4, 3)
    assert with_more((4, 4), 17, 2) == (4, 4, 4, 4, 1)
    assert with_more((), 4, 2) == (2, 2)
    assert packs({2: 2}, with_more((), 4, 2))


@pytest.mark.parametrize("value", [0.0791, 1.23451, 999.96, 1234.5678, 0.000123456, 8.0])
def test_rounding_up_keeps_four_digits_and_is_enough(value: float) -> None:
    assert value <= rounded_up(value) <= value * 1.001
    assert float(f"{rounded_up(value):.4g}") == pytest.approx(rounded_up(value), rel=1e-12)
