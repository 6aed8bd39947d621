"""Grey-box Bayesian optimisation: what to measure next on real replicas.

Cost and quality of a plan are known functions. Only latency is learnt: one BoTorch Gaussian
process models log(measured P95) - log(analytic P95) over what a plan looks like, so every
measurement corrects the estimate of similar plans. Candidates are valid plans only.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from core.domain.plan import PlanScore, ServingPlan
from core.domain.study import Trial
from core.estimate.speed import Z95, Vector
from core.estimate.validity import placement_of
from core.optimize.improvement import expected_improvement
from core.optimize.problem import Problem

FEWEST_POINTS = 3
PRIOR_SIGMA = 0.35
"""Spread of log(measured / predicted) before anything was measured: within a factor of 2, 95 %."""
NOISE_SIGMA = 0.1
"""Repeated measurements of a P95 on the same replicas differ by about this much."""
OVERLOADED = np.log(4.0)
"""A plan that could not keep up when measured counts as four times slower than predicted."""
SMALLEST_SPREAD = 1e-4
MAX_FIT_ITERATIONS = 80


@dataclass(frozen=True)
class Correction:
    """What measurements say about log(real P95 / analytic P95) of some plans.

    Attributes:
        mean: n; expected log ratio.
        deviation: n; its standard deviation.
    """

    mean: Vector
    deviation: Vector


class LatencyCorrection:
    """The learnt part of the grey box, trained on the measured trials of a study."""

    def __init__(self, problem: Problem, trials: Sequence[Trial]) -> None:
        self._problem = problem
        measured = [(t.plan, t.measured) for t in trials if t.measured is not None]
        analytic = [(plan, score, problem.score(plan)) for plan, score in measured]
        known = [(plan, score, a) for plan, score, a in analytic if a.p95_e2e_s is not None]
        self._ratios = np.array([log_ratio(score, a) for _, score, a in known])
        self._features = np.array([features(problem, plan, a) for plan, _, a in known])
        self._model: Any = None
        # Equal ratios hold nothing for a process to learn but the common one.
        if len(known) >= FEWEST_POINTS and np.ptp(self._ratios) > SMALLEST_SPREAD:
            self._model = _fitted(self._features, self._ratios)

    def of(self, plans: Sequence[ServingPlan], scores: Sequence[PlanScore]) -> Correction:
        """Return the correction of n plans, given their analytic scores."""
        if self._model is None:
            return self._from_prior(len(plans))
        rows = [features(self._problem, p, s) for p, s in zip(plans, scores, strict=True)]
        return _posterior(self._model, np.array(rows))

    def _from_prior(self, n: int) -> Correction:
        """Before there is enough to learn from: one common ratio, normal prior, normal noise."""
        precision = 1 / PRIOR_SIGMA**2 + len(self._ratios) / NOISE_SIGMA**2
        mean = float(self._ratios.sum()) / NOISE_SIGMA**2 / precision
        # The common ratio gets certain quickly, the plan's own deviation from it does not.
        spread = np.sqrt(1 / precision + (PRIOR_SIGMA / 2) ** 2)
        return Correction(np.full(n, mean), np.full(n, spread))


def log_ratio(measured: PlanScore, analytic: PlanScore) -> float:
    """Return log(measured P95 / analytic P95); a plan that broke down counts as much slower."""
    if measured.p95_e2e_s is None or analytic.p95_e2e_s is None:
        return float(OVERLOADED)
    return float(np.log(measured.p95_e2e_s / analytic.p95_e2e_s))


def features(problem: Problem, plan: ServingPlan, analytic: PlanScore) -> list[float]:
    """Return what the correction may depend on, each about 0..1.

    Log latency; per model its load and its share of the traffic; per kind its replicas, as a
    fraction of the fleet's devices.
    """
    loads = {pool.kind.model: pool.load for pool in problem.evaluator.pools(plan)}
    traffic = problem.weights @ problem.shares(plan)
    devices = max(1, sum(sum(nodes) for nodes in problem.facts.devices_per_node.values()))
    placement = placement_of(plan)
    return [
        float(np.log(analytic.p95_e2e_s or 1.0)),
        *(loads.get(model, 0.0) for model in problem.models),
        *map(float, traffic),
        *(placement.get(kind, 0) * kind.devices / devices for kind in problem.kinds),
    ]


def _fitted(rows: Vector, ratios: Vector) -> Any:
    """Fit a Gaussian process; float64 and one thread, so that a seed gives the same proposals."""
    import torch
    from botorch.fit import fit_gpytorch_mll
    from botorch.models import SingleTaskGP
    from botorch.models.transforms import Normalize, Standardize
    from gpytorch.mlls import ExactMarginalLogLikelihood

    torch.set_num_threads(1)
    x = torch.tensor(rows, dtype=torch.float64)
    y = torch.tensor(ratios, dtype=torch.float64).unsqueeze(-1)
    # A feature that never changed carries nothing and cannot be normalised; give it width 1.
    low, high = x.min(dim=0).values, x.max(dim=0).values
    bounds = torch.stack([low, torch.where(high - low < 1e-6, low + 1, high)])
    model = SingleTaskGP(
        x,
        y,
        input_transform=Normalize(x.shape[1], bounds=bounds),
        outcome_transform=Standardize(1),
    )
    mll = ExactMarginalLogLikelihood(model.likelihood, model)
    fit_gpytorch_mll(mll, optimizer_kwargs={"options": {"maxiter": MAX_FIT_ITERATIONS}})
    return model


def _posterior(model: Any, rows: Vector) -> Correction:
    import torch

    with torch.no_grad():
        posterior = model.posterior(torch.tensor(rows, dtype=torch.float64))
        mean = posterior.mean.squeeze(-1).numpy()
        deviation = posterior.variance.clamp_min(1e-12).sqrt().squeeze(-1).numpy()
    return Correction(mean, deviation)


def choose(
    problem: Problem,
    trials: Sequence[Trial],
    pool: Sequence[ServingPlan],
    reference: tuple[float, float, float],
    *,
    placement_change_penalty: float = 0.1,
) -> tuple[ServingPlan, PlanScore]:
    """Return the plan of the pool most worth measuring, and its corrected prediction.

    Args:
        trials: Of the study so far; the measured ones are what is known.
        pool: Valid plans that were not measured yet; at least one.
        reference: Hypervolume reference of the study.
        placement_change_penalty: Fraction of the expected improvement that a plan loses when it
            needs other replicas than the newest measured one: starting them takes a minute.
    """
    scores = [problem.score(plan) for plan in pool]
    correction = LatencyCorrection(problem, trials).of(pool, scores)
    known = _known_points(trials)
    bounds = np.array([reference[0], np.log(reference[1]), 1 - reference[2]])
    running = next((t.plan.placement for t in reversed(trials) if t.measured), None)
    worth = [
        expected_improvement(
            score.cost_usd_per_hour,
            score.quality_mean,
            (np.log(score.p95_e2e_s or np.inf) + mean, deviation),
            known,
            bounds,
        )
        * (1 if plan.placement == running else 1 - placement_change_penalty)
        for plan, score, mean, deviation in zip(
            pool, scores, correction.mean, correction.deviation, strict=True
        )
    ]
    best = int(np.argmax(worth))
    ratio, deviation = float(correction.mean[best]), float(correction.deviation[best])
    return pool[best], corrected(problem, pool[best], ratio, deviation)


def _known_points(trials: Sequence[Trial]) -> Vector:
    """Return n x 3 of the measured plans that kept up: (cost, log latency, quality)."""
    rows = [
        (t.predicted.cost_usd_per_hour, np.log(t.measured.p95_e2e_s), t.predicted.quality_mean)
        for t in trials
        if t.measured and t.measured.p95_e2e_s
    ]
    return np.array(rows).reshape(-1, 3)


def corrected(
    problem: Problem, plan: ServingPlan, log_ratio_mean: float, log_ratio_deviation: float
) -> PlanScore:
    """Return a plan's analytic score with every latency stretched by the learnt ratio.

    The interval on P95 is the 90 % one of that ratio.
    """
    score = problem.evaluator.evaluate(plan, float(np.exp(log_ratio_mean)))
    if score.p95_e2e_s is None:
        return score
    either_way = float(np.exp(Z95 * log_ratio_deviation))
    return replace(
        score,
        p95_e2e_low_s=score.p95_e2e_s / either_way,
        p95_e2e_high_s=score.p95_e2e_s * either_way,
    )
