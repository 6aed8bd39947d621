"""Fronts: which plans no other plan beats. Inside, every objective is maximised.

Objectives are columns (-cost in $/h, -P95 latency in s, mean quality); signs are flipped here and
nowhere else.
"""

from collections.abc import Sequence

import numpy as np

from core.domain.plan import PlanScore
from core.estimate.speed import Vector


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
    """Pick at most `most` rows of a front (n x 3) that differ to a person; returns their indices.

    The extremes stay. Two plans are near-duplicates when cost differs by less than 1 %, latency
    by less than 2 % and quality by less than .004; tolerances grow until few enough remain.
    """
    extremes = [int(np.argmax(values[:, j])) for j in range(values.shape[1])]
    order = list(dict.fromkeys([*extremes, *map(int, np.lexsort((values[:, 1], -values[:, 0])))]))
    tolerance = np.array([0.01, 0.02, 0.004])
    while True:
        picked = _spread_out(values, order, tolerance)
        if len(picked) <= most:
            return sorted(picked)
        tolerance = tolerance * 1.3


def _spread_out(values: Vector, order: Sequence[int], tolerance: Vector) -> list[int]:
    picked: list[int] = []
    for i in order:
        gaps = np.abs(values[picked] - values[i])
        gaps[:, :2] /= np.maximum(np.abs(values[i, :2]), 1e-12)
        if not np.any(np.all(gaps < tolerance, axis=1)):
            picked.append(i)
    return picked


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
    """Return the volume between a set of plans (n x 3) and the reference point."""
    import torch
    from botorch.utils.multi_objective.hypervolume import Hypervolume

    better = values[np.all(values > to_maximise(reference), axis=1)]
    if not len(better):
        return 0.0
    front = better[non_dominated(better)]
    measure = Hypervolume(torch.tensor(to_maximise(reference), dtype=torch.float64))
    return float(measure.compute(torch.tensor(front, dtype=torch.float64)))
