"""The learnt part of live studies: exact improvement, correction, and better choices."""

from dataclasses import replace

import numpy as np
import pytest

from core.domain.plan import PlanScore, ServingPlan
from core.domain.profile import Provenance
from core.domain.study import Origin, Trial
from core.estimate import AnalyticEvaluator
from core.optimize import optimise
from core.optimize.grey_box import FEWEST_POINTS, LatencyCorrection, corrected
from core.optimize.improvement import expected_improvement
from core.optimize.local_search import Effort
from core.optimize.pareto import hypervolume, objectives
from core.optimize.problem import Problem
from core.optimize.study import measure_next, propose, search
from tests.unit.planning_problems import random_problem, two_models

# gpytorch compiles its kernels with a function that newer versions of torch discourage.
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script:DeprecationWarning")

QUICK = Effort(evaluations=500, cpu_seconds=20)


class HiddenTruth:
    """Stands for real replicas: the larger model is slower than predicted, answers are noisy."""

    def __init__(self, facts, noise: float = 0.04, seed: int = 0) -> None:
        self._analytic = AnalyticEvaluator(facts)
        self._facts = facts
        self._noise = noise
        self._seed = seed
        self.asked: list[ServingPlan] = []

    def log_bias(self, plan: ServingPlan) -> float:
        loads = {p.kind.model: p.load for p in self._analytic.pools(plan)}
        return 0.25 + 0.8 * loads.get("large", loads.get("m1", 0.0))

    def truth(self, plan: ServingPlan, noise: float = 0.0) -> PlanScore:
        score = self._analytic.evaluate(plan)
        factor = float(np.exp(self.log_bias(plan) + noise))
        return replace(score, provenance=Provenance.MEASURED, p95_e2e_s=score.p95_e2e_s * factor)

    def evaluate(self, plan: ServingPlan) -> PlanScore:
        self.asked.append(plan)
        rng = np.random.default_rng([self._seed, len(self.asked)])
        return self.truth(plan, rng.normal(0, self._noise))


def measured_trials(facts, truth: HiddenTruth, count: int, seed: int) -> list[Trial]:
    """Front plans measured in random order, as a study without a model would."""
    found = search(facts, seed, QUICK, lambda *_: None)
    rng = np.random.default_rng(seed)
    trials = list(found.trials)
    for i in rng.permutation([t.number for t in trials if t.predicted.feasible])[:count]:
        trials[i] = replace(trials[i], measured=truth.evaluate(trials[i].plan))
    return trials


def monte_carlo(cost, quality, log_latency, front, reference, n=1000):
    """Mean gain of BoTorch's hypervolume over sampled latencies."""
    rng = np.random.default_rng(0)
    bounds = (reference[0], reference[1], 1 - reference[2])
    known = np.column_stack([-front[:, 0], -front[:, 1], front[:, 2]])
    before = hypervolume(known, bounds)
    gains = []
    for latency in rng.normal(*log_latency, n):
        point = np.array([[-cost, -latency, quality]])
        gains.append(hypervolume(np.vstack([known, point]), bounds) - before)
    return np.mean(gains), np.std(gains) / np.sqrt(n)


@pytest.mark.parametrize("seed", range(3))
def test_expected_improvement_is_exact(seed: int) -> None:
    rng = np.random.default_rng(seed)
    front = rng.uniform(0, 1, size=(5, 3))
    reference = np.array([1.1, 1.1, -0.1])
    candidate = (float(rng.uniform(0, 1)), float(rng.uniform(0, 1)), (0.5, 0.3))
    exact = expected_improvement(*candidate, front, reference)
    mean, error = monte_carlo(*candidate, front, reference)
    assert exact == pytest.approx(mean, abs=4 * error + 1e-4)


def test_expected_improvement_agrees_with_botorch() -> None:
    """BoTorch's analytic acquisition, given no doubt about the other two objectives."""
    import torch
    from botorch.acquisition.multi_objective.analytic import ExpectedHypervolumeImprovement
    from botorch.models.deterministic import GenericDeterministicModel
    from botorch.posteriors import GPyTorchPosterior
    from botorch.utils.multi_objective.box_decompositions import FastNondominatedPartitioning
    from gpytorch.distributions import MultitaskMultivariateNormal

    class OneCandidate(GenericDeterministicModel):
        def posterior(self, X, **_):  # noqa: N803 - BoTorch's name
            mean = torch.tensor([[-0.4, -0.5, 0.6]], dtype=torch.float64)
            variance = torch.tensor([2e-10, 0.09, 2e-10], dtype=torch.float64)
            return GPyTorchPosterior(MultitaskMultivariateNormal(mean, torch.diag(variance)))

    front = np.random.default_rng(1).uniform(0, 1, size=(6, 3))
    known = torch.tensor(np.column_stack([-front[:, 0], -front[:, 1], front[:, 2]]))
    corner = torch.tensor([-1.1, -1.1, -0.1], dtype=torch.float64)
    acquisition = ExpectedHypervolumeImprovement(
        OneCandidate(lambda x: x, 3),
        ref_point=corner.tolist(),
        partitioning=FastNondominatedPartitioning(corner, known),
    )
    theirs = float(acquisition(torch.zeros(1, 1, 1, dtype=torch.float64)).detach())
    mine = expected_improvement(0.4, 0.6, (0.5, 0.3), front, np.array([1.1, 1.1, -0.1]))
    assert mine == pytest.approx(theirs, rel=1e-4)


