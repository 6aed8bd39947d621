"""Expected hypervolume improvement when only latency is uncertain: exact, in closed form.

A plan's cost and quality are known, its log latency is normal. At a latency l the plan would add
the area of (cost, quality) that it covers and that no known plan with latency <= l covers, so the
expected improvement is the integral of this area over log l, weighted with the probability that
the latency is below l. The area is a step function of l with steps at the known plans' latencies.
"""

import math

import numpy as np

from core.estimate.compiling import compiled
from core.estimate.speed import Vector

SMALLEST_SIGMA = 1e-9
ROOT_2 = math.sqrt(2.0)
ROOT_2_PI = math.sqrt(2.0 * math.pi)


def expected_improvements(candidates: Vector, known: Vector, reference: Vector) -> Vector:
    """Return the expected gain in hypervolume of ($/h) x (log latency) x (quality), per plan.

    Args:
        candidates: n x 4; cost in $/h, quality, mean and standard deviation of the natural
            logarithm of the latency in s. An infinite mean is a plan that cannot keep up.
        known: m x 3; (cost, log latency, quality) of plans that count; need not be a front.
        reference: 3; (cost, log latency, quality) that bounds the volume.
    """
    inside = known[np.all(known[:, :2] < reference[:2], axis=1) & (known[:, 2] > reference[2])]
    by_latency = np.ascontiguousarray(inside[np.argsort(inside[:, 1], kind="stable")])
    gains = np.zeros(len(candidates))
    _improvements(np.ascontiguousarray(candidates), by_latency, reference, gains)
    return gains


@compiled
def _improvements(candidates: Vector, known: Vector, reference: Vector, gains: Vector) -> None:
    stairs = np.empty((len(known) + 1, 2))
    for i in range(len(candidates)):
        cost, quality, mean, sigma = candidates[i]
        if cost >= reference[0] or quality <= reference[2] or mean == np.inf:
            continue
        steps, area = 0, (reference[0] - cost) * (quality - reference[2])
        below, gain = 0.0, 0.0
        for j in range(len(known)):
            left = max(known[j, 0], cost)
            top = min(known[j, 2], quality)
            grown = _climb(stairs, steps, left, top)
            if grown < 0:
                continue
            level = _mean_shortfall(known[j, 1], mean, sigma)
            gain += area * (level - below)
            below, steps = level, grown
            area = _free(stairs, steps, cost, quality, reference)
            if area <= 0:
                break
        gains[i] = gain + area * (_mean_shortfall(reference[1], mean, sigma) - below)


@compiled
def _climb(stairs: Vector, steps: int, left: float, top: float) -> int:
    """Add the corner (least cost, most quality) to stairs that rise to the right.

    Returns:
        How many steps there are now; -1 when the corner is under the stairs already.
    """
    for s in range(steps):
        if stairs[s, 0] <= left and stairs[s, 1] >= top:
            return -1
    kept = 0
    for s in range(steps):
        if not (stairs[s, 0] >= left and stairs[s, 1] <= top):
            stairs[kept] = stairs[s]
            kept += 1
    at = kept
    while at > 0 and stairs[at - 1, 0] > left:
        stairs[at] = stairs[at - 1]
        at -= 1
    stairs[at, 0], stairs[at, 1] = left, top
    return kept + 1


@compiled
def _free(stairs: Vector, steps: int, cost: float, quality: float, reference: Vector) -> float:
    """Return the area between (cost, quality) and the reference above the stairs."""
    area, height = (reference[0] - cost) * (quality - reference[2]), reference[2]
    for s in range(steps):
        area -= (reference[0] - stairs[s, 0]) * (stairs[s, 1] - height)
        height = stairs[s, 1]
    return area if area > 0.0 else 0.0


@compiled
def _mean_shortfall(level: float, mean: float, sigma: float) -> float:
    """Return E[max(0, level - X)] of a normal X: the integral of its distribution function."""
    if sigma < SMALLEST_SIGMA:
        return max(0.0, level - mean)
    z = (level - mean) / sigma
    density = math.exp(-z * z / 2) / ROOT_2_PI
    return sigma * (z * 0.5 * math.erfc(-z / ROOT_2) + density)
