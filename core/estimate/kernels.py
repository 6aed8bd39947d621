"""The inner loops of the analytic evaluator, compiled: a what-if scores hundreds of plans at once.

Plain functions on plain arrays; their callers explain the formulas. They stand in one file
because numba's cache on disk notices changes of the file only."""

import math

import numpy as np

from core.estimate.compiling import compiled
from core.estimate.scoring_rows import Fleet, Flows, Groups, Integers
from core.estimate.speed import Z95, Vector

MOST_STEPS = 100
LOG_TOLERANCE = 5e-5
LEAST_BRACKET = 1e-9
TAIL = 1e-4
MAX_WAITING_STATES = 3000
HUGE = 1e200
ROOT_2 = math.sqrt(2.0)
ROOT_2_PI = math.sqrt(2.0 * math.pi)


@compiled
def share_within(log_time: float, weight: Vector, centre: Vector, sigma: Vector) -> float:
    """Return the distribution function of a mixture of log-normals at one logarithm of a time."""
    total = 0.0
    for i in range(len(weight)):
        total += weight[i] * 0.5 * math.erfc((centre[i] - log_time) / (sigma[i] * ROOT_2))
    return total


@compiled
def log_quantile(share: float, weight: Vector, centre: Vector, sigma: Vector) -> float:
    """Return the logarithm of a quantile of a mixture of log-normals."""
    low, high = (centre - 4 * sigma).min(), (centre + 4 * sigma).max()
    return log_quantile_near((low + high) / 2, share, weight, centre, sigma)


@compiled
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


@compiled
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


@compiled
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


@compiled
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


@compiled
def states(batch: float, replicas: int, load: float) -> int:
    """Return how many states of a pool to look at: all that were measured, and waiting ones until
    the tail is negligible.
    """
    waiting = float(MAX_WAITING_STATES)
    if load <= 0.997:
        waiting = min(math.log(TAIL) / math.log(max(load, 1e-9)), waiting)
    return int(replicas * batch + waiting) + 1


@compiled
def capacity_rps(fleet: Fleet, kind: int, mix: Vector) -> float:
    """Return what one replica sustains of a mix of classes (K, sums to 1): the best level's."""
    best = 0.0
    for j in range(fleet.levels[kind]):
        mean_s = 0.0
        for k in range(len(mix)):
            mean_s += fleet.e2e_s[kind, j, k] * mix[k]
        best = max(best, fleet.concurrency[kind, j] * fleet.efficiency[kind, j] / mean_s)
    return best


@compiled
def score_plans(
    fleet: Fleet, counts: Integers, shares: Vector, load: Vector, p95_s: Vector
) -> None:
    """Compute what `AnalyticEvaluator` says of P plans' load and 95th percentile.

    Args:
        counts: P x R; replicas per kind.
        shares: P x K x O; routing.
        load: P; gets the busiest pool's load, infinite where a routed model has no replica.
        p95_s: P; gets the percentile in s, infinite where the plan cannot keep up.
    """
    for p in range(len(counts)):
        load[p], p95_s[p] = _load_and_p95(fleet, counts[p], shares[p])


@compiled
def _load_and_p95(fleet: Fleet, counts: Integers, shares: Vector) -> tuple[float, float]:
    flows = _flows(fleet, shares)
    rates_rps = flows.rates_rps
    capacities, totals = np.zeros(len(counts)), np.zeros(len(rates_rps))
    for r in range(len(counts)):
        m = fleet.owner[r]
        if counts[r] > 0 and rates_rps[m] > 0:
            capacities[r] = counts[r] * capacity_rps(fleet, r, flows.mixes[m])
            totals[m] += capacities[r]
    load = 0.0
    for m in range(len(rates_rps)):
        if rates_rps[m] > 0:
            load = max(load, rates_rps[m] / totals[m] if totals[m] > 0 else math.inf)
    if load >= 1:
        return load, math.inf
    groups = _all_groups(fleet, counts, flows, capacities, totals)
    return load, _p95(_all_parts(fleet, shares, flows, groups))


@compiled
def _flows(fleet: Fleet, shares: Vector) -> Flows:
    """Return the calls that a routing K x O makes."""
    classes, options = shares.shape
    mixes, rates_rps = np.zeros((fleet.models, classes)), np.zeros(fleet.models)
    answers, second_rps = np.zeros((fleet.models, classes)), 0.0
    for k in range(classes):
        for o in range(options):
            share = shares[k, o]
            if share > 0:
                going = share * fleet.goes_on[k, o]
                mixes[fleet.first[o], k] += share
                answers[fleet.first[o], k] += share - going
                if going > 0:
                    mixes[fleet.second[o], k] += going
                    second_rps += fleet.rates_rps[k] * going
    for m in range(fleet.models):
        for k in range(classes):
            if mixes[m, k] > 0:
                answers[m, k] /= mixes[m, k]
            mixes[m, k] = fleet.rates_rps[k] * mixes[m, k]
            rates_rps[m] += mixes[m, k]
        if rates_rps[m] > 0:
            mixes[m] /= rates_rps[m]
    return Flows(mixes, rates_rps, answers, rates_rps.sum() - second_rps)


