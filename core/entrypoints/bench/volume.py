"""Hypervolumes of three objectives, and the n points that cover most; compiled.

Points are gains over the reference point, all to be maximised; what does not beat the reference
in every objective covers nothing.
"""

from collections.abc import Sequence

import numpy as np

from core.domain.plan import PlanScore
from core.estimate.compiling import compiled
from core.estimate.speed import Vector

MOST_SWAP_ROUNDS = 3


def true_values(scores: Sequence[PlanScore]) -> Vector:
    """Return n x 3: cost in $/h, P95 in s, quality; NaN for a plan that is not feasible."""
    rows = [
        (score.cost_usd_per_hour, score.p95_e2e_s, score.quality_mean)
        if score.feasible
        else (np.nan, np.nan, np.nan)
        for score in scores
    ]
    return np.array(rows, dtype=float).reshape(-1, 3)


def gains(values: Vector, reference: tuple[float, float, float]) -> Vector:
    """Return n x 3: what each plan gains on the reference; zeros for one that does not beat it.

    Args:
        values: n x 3; cost in $/h, P95 in s and quality, NaN for what does not count.
        reference: The same of a plan that is barely of use; latencies are compared on a
            logarithmic scale.
    """
    cost, latency_s, quality = reference
    rows = np.stack(
        [cost - values[:, 0], np.log(latency_s / values[:, 1]), values[:, 2] - quality], axis=1
    )
    better = np.all(rows > 0, axis=1)
    return np.where(better[:, None], rows, 0.0)


@compiled
def volume(points: Vector) -> float:
    """Return the volume of the union of the boxes from the origin to each of n x 3 points.

    A sweep by falling third coordinate over the staircase of the first two (Beume et al.,
    "On the complexity of computing the hypervolume indicator", 2009, without its tree).
    """
    order = np.argsort(-points[:, 2])
    wide, high, size = np.empty(len(points)), np.empty(len(points)), 0
    total, area = 0.0, 0.0
    for at in range(len(order)):
        x, y, z = points[order[at], 0], points[order[at], 1], points[order[at], 2]
        if x <= 0 or y <= 0 or z <= 0:
            continue
        size = _insert(wide, high, size, x, y)
        area = _area(wide, high, size)
        below = 0.0
        for later in range(at + 1, len(order)):
            row = points[order[later]]
            if row[0] > 0 and row[1] > 0 and row[2] > 0:
                below = row[2]
                break
        total += area * (z - below)
    return total


@compiled
def _insert(wide: Vector, high: Vector, size: int, x: float, y: float) -> int:
    """Add a step to a staircase of rising x and falling y; return its new size."""
    for i in range(size):
        if wide[i] >= x and high[i] >= y:
            return size
    kept = 0
    for i in range(size):
        if not (wide[i] <= x and high[i] <= y):
            wide[kept], high[kept] = wide[i], high[i]
            kept += 1
    place = kept
    while place > 0 and wide[place - 1] > x:
        wide[place], high[place] = wide[place - 1], high[place - 1]
        place -= 1
    wide[place], high[place] = x, y
    return kept + 1


@compiled
def _area(wide: Vector, high: Vector, size: int) -> float:
    area, left = 0.0, 0.0
    for i in range(size):
        area += (wide[i] - left) * high[i]
        left = wide[i]
    return area


@compiled
def gain(point: Vector, chosen: Vector) -> float:
    """Return what a point (3) adds to the volume of n x 3 points."""
    whole: float = point[0] * point[1] * point[2]
    return whole - volume(np.minimum(chosen, point))


def best_subset(points: Vector, n: int, swaps: bool = True) -> list[int]:
    """Return n rows (n at most all) of N x 3 points whose union covers nearly the most volume.

    Greedy choice, lazily: what a point adds never grows (submodularity), which guarantees
    1 - 1/e of the best and reaches far more; then single exchanges while any helps.

    Args:
        swaps: Whether to exchange; without it each prefix is the greedy choice of its length.
    """
    chosen = _greedy(points, min(n, len(points)))
    best = volume(points[chosen])
    for _ in range(MOST_SWAP_ROUNDS if swaps else 0):
        before = best
        for place in range(len(chosen)):
            others = np.ascontiguousarray(points[chosen[:place] + chosen[place + 1 :]])
            base = volume(others)
            added = _gains(points, others)
            if base + added.max() > best + 1e-12:
                chosen[place], best = int(np.argmax(added)), base + float(added.max())
        if best <= before * (1 + 1e-6):
            break
    return chosen


def _greedy(points: Vector, n: int) -> list[int]:
    bound = points.prod(axis=1)
    chosen: list[int] = []
    for _ in range(n):
        known = np.ascontiguousarray(points[chosen])
        best, best_gain = -1, -1.0
        for i in np.argsort(-bound):
            if bound[i] <= best_gain:
                break
            bound[i] = gain(points[i], known)
            if bound[i] > best_gain:
                best, best_gain = int(i), float(bound[i])
        chosen.append(best)
        bound[best] = -1.0
    return chosen


@compiled
def _gains(points: Vector, chosen: Vector) -> Vector:
    added = np.empty(len(points))
    for i in range(len(points)):
        added[i] = gain(points[i], chosen)
    return added
