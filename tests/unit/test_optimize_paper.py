"""Paper mode: thresholds, and constrained qNEHVI over latency and quality."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.domain.study import Limits, Measurement, Origin
from core.errors import Conflict
from core.estimate import AnalyticEvaluator
from core.optimize.paper import FIRST_PLANS, PaperStudy, paper_study, with_budget
from core.optimize.search import Search
from core.optimize.thresholds import ThresholdSpace
from tests.unit.planning_problems import random_problem, two_models

pytestmark = [
    pytest.mark.filterwarnings("ignore:.torch.jit.script:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:A not p.d."),
    pytest.mark.filterwarnings("ignore:Data .outcome observations. is not standardized"),
]


def space(models: int = 3, classes: int = 3) -> tuple[Search, ThresholdSpace]:
    facts = random_problem(np.random.default_rng(3), models=models, classes=classes)
    search = Search(facts)
    return search, ThresholdSpace(search.decoder)


@given(st.lists(st.floats(0, 1), min_size=2, max_size=2))
@settings(max_examples=30, deadline=None)
def test_thresholds_split_the_traffic_by_rank(cuts: list[float]):
    """Against a slow oracle: rank many queries and send each where the thresholds say."""
    search, made = space()
    problem = search.problem
    shares = made.shares(np.array(cuts))
    assert shares.sum(axis=1) == pytest.approx(np.ones(len(shares)))
    easiest_first = np.argsort(-problem.mean.mean(axis=1), kind="stable")
    weakest_first = np.argsort(problem.weights @ problem.mean, kind="stable")
    ends = np.cumsum(problem.weights[easiest_first])
    counted = np.zeros_like(shares)
    ranks = (np.arange(2_000) + 0.5) / 2_000
    for rank in ranks:
        k = easiest_first[min(int(np.searchsorted(ends, rank)), len(ends) - 1)]
        m = weakest_first[sum(rank > cut for cut in cuts)]
        counted[k, m] += 1
    slow = counted / counted.sum(axis=1, keepdims=True)
    assert shares == pytest.approx(slow, abs=5e-3)


def test_every_point_is_a_valid_plan_and_close_to_its_own_point():
    search, made = space()
    rng = np.random.default_rng(0)
    for _ in range(50):
        plan = made.plan(rng.random(made.size))
        assert search.problem.score(plan).feasible
        again = made.plan(made.unit(plan))
        assert search.problem.score(again).feasible
        kinds = {p.kind for p in again.placement}
        assert kinds <= set(search.problem.kinds)


def measure(facts, plan) -> Measurement:
    return Measurement(AnalyticEvaluator(facts).evaluate(plan, 1.3))


def play(study: PaperStudy, facts, n: int) -> None:
    for _ in range(n):
        (proposal,) = study.ask()
        study.tell(proposal, measure(facts, proposal.plan))


def test_a_study_goes_on_with_the_same_proposal():
    facts = two_models(devices=3, quality_floor=0.6)
    study = paper_study(facts, seed=4)
    play(study, facts, FIRST_PLANS + 2)
    resumed = paper_study(facts, seed=4, trials=study.trials)
    assert resumed.ask()[0].plan == study.ask()[0].plan
    assert {t.origin for t in study.trials} == {Origin.PAPER}


def test_several_are_asked_at_once_and_told_in_any_order():
    facts = two_models(devices=3)
    study = paper_study(facts)
    play(study, facts, FIRST_PLANS)
    first, second = study.ask(2)
    assert first.number != second.number
    study.tell(second, measure(facts, second.plan).score)
    study.fail(first, "a replica did not start")
    assert study.trials[-1].failure
    with pytest.raises(Conflict):
        study.tell(first, measure(facts, first.plan))
    assert study.ask()


def test_the_front_trades_latency_for_quality_within_the_budget():
    facts = two_models(devices=4, quality_floor=0.6, budget_usd_per_hour=0.13)
    study = paper_study(facts, seed=1)
    play(study, facts, FIRST_PLANS + 6)
    front = study.front()
    assert front
    scores = [t.score for t in front]
    assert all(s.cost_usd_per_hour <= 0.13 * (1 + 1e-9) for s in scores)
    assert all(s.quality_lower >= 0.6 - 1e-9 for s in scores)
    latencies = [s.p95_e2e_s for s in scores]
    assert latencies == sorted(latencies)
    assert [s.quality_mean for s in scores] == sorted(s.quality_mean for s in scores)


def test_broken_plans_do_not_stop_it():
    facts = two_models(devices=3)
    study = paper_study(facts)
    for _ in range(FIRST_PLANS + 1):
        (proposal,) = study.ask()
        broken = replace(
            measure(facts, proposal.plan).score, p95_e2e_s=None, p50_e2e_s=None, utilisation=1.2
        )
        study.tell(proposal, broken)
    assert study.ask()
    assert study.front() == []


def test_without_a_budget_the_fleet_is_the_budget():
    facts = two_models(devices=3)
    assert with_budget(facts).limits.budget_usd_per_hour == pytest.approx(0.12)
    limited = replace(facts, limits=Limits(budget_usd_per_hour=0.05))
    assert with_budget(limited) is limited