def test_no_improvement_beyond_the_reference() -> None:
    front = np.array([[0.5, 0.5, 0.5]])
    assert expected_improvement(2.0, 0.9, (0.1, 0.1), front, np.array([1.0, 1.0, 0.0])) == 0
    assert expected_improvement(0.6, 0.4, (0.9, 1e-13), front, np.array([1.0, 1.0, 0.0])) == 0


def test_measurements_improve_predictions_of_other_plans() -> None:
    facts = two_models(devices=5, load=2.5, quality_floor=0.5)
    truth = HiddenTruth(facts)
    trials = measured_trials(facts, truth, 8, seed=1)
    problem = Problem(facts)
    others = [t for t in trials if not t.measured and t.predicted.p95_e2e_s]
    plans, scores = [t.plan for t in others], [t.predicted for t in others]
    real = np.array([truth.log_bias(plan) for plan in plans])
    learnt = LatencyCorrection(problem, trials).of(plans, scores)
    assert np.abs(learnt.mean - real).mean() < 0.35 * np.abs(real).mean()
    assert np.all(learnt.deviation > 0)


@pytest.mark.parametrize("count", range(FEWEST_POINTS))
def test_few_measurements_shift_every_prediction_alike(count: int) -> None:
    facts = two_models(devices=4, quality_floor=0.5)
    truth = HiddenTruth(facts)
    trials = measured_trials(facts, truth, count, seed=2)
    plans = [t.plan for t in trials[2:5]]
    problem = Problem(facts)
    learnt = LatencyCorrection(problem, trials).of(plans, [problem.score(p) for p in plans])
    assert len(set(learnt.mean)) == 1
    assert (learnt.mean[0] > 0.2) == (count > 0)


def test_a_plan_that_broke_down_counts_as_slow() -> None:
    facts = two_models(devices=4, quality_floor=0.5)
    found = search(facts, 0, QUICK, lambda *_: None)
    broken = replace(found.front[0].predicted, p95_e2e_s=None)
    trials = [replace(found.front[0], measured=broken)]
    problem = Problem(facts)
    learnt = LatencyCorrection(problem, trials).of([trials[0].plan], [trials[0].predicted])
    assert learnt.mean[0] > 1


def test_correction_stretches_latency_and_lowers_attainment() -> None:
    facts = two_models(devices=4, sla_p95_e2e_s=0.8)
    problem = Problem(facts)
    plan = search(facts, 0, QUICK, lambda *_: None).front[0].plan
    before, after = problem.score(plan), corrected(problem, plan, float(np.log(2)), 0.1)
    assert after.p95_e2e_s == pytest.approx(2 * before.p95_e2e_s)
    assert after.p50_e2e_s == pytest.approx(2 * before.p50_e2e_s)
    assert after.sla_attainment < before.sla_attainment
    assert after.cost_usd_per_hour == before.cost_usd_per_hour


def live_hypervolume(trials, truth: HiddenTruth, reference) -> float:
    scores = [truth.truth(t.plan) for t in trials if t.measured]
    return hypervolume(objectives(scores), reference)


def test_beats_measuring_front_plans_at_random() -> None:
    gains = []
    for seed in range(3):
        rng = np.random.default_rng([11, seed])
        facts = random_problem(rng, 2, 2, 2, 1, 3, load=1.5)
        truth = HiddenTruth(facts, seed=seed)
        found = search(facts, seed, QUICK, lambda *_: None)
        reference = (found.reference[0], found.reference[1] * 3, found.reference[2])
        trials = list(found.trials)
        for number in range(6):
            trials = measure_next(facts, trials, reference, seed, number, truth.evaluate)
        at_random = measured_trials(facts, HiddenTruth(facts, seed=seed), 6, seed)
        gains.append(
            live_hypervolume(trials, truth, reference)
            / live_hypervolume(at_random, truth, reference)
        )
    assert np.mean(gains) > 1.02, gains


def test_a_live_study_measures_distinct_plans_and_corrects_the_rest() -> None:
    facts = two_models(devices=4, load=2.5, quality_floor=0.5)
    truth = HiddenTruth(facts)
    told: list[float] = []
    result = optimise(
        facts,
        live=truth,
        live_evaluations=5,
        effort=QUICK,
        on_progress=lambda fraction, _: told.append(fraction),
    )
    measured = [t for t in result.trials if t.measured]
    assert len(set(truth.asked)) == len(truth.asked) == len(measured) == 5
    assert told == sorted(told)
    assert result.front
    analytic = AnalyticEvaluator(facts)
    for trial in result.trials:
        if trial.measured is None and trial.predicted.p95_e2e_s:
            assert trial.predicted.p95_e2e_s > 1.1 * analytic.evaluate(trial.plan).p95_e2e_s
        if trial.origin is Origin.BAYES:
            assert trial.measured is not None


def test_the_same_trials_propose_the_same_plan_again() -> None:
    facts = two_models(devices=4, load=2.5, quality_floor=0.5)
    trials = measured_trials(facts, HiddenTruth(facts), 4, seed=3)
    reference = (1.0, 10.0, 0.5)
    one, two = (propose(facts, trials, reference, 3, 4) for _ in range(2))
    assert one == two
    assert one[0] not in {t.plan for t in trials if t.measured}
