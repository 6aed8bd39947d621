"""The learnt part of live studies: recalibration, a Gaussian process, exact improvement."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.domain.plan import ReplicaKind
from core.domain.study import Trial
from core.optimize import optimise
from core.optimize.grey_box import LatencyModel, Slowdowns, predicted_scores
from core.optimize.improvement import expected_improvements
from core.optimize.pareto import hypervolume
from core.optimize.plan_table import PlanTable
from core.optimize.problem import Problem
from core.optimize.residual import FEWEST_POINTS, fitted_process, residual_of
from tests.unit.hidden_truth import QUICK, HiddenTruth, SlowReplicas
from tests.unit.planning_problems import random_problem, two_models

# gpytorch compiles its kernels with a function that newer versions of torch discourage.
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script:DeprecationWarning")

SMALL, LARGE = ReplicaKind("small", "cpu-core"), ReplicaKind("large", "cpu-core")


def improvement(cost, quality, mean, sigma, known, reference) -> float:
    candidates = np.array([[cost, quality, mean, sigma]])
    return float(expected_improvements(candidates, known, reference)[0])


def sampled_improvement(cost, quality, mean, sigma, known, reference, n=1000):
    """Mean gain of BoTorch's hypervolume over sampled latencies."""
    rng = np.random.default_rng(0)
    bounds = (reference[0], reference[1], 1 - reference[2])
    values = np.column_stack([-known[:, 0], -known[:, 1], known[:, 2]])
    before = hypervolume(values, bounds)
    gains = []
    for latency in rng.normal(mean, sigma, n):
        point = np.array([[-cost, -latency, quality]])
        gains.append(hypervolume(np.vstack([values, point]), bounds) - before)
    return np.mean(gains), np.std(gains) / np.sqrt(n)


@pytest.mark.parametrize("seed", range(3))
def test_expected_improvement_is_exact(seed: int) -> None:
    rng = np.random.default_rng(seed)
    known = rng.uniform(0, 1, size=(5, 3))
    reference = np.array([1.1, 1.1, -0.1])
    candidate = (float(rng.uniform(0, 1)), float(rng.uniform(0, 1)), 0.5, 0.3)
    exact = improvement(*candidate, known, reference)
    mean, error = sampled_improvement(*candidate, known, reference)
    assert exact == pytest.approx(mean, abs=4 * error + 1e-4)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 12))
def test_without_doubt_it_is_the_hypervolume_gained(seed: int, known: int) -> None:
    """On a coarse grid, so that ties and duplicates are common."""
    rng = np.random.default_rng(seed)
    points = rng.integers(0, 6, size=(known, 3)) / 5
    cost, latency, quality = rng.integers(0, 6, size=3) / 5
    reference = np.array([0.9, 0.9, 0.1])
    bounds = (0.9, 0.9, 0.9)
    values = np.column_stack([-points[:, 0], -points[:, 1], points[:, 2]])
    point = np.array([[-cost, -latency, quality]])
    gained = hypervolume(np.vstack([values, point]), bounds) - hypervolume(values, bounds)
    found = improvement(cost, quality, latency, 0.0, points, reference)
    assert found == pytest.approx(gained, abs=1e-9)


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
    mine = improvement(0.4, 0.6, 0.5, 0.3, front, np.array([1.1, 1.1, -0.1]))
    assert mine == pytest.approx(theirs, rel=1e-4)


def test_no_improvement_beyond_the_reference() -> None:
    known, reference = np.array([[0.5, 0.5, 0.5]]), np.array([1.0, 1.0, 0.0])
    assert improvement(2.0, 0.9, 0.1, 0.1, known, reference) == 0
    assert improvement(0.6, 0.4, 0.9, 0.0, known, reference) == 0
    assert improvement(0.1, 0.9, np.inf, 0.1, known, reference) == 0


def measured_trials(facts, measure, count: int, seed: int) -> list[Trial]:
    """Front plans measured in random order, as a study without a model would."""
    trials = list(optimise(facts, seed=seed, effort=QUICK).trials)
    rng = np.random.default_rng(seed)
    numbers = rng.permutation([t.number for t in trials if t.predicted.feasible])[:count]
    for n, i in enumerate(numbers):
        result = measure(trials[i].plan)
        telemetry = getattr(result, "telemetry", ())
        score = getattr(result, "score", result)
        trials[i] = replace(trials[i], measured=score, telemetry=telemetry, evaluation=n)
    return trials


def learnt(facts, trials) -> LatencyModel:
    return LatencyModel(PlanTable(Problem(facts)), trials, Slowdowns())


def errors(model: LatencyModel, trials, truth) -> np.ndarray:
    """Log errors of the predicted P95 of what was not measured and keeps up."""
    others = [t.plan for t in trials if not t.measured and truth(t.plan).p95_e2e_s]
    real = np.log([truth(plan).p95_e2e_s for plan in others])
    return np.abs(model.expected(model.table.rows(others)).log_p95 - real)


@pytest.mark.parametrize("tells", [True, False])
def test_a_few_measurements_correct_every_plan(tells: bool) -> None:
    """Telemetry or not, the factors are found, and with them the P95 of plans never measured."""
    facts = two_models(devices=6, load=1.5, quality_floor=0.5)
    replicas = SlowReplicas(facts, {SMALL: -0.25, LARGE: 0.3}, tells=tells)
    trials = measured_trials(facts, replicas.evaluate, 6, seed=1)
    before = errors(learnt(facts, []), trials, replicas.truth)
    after = errors(learnt(facts, trials), trials, replicas.truth)
    assert len(after) > 5
    assert np.median(after) < (0.25 if tells else 0.5) * np.median(before)
    found = {slow.kind: slow for slow in learnt(facts, trials).slowdowns()}
    assert found[SMALL].log_factor == pytest.approx(-0.25, abs=0.05 if tells else 0.15)
    assert found[LARGE].log_factor == pytest.approx(0.3, abs=0.05 if tells else 0.15)


