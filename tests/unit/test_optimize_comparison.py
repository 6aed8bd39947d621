"""Savings and performance mode and their baselines, against exhaustive enumeration."""

import itertools
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from core.domain.comparison import Aim, Approach, Comparison, Contender
from core.domain.plan import PlanScore, ServingPlan
from core.domain.profile import Provenance
from core.domain.study import Limits
from core.errors import NotReady
from core.estimate import AnalyticEvaluator
from core.optimize.approaches import (
    blind_splits,
    good_routings,
    least_routing,
    one_model_one_sku,
    uniform_placements,
)
from core.optimize.comparison import Contest
from core.optimize.encoding import Encoding
from core.optimize.problem import Problem
from core.optimize.throughput import throughput_rps
from tests.unit.planning_problems import random_problem, two_models

QUICK = 300
GRID = 8


@cache
def contest_of(seed: int) -> Contest:
    """One contest for several tests: it keeps what it has found."""
    return Contest(tiny(seed), evaluations=QUICK)


def tiny(seed: int):
    """Two models on two SKUs of two devices, two classes; the floor needs both models."""
    facts = random_problem(np.random.default_rng([3, seed]), nodes=1, load=1.2)
    problem = Problem(facts)
    bounds = [problem.quality(np.eye(2)[[m, m]])[1] for m in range(2)]
    floor = 0.45 * bounds[0] + 0.55 * bounds[1]
    return replace(facts, limits=Limits(quality_floor=floor))


def every_plan(problem: Problem) -> list[ServingPlan]:
    """All placements that may fit, with all routings of two models on a grid."""
    counts = itertools.product(*(range(int(n) + 1) for n in Encoding(problem).most))
    shares = [np.array([[s, 1 - s] for s in r]) / 1.0 for r in _routings(len(problem.classes))]
    plans: dict[ServingPlan, None] = {}
    for chosen, routing in itertools.product(counts, shares):
        placement = {k: n for k, n in zip(problem.kinds, chosen, strict=True) if n}
        plans[problem.plan(placement, routing)] = None
    return [plan for plan in plans if problem.score(plan).feasible]


def _routings(classes: int):
    return itertools.product(np.linspace(0, 1, GRID + 1), repeat=classes)


@pytest.mark.parametrize("seed", range(3))
def test_no_enumerated_plan_is_cheaper_or_faster(seed: int) -> None:
    """These profiles have no step times, so every score is the analytic one."""
    facts = tiny(seed)
    problem = Problem(facts)
    known = {plan: problem.score(plan) for plan in every_plan(problem)}
    contest = contest_of(seed)
    quickest_s = min(score.p95_e2e_s for score in known.values())
    assert contest.fastest(None).best.score.p95_e2e_s <= quickest_s * 1.02
    for factor in (1.2, 1.8):
        sla_s = factor * quickest_s
        least = min(s.cost_usd_per_hour for s in known.values() if s.p95_e2e_s <= sla_s)
        found = contest.cheapest(sla_s)
        assert found.best.meets
        assert found.best.score.cost_usd_per_hour <= least * (1 + 1e-6)
        assert found.best.score.p95_e2e_s <= sla_s


@pytest.mark.parametrize("seed", range(3))
def test_the_joint_optimum_is_never_behind_a_baseline(seed: int) -> None:
    contest = contest_of(seed)
    for found in (contest.cheapest(None), contest.fastest(4.0), contest.most_throughput(4.0)):
        assert [c.approach for c in found.contenders] == list(Approach)
        gains = [found.gain(contender) for contender in found.baselines]
        assert all(gain is None or gain >= -1e-9 for gain in gains)
        if found.budget_usd_per_hour is not None:
            costs = [c.score.cost_usd_per_hour for c in found.contenders if c.score]
            assert all(cost <= 4.0 + 1e-9 for cost in costs)


def test_every_contender_keeps_the_limits_that_it_says_it_meets() -> None:
    facts = tiny(1)
    sla_s = 1.5 * contest_of(1).fastest(None).best.score.p95_e2e_s
    found = contest_of(1).cheapest(sla_s)
    evaluator = AnalyticEvaluator(facts)
    for contender in found.contenders:
        if contender.meets:
            score = evaluator.evaluate(contender.plan)
            assert score.feasible
            assert score.quality_lower >= facts.limits.quality_floor - 1e-9
            assert contender.score.p95_e2e_s <= sla_s
            assert contender.score.sla_attainment is not None
        else:
            assert contender.note


def test_sure_means_that_the_upper_end_keeps_the_latency() -> None:
    facts = tiny(0)
    quickest = contest_of(0).fastest(None).best.score
    sla_s = 1.25 * quickest.p95_e2e_high_s
    sure = Contest(facts, evaluations=QUICK, sure=True).cheapest(sla_s).best
    assert sure.meets
    assert sure.score.p95_e2e_high_s <= sla_s
    likely = contest_of(0).cheapest(sla_s).best
    assert likely.score.cost_usd_per_hour <= sure.score.cost_usd_per_hour + 1e-9


def test_same_seed_same_answer() -> None:
    facts = tiny(2)
    one, two = (Contest(facts, seed=5, evaluations=QUICK).fastest(3.0) for _ in range(2))
    assert one == two


