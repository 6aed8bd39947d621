"""The inner loops of the analytic evaluator, compiled: a what-if scores hundreds of plans at once.

Plain functions on plain arrays; the modules that call them explain the formulas. They stand in
one file because numba's cache on disk notices changes of the file only.
"""

import math
from collections.abc import Callable
from typing import NamedTuple, TypeVar, cast

import numpy as np
from numba import njit
from numpy.typing import NDArray

from core.estimate.speed import Z95, Vector

F = TypeVar("F", bound=Callable[..., object])
Integers = NDArray[np.int64]
MOST_STEPS = 100
LOG_TOLERANCE = 5e-5
LEAST_BRACKET = 1e-9
TAIL = 1e-4
MAX_WAITING_STATES = 3000
HUGE = 1e200
ROOT_2 = math.sqrt(2.0)
ROOT_2_PI = math.sqrt(2.0 * math.pi)


def _compiled(function: F) -> F:
    return cast(F, njit(cache=True, nogil=True, error_model="numpy")(function))


class Fleet(NamedTuple):
    """R replica kinds with up to J levels and K query classes, as `KindSpeed` describes them.

    Attributes:
        owner: R; index of the kind's model.
        levels: R; how many of the J levels count.
        concurrency: R x J.
        efficiency: R x J.
        e2e_s: R x J x K.
        e2e_sigma: R x J.
        rates_rps: K; arrivals of the query classes.
        edges: Cumulative probabilities at which a new group of states begins.
    """

    owner: Integers
    levels: Integers
    concurrency: Vector
    efficiency: Vector
    e2e_s: Vector
    e2e_sigma: Vector
    rates_rps: Vector
    edges: Vector


@_compiled
def share_within(log_time: float, weight: Vector, centre: Vector, sigma: Vector) -> float:
    """Return the distribution function of a mixture of log-normals at one logarithm of a time."""
    total = 0.0
    for i in range(len(weight)):
        total += weight[i] * 0.5 * math.erfc((centre[i] - log_time) / (sigma[i] * ROOT_2))
    return total


@_compiled
def log_quantile(share: float, weight: Vector, centre: Vector, sigma: Vector) -> float:
    """Return the logarithm of a quantile of a mixture of log-normals."""
    low, high = (centre - 4 * sigma).min(), (centre + 4 * sigma).max()
    return log_quantile_near((low + high) / 2, share, weight, centre, sigma)


@_compiled
def log_quantile_near(
    at: float, share: float, weight: Vector, centre: Vector, sigma: Vector
) -> float:
    """Do the same from a first guess: Newton's method, halving where it leaves the bracket.

    A step of Newton's that is shorter than the tolerance leaves an error of about its square.
    """
    low, high = (centre - 4 * sigma).min(), (centre + 4 * sigma).max()
    at = min(max(at, low), high)
    for _ in range(MOST_STEPS):
        excess, density = -share, 0.0
        for i in range(len(weight)):
            standard = (at - centre[i]) / sigma[i]
            excess += weight[i] * 0.5 * math.erfc(-standard / ROOT_2)
            density += weight[i] * math.exp(-standard * standard / 2) / sigma[i]
        if excess < 0:
            low = at
        else:
            high = at
        following = at - excess * ROOT_2_PI / density if density > 0 else low
        if abs(following - at) < LOG_TOLERANCE or high - low < LEAST_BRACKET:
            return following
        at = following if low < following < high else (low + high) / 2
    return at


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
    service, weight, j = math.inf, 1.0, 0
    for n in range(1, held + 1):
        if n > 1:
            weight *= rate_rps / service
        if weight > HUGE:  # only ratios count
            seen[: n - 1] /= HUGE
            weight /= HUGE
        seen[n - 1] = weight
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
        throughput = min(n, replicas * concurrency[-1]) * effective / time_s
        service = throughput if n == 1 else max(service, throughput)
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


@_compiled
def states(batch: float, replicas: int, load: float) -> int:
    """Return how many states of a pool to look at: all that were measured, and waiting ones until
    the tail is negligible.
    """
    waiting = float(MAX_WAITING_STATES)
    if load <= 0.997:
        waiting = min(math.log(TAIL) / math.log(max(load, 1e-9)), waiting)
    return int(replicas * batch + waiting) + 1


@_compiled
def capacity_rps(fleet: Fleet, kind: int, mix: Vector) -> float:
    """Return what one replica sustains of a mix of classes (K, sums to 1): the best level's."""
    best = 0.0
    for j in range(fleet.levels[kind]):
        mean_s = 0.0
        for k in range(len(mix)):
            mean_s += fleet.e2e_s[kind, j, k] * mix[k]
        best = max(best, fleet.concurrency[kind, j] * fleet.efficiency[kind, j] / mean_s)
    return best


