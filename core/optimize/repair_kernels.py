"""Repair of candidates, compiled: quality first, then replicas.

Plans are rows of arrays: replicas per kind (R) and shares of each class per option (K x O: models,
then cascades, see `core.estimate.options`). All is in one file: numba's cache notices no other.
"""

import math
from typing import NamedTuple

import numpy as np

from core.estimate.speed import Vector
from core.optimize.compiling import Flags, Integers, compiled

MIN_SHARE = 0.02
"""A whole replica for a trickle is never worth it."""
QUALITY_MARGIN = 2e-4
BISECTIONS = 12
DIGITS = 1e6


class Rules(NamedTuple):
    """What a plan must keep to; R kinds, K classes, M models, O options, S device types.

    Attributes:
        rates_rps: K; arrivals.
        mean: K x O; mean quality times the class's share of the traffic.
        gap: K x O; mean less lower bound, weighted the same.
        models: M; the first M options are models alone.
        first, second: O; models that are asked; -1 where there is no second.
        goes_on: K x O; share of the queries that go on to the second.
        stands_for: K x O; option that means the same to a class; another one where it has no
            such cascade.
        owner: R; model of a kind.
        price: R; $/h of a replica.
        sku: R; device type of a kind.
        size: R; position of its TP size in `sizes`.
        groups: R; TP groups of a replica (PP stages).
        most: R; replicas that the empty fleet holds.
        levels: R; load levels that count.
        work_s: R x J x K; replica-seconds of a request by load level.
        sizes: S x T; TP sizes in use, falling, then zeros.
        nodes: S x N; devices of the nodes, falling, then zeros.
    """

    rates_rps: Vector
    mean: Vector
    gap: Vector
    models: int
    first: Integers
    second: Integers
    goes_on: Vector
    stands_for: Integers
    owner: Integers
    price: Vector
    sku: Integers
    size: Integers
    groups: Integers
    most: Integers
    levels: Integers
    work_s: Vector
    sizes: Integers
    nodes: Integers


class Bounds(NamedTuple):
    """Hard limits: floor of quality, most load, most cost in $/h (infinite for none)."""

    floor: float
    utilisation: float
    budget_usd_per_hour: float


@compiled
def quality_lower(rules: Rules, shares: Vector) -> float:
    """Return the lower bound of quality of a routing; see `core.estimate.quality`."""
    mean, variance = 0.0, 0.0
    for k in range(shares.shape[0]):
        alone, together = 0.0, 0.0
        for o in range(shares.shape[1]):
            mean += rules.mean[k, o] * shares[k, o]
            error = rules.gap[k, o] * shares[k, o]
            if o < rules.models:
                variance += error**2
                alone += error**2
            else:
                together += error
        if together > 0:
            variance += (2 * math.sqrt(alone) + together) * together
    return mean - math.sqrt(variance)


@compiled
def raise_quality(rules: Rules, floor: float, best: Vector, shares: Vector) -> None:
    """Move a routing towards the best one until the floor holds (bisection; it is concave)."""
    if quality_lower(rules, shares) >= floor:
        return
    low, high = 0.0, 1.0
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        mixed = (1 - middle) * shares + middle * best
        if quality_lower(rules, mixed) >= floor + QUALITY_MARGIN:
            high = middle
        else:
            low = middle
    shares[:] = (1 - high) * shares + high * best


@compiled
def give_to_own(rules: Rules, shares: Vector) -> None:
    """Give what goes to cascades that a class does not have to their first models."""
    for k in range(shares.shape[0]):
        for o in range(rules.models, shares.shape[1]):
            if rules.stands_for[k, o] != o:
                shares[k, rules.stands_for[k, o]] += shares[k, o]
                shares[k, o] = 0.0


@compiled
def drop_crumbs(shares: Vector, least: float) -> None:
    """Drop shares below a least one and let the others of the class grow."""
    for k in range(shares.shape[0]):
        total = 0.0
        for m in range(shares.shape[1]):
            if shares[k, m] < least:
                shares[k, m] = 0.0
            total += shares[k, m]
        shares[k] /= total


@compiled
def round_rows(shares: Vector) -> None:
    """Round to six digits; each row still sums to 1."""
    for k in range(shares.shape[0]):
        total, largest = 0.0, 0
        for m in range(shares.shape[1]):
            shares[k, m] = np.rint(min(max(shares[k, m], 0.0), 1.0) * DIGITS) / DIGITS
            total += shares[k, m]
            if shares[k, m] > shares[k, largest]:
                largest = m
        shares[k, largest] = np.rint((shares[k, largest] + 1 - total) * DIGITS) / DIGITS


