"""Percentiles of a mixture of log-normal times."""

from collections.abc import Sequence

import numpy as np
from scipy.special import ndtr

from core.estimate.speed import Vector

COARSE_POINTS = 40
FINE_POINTS = 12


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
        return float(self._cdf(np.array([np.log(time_s)]))[0])

    def quantiles_s(self, shares: Sequence[float]) -> list[float]:
        """Times within which these shares of the requests end; relative error below 1e-4."""
        low = float(np.min(self._centre - 4 * self._sigma))
        high = float(np.max(self._centre + 4 * self._sigma))
        grid = np.linspace(low, high, COARSE_POINTS)
        cdf = self._cdf(grid)
        return [self._refined(grid, cdf, share) for share in shares]

    def _refined(self, grid: Vector, cdf: Vector, share: float) -> float:
        above = int(np.clip(np.searchsorted(cdf, share), 1, len(grid) - 1))
        fine = np.linspace(grid[above - 1], grid[above], FINE_POINTS)
        return float(np.exp(np.interp(share, self._cdf(fine), fine)))

    def _cdf(self, log_time: Vector) -> Vector:
        """Return the mixture's distribution function at m logarithms of times: m."""
        standard = (log_time[:, None] - self._centre) / self._sigma
        shares: Vector = ndtr(standard) @ self._weight
        return shares
