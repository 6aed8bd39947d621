"""A Gaussian process for what recalibrated estimates leave over."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from core.estimate.speed import Vector

FEWEST_POINTS = 4
PRIOR_SIGMA = 0.1
"""Spread of log(measured P95 / recalibrated P95) before anything was measured."""
NOISE_SIGMA = 0.1
"""Repeated measurements of a P95 on the same replicas differ by about this much."""
SMALLEST_SPREAD = 1e-4
MAX_FIT_ITERATIONS = 50


@dataclass(frozen=True)
class Residual:
    """One process; or, before there is enough to learn from, one common ratio.

    Attributes:
        process: How to read `model`; None for the common ratio.
        model: BoTorch's.
        mean, deviation: The common ratio.
    """

    process: "Process | None"
    model: Any
    mean: float
    deviation: float

    def of(self, features: Vector) -> tuple[Vector, Vector]:
        """Return expectation and standard deviation of the log ratio of P plans (P x d)."""
        if self.process is None:
            return np.full(len(features), self.mean), np.full(len(features), self.deviation)
        return self.process.read(self.model, features)


@dataclass(frozen=True)
class Process:
    """Hyperparameters of a process: how far apart plans may be to tell of each other, the noise.

    They hardly change from one measurement to the next and take most of the time, so they are
    fitted once in a while and kept; every measurement counts at once all the same.

    Attributes:
        low, width: d; features are read relative to these.
        centre, scale: Log ratios likewise.
        state: BoTorch's.
    """

    low: Vector
    width: Vector
    centre: float
    scale: float
    state: Any

    def given(self, features: Vector, ratios: Vector) -> Any:
        """Return BoTorch's model of n log ratios (n x d features) with these hyperparameters."""
        model = self._model(features, ratios)
        model.load_state_dict(self.state)
        model.eval()
        return model

    def read(self, model: Any, features: Vector) -> tuple[Vector, Vector]:
        """Return expectation and standard deviation of the log ratio of P plans (P x d)."""
        import torch

        with torch.no_grad():
            posterior = model.posterior(torch.from_numpy((features - self.low) / self.width))
            mean = posterior.mean.squeeze(-1).numpy()
            variance = posterior.variance.clamp_min(1e-12).squeeze(-1).numpy()
        return self.centre + self.scale * mean, self.scale * np.sqrt(variance)

    def _model(self, features: Vector, ratios: Vector) -> Any:
        import torch
        from botorch.models import SingleTaskGP
        from botorch.settings import validate_input_scaling

        # One thread and float64, so that the same trials give the same proposals.
        torch.set_num_threads(1)
        x = torch.from_numpy((features - self.low) / self.width)
        y = torch.from_numpy((ratios - self.centre) / self.scale).unsqueeze(-1)
        # Scaled by what was known when the hyperparameters were fitted, so not quite to 0 and 1.
        with validate_input_scaling(False):
            return SingleTaskGP(x, y, outcome_transform=None)


def fitted_process(features: Vector, ratios: Vector) -> Process | None:
    """Fit a process to n log ratios (n x d features); None where they hold nothing to learn."""
    if len(ratios) < FEWEST_POINTS or np.ptp(ratios) <= SMALLEST_SPREAD:
        return None
    from botorch.fit import fit_gpytorch_mll
    from gpytorch.mlls import ExactMarginalLogLikelihood

    low, width = features.min(axis=0), np.ptp(features, axis=0)
    # A feature that never changed carries nothing and cannot be scaled; give it width 1.
    width = np.where(width < 1e-6, 1.0, width)
    process = Process(low, width, float(ratios.mean()), float(ratios.std()), {})
    model = process._model(features, ratios)
    mll = ExactMarginalLogLikelihood(model.likelihood, model)
    fit_gpytorch_mll(mll, optimizer_kwargs={"options": {"maxiter": MAX_FIT_ITERATIONS}})
    return Process(low, width, process.centre, process.scale, model.state_dict())


def residual_of(features: Vector, ratios: Vector, process: Process | None) -> Residual:
    """Learn from n log ratios, each of a plan with d features (n x d).

    Args:
        process: Hyperparameters; None for one common ratio.
    """
    model = None if process is None else process.given(features, ratios)
    precision = 1 / PRIOR_SIGMA**2 + len(ratios) / NOISE_SIGMA**2
    mean = float(ratios.sum()) / NOISE_SIGMA**2 / precision
    # The common ratio gets certain quickly, the plan's own deviation from it does not.
    spread = float(np.sqrt(1 / precision + (PRIOR_SIGMA / 2) ** 2))
    return Residual(process, model, mean, spread)