@compiled
def capacities(
    rules: Rules, bounds: Bounds, shares: Vector, need: Vector, strength: Vector
) -> None:
    """Compute what models must sustain and what a replica of each kind sustains, both per s.

    Args:
        need: M; gets arrivals / allowed load; a trifle for a model that is routed idle classes;
            -1 for one that is not routed at all.
        strength: R; gets requests/s of the model's own mix of classes; 0 where it is not routed.
    """
    classes = len(rules.rates_rps)
    calls_rps, routed = _calls(rules, shares)
    for m in range(rules.models):
        mix, total = calls_rps[m], calls_rps[m].sum()
        need[m] = max(total / bounds.utilisation, 1e-12) if routed[m] else -1.0
        mix = mix / total if total > 0 else np.full(classes, 1.0 / classes)
        for r in range(len(strength)):
            if rules.owner[r] == m:
                strength[r] = _capacity_rps(rules, r, mix) if routed[m] else 0.0


@compiled
def _calls(rules: Rules, shares: Vector) -> tuple[Vector, Flags]:
    """Return M x K calls per second, and M: whether a model is needed at all."""
    classes, options = shares.shape
    calls_rps = np.zeros((rules.models, classes))
    routed = np.zeros(rules.models, dtype=np.bool_)
    for k in range(classes):
        for o in range(options):
            if shares[k, o] > 0:
                rate_rps = rules.rates_rps[k] * shares[k, o]
                calls_rps[rules.first[o], k] += rate_rps
                routed[rules.first[o]] = True
                if o >= rules.models:
                    calls_rps[rules.second[o], k] += rate_rps * rules.goes_on[k, o]
                    routed[rules.second[o]] = True
    return calls_rps, routed


@compiled
def _capacity_rps(rules: Rules, kind: int, mix: Vector) -> float:
    least = math.inf
    for j in range(rules.levels[kind]):
        work_s = 0.0
        for k in range(len(mix)):
            work_s += rules.work_s[kind, j, k] * mix[k]
        least = min(least, work_s)
    return 1 / least


@compiled
def groups_of(rules: Rules, counts: Integers) -> Integers:
    """Return S x T; TP groups of each size on each device type."""
    groups = np.zeros(rules.sizes.shape, dtype=np.int64)
    for r in range(len(counts)):
        groups[rules.sku[r], rules.size[r]] += counts[r] * rules.groups[r]
    return groups