def test_a_wanted_latency_nobody_keeps_shows_the_closest() -> None:
    found = contest_of(0).cheapest(1e-4)
    assert not found.best.meets
    assert "is above 0.0001 s" in found.best.note
    assert found.best.score is not None
    assert all(found.gain(contender) is None for contender in found.baselines)


def test_a_budget_nobody_keeps_has_no_plan() -> None:
    found = contest_of(0).fastest(0.01)
    assert found.best.plan is None
    assert "hard limits" in found.best.note


def test_nothing_to_place_is_not_ready() -> None:
    with pytest.raises(NotReady):
        Contest(replace(two_models(), devices_per_node={}))


@pytest.mark.parametrize("seed", range(3))
def test_throughput_is_what_no_enumerated_plan_exceeds(seed: int) -> None:
    facts = tiny(seed)
    problem, budget = Problem(facts), 5.0
    found = contest_of(seed).most_throughput(budget)
    rates = [
        throughput_rps(problem, plan)
        for plan in _any_load(problem)
        if facts.cost_usd_per_hour({p.kind: p.count for p in plan.placement}) <= budget
    ]
    assert found.best.throughput_rps >= max(rates) * (1 - 1e-3)
    assert found.aim is Aim.THROUGHPUT


def _any_load(problem: Problem) -> list[ServingPlan]:
    """Enumerated plans that reach the floor and fit, whether or not they carry the traffic."""
    counts = itertools.product(*(range(int(n) + 1) for n in Encoding(problem).most))
    floor = problem.facts.limits.quality_floor
    routings = [np.array([[s, 1 - s] for s in r]) for r in _routings(len(problem.classes))]
    reaching = [r for r in routings if problem.quality(r)[1] >= floor]
    plans = [
        problem.plan({k: n for k, n in zip(problem.kinds, chosen, strict=True) if n}, routing)
        for chosen, routing in itertools.product(counts, reaching)
    ]
    able = (p for p in plans if {r.model for r in p.routing} == set(p.models))
    return [p for p in able if not any("Needs" in v for v in problem.score(p).violations)]


def test_one_model_one_sku_is_every_kind_that_reaches_the_floor() -> None:
    facts = replace(two_models(devices=4), limits=Limits(quality_floor=0.85))
    plans = one_model_one_sku(Problem(facts))
    assert {plan.models for plan in plans} == {("large",)}
    assert [plan.devices for plan in plans] == [2, 3, 4]


def test_blind_splits_are_the_same_for_all_classes_and_just_reach_the_floor() -> None:
    facts = two_models(quality_floor=0.85)
    problem = Problem(facts)
    for shares in blind_splits(problem):
        assert np.allclose(shares, shares[0])
        assert problem.quality(shares)[1] >= 0.85
    mixed = [shares for shares in blind_splits(problem) if 0 < shares[0, 0] < 1]
    assert len(mixed) == 1
    assert problem.quality(mixed[0])[1] == pytest.approx(0.85, abs=1e-4)


def test_the_best_routing_by_price_beats_every_routing_on_a_grid() -> None:
    problem = Problem(two_models(quality_floor=0.85))
    cost = problem.rates[:, None] * problem.work_s * np.array([1.0, 3.0])
    found = least_routing(problem, cost, 0.85)
    assert found is not None
    assert problem.quality(found)[1] >= 0.85
    grid = [np.array([[s, 1 - s] for s in r]) for r in _routings(len(problem.classes))]
    least = min((cost * r).sum() for r in grid if problem.quality(r)[1] >= 0.85)
    assert (cost * found).sum() <= least * (1 + 1e-3)
    assert least_routing(problem, cost, 0.999) is None
    assert len(good_routings(problem)) == 2


def test_uniform_placements_treat_models_alike_and_fit() -> None:
    facts = random_problem(np.random.default_rng(0), 3, 2, 2, 2, 6)
    placements = uniform_placements(Problem(facts))
    assert placements
    for placement in placements:
        assert len({kind.model for kind in placement}) == 3
        assert sum(k.devices * n for k, n in placement.items() if k.sku == "gpu0") <= 12


def score(cost: float, p95_s: float) -> PlanScore:
    return PlanScore(Provenance.PREDICTED, cost, 1.0, p95_s / 2, p95_s, 0.1, 0.9, 0.85, 0.5)


def test_gains_are_what_they_are_said_to_be() -> None:
    plan = one_model_one_sku(Problem(two_models()))[0]
    ours = Contender(Approach.JOINT, plan, score(2.0, 0.5), 10.0, meets=True)
    theirs = Contender(Approach.ROUTING_ONLY, plan, score(4.0, 1.0), 8.0, meets=True)
    late = replace(theirs, meets=False)
    for aim, gain in ((Aim.SAVINGS, 0.5), (Aim.LATENCY, 1.0), (Aim.THROUGHPUT, 0.25)):
        comparison = Comparison(aim, 0.8, 1.0, 5.0, False, (ours, theirs, late))
        assert comparison.gain(theirs) == pytest.approx(gain)
        assert comparison.gain(late) is None
