"""How likely it is that a plan cannot be measured, by those that could not."""

from collections.abc import Sequence

import numpy as np

from core.domain.plan import ServingPlan
from core.domain.study import Trial
from core.estimate.speed import Vector
from core.estimate.validity import placement_of

PRIOR_WEIGHT = 1.0
"""Evaluations that went well, which a plan unlike any other is taken to have behind it."""


def failure_odds(plans: Sequence[ServingPlan], evaluated: Sequence[Trial]) -> Vector:
    """Return for each plan the weighted share of evaluations of similar placements that failed.

    What fails is starting replicas and keeping them alive, so two plans are similar by the devices
    that the same kinds occupy in both: shared over all (the Jaccard index of multisets), squared.
    """
    if not any(trial.failure for trial in evaluated):
        return np.zeros(len(plans))
    alike = np.array([[_similarity(p, t.plan) ** 2 for t in evaluated] for p in plans])
    failed = np.array([bool(trial.failure) for trial in evaluated])
    odds: Vector = alike[:, failed].sum(axis=1) / (PRIOR_WEIGHT + alike.sum(axis=1))
    return odds


def _similarity(one: ServingPlan, other: ServingPlan) -> float:
    mine, theirs = placement_of(one), placement_of(other)
    kinds = mine.keys() | theirs.keys()
    shared = sum(k.devices * min(mine.get(k, 0), theirs.get(k, 0)) for k in kinds)
    total = sum(k.devices * max(mine.get(k, 0), theirs.get(k, 0)) for k in kinds)
    return shared / total if total else 0.0
