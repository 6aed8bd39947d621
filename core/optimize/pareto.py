"""Fronts: which plans no other plan beats. Inside, every objective is maximised.

Objectives are columns (-cost in $/h, -P95 latency in s, mean quality); signs are flipped here and
nowhere else.
"""

from collections.abc import Sequence

import numpy as np

from core.domain.plan import PlanScore
from core.estimate.speed import Vector
from core.optimize.spread_kernels import pick_by_volume, volume

LEAST_GAIN = 1e-5
"""Of the front's volume: what adds less is no other choice to a person."""


def objectives(scores: Sequence[PlanScore]) -> Vector:
    """Return n x 3 values to maximise; a plan that cannot keep up has -inf for latency."""
    rows = [
        (
            -score.cost_usd_per_hour,
            -np.inf if score.p95_e2e_s is None else -score.p95_e2e_s,
            score.quality_mean,
        )
        for score in scores
    ]
    return np.array(rows, dtype=float).reshape(-1, 3)


def non_dominated(values: Vector) -> Vector:
    """Return n booleans: rows that no other row beats. Of equal rows the first stays.

    Rows are visited in lexicographic order from the best, so none can be beaten by a later one.
    """
    keep = np.zeros(len(values), dtype=bool)
    front = np.empty((0, values.shape[1]))
    for i in np.lexsort((np.arange(len(values)), *(-values.T[::-1]))):
        if not np.any(np.all(front >= values[i], axis=1)):
            keep[i] = True
            front = np.vstack([front, values[i]])
    return keep


def distinct(values: Vector, most: int) -> list[int]:
    """Pick at most `most` rows of a front (n x 3) that say most of it; returns their indices.

    The extremes stay; then one by one the row that adds most hypervolume, until little is left.
    """
    corners = values - to_maximise(reference_point(values, 1.0, None))
    extremes = [int(np.argmax(values[:, j])) for j in range(values.shape[1])]
    first = np.array(list(dict.fromkeys(extremes)), dtype=np.int64)
    picked = pick_by_volume(np.maximum(corners, 0.0), first, most, LEAST_GAIN)
    return sorted(map(int, picked))


def reference_point(
    values: Vector, quality_floor: float, budget_usd_per_hour: float | None
) -> tuple[float, float, float]:
    """Return a point that every useful plan beats: (cost $/h, latency s, quality shortfall).

    Args:
        values: n x 3; a front, or whatever plans there are.
    """
    worst = values[np.all(np.isfinite(values), axis=1)].min(axis=0)
    cost = max(-worst[0] * 1.1, budget_usd_per_hour or 0.0)
    shortfall = 1 - min(quality_floor, float(worst[2])) + 0.01
    return float(cost), float(-worst[1] * 1.5), shortfall


def to_maximise(reference: tuple[float, float, float]) -> Vector:
    """Return the reference point in the space of `objectives`."""
    cost, latency_s, shortfall = reference
    return np.array([-cost, -latency_s, 1 - shortfall])


def hypervolume(values: Vector, reference: tuple[float, float, float]) -> float:
    """Return the volume between a set of plans (n x 3) and the reference point; exact."""
    corners = np.maximum(values - to_maximise(reference), 0.0)
    return float(volume(corners[np.all(corners > 0, axis=1)]))
