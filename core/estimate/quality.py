"""Quality of a routing: the traffic-weighted mean and a lower bound on it."""

import math
from collections.abc import Mapping

from core.domain.quality import QualityEstimate
from core.domain.workload import Workload


def mixture_quality(
    workload: Workload,
    quality: Mapping[tuple[str, str], QualityEstimate],
    routing: Mapping[str, Mapping[str, float]],
) -> tuple[float, float]:
    """Return mean and lower 95 % bound of the quality of a routing, both in 0..1.

    With c = (traffic weight of the class) x (share of the model), q the mean score and l its
    Wilson lower bound per (model, class):

        mean  = sum(c q)
        lower = mean - sqrt(sum((c (q - l))^2))

    This is MOVER, the interval for a linear function of independent binomial proportions of Zou,
    Huang & Zhang (Computational Statistics and Data Analysis 53, 2009): the estimates are made on
    different queries, so their errors do not add up all at once. It is at least sum(c l).
    Unknown (model, class) pairs count as quality zero.

    Args:
        routing: Share per model per query class.
    """
    mean, variance = 0.0, 0.0
    # In a fixed order: sums of floats depend on it, and a study must be repeatable.
    for query_class in dict.fromkeys(traffic.query_class for traffic in workload.classes):
        weight = workload.weight(query_class)
        for model, share in routing.get(query_class, {}).items():
            estimate = quality.get((model, query_class))
            if estimate is not None:
                mean += weight * share * estimate.mean
                variance += (weight * share * (estimate.mean - estimate.lower)) ** 2
    return mean, max(0.0, mean - math.sqrt(variance))
