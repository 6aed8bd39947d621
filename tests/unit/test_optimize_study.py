"""Studies that measure: ask, tell, fail, go on after a crash."""

from dataclasses import replace

import numpy as np
import pytest

from core.domain.study import Method, Origin
from core.errors import Conflict, EngineFailed, Infeasible, InvalidInput
from core.estimate import AnalyticEvaluator
from core.optimize import Study
from core.optimize.pareto import hypervolume, objectives
from tests.unit.hidden_truth import QUICK, HiddenTruth
from tests.unit.planning_problems import random_problem, two_models

# gpytorch compiles its kernels with a function that newer versions of torch discourage.
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script:DeprecationWarning")


def live_hypervolume(trials, truth: HiddenTruth, reference) -> float:
    scores = [truth.truth(t.plan) for t in trials if t.measured]
    return hypervolume(objectives(scores), reference)


def at_random(study: Study, truth: HiddenTruth, count: int, seed: int) -> list:
    rng = np.random.default_rng(seed)
    feasible = [t for t in study.trials if t.predicted.feasible]
    chosen = [feasible[i] for i in rng.permutation(len(feasible))[:count]]
    return [replace(t, measured=truth.evaluate(t.plan)) for t in chosen]


def test_beats_measuring_front_plans_at_random() -> None:
    gains = []
    for seed in range(3):
        rng = np.random.default_rng([11, seed])
        facts = random_problem(rng, 2, 2, 2, 1, 3, load=1.5)
        truth = HiddenTruth(facts, seed=seed)
        study = Study(facts, seed=seed, effort=QUICK)
        study.ask(0)
        others = at_random(study, HiddenTruth(facts, seed=seed), 6, seed)
        result = study.run(truth.evaluate, 6)
        reference = (result.reference[0], result.reference[1] * 2, result.reference[2])
        gains.append(
            live_hypervolume(result.trials, truth, reference)
            / live_hypervolume(others, truth, reference)
        )
    assert np.mean(gains) > 1.02, gains


def test_a_live_study_measures_distinct_plans_and_corrects_the_rest() -> None:
    facts = two_models(devices=4, load=2.5, quality_floor=0.5)
    truth = HiddenTruth(facts)
    told: list[float] = []
    result = Study(facts, effort=QUICK).run(
        truth.evaluate, 5, lambda fraction, _: told.append(fraction)
    )
    measured = [t for t in result.trials if t.measured]
    assert len(set(truth.asked)) == len(truth.asked) == len(measured) == 5
    assert sorted(t.evaluation for t in measured) == list(range(5))
    assert told == sorted(told)
    assert result.front
    analytic = AnalyticEvaluator(facts)
    for trial in result.trials:
        if trial.measured is None and trial.predicted.p95_e2e_s:
            assert trial.predicted.p95_e2e_s > 1.1 * analytic.evaluate(trial.plan).p95_e2e_s
        if trial.origin is Origin.BAYES:
            assert trial.measured is not None


def asked(study: Study, n: int = 1) -> list:
    return [(p.number, p.plan, p.predicted) for p in study.ask(n)]


def test_a_study_made_again_from_its_trials_proposes_the_same() -> None:
    """Killed between a result and the next question, or before the result was told."""
    facts = two_models(devices=4, load=2.5, quality_floor=0.5)
    truth = HiddenTruth(facts)
    study = Study(facts, seed=3, effort=QUICK)
    for _ in range(4):
        stored = study.trials
        expected = asked(study)[0]
        assert asked(Study(facts, seed=3, trials=stored, effort=QUICK))[0] == expected
        (proposal,) = study._pending
        study.tell(proposal, truth.evaluate(proposal.plan))
    assert asked(Study(facts, seed=3, trials=study.trials, effort=QUICK), 3) == asked(study, 3)


def test_plans_asked_for_at_once_differ() -> None:
    facts = two_models(devices=4, load=2.5, quality_floor=0.5)
    truth = HiddenTruth(facts)
    study = Study(facts, effort=QUICK)
    first = study.ask(3)
    second = study.ask(2)
    plans = [p.plan for p in first + second]
    assert len(set(plans)) == len({p.number for p in first + second}) == 5
    for proposal in reversed(first + second):
        study.tell(proposal, truth.evaluate(proposal.plan))
    assert [t.plan for t in study.trials if t.measured] != []
    assert sum(t.evaluated for t in study.trials) == 5
    with pytest.raises(Conflict):
        study.tell(first[0], truth.evaluate(first[0].plan))


def test_a_failed_plan_is_kept_as_such_and_not_proposed_again() -> None:
    facts = two_models(devices=4, load=2.5, quality_floor=0.5)
    study = Study(facts, effort=QUICK)
    (broken,) = study.ask()
    study.fail(broken, "A replica did not start.")
    (trial,) = [t for t in study.trials if t.failure]
    assert (trial.plan, trial.failure) == (broken.plan, "A replica did not start.")
    assert broken.plan not in {p.plan for p in study.ask(5)}
    assert trial.plan not in {t.plan for t in study.front()}


def test_a_study_goes_on_after_failures_but_not_after_three_in_a_row() -> None:
    facts = two_models(devices=4, load=2.5, quality_floor=0.5)
    truth = HiddenTruth(facts)
    calls = []

    def sometimes(plan):
        calls.append(plan)
        if len(calls) in {1, 2, 4, 6, 7, 8}:
            raise EngineFailed("It died.", "Look.")
        return truth.evaluate(plan)

    study = Study(facts, effort=QUICK)
    with pytest.raises(EngineFailed, match="It died"):
        study.run(sometimes, 20)
    assert len(calls) == len(set(calls)) == 8
    failures = [t for t in study.trials if t.failure]
    assert [t.failure for t in failures] == ["It died. Look."] * 6
    assert sum(t.measured is not None for t in study.trials) == 2


@pytest.mark.parametrize("p95_s", [0.0, -1.0, float("nan"), float("inf")])
def test_impossible_times_are_refused(p95_s: float) -> None:
    facts = two_models(devices=3)
    study = Study(facts, effort=QUICK)
    (proposal,) = study.ask()
    with pytest.raises(InvalidInput):
        study.tell(proposal, replace(proposal.predicted, p95_e2e_s=p95_s))
    assert not any(t.evaluated for t in study.trials)


def test_an_infeasible_problem_says_so() -> None:
    study = Study(two_models(quality_floor=0.99), effort=QUICK)
    with pytest.raises(Infeasible, match="short"):
        study.ask()
    result = study.run(lambda _: pytest.fail("nothing is measured"), 3)
    assert result.infeasible


def test_the_papers_method_is_a_method_of_the_same_study() -> None:
    facts = two_models(devices=4, load=2.0, quality_floor=0.5, budget_usd_per_hour=0.2)
    truth = HiddenTruth(facts)
    study = Study(facts, seed=2, effort=QUICK, method=Method.PAPER)
    for _ in range(2):
        first, second = study.ask(2)
        again = Study(facts, seed=2, effort=QUICK, method=Method.PAPER, trials=study.trials)
        assert [p.plan for p in again.ask(2)] == [first.plan, second.plan]
        study.tell(first, truth.evaluate(first.plan))
        study.tell(second, truth.evaluate(second.plan))
    measured = [t for t in study.trials if t.measured]
    assert sorted(t.evaluation for t in measured) == list(range(4))
    assert any(t.origin is Origin.PAPER for t in measured)
    assert study.front()
