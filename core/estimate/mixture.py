"""Percentiles of a mixture of log-normal times."""

from collections.abc import Sequence

import numpy as np

from core.estimate.kernels import log_quantile, share_within
from core.estimate.speed import Vector


class LognormalMixture:
    """Times that are log-normal within each of n components.

    Args:
        weight: n; shares of the components; sums to 1.
        mean_s: n; mean time of each component.
        sigma: n; standard deviation of the logarithm in each component.
    """

    def __init__(self, weight: Vector, mean_s: Vector, sigma: Vector) -> None:
        self._weight = weight
        self._centre = np.log(mean_s) - sigma**2 / 2
        self._sigma = sigma

    def share_within(self, time_s: float) -> float:
        """Share of the requests that take at most this long."""
        return share_within(float(np.log(time_s)), self._weight, self._centre, self._sigma)

    def quantiles_s(self, shares: Sequence[float]) -> list[float]:
        """Times within which these shares of the requests end; relative error below 1e-6."""
        parts = (self._weight, self._centre, self._sigma)
        return [float(np.exp(log_quantile(share, *parts))) for share in shares]