@compiled
def _all_groups(
    fleet: Fleet, counts: Integers, flows: Flows, capacities: Vector, totals: Vector
) -> Groups:
    most = (capacities > 0).sum() * (len(fleet.edges) + 1)
    classes = len(fleet.rates_rps)
    groups = Groups(
        np.empty(most, dtype=np.int64),
        np.empty(most),
        np.empty(most),
        np.empty((most, classes)),
        np.empty(most),
    )
    used = 0
    for r in range(len(counts)):
        if capacities[r] > 0:
            m = fleet.owner[r]
            rate_rps = flows.rates_rps[m] * capacities[r] / totals[m]
            more = _add_pool(
                fleet, r, counts[r], rate_rps, capacities[r], flows.mixes[m], groups, used
            )
            groups.share[used:more] = rate_rps / flows.traffic_rps
            used = more
    return Groups(
        groups.kind[:used],
        groups.share[:used],
        groups.weight[:used],
        groups.times_s[:used],
        groups.sigma[:used],
    )


@compiled
def _add_pool(
    fleet: Fleet,
    kind: int,
    replicas: int,
    rate_rps: float,
    capacity: float,
    mix: Vector,
    groups: Groups,
    used: int,
) -> int:
    """Write a pool's groups behind the used ones; return how many are used then."""
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
        groups.kind[used], groups.weight[used] = kind, weight[b]
        for k in range(len(mix)):
            groups.times_s[used, k] = times_s[b, k] + wait_s[b]
        groups.sigma[used] = sigmas[b, 0]
        used += 1
    return used


@compiled
def _all_parts(fleet: Fleet, shares: Vector, flows: Flows, groups: Groups) -> Vector:
    """Return weights, log-centres and spreads (3 x n) of the times of all traffic."""
    classes, options = shares.shape
    escalations = 0
    for k in range(classes):
        for o in range(fleet.models, options):
            escalations += shares[k, o] > 0
    parts = np.empty((3, len(groups.kind) * (classes + escalations)))
    used = 0
    for g in range(len(groups.kind)):
        m, sigma = fleet.owner[groups.kind[g]], groups.sigma[g]
        for k in range(classes):
            if flows.mixes[m, k] * flows.answers[m, k] > 0:
                calls = groups.weight[g] * flows.mixes[m, k] * groups.share[g]
                parts[0, used] = calls * flows.answers[m, k]
                parts[1, used] = math.log(groups.times_s[g, k]) - sigma * sigma / 2
                parts[2, used] = sigma
                used += 1
    for k in range(classes):
        for o in range(fleet.models, options):
            share = fleet.rates_rps[k] * shares[k, o] * fleet.goes_on[k, o] / flows.traffic_rps
            if share > 0:
                pair = fleet.first[o], fleet.second[o]
                used = _add_escalated(fleet, flows, groups, k, pair, share, parts, used)
    return parts[:, :used]


@compiled
def _add_escalated(
    fleet: Fleet,
    flows: Flows,
    groups: Groups,
    k: int,
    pair: tuple[int, int],
    share: float,
    parts: Vector,
    used: int,
) -> int:
    """Append the times of a share of all traffic that is of one class and goes on from the first
    to the second model of a pair; see `core.estimate.plan_times`.
    """
    first_s, between, within_s = _first_stage(fleet, flows, groups, k, pair[0])
    of_second = flows.rates_rps[pair[1]] / flows.traffic_rps
    for g in range(len(groups.kind)):
        if fleet.owner[groups.kind[g]] == pair[1]:
            time_s, sigma = groups.times_s[g, k], groups.sigma[g]
            spread_s = within_s + time_s * math.sqrt(math.expm1(sigma * sigma))
            total_s = first_s + time_s
            variance = math.log1p((between + spread_s * spread_s) / (total_s * total_s))
            parts[0, used] = share * groups.weight[g] * groups.share[g] / of_second
            parts[1, used] = math.log(total_s) - variance / 2
            parts[2, used] = math.sqrt(variance)
            used += 1
    return used


@compiled
def _first_stage(
    fleet: Fleet, flows: Flows, groups: Groups, k: int, model: int
) -> tuple[float, float, float]:
    """Return mean, variance between groups and spread within them of a class's first calls."""
    of_model = flows.rates_rps[model] / flows.traffic_rps
    mean_s, squared, within = 0.0, 0.0, 0.0
    for g in range(len(groups.kind)):
        if fleet.owner[groups.kind[g]] == model:
            weight = groups.weight[g] * groups.share[g] / of_model
            time_s, sigma = groups.times_s[g, k], groups.sigma[g]
            mean_s += weight * time_s
            squared += weight * time_s * time_s
            within += weight * time_s * time_s * math.expm1(sigma * sigma)
    return mean_s, max(0.0, squared - mean_s * mean_s), math.sqrt(within)


@compiled
def _p95(parts: Vector) -> float:
    weight, centre, sigma = parts[0], parts[1], parts[2]
    mean = (weight * centre).sum()
    spread = math.sqrt(max(0.0, (weight * (sigma**2 + centre**2)).sum() - mean * mean))
    return math.exp(log_quantile_near(mean + Z95 * spread, 0.95, weight, centre, sigma))