@_compiled
def score_plans(
    fleet: Fleet, counts: Integers, shares: Vector, load: Vector, p95_s: Vector
) -> None:
    """Compute what `AnalyticEvaluator` says of P plans' load and 95th percentile.

    Args:
        counts: P x R; replicas per kind.
        shares: P x K x M; routing.
        load: P; gets the busiest pool's load, infinite where a routed model has no replica.
        p95_s: P; gets the percentile in s, infinite where the plan cannot keep up.
    """
    for p in range(len(counts)):
        load[p], p95_s[p] = _load_and_p95(fleet, counts[p], shares[p])


@_compiled
def _load_and_p95(fleet: Fleet, counts: Integers, shares: Vector) -> tuple[float, float]:
    mixes, rates_rps = _split(fleet, shares)
    capacities, totals = np.zeros(len(counts)), np.zeros(len(rates_rps))
    pools = 0
    for r in range(len(counts)):
        m = fleet.owner[r]
        if counts[r] > 0 and rates_rps[m] > 0:
            capacities[r] = counts[r] * capacity_rps(fleet, r, mixes[m])
            totals[m] += capacities[r]
            pools += 1
    load = 0.0
    for m in range(len(rates_rps)):
        if rates_rps[m] > 0:
            load = max(load, rates_rps[m] / totals[m] if totals[m] > 0 else math.inf)
    if load >= 1:
        return load, math.inf
    parts = np.empty((3, pools * (len(fleet.edges) + 1) * len(fleet.rates_rps)))
    used, traffic = 0, rates_rps.sum()
    for r in range(len(counts)):
        if capacities[r] > 0:
            m = fleet.owner[r]
            rate_rps = rates_rps[m] * capacities[r] / totals[m]
            share = rate_rps / traffic
            used = _add_pool(
                fleet, r, counts[r], rate_rps, capacities[r], mixes[m], share, parts, used
            )
    return load, _p95(parts[:, :used])


@_compiled
def _split(fleet: Fleet, shares: Vector) -> tuple[Vector, Vector]:
    """Return M x K mixes of classes that models are given, and M arrivals per second."""
    classes, models = shares.shape
    mixes, rates_rps = np.zeros((models, classes)), np.zeros(models)
    for m in range(models):
        for k in range(classes):
            mixes[m, k] = fleet.rates_rps[k] * shares[k, m]
            rates_rps[m] += mixes[m, k]
        if rates_rps[m] > 0:
            mixes[m] /= rates_rps[m]
    return mixes, rates_rps


@_compiled
def _add_pool(
    fleet: Fleet,
    kind: int,
    replicas: int,
    rate_rps: float,
    capacity: float,
    mix: Vector,
    of_pool: float,
    parts: Vector,
    used: int,
) -> int:
    """Append weights, log-centres and spreads of a pool's groups and classes to `parts`."""
    levels = fleet.levels[kind]
    concurrency = fleet.concurrency[kind, :levels]
    mean_s = np.zeros(levels)
    for j in range(levels):
        for k in range(len(mix)):
            mean_s[j] += fleet.e2e_s[kind, j, k] * mix[k]
    weight, held, wait_s = chain(
        states(concurrency[-1], replicas, rate_rps / capacity),
        replicas,
        rate_rps,
        capacity,
        concurrency,
        mean_s,
        fleet.efficiency[kind, :levels],
        fleet.edges,
    )
    times_s = interpolated(concurrency, held, fleet.e2e_s[kind, :levels])
    sigmas = interpolated(concurrency, held, fleet.e2e_sigma[kind, :levels].reshape(levels, 1))
    for b in range(len(weight)):
        sigma = sigmas[b, 0]
        for k in range(len(mix)):
            if mix[k] > 0:
                parts[0, used] = weight[b] * mix[k] * of_pool
                parts[1, used] = math.log(times_s[b, k] + wait_s[b]) - sigma * sigma / 2
                parts[2, used] = sigma
                used += 1
    return used


@_compiled
def _p95(parts: Vector) -> float:
    weight, centre, sigma = parts[0], parts[1], parts[2]
    mean = (weight * centre).sum()
    spread = math.sqrt(max(0.0, (weight * (sigma**2 + centre**2)).sum() - mean * mean))
    return math.exp(log_quantile_near(mean + Z95 * spread, 0.95, weight, centre, sigma))
