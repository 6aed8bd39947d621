"""Expected hypervolume improvement when only latency is uncertain: exact, in closed form.

A plan's cost and quality are known, its log latency is normal. At a latency l the plan would add
the area of (cost, quality) that it covers and that no known plan with latency <= l covers, so the
expected improvement is the integral of this area over l, weighted with the probability that the
latency is below l. The area is a step function of l with steps at the known plans' latencies.
"""

import numpy as np
from scipy.special import ndtr

from core.estimate.speed import Vector


def expected_improvement(
    cost: float,
    quality: float,
    log_latency: tuple[float, float],
    front: Vector,
    reference: Vector,
) -> float:
    """Return the expected gain in hypervolume of ($/h) x (log latency) x (quality).

    Args:
        cost: $/h of the candidate.
        quality: Its quality.
        log_latency: Mean and standard deviation of the natural logarithm of its latency in s.
        front: n x 3; known plans as (cost, log latency, quality); need not be a front.
        reference: 3; (cost, log latency, quality) that bounds the volume.
    """
    width, height = reference[0] - cost, quality - reference[2]
    if width <= 0 or height <= 0:
        return 0.0
    inside = front[front[:, 1] < reference[1]]
    steps = np.unique(inside[:, 1])
    starts = np.concatenate([[-np.inf], steps])
    ends = np.concatenate([steps, [reference[1]]])
    mean, deviation = log_latency
    gains = [
        _new_area(cost, quality, inside[inside[:, 1] <= start], reference)
        * (_mean_shortfall(end, mean, deviation) - _mean_shortfall(start, mean, deviation))
        for start, end in zip(starts, ends, strict=True)
    ]
    return float(sum(gains))


def _mean_shortfall(level: float, mean: float, deviation: float) -> float:
    """Return E[max(0, level - X)] of a normal X: the integral of its distribution function."""
    if np.isneginf(level):
        return 0.0
    if deviation <= 1e-12:
        return max(0.0, level - mean)
    z = (level - mean) / deviation
    density = np.exp(-z * z / 2) / np.sqrt(2 * np.pi)
    return float(deviation * (z * ndtr(z) + density))


def _new_area(cost: float, quality: float, known: Vector, reference: Vector) -> float:
    """Return the area between (cost, quality) and the reference that known plans leave free.

    Known plans are cut to the candidate's rectangle; a sweep by rising cost adds up their union.
    """
    total = (reference[0] - cost) * (quality - reference[2])
    left = np.maximum(known[:, 0], cost)
    top = np.minimum(known[:, 2], quality)
    covered, reached = 0.0, float(reference[2])
    for i in np.argsort(left):
        if left[i] >= reference[0]:
            break
        if top[i] > reached:
            covered += (reference[0] - left[i]) * (top[i] - reached)
            reached = float(top[i])
    return float(max(0.0, total - covered))
