"""Small changes to plans: what a local search tries; compiled, a batch at a time."""

import numpy as np

from core.estimate.speed import Vector
from core.optimize.compiling import Flags, Integers, compiled

STEPS = np.array([0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 1.0, 1.0])
FURTHER_MOVE = 0.4
RANDOM_RESTART = 0.02
LARGE_STEP = 0.3
KINDS_AT_ONCE = 8
ADD, REMOVE, SWAP, DRAIN, TIGHTEN, EXCHANGE, JOIN, FIRST_SHIFT = range(8)
MOVES = 12
"""The last ones all shift shares: routing has more directions than placement."""


@compiled
def neighbours(
    owner: Integers,
    most: Integers,
    asks: Flags,
    rng: np.random.Generator,
    known_counts: Integers,
    known_shares: Vector,
    counts: Integers,
    shares: Vector,
) -> None:
    """Write changed copies of known plans; they may break limits and need repair.

    Args:
        owner: R; model of each replica kind.
        most: R; replicas that the empty fleet holds.
        asks: O x M; whether an option needs a model.
        rng: Source of all randomness; compiled code and numpy draw the same numbers from it.
        known_counts: n x R; replicas of plans to start from.
        known_shares: n x K x O; their routing.
        counts: P x R; gets the replicas.
        shares: P x K x O; gets the routing.
    """
    for p in range(len(counts)):
        i = _below(rng, len(known_counts))
        counts[p], shares[p] = known_counts[i], known_shares[i]
        if rng.random() < RANDOM_RESTART:
            _scatter(most, rng, counts[p], shares[p])
            continue
        while True:
            move = _below(rng, MOVES)
            if move == JOIN:
                shares[p] = known_shares[_below(rng, len(known_shares))]
            elif move < FIRST_SHIFT and move not in (DRAIN, EXCHANGE):
                _place(move, owner, asks, rng, counts[p], shares[p])
            else:
                _route(move, rng, shares[p])
            if rng.random() > FURTHER_MOVE:
                break


@compiled
def _below(rng: np.random.Generator, n: int) -> int:
    return int(rng.random() * n)


@compiled
def _scatter(most: Integers, rng: np.random.Generator, counts: Integers, shares: Vector) -> None:
    """Anything at all: from empty to full fleets, from mixed to pure routings."""
    power = 4 * rng.random()
    for k in range(shares.shape[0]):
        for m in range(shares.shape[1]):
            shares[k, m] = (1e-3 - np.log(1 - rng.random())) ** (1 + power)
        shares[k] /= shares[k].sum()
    likely = min(1.0, KINDS_AT_ONCE / len(counts))
    for r in range(len(counts)):
        there = rng.random() < likely
        counts[r] = there * max(0, int(rng.random() * (1.5 * most[r] + 1) - 0.5 * most[r]))


@compiled
def _place(
    move: int,
    owner: Integers,
    asks: Flags,
    rng: np.random.Generator,
    counts: Integers,
    shares: Vector,
) -> None:
    """Change replicas."""
    if move == TIGHTEN:  # the fewest replicas that carry the routing: repair adds them
        counts[:] = 0
        return
    if move in (REMOVE, SWAP):
        kind = _any(rng, counts > 0)
        if kind >= 0:
            counts[kind] -= _some(rng, counts[kind])
    if move in (ADD, SWAP):
        routed = np.full(asks.shape[1], move == SWAP)
        for o in range(shares.shape[1]):
            if shares[:, o].max() > 0:
                routed |= asks[o]
        kind = _any(rng, routed[owner])
        if kind >= 0:
            counts[kind] += _some(rng, counts[kind]) + (move == SWAP and rng.random() < 0.5)


@compiled
def _some(rng: np.random.Generator, count: int) -> int:
    """One replica, or at times up to a third of those there are: fleets may be large."""
    if count < 4 or rng.random() > LARGE_STEP:
        return 1
    return 1 + _below(rng, count // 3 + 1)


@compiled
def _any(rng: np.random.Generator, allowed: Flags) -> int:
    """Return a random position that is allowed; -1 for none."""
    places = np.flatnonzero(allowed)
    return places[_below(rng, len(places))] if len(places) else -1


@compiled
def _route(move: int, rng: np.random.Generator, shares: Vector) -> None:
    """Change routing: part of a class, two options' parts, or all that an option gets."""
    options = shares.shape[1]
    k, target = _below(rng, shares.shape[0]), _below(rng, options)
    if move == DRAIN:
        source = _below(rng, options)
        for i in range(shares.shape[0]):
            moved = shares[i, source]
            shares[i, source] -= moved
            shares[i, target] += moved
        return
    source = _any(rng, shares[k] > 0)
    if move == EXCHANGE:
        shares[k, source], shares[k, target] = shares[k, target], shares[k, source]
        return
    step = min(STEPS[_below(rng, len(STEPS))] * (0.5 + rng.random()), shares[k, source])
    shares[k, source] -= step
    shares[k, target] += step
