"""The inner loops of the analytic evaluator, compiled: a what-if scores hundreds of plans at once.

Plain functions on plain arrays; the modules that call them explain the formulas. They stand in
one file because numba's cache on disk notices changes of the file only.
"""

import math
from collections.abc import Callable
from typing import TypeVar, cast

import numpy as np
from numba import njit

from core.estimate.speed import Vector

F = TypeVar("F", bound=Callable[..., object])
MOST_STEPS = 100
LOG_TOLERANCE = 1e-7
ROOT_2 = math.sqrt(2.0)
ROOT_2_PI = math.sqrt(2.0 * math.pi)


def _compiled(function: F) -> F:
    return cast(F, njit(cache=True, nogil=True, error_model="numpy")(function))


@_compiled
def share_within(log_time: float, weight: Vector, centre: Vector, sigma: Vector) -> float:
    """Return the distribution function of a mixture of log-normals at one logarithm of a time."""
    total = 0.0
    for i in range(len(weight)):
        total += weight[i] * 0.5 * math.erfc((centre[i] - log_time) / (sigma[i] * ROOT_2))
    return total


@_compiled
def log_quantile(share: float, weight: Vector, centre: Vector, sigma: Vector) -> float:
    """Return the logarithm of a quantile: Newton's method, halving where it leaves the bracket."""
    low, high = (centre - 4 * sigma).min(), (centre + 4 * sigma).max()
    at = (low + high) / 2
    for _ in range(MOST_STEPS):
        excess = share_within(at, weight, centre, sigma) - share
        if excess < 0:
            low = at
        else:
            high = at
        density = 0.0
        for i in range(len(weight)):
            standard = (at - centre[i]) / sigma[i]
            density += weight[i] * math.exp(-standard * standard / 2) / (sigma[i] * ROOT_2_PI)
        following = at - excess / density if density > 0 else low
        if not low < following < high:
            following = (low + high) / 2
        if abs(following - at) < LOG_TOLERANCE:
            break
        at = following
    return float(at)


@_compiled
def interpolated(measured: Vector, at: Vector, table: Vector) -> Vector:
    """Return B x C values at B places between J measured ones; the ends hold beyond them.

    Args:
        measured: J, rising.
        at: B.
        table: J x C.
    """
    levels, columns = table.shape
    found = np.empty((len(at), columns))
    for i in range(len(at)):
        j = 0
        while j < levels - 2 and measured[j + 1] <= at[i]:
            j += 1
        following = min(j + 1, levels - 1)
        part = 0.0
        if following > j:
            part = (at[i] - measured[j]) / (measured[following] - measured[j])
            part = min(1.0, max(0.0, part))
        for c in range(columns):
            found[i, c] = table[j, c] + part * (table[following, c] - table[j, c])
    return found


@_compiled
def chain(
    held: int,
    replicas: int,
    rate_rps: float,
    capacity_rps: float,
    concurrency: Vector,
    e2e_s: Vector,
    efficiency: Vector,
    edges: Vector,
) -> tuple[Vector, Vector, Vector]:
    """Return what arrivals meet in a birth-death chain, in groups of neighbouring states.

    Args:
        held: States 1..held are looked at: requests in the pool, the arriving one included.
        concurrency: J; requests in flight per replica, rising.
        e2e_s: J; mean end-to-end time.
        efficiency: J; see `KindSpeed`.
        edges: Cumulative probabilities at which a new group begins, rising, in (0, 1).

    Returns:
        B probabilities that sum to 1, B mean requests per replica and B mean waiting times.
    """
    levels = len(concurrency)
    seen = np.empty(held)
    service, log_weight, most, j = 0.0, 0.0, -math.inf, 0
    for n in range(1, held + 1):
        if n > 1:
            log_weight += math.log(rate_rps) - math.log(service)
        seen[n - 1] = log_weight
        most = max(most, log_weight)
        at = n / replicas
        while j < levels - 2 and concurrency[j + 1] <= at:
            j += 1
        part = 0.0
        if levels > 1:
            part = (at - concurrency[j]) / (concurrency[j + 1] - concurrency[j])
            part = min(1.0, max(0.0, part))
        following = min(j + 1, levels - 1)
        time_s = e2e_s[j] + part * (e2e_s[following] - e2e_s[j])
        effective = efficiency[j] + part * (efficiency[following] - efficiency[j])
        # Throughput that dips at a higher level is noise of the measurement, or a level beyond
        # the engine's batch limit: more waiting requests do not slow a replica down.
        service = max(service, min(n, replicas * concurrency[-1]) * effective / time_s)
    seen = np.exp(seen - most)
    seen /= seen.sum()
    return _groups(seen, replicas, capacity_rps, concurrency[-1], edges)


@_compiled
def _groups(
    seen: Vector, replicas: int, capacity_rps: float, batch: float, edges: Vector
) -> tuple[Vector, Vector, Vector]:
    weight = np.zeros(len(edges) + 1)
    held, waited_s = np.zeros(len(edges) + 1), np.zeros(len(edges) + 1)
    before, edge, group = 0.0, 0, 0
    for i in range(len(seen)):
        n = i + 1
        before += seen[i]
        if edge < len(edges) and before >= edges[edge]:
            while edge < len(edges) and before >= edges[edge]:
                edge += 1
            group += i > 0
        weight[group] += seen[i]
        held[group] += seen[i] * n / replicas
        waited_s[group] += seen[i] * max(0.0, n - replicas * batch) / capacity_rps
    used = weight > 0
    return weight[used], held[used] / weight[used], waited_s[used] / weight[used]
