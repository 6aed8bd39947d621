"""Independent Gaussian processes on the unit cube, one per outcome."""

from typing import Any

import numpy as np

from core.estimate.speed import Vector

MAX_FIT_ITERATIONS = 80
SMALLEST_SPREAD = 1e-6


def fitted(units: Vector, outcomes: Vector) -> Any:
    """Fit a `SingleTaskGP` per outcome, noise inferred; float64 and one thread.

    Args:
        units: n x d; where it was observed, in 0..1.
        outcomes: n x m; what was observed.

    Returns:
        A BoTorch `ModelListGP` with m outcomes in their own units.
    """
    import torch
    from botorch.fit import fit_gpytorch_mll
    from botorch.models import ModelListGP, SingleTaskGP
    from botorch.models.transforms import Standardize
    from gpytorch.mlls import ExactMarginalLogLikelihood

    torch.set_num_threads(1)
    x = torch.tensor(units, dtype=torch.float64)
    models = []
    for column in outcomes.T:
        y = torch.tensor(_varying(column)[:, None], dtype=torch.float64)
        model = SingleTaskGP(x, y, outcome_transform=Standardize(1))
        mll = ExactMarginalLogLikelihood(model.likelihood, model)
        fit_gpytorch_mll(mll, optimizer_kwargs={"options": {"maxiter": MAX_FIT_ITERATIONS}})
        models.append(model)
    return ModelListGP(*models)


def _varying(column: Vector) -> Vector:
    """Give an outcome that never changed a ripple: it cannot be standardised otherwise."""
    if np.ptp(column) > SMALLEST_SPREAD:
        return column
    ripple: Vector = column + SMALLEST_SPREAD * (np.arange(len(column)) % 2)
    return ripple
