"""Cascades as choices of the optimiser: they are used where they pay, and priced as they are."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.domain.plan import ReplicaKind, Route, make_plan
from core.domain.planning import PlanningFacts
from core.domain.study import Limits, Origin, Trial
from core.optimize import optimise
from core.optimize.approaches import good_routings
from core.optimize.folding import surely_better
from core.optimize.local_search import Effort
from core.optimize.milp import Goal, Programs
from core.optimize.pareto import hypervolume, reference_point
from core.optimize.plan_table import PlanTable
from core.optimize.problem import Problem
from core.optimize.rescoring import Rescorer
from core.optimize.search import Search
from core.optimize.seeds import SeedPlanner, best_quality_shares
from core.optimize.thresholds import ThresholdSpace
from tests.unit.plan_validator import faults
from tests.unit.planning_problems import (
    cascade,
    estimate,
    random_fleet,
    two_models,
    with_cascades,
)

SMALL, LARGE = ReplicaKind("small", "cpu-core"), ReplicaKind("large", "cpu-core")
CASCADES = (
    cascade("small", "large", "medium", -0.6, 0.30, 0.80),
    cascade("small", "large", "medium", -0.3, 0.45, 0.95),
    cascade("small", "large", "hard", -0.3, 0.80, 0.86),
)
NOTHING = CASCADES[:0]


def helped(cascades: tuple = CASCADES, **limits: float) -> PlanningFacts:
    """The embedded fleet, where the small model knows quite well what it does not know."""
    return replace(two_models(devices=6, load=2.5, **limits), cascades=cascades)


def unsure_where_wrong(cascades: bool) -> PlanningFacts:
    """Three classes of equal traffic; two of them the small model half knows, and knows it."""
    facts = two_models(devices=12, load=6.0, quality_floor=0.84)
    scores = {"easy": (0.97, 0.98), "medium": (0.70, 0.95), "hard": (0.60, 0.90)}
    quality = {
        (model, name): estimate(model, name, mean)
        for name, means in scores.items()
        for model, mean in zip(("small", "large"), means, strict=True)
    }
    rate_rps = facts.workload.rate_rps / 3
    classes = tuple(replace(t, rate_rps=rate_rps) for t in facts.workload.classes)
    made = (
        cascade("small", "large", "medium", -0.6, 0.20, 0.88),
        cascade("small", "large", "medium", -0.3, 0.33, 0.945),
        cascade("small", "large", "hard", -0.6, 0.30, 0.84),
        cascade("small", "large", "hard", -0.3, 0.42, 0.895),
    )
    return replace(
        facts,
        workload=replace(facts.workload, classes=classes),
        quality=quality,
        cascades=made if cascades else (),
    )


def test_the_front_with_cascades_dominates_the_one_without() -> None:
    """With as many evaluations: the larger space is not paid for with more time."""
    plain, with_them = (
        Search(unsure_where_wrong(cascades)).archive(1, Effort(3000, 60), lambda *_: None).values
        for cascades in (False, True)
    )
    reference = reference_point(np.vstack([plain, with_them]), 0.84, None)
    assert hypervolume(with_them, reference) > 1.05 * hypervolume(plain, reference)
    beaten = [
        np.any(
            (with_them[:, 0] >= cost - 1e-9)  # all are maximised
            & (with_them[:, 1] >= latency * 1.02)
            & (with_them[:, 2] >= quality - 0.005)
        )
        for cost, latency, quality in plain
    ]
    assert np.mean(beaten) > 0.95


def test_the_cheapest_plan_uses_a_cascade_where_that_is_cheaper() -> None:
    facts = unsure_where_wrong(cascades=True)
    without, with_them = (
        SeedPlanner(Problem(its)).anchor() for its in (replace(facts, cascades=()), facts)
    )
    assert without
    assert with_them
    cost = facts.cost_usd_per_hour
    spent = [cost({p.kind: p.count for p in plan.placement}) for plan in (without, with_them)]
    assert spent[1] < spent[0]
    assert any(route.escalate_to for route in with_them.routing)
    assert faults(with_them, facts) == []


@pytest.mark.parametrize("seed", range(8))
def test_the_anchor_is_not_dearer_than_the_best_pure_plan(seed: int) -> None:
    """Every class to one option, every placement of up to five replicas of a kind."""
    rng = np.random.default_rng([9, seed])
    problem = Problem(replace(helped(), cascades=(), limits=Limits(float(rng.uniform(0.6, 0.9)))))
    problem = Problem(with_cascades(problem.facts, rng))
    pure = []
    for columns in itertools.product(range(len(problem.options)), repeat=len(problem.classes)):
        shares = problem.nothing()
        shares[np.arange(len(columns)), columns] = 1.0
        for counts in itertools.product(range(6), repeat=len(problem.kinds)):
            plan = problem.plan_of(np.array(counts), shares)
            score = problem.score(plan)
            if score.feasible:
                pure.append(score.cost_usd_per_hour)
    anchor = SeedPlanner(problem).anchor()
    assert anchor is not None
    assert problem.score(anchor).cost_usd_per_hour <= min(pure) + 1e-9
    bound = SeedPlanner(problem).cost_bound_usd_per_hour()
    assert bound is not None
    assert bound <= min(pure) + 1e-9


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_cuts_never_forbid_a_routing_that_meets_the_floor(seed: int) -> None:
    rng = np.random.default_rng(seed)
    problem = Problem(with_cascades(random_fleet(rng), rng))
    if not problem.kinds:
        return
    programs = Programs(problem)
    weights = problem.weights[:, None]
    for _ in range(10):
        shape = np.full(len(problem.options), 0.4)
        at, tried = (rng.dirichlet(shape, len(problem.classes)) for _ in range(2))
        tried = problem.options.plain(tried)
        tangent = programs._tangent(at)
        promised = float(((weights * problem.mean - tangent) * tried).sum())
        assert promised >= problem.quality(tried)[1] - 1e-9 or problem.quality(tried)[1] == 0.0


def test_the_routing_of_best_quality_may_be_a_cascade() -> None:
    better = (cascade("small", "large", "medium", -0.1, 0.9, 0.99),)
    shares = best_quality_shares(Problem(helped(better)))
    problem = Problem(helped(better))
    assert shares[problem.classes.index("medium"), 2] > 0.5


def test_routing_by_price_takes_the_cascade_into_account() -> None:
    problem = Problem(helped(quality_floor=0.84))
    cheapest = good_routings(problem)[0]
    plain = good_routings(Problem(helped(NOTHING, quality_floor=0.84)))[0]
    assert cheapest[:, 2:].sum() > 0
    work = problem.per_option(problem.rates[:, None] * problem.work_s)
    assert (cheapest * work).sum() < (plain * work[:, :2]).sum()


def test_the_papers_thresholds_know_models_only() -> None:
    search = Search(helped())
    space = ThresholdSpace(search.decoder)
    plan = space.plan(np.full(space.size, 0.5))
    assert not any(route.escalate_to for route in plan.routing)
    escalating = make_plan(
        {SMALL: 2, LARGE: 2},
        {"easy": {"small": 1.0}, "hard": {"large": 1.0}},
        [Route("medium", "small", 1.0, "large", -0.3)],
    )
    # Of the medium queries, 55 % are answered by the small model.
    assert space.unit(escalating)[-1] == pytest.approx(0.6 + 0.25 * 0.55)


def test_a_stored_plan_whose_cascade_is_gone_is_left_out_of_proposals() -> None:
    route = Route("medium", "small", 1.0, "large", -0.3)
    plan = make_plan(
        {SMALL: 2, LARGE: 2}, {"easy": {"small": 1.0}, "hard": {"large": 1.0}}, [route]
    )
    assert PlanTable(Problem(helped())).holds(plan)
    assert not PlanTable(Problem(helped(NOTHING))).holds(plan)


def test_a_cascade_is_surely_better_only_beyond_its_error() -> None:
    facts = helped()
    routing = {"easy": {"small": 1.0}, "hard": {"large": 1.0}}
    alone = make_plan({SMALL: 2, LARGE: 2}, {**routing, "medium": {"small": 1.0}})
    first, second = (
        make_plan({SMALL: 2, LARGE: 2}, routing, [Route("medium", "small", 1.0, "large", t)])
        for t in (-0.6, -0.3)
    )
    assert surely_better(facts, second, alone)
    assert not surely_better(facts, alone, second)
    assert not surely_better(facts, second, second)
    close = replace(CASCADES[0], mean=CASCADES[1].mean - 0.01)
    assert not surely_better(helped((close, *CASCADES[1:])), second, first)


def test_a_plan_in_circles_keeps_its_analytic_latency() -> None:
    back = cascade("large", "small", "hard", -0.1, 0.2, 0.9)
    routes = [
        Route("medium", "small", 1.0, "large", -0.3),
        Route("hard", "large", 1.0, "small", -0.1),
    ]
    plan = make_plan({SMALL: 3, LARGE: 3}, {"easy": {"small": 1.0}}, routes)
    score = Rescorer(helped((*CASCADES, back)), requests=100, seeds=[1]).score(plan)
    assert score.estimator == "analytic"
    assert score.p95_e2e_low_s is not None


def test_a_study_shows_plans_with_cascades_on_its_front() -> None:
    found = optimise(helped(quality_floor=0.8), seed=1, effort=Effort(640, 60))
    front = [trial for trial in found.trials if trial.on_front]
    assert any(route.escalate_to for trial in front for route in trial.plan.routing)
    assert all(faults(t.plan, helped(quality_floor=0.8)) == [] for t in front)
    baselines = (Origin.BASELINE_LARGE, Origin.BASELINE_SMALL)
    assert not any(_escalates(t) for t in found.trials if t.origin in baselines)


def _escalates(trial: Trial) -> bool:
    return any(route.escalate_to for route in trial.plan.routing)


def test_goals_with_a_given_routing_place_both_models() -> None:
    problem = Problem(helped())
    shares = problem.nothing()
    shares[:, 0] = 1.0
    k = problem.classes.index("medium")
    small = problem.models.index("small")
    shares[k] = [0.0, 0.0, 0.0, 1.0]
    shares[problem.classes.index("easy")] = np.eye(len(problem.options))[small]
    rows = tuple(tuple(map(float, row)) for row in shares)
    found = SeedPlanner(problem).solve(Goal(0.0, 0.9, routing=rows))
    assert found is not None
    assert {kind.model for kind in found.counts} == {"small", "large"}
    assert problem.score(problem.plan(found.counts, found.shares)).utilisation <= 0.9 + 1e-9
