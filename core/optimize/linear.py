"""The planning problem seen through linear capacity constraints, as a program needs it.

At one load level a replica of kind r sustains 1 / (w_r @ mix) requests per second of a mix of
classes, w_r its replica-seconds of work per request. So a model with flows f (K, requests per
second) keeps up at load u when

    sum over its kinds of n_r / (w_r @ f) >= 1 / u

which is not linear where kinds rank classes differently. With any reference work v it holds if
sum(n_r / max_k(w_rk / v_k)) >= v @ f / u, and only if sum(n_r / min_k(w_rk / v_k)) >= v @ f / u.
The first makes plans that are safe, the second, for every kind's own work as reference, a bound.
Between them are views that are exact where each model is given a certain mix of classes.
"""

from dataclasses import dataclass

import numpy as np

from core.estimate.speed import Vector
from core.optimize.problem import Problem


@dataclass(frozen=True)
class Capacity:
    """Rows of one capacity constraint: strength @ n >= work_s @ f / load.

    Attributes:
        model: Index of the model it is about.
        work_s: K; reference work of a request.
        strength: R; reference replicas that a replica is worth; 0 for other models' kinds.
    """

    model: int
    work_s: Vector
    strength: Vector


def exact_at(problem: Problem, mixes: Vector) -> list[Capacity]:
    """Return constraints that are exact where each model is given a certain mix of classes.

    Args:
        mixes: M x K; each sums to 1.
    """
    made = []
    for m, mix in enumerate(mixes):
        work = problem.work_at(mix)
        mean_s = work @ mix
        r = problem.reference(m, mean_s)
        made.append(_capacity(problem, m, work[r], mean_s[r] / mean_s))
    return made


def safe(problem: Problem) -> list[Capacity]:
    """Return constraints that no plan meets that cannot keep up."""
    work = problem.work_at(problem.weights)
    mean_s = work @ problem.weights
    references = [problem.reference(m, mean_s) for m in range(len(problem.models))]
    return [
        _capacity(problem, m, work[r], 1 / (work / work[r]).max(axis=1))
        for m, r in enumerate(references)
    ]


def necessary(problem: Problem) -> list[Capacity]:
    """Return constraints that every plan meets that keeps up; several for each model."""
    least = problem.level_work_s.min(axis=1)
    distinct: dict[tuple[int, bytes], Capacity] = {}
    for r, m in enumerate(problem.owner):
        strength = 1 / (least / least[r]).min(axis=1)
        key = int(m), np.round(least[r] / least[r].max(), 9).tobytes()
        distinct.setdefault(key, _capacity(problem, int(m), least[r], strength))
    return list(distinct.values())


def _capacity(problem: Problem, model: int, work_s: Vector, strength: Vector) -> Capacity:
    return Capacity(model, work_s, np.where(problem.owner == model, strength, 0.0))
