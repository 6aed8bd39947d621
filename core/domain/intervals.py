"""Confidence intervals on a mean score."""

import math

Z_95 = 1.959963984540054


def wilson(mean: float, n: int, z: float = Z_95) -> tuple[float, float]:
    """Wilson score interval of a proportion (E. B. Wilson, JASA 22, 1927).

    Args:
        mean: Share of right answers, 0..1.
        n: Number of answers; 0 gives (0, 1).
        z: Normal quantile; 1.96 for 95 %.
    """
    if n == 0:
        return 0.0, 1.0
    shrink = 1 + z * z / n
    centre = (mean + z * z / (2 * n)) / shrink
    half = z / shrink * math.sqrt(mean * (1 - mean) / n + z * z / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)