def test_what_the_queueing_model_does_not_hold_is_learnt_too() -> None:
    """No telemetry, and a bias that depends on how busy one model is: the process's part."""
    facts = two_models(devices=5, load=2.5, quality_floor=0.5)
    truth = HiddenTruth(facts)
    trials = measured_trials(facts, truth.evaluate, 10, seed=1)
    before = errors(learnt(facts, []), trials, truth.truth)
    after = errors(learnt(facts, trials), trials, truth.truth)
    assert np.median(after) < 0.35 * np.median(before)
    assert np.isfinite(after).mean() > 0.8


def test_a_plan_that_broke_down_makes_its_kinds_slower() -> None:
    facts = two_models(devices=4, load=1.5, quality_floor=0.5)
    found = optimise(facts, effort=QUICK)
    busiest = max(found.front, key=lambda t: t.predicted.utilisation)
    broken = replace(busiest.predicted, p95_e2e_s=None)
    model = learnt(facts, [replace(busiest, measured=broken)])
    assert min(model.log_factors(busiest.plan).values()) > 0.01


def test_predicted_scores_follow_the_learnt_speeds() -> None:
    facts = two_models(devices=6, load=1.5, quality_floor=0.5, sla_p95_e2e_s=0.8)
    replicas = SlowReplicas(facts, {SMALL: 0.4, LARGE: 0.4})
    trials = measured_trials(facts, replicas.evaluate, 6, seed=1)
    model = learnt(facts, trials)
    plans = [t.plan for t in trials if not t.measured and t.predicted.feasible]
    for plan, score in zip(plans, predicted_scores(model, plans), strict=True):
        before, real = model.table.problem.score(plan), replicas.truth(plan)
        assert score.utilisation == pytest.approx(real.utilisation, rel=0.1)
        assert score.cost_usd_per_hour == before.cost_usd_per_hour
        if real.utilisation > 0.8:
            continue
        assert score.p95_e2e_s == pytest.approx(real.p95_e2e_s, rel=0.25)
        assert score.p95_e2e_low_s < score.p95_e2e_s < score.p95_e2e_high_s
        assert score.p50_e2e_s > before.p50_e2e_s
        assert score.sla_attainment <= before.sla_attainment


@pytest.mark.parametrize("count", range(FEWEST_POINTS))
def test_few_ratios_shift_every_prediction_alike(count: int) -> None:
    features, ratios = np.zeros((count, 2)), np.full(count, 0.3)
    assert fitted_process(features, ratios) is None
    mean, deviation = residual_of(features, ratios, None).of(np.ones((4, 2)))
    assert len(set(mean)) == len(set(deviation)) == 1
    assert (mean[0] > 0.05) == (count > 0)
    assert deviation[0] > 0.04


def test_a_process_is_kept_while_measurements_come_in() -> None:
    """Hyperparameters of the first ten points, and what all thirty say."""
    rng = np.random.default_rng(0)
    features = rng.uniform(0, 1, size=(30, 2))
    ratios = 0.3 * np.sin(4 * features[:, 0]) + rng.normal(0, 0.02, 30)
    process = fitted_process(features[:10], ratios[:10])
    assert process is not None
    model = residual_of(features, ratios, process)
    places = rng.uniform(0.1, 0.9, size=(50, 2))
    mean, deviation = model.of(places)
    real = 0.3 * np.sin(4 * places[:, 0])
    assert np.sqrt(np.mean((mean - real) ** 2)) < 0.06
    assert np.all(deviation < 0.3)
    assert np.array_equal(mean, residual_of(features, ratios, process).of(places)[0])


def test_plans_in_a_table_score_as_the_evaluator_scores_them() -> None:
    facts = random_problem(np.random.default_rng(5), 2, 2, 3, 2, 4, load=3.0)
    table = PlanTable(Problem(facts))
    plans = [t.plan for t in optimise(facts, effort=QUICK).trials if t.predicted.feasible]
    rows = table.rows(plans)
    log_p95, load = table.score(rows, np.zeros(rows.counts.shape))
    for p, plan in enumerate(plans):
        score = table.problem.score(plan)
        assert np.exp(log_p95[p]) == pytest.approx(score.p95_e2e_s, rel=1e-4)
        assert load[p] == pytest.approx(score.utilisation, rel=1e-6)
        assert rows.cost[p] == pytest.approx(score.cost_usd_per_hour)
        assert rows.quality[p] == pytest.approx(score.quality_mean, abs=1e-6)


def test_slopes_are_what_a_slowdown_does() -> None:
    facts = two_models(devices=6, load=1.5, quality_floor=0.5)
    table = PlanTable(Problem(facts))
    plans = [t.plan for t in optimise(facts, effort=QUICK).trials if t.predicted.feasible]
    rows = table.rows(plans)
    factors = np.zeros(rows.counts.shape)
    base = table.score(rows, factors)
    slopes = table.slopes(rows, factors, base)
    assert np.all(slopes.log_p95[rows.counts == 0] == 0)
    assert np.all(slopes.log_p95 >= 0)
    # All kinds slower by a little: the slopes add up.
    slower = table.score(rows, factors + 1e-3)
    finite = np.isfinite(slower[0])
    rise = (slower[0] - base[0])[finite] / 1e-3
    assert rise == pytest.approx(slopes.log_p95[finite].sum(axis=1), rel=0.15, abs=0.05)
    assert np.log(slower[1] / base[1]) / 1e-3 == pytest.approx(1.0, rel=1e-3)
