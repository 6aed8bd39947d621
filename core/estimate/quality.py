"""Quality of a routing: the traffic-weighted mean and a lower bound on it."""

import math
from collections.abc import Iterable, Mapping

import numpy as np

from core.domain.cascade import CascadeEstimate
from core.domain.quality import QualityEstimate
from core.domain.workload import Workload
from core.estimate.speed import Vector

CascadeShare = tuple[float, CascadeEstimate]


def mixture_quality(
    workload: Workload,
    quality: Mapping[tuple[str, str], QualityEstimate],
    routing: Mapping[str, Mapping[str, float]],
    cascades: Iterable[CascadeShare] = (),
) -> tuple[float, float]:
    """Return mean and lower 95 % bound of the quality of a routing, both in 0..1.

    With c = (traffic weight of the class) x (share of the model), q the mean score and l its
    Wilson lower bound per (model, class):

        mean  = sum(c q)
        lower = mean - sqrt(sum((c (q - l))^2))

    This is MOVER, the interval for a linear function of independent binomial proportions of Zou,
    Huang & Zhang (Computational Statistics and Data Analysis 53, 2009). It is at least sum(c l).
    Models that answer the same queries are not quite independent: where a class is split between
    them the bound is somewhat too high (`boute bench floors` counts how often a floor is missed).
    Unknown (model, class) pairs count as quality zero.

    A cascade is estimated from the very answers that its models' own estimates come from, so
    within a class its error is added in full, as if all were wrong at once:

        lower = mean - sqrt(sum over classes of (sqrt(sum((c (q - l))^2)) + sum(c' (q' - l')))^2)

    with c', q' and l' of the cascades. It never promises more than independence would.

    Args:
        routing: Share per model that answers alone, per query class.
        cascades: Share of its class, and estimate, of each cascade in use.
    """
    mean, variance = 0.0, 0.0
    of_class: dict[str, list[CascadeShare]] = {}
    for share, cascade in cascades:
        of_class.setdefault(cascade.query_class, []).append((share, cascade))
    # In a fixed order: sums of floats depend on it, and a study must be repeatable.
    for query_class in dict.fromkeys(traffic.query_class for traffic in workload.classes):
        weight = workload.weight(query_class)
        alone, together = 0.0, 0.0
        for model, share in routing.get(query_class, {}).items():
            estimate = quality.get((model, query_class))
            if estimate is not None:
                mean += weight * share * estimate.mean
                squared = (weight * share * (estimate.mean - estimate.lower)) ** 2
                variance += squared
                alone += squared
        for share, cascade in of_class.get(query_class, ()):
            mean += weight * share * cascade.mean
            together += weight * share * (cascade.mean - cascade.lower)
        if together:
            variance += (2 * math.sqrt(alone) + together) * together
    return mean, max(0.0, mean - math.sqrt(variance))


def cascade_variance(shares: Vector, gap: Vector, models: int) -> Vector:
    """Return what cascades add to the squared error of a routing; see `mixture_quality`.

    Args:
        shares: ... x K x O; models alone first, then cascades.
        gap: K x O; mean less lower bound, times the class's share of the traffic.
        models: M of the O columns are models alone.
    """
    squared = (gap[:, :models] * shares[..., :models]) ** 2
    alone = np.sqrt(squared.sum(axis=-1))
    together = (gap[:, models:] * shares[..., models:]).sum(axis=-1)
    added: Vector = ((2 * alone + together) * together).sum(axis=-1)
    return added


def routing_error(shares: Vector, gap: Vector, models: int) -> float:
    """Return mean less lower bound of a routing K x O; the arguments as above."""
    alone = float(np.linalg.norm(gap[:, :models] * shares[:, :models]))
    return math.hypot(alone, math.sqrt(float(cascade_variance(shares, gap, models))))


def error_slope(shares: Vector, gap: Vector, models: int) -> Vector:
    """Return K x O; the gradient of `routing_error`, which is convex and homogeneous: nowhere is
    the error less than the gradient times the shares.
    """
    error = routing_error(shares, gap, models)
    if error <= 0:
        return np.zeros_like(shares)
    errors = gap * shares
    alone = np.sqrt((errors[:, :models] ** 2).sum(axis=1, keepdims=True))
    together = errors[:, models:].sum(axis=1, keepdims=True)
    slope: Vector = np.empty_like(shares)
    larger = 1 + np.divide(together, alone, out=np.zeros_like(together), where=alone > 0)
    slope[:, :models] = gap[:, :models] ** 2 * shares[:, :models] / error * larger
    slope[:, models:] = gap[:, models:] * (alone + together) / error
    return slope
