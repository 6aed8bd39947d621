"""What is proposed: failures, checkpoints, repeats, the pool."""

from dataclasses import replace

import numpy as np
import pytest

from core.domain.plan import ReplicaKind, make_plan
from core.domain.study import Origin, Trial
from core.errors import NotReady
from core.estimate import AnalyticEvaluator
from core.estimate.validity import validate
from core.optimize import Study, optimise
from core.optimize.failure_odds import failure_odds
from core.optimize.grey_box import LatencyModel, Slowdowns
from core.optimize.plan_table import PlanTable
from core.optimize.pool import checkpoint, searched_pool
from core.optimize.problem import Problem
from core.optimize.proposals import Advisor, in_order
from tests.unit.hidden_truth import QUICK, SlowReplicas
from tests.unit.planning_problems import random_problem, two_models

# gpytorch compiles its kernels with a function that newer versions of torch discourage.
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script:DeprecationWarning")

SMALL, LARGE = ReplicaKind("small", "cpu-core"), ReplicaKind("large", "cpu-core")
CLASSES = ("easy", "medium", "hard")


def plan_of(small: int, large: int):
    model = "large" if large else "small"
    return make_plan({SMALL: small, LARGE: large}, {name: {model: 1.0} for name in CLASSES})


def trial(number: int, plan, **changes) -> Trial:
    score = AnalyticEvaluator(two_models(devices=8)).evaluate(plan)
    return replace(Trial("", number, plan, Origin.BAYES, score), **changes)


def test_what_is_like_a_failed_plan_is_likely_to_fail() -> None:
    failed = trial(0, plan_of(2, 2), failure="It died.", evaluation=0)
    plans = [plan_of(2, 2), plan_of(1, 2), plan_of(4, 0), plan_of(0, 1)]
    same, near, far, other = failure_odds(plans, [failed])
    assert same == pytest.approx(0.5)
    assert same > near > far > 0
    assert other < near
    went_well = trial(1, plan_of(2, 2), evaluation=1)
    went_well = replace(went_well, measured=went_well.predicted)
    assert failure_odds(plans, [failed, went_well])[0] == pytest.approx(1 / 3)
    assert list(failure_odds(plans, [went_well])) == [0, 0, 0, 0]


def test_what_failed_is_not_asked_for_again() -> None:
    """Whatever needs a large model fails: other plans are tried, small ones among them."""
    facts = two_models(devices=4, load=1.0, quality_floor=0.3)
    study = Study(facts, effort=QUICK)
    failed, told = [], []
    for _ in range(8):
        (proposal,) = study.ask()
        assert proposal.plan not in failed
        if "large" in proposal.plan.models:
            failed.append(proposal.plan)
            study.fail(proposal, "large did not start.")
        else:
            told.append(proposal.plan)
            study.tell(proposal, proposal.predicted)
    assert told


def test_checkpoints_double() -> None:
    assert [checkpoint(n) for n in (0, 2, 3, 5, 6, 11, 12, 23, 24, 100)] == [
        0, 0, 3, 3, 6, 6, 12, 12, 24, 96,
    ]  # fmt: skip


def test_trials_come_in_the_order_of_their_evaluation() -> None:
    plan = plan_of(1, 1)
    trials = [
        trial(0, plan),
        trial(1, plan, failure="x", evaluation=2),
        trial(2, plan, failure="x"),  # Of before evaluations were numbered.
        trial(3, plan, failure="x", evaluation=0),
    ]
    assert [t.number for t in in_order(trials)] == [2, 3, 1]


def test_the_pool_holds_what_is_good_at_the_real_speeds() -> None:
    """The best plans at speeds far from the profiles', found once those are believed."""
    facts = two_models(devices=8, load=2.0, quality_floor=0.5)
    replicas = SlowReplicas(facts, {SMALL: -0.4, LARGE: 0.35}, noise=0.0)
    table = PlanTable(Problem(facts))
    trials = list(optimise(facts, effort=QUICK).trials)
    feasible = [t for t in trials if t.predicted.feasible]
    for n, t in enumerate(feasible[:: max(1, len(feasible) // 6)]):
        told = replicas.evaluate(t.plan)
        trials[t.number] = replace(t, measured=told.score, telemetry=told.telemetry, evaluation=n)
    model = LatencyModel(table, trials, Slowdowns())
    start = [t.plan for t in feasible]
    pool = searched_pool(table, model, start, np.random.default_rng(0), QUICK)
    assert set(start) <= set(pool.plans)
    assert all(not validate(plan, facts) for plan in pool.plans)
    assert cheapest(replicas, pool.plans) <= cheapest(replicas, start)
    near = pool.around(pool.plans[:5], 30, np.random.default_rng(1))
    assert near
    assert all(not validate(plan, facts) for plan in near)


def cheapest(replicas: SlowReplicas, plans) -> float:
    """Least cost of plans that keep the limits at the real speeds."""
    scores = [replicas.truth(plan) for plan in plans]
    return min(score.cost_usd_per_hour for score in scores if score.feasible)


def test_a_tiny_problem_is_measured_again_once_all_is_known() -> None:
    facts = two_models(devices=1, load=0.3, quality_floor=0.9)
    replicas = SlowReplicas(facts, {LARGE: 0.1})
    study = Study(facts, effort=QUICK)
    result = study.run(replicas.evaluate, 12)
    assert len(replicas.asked) == 12
    assert len(set(replicas.asked)) < 12
    assert sum(t.measured is not None for t in result.trials) == 12, "every repeat is kept"


def test_trials_of_a_past_fleet_do_not_stop_a_study() -> None:
    facts = random_problem(np.random.default_rng(2), 2, 2, 2, 1, 3, load=1.0)
    study = Study(facts, effort=QUICK)
    (proposal,) = study.ask()
    study.tell(proposal, proposal.predicted)
    left = {kind: p for kind, p in facts.profiles.items() if kind.sku == "gpu0"}
    now = replace(facts, profiles=left)
    later = Study(now, trials=study.trials, effort=QUICK)
    (again,) = later.ask()
    assert {p.kind.sku for p in again.plan.placement} == {"gpu0"}
    assert later.result().trials
    none_left = replace(facts, devices_per_node={"gpu0": (), "gpu1": (1,)}, profiles=left)
    with pytest.raises(NotReady):
        Advisor(none_left, 0, QUICK)
