"""The fast simulation as a function of replicas and arrivals."""

from collections.abc import Iterable, Sequence
from graphlib import CycleError, TopologicalSorter

import numpy as np

from core.errors import InvalidInput
from core.estimate.simulator.columns import Columns, pack, unpack
from core.estimate.simulator.kernel import NUMBER, play
from core.estimate.simulator.rows import REPLICA, REQUEST, Fleet, Rows
from core.estimate.simulator.spec import (
    NOBODY,
    Arrivals,
    EngineSpec,
    Floats,
    Integers,
    Timeline,
)

MOST_TOKENS = 2**30
TIMES = (
    "fixed_s",
    "per_sequence_s",
    "per_context_token_s",
    "per_prefill_token_s",
    "per_request_s",
    "overhead_s",
)
LIMITS = ("max_num_seqs", "max_num_batched_tokens", "kv_blocks", "block_size")


def simulate(replicas: Sequence[EngineSpec], arrivals: Arrivals) -> Timeline:
    """Return what happens to every request; `core.estimate.simulator.oracle` has the rules.

    The answer is the oracle's but for rounding, which differs a little where runs of equal steps
    are summed at once. Pools meet only where an answer of one makes a call to another, so they are
    played one after the other, each before those that it calls. Releases the global interpreter
    lock.

    Args:
        replicas: R replicas; their order breaks ties of dispatch.
        arrivals: n calls.

    Raises:
        InvalidInput: More than 2^27 calls, a length of more than 2^30 tokens, or pools that call
            each other in a circle: none of them could be played before the others.
    """
    _check(arrivals)
    n, preceding = len(arrivals), arrivals.preceding
    follows = np.flatnonzero(preceding != NOBODY)
    arrived_at_s = np.array(arrivals.arrived_at_s, dtype=np.float64)
    arrived_at_s[follows] = np.nan
    turns = np.where(preceding == NOBODY, np.arange(n), preceding)
    ends_s = np.full(n, np.nan)
    seen = Columns(
        np.full(n, np.nan), np.full(n, np.nan), np.full(n, NOBODY), np.zeros(n, dtype=np.int64)
    )
    pools: dict[int, list[int]] = {}
    for position, spec in enumerate(replicas):
        pools.setdefault(spec.pool, []).append(position)
    for pool in _callers_first(pools, arrivals, follows):
        numbers = np.flatnonzero((arrivals.pool == pool) & ~np.isnan(arrived_at_s))
        numbers = numbers[np.argsort(arrived_at_s[numbers], kind="stable")]
        at_s = arrived_at_s[numbers]
        fleet = _fleet([replicas[i] for i in pools[pool]], len(numbers))
        columns = (arrivals.input_tokens, arrivals.output_tokens, arrivals.cached_tokens)
        pack(numbers, *columns, fleet.requests)
        play(fleet, at_s, turns[numbers])
        unpack(fleet, at_s, numbers, np.array(pools[pool]), seen)
        ends_s[numbers] = (
            fleet.finished_s + fleet.replicas["overhead_s"][fleet.requests["replica"]]
        )
        arrived_at_s[follows] = ends_s[preceding[follows]]
    return Timeline(*seen)


def _callers_first(pools: Iterable[int], arrivals: Arrivals, follows: Integers) -> list[int]:
    """Return the pools that have replicas, each behind those whose answers make calls to it."""
    if not len(follows):
        return list(pools)
    order: TopologicalSorter[int] = TopologicalSorter({pool: () for pool in pools})
    called, callers = arrivals.pool[follows], arrivals.pool[arrivals.preceding[follows]]
    for caller, pool in sorted({*zip(callers.tolist(), called.tolist(), strict=True)}):
        order.add(pool, caller)
    try:
        return [pool for pool in order.static_order() if pool in pools]
    except CycleError as error:
        raise InvalidInput(
            "Models that pass queries on to each other in a circle are not simulated.",
            "Let queries go on in one direction only.",
        ) from error


def _check(arrivals: Arrivals) -> None:
    longest = max(x.max(initial=0) for x in (arrivals.input_tokens, arrivals.output_tokens))
    if len(arrivals) > NUMBER or longest > MOST_TOKENS:
        raise InvalidInput("The trace is too long to simulate.", "Take a part of it.")


def _fleet(specs: Sequence[EngineSpec], requests: int) -> Fleet:
    rows = _rows(specs)
    widths = np.minimum(rows["max_num_seqs"], requests)
    rows["first_finishing"] = np.cumsum(widths) - widths
    rows["first_phase"] = np.cumsum(rows["block_size"]) - rows["block_size"]
    return Fleet(
        rows,
        requests=np.empty(requests, dtype=REQUEST),
        first_token_s=np.full(requests, np.nan),
        finished_s=np.full(requests, np.nan),
        finishing=np.empty(int(widths.sum()), dtype=np.int64),
        phases=np.zeros(int(rows["block_size"].sum()), dtype=np.int32),
        ends_s=_tree(np.full(len(rows), np.inf)),
        load=_tree(np.zeros(len(rows))),
    )


def _rows(specs: Sequence[EngineSpec]) -> Rows:
    rows = np.zeros(len(specs), dtype=REPLICA)
    for column in TIMES:
        rows[column] = [getattr(spec.step, column) for spec in specs]
    for column in LIMITS:
        rows[column] = np.minimum([getattr(spec.limits, column) for spec in specs], MOST_TOKENS)
    rows["devices"] = [spec.devices for spec in specs]
    rows["free_blocks"] = rows["kv_blocks"]
    rows["head"] = rows["tail"] = rows["prefilling"] = NOBODY
    return rows


def _tree(values: Floats) -> Floats:
    """Return a tree of minima over values; see the kernel."""
    leaves = 1 << (len(values) - 1).bit_length()
    tree = np.full(2 * leaves, np.inf)
    tree[leaves : leaves + len(values)] = values
    while leaves > 1:
        below = tree[leaves : 2 * leaves]
        leaves //= 2
        tree[leaves : 2 * leaves] = np.minimum(below[0::2], below[1::2])
    return tree