@compiled
def packs(rules: Rules, groups: Integers, sku: int) -> bool:
    """Whether the groups on a device type fit on its nodes, largest first.

    Exact where each TP size divides the next larger one; else it may refuse what only an
    exhaustive search packs (`core.estimate.packing`).
    """
    free = rules.nodes[sku].copy()
    for t in range(rules.sizes.shape[1]):
        size, left = rules.sizes[sku, t], groups[sku, t]
        for i in range(len(free)):
            if left == 0:
                break
            taken = min(left, free[i] // size)
            free[i] -= taken * size
            left -= taken
        if left:
            return False
    return True


@compiled
def cost_usd_per_hour(rules: Rules, counts: Integers) -> float:
    """Return the price of a placement."""
    total = 0.0
    for r in range(len(counts)):
        total += counts[r] * rules.price[r]
    return total


@compiled
def _affordable(rules: Rules, bounds: Bounds, counts: Integers) -> bool:
    return cost_usd_per_hour(rules, counts) <= bounds.budget_usd_per_hour * (1 + 1e-9)


@compiled
def has_room(rules: Rules, bounds: Bounds, counts: Integers, groups: Integers) -> bool:
    """Whether a placement is within the budget and fits on the fleet."""
    if not _affordable(rules, bounds, counts):
        return False
    for sku in range(len(rules.nodes)):  # noqa: SIM110 -- numba compiles no generators
        if not packs(rules, groups, sku):
            return False
    return True


@compiled
def _change(rules: Rules, counts: Integers, groups: Integers, kind: int, by: int) -> None:
    counts[kind] += by
    groups[rules.sku[kind], rules.size[kind]] += by * rules.groups[kind]


@compiled
def _supply(rules: Rules, counts: Integers, strength: Vector, models: int) -> Vector:
    supply = np.zeros(models)
    for r in range(len(counts)):
        supply[rules.owner[r]] += counts[r] * strength[r]
    return supply


@compiled
def _dearest_spare(rules: Rules, counts: Integers, need: Vector, strength: Vector) -> int:
    """Return the dearest kind whose model can do without one replica of it; -1 for none."""
    supply = _supply(rules, counts, strength, len(need))
    chosen = -1
    for r in range(len(counts)):
        left = supply[rules.owner[r]] - strength[r]
        enough = left >= need[rules.owner[r]] * (1 - 1e-12)
        if counts[r] and enough and (chosen < 0 or rules.price[r] > rules.price[chosen]):
            chosen = r
    return chosen


@compiled
def _least_useful(rules: Rules, counts: Integers, strength: Vector) -> int:
    """Return the placed kind that pays worst and whose model has a better one; -1 for none."""
    best = np.full(rules.models, math.inf)
    for r in range(len(counts)):
        if strength[r] > 0:
            best[rules.owner[r]] = min(best[rules.owner[r]], rules.price[r] / strength[r])
    chosen, worst = -1, 0.0
    for r in range(len(counts)):
        if counts[r] > 0:
            pays = rules.price[r] / strength[r]
            if pays > max(worst, best[rules.owner[r]] * (1 + 1e-9)):
                chosen, worst = r, pays
    return chosen


@compiled
def _grow(
    rules: Rules,
    bounds: Bounds,
    counts: Integers,
    groups: Integers,
    missing: float,
    model: int,
    strength: Vector,
) -> bool:
    """Add as many as are missing, or fit, of the kind that fills the gap most cheaply."""
    tried = np.zeros(len(counts), dtype=np.bool_)
    while True:
        chosen, least, more = -1, math.inf, 0
        for r in range(len(counts)):
            if rules.owner[r] == model and not tried[r]:
                wanted = max(1, math.ceil(missing / strength[r] - 1e-9))
                if wanted * rules.price[r] < least:
                    chosen, least, more = r, wanted * rules.price[r], int(wanted)
        if chosen < 0:
            return False
        tried[chosen] = True
        more = min(more, _free_for(rules, groups, chosen))
        while more:
            _change(rules, counts, groups, chosen, more)
            if _affordable(rules, bounds, counts) and packs(rules, groups, rules.sku[chosen]):
                return True
            _change(rules, counts, groups, chosen, -more)
            more //= 2


@compiled
def _free_for(rules: Rules, groups: Integers, kind: int) -> int:
    """Return for how many more replicas of a kind there are devices, nodes aside."""
    sku = rules.sku[kind]
    free = rules.nodes[sku].sum() - (groups[sku] * rules.sizes[sku]).sum()
    return int(max(0, free // (rules.sizes[sku, rules.size[kind]] * rules.groups[kind])))


@compiled
def fit(rules: Rules, bounds: Bounds, counts: Integers, shares: Vector) -> bool:
    """Change replicas as little as needed so that the routing is sustained and all fits.

    Returns:
        Whether it could: False when greedy repair finds no room.
    """
    need, strength = np.empty(rules.models), np.empty(len(counts))
    capacities(rules, bounds, shares, need, strength)
    for r in range(len(counts)):
        if need[rules.owner[r]] < 0:
            counts[r] = 0
    groups = groups_of(rules, counts)
    while not has_room(rules, bounds, counts, groups):
        surplus = _dearest_spare(rules, counts, need, strength)
        if surplus < 0:
            surplus = _least_useful(rules, counts, strength)
        if surplus < 0:
            return False
        _change(rules, counts, groups, surplus, -1)
    while True:
        supply = _supply(rules, counts, strength, len(need))
        short = int(np.argmin(supply / need * (need > 0) + (need < 0) * 2.0))
        missing = need[short] - supply[short]
        if need[short] < 0 or missing <= need[short] * 1e-12:
            return True
        if not _grow(rules, bounds, counts, groups, missing, short, strength):
            surplus = _dearest_spare(rules, counts, need, strength)
            if surplus < 0:
                return False
            _change(rules, counts, groups, surplus, -1)


@compiled
def trim(rules: Rules, bounds: Bounds, counts: Integers, shares: Vector) -> None:
    """Take away replicas that the routing does without, the dearest first."""
    need, strength = np.empty(rules.models), np.empty(len(counts))
    capacities(rules, bounds, shares, need, strength)
    while True:
        surplus = _dearest_spare(rules, counts, need, strength)
        if surplus < 0:
            return
        counts[surplus] -= 1


@compiled
def repair(rules: Rules, bounds: Bounds, best: Vector, counts: Integers, shares: Vector) -> bool:
    """Make replicas and shares a valid plan, in place; False when it does not fit."""
    give_to_own(rules, shares)
    drop_crumbs(shares, MIN_SHARE)
    raise_quality(rules, bounds.floor, best, shares)
    round_rows(shares)
    return fit(rules, bounds, counts, shares)


@compiled
def repair_all(
    rules: Rules, bounds: Bounds, best: Vector, counts: Integers, shares: Vector, fits: Flags
) -> None:
    """Repair P candidates in place.

    Args:
        best: K x O; routing with the highest lower bound of quality.
        counts: P x R.
        shares: P x K x O.
        fits: P; gets whether the row is a valid plan now.
    """
    for p in range(len(counts)):
        fits[p] = repair(rules, bounds, best, counts[p], shares[p])
