"""The fast simulation: the oracle's rules, advanced from event to event instead of step by step.

* k steps of an unchanged batch have a closed form. The first step that is not such a plain one
  begins where a request can be admitted, a prompt is unfinished, one finishes or blocks run short.
* At most one prompt is unfinished, the last admitted: who has no tokens left admits no other.
* A replica is advanced only when it may have finished something, and when it is given a request.
"""

import numpy as np

from core.estimate.simulator.compiling import compiled, compiled_part
from core.estimate.simulator.rows import Fleet, Replica, Request
from core.estimate.simulator.spec import Floats, Integers

NOBODY = -1
ROOT = 1  # of a tree
NUMBER_BITS = 27  # of a key in `finishing`: above them its step, in them the request
NUMBER = (1 << NUMBER_BITS) - 1


@compiled_part
def _put(tree: Floats, position: int, value: float) -> None:
    """Change a leaf of a tree of minima; node i has the children 2i and 2i + 1."""
    node = (len(tree) >> 1) + position
    tree[node] = value
    while node > 1:
        value = min(value, tree[node ^ 1])
        node >>= 1
        tree[node] = value


@compiled_part
def _least_from(tree: Floats, node: int) -> int:
    """Return the first position that holds the least value, looking from a node on and round."""
    least, leaves = tree[ROOT], len(tree) >> 1
    while tree[node] != least:
        node += 1
        while node & 1 == 0:  # the largest subtree that begins here; past the end, the root
            node >>= 1
    while node < leaves:
        node *= 2
        if tree[node] != least:
            node += 1
    return node - leaves


@compiled_part
def _place(heap: Integers, first: int, size: int, at: int, key: int) -> None:
    """Set a place of a heap, least on top, that begins at an index and has a size."""
    while at > 0 and heap[first + ((at - 1) >> 1)] > key:
        heap[first + at] = heap[first + ((at - 1) >> 1)]
        at = (at - 1) >> 1
    child = 2 * at + 1
    while child < size:
        if child + 1 < size and heap[first + child + 1] < heap[first + child]:
            child += 1
        if heap[first + child] >= key:
            break
        heap[first + at] = heap[first + child]
        at, child = child, 2 * child + 1
    heap[first + at] = key


@compiled_part
def _blocks(tokens: int, block_size: int) -> int:
    return (tokens + block_size - 1) // block_size


@compiled_part
def _plain_steps_s(replica: Replica, steps: int) -> float:
    """Return how long so many steps of the same decoding sequences take."""
    sequences = replica.decoding
    context = replica.context + 0.5 * sequences * (steps - 1)
    return steps * (
        replica.fixed_s
        + replica.per_sequence_s * sequences
        + replica.per_context_token_s * context
    )


@compiled_part
def _plain_steps(replica: Replica, fleet: Fleet) -> int:
    """Return how many steps the decoding sequences will do undisturbed, unless one arrives."""
    if replica.prefilling != NOBODY or replica.decoding == 0:
        return 0
    size = replica.block_size
    free_blocks = replica.free_blocks - fleet.phases[replica.first_phase + replica.phase]
    if replica.head != NOBODY and replica.decoding < replica.max_num_seqs:
        head: Request = fleet.requests[replica.head]
        if head.input_tokens + head.generated - head.cached_tokens <= free_blocks * size:
            return 0
    steps: int = (fleet.finishing[replica.first_finishing] >> NUMBER_BITS) - replica.steps
    if replica.decoding * (steps + size - 1) <= replica.free_blocks * size:
        return steps
    return min(steps, _steps_with_blocks(replica, fleet))


@compiled_part
def _steps_with_blocks(replica: Replica, fleet: Fleet) -> int:
    """Return after how many steps the blocks run short; every cycle takes one per sequence."""
    cycles = replica.free_blocks // replica.decoding
    left, steps = replica.free_blocks - cycles * replica.decoding, cycles * replica.block_size
    phase = replica.phase
    while fleet.phases[replica.first_phase + phase] <= left:
        left -= fleet.phases[replica.first_phase + phase]
        phase = phase + 1 if phase + 1 < replica.block_size else 0
        steps += 1
    return steps


@compiled_part
def _steps_before(replica: Replica, until_s: float) -> int:
    """Return how many of the next plain steps begin before a moment; at least one does."""
    clock_s, most = replica.clock_s, replica.plain_steps
    if most == 1 or clock_s + _plain_steps_s(replica, 1) >= until_s:
        return 1
    if clock_s + _plain_steps_s(replica, most) < until_s:
        return most
    wait_s, growth_s = until_s - clock_s, replica.per_context_token_s * replica.decoding
    first_s = _plain_steps_s(replica, 1) - growth_s / 2
    steps = int(2 * wait_s / (first_s + np.sqrt(first_s * first_s + 2 * growth_s * wait_s)))
    steps = min(max(steps, 1), most)
    while clock_s + _plain_steps_s(replica, steps) < until_s:
        steps += 1
    while steps > 1 and clock_s + _plain_steps_s(replica, steps - 1) >= until_s:
        steps -= 1
    return steps


@compiled_part
def _do_plain_steps(replica: Replica, steps: int, fleet: Fleet) -> None:
    replica.clock_s += _plain_steps_s(replica, steps)
    cycles = steps // replica.block_size if steps >= replica.block_size else 0
    replica.free_blocks -= cycles * replica.decoding
    for _ in range(steps - cycles * replica.block_size):
        replica.free_blocks -= fleet.phases[replica.first_phase + replica.phase]
        replica.phase = replica.phase + 1 if replica.phase + 1 < replica.block_size else 0
    _count_steps(replica, steps, fleet)


@compiled_part
def _count_steps(replica: Replica, steps: int, fleet: Fleet) -> None:
    """Let the decoding sequences have a token per step, and those that are done go."""
    replica.steps += steps
    replica.context += steps * replica.decoding
    first = replica.first_finishing
    while replica.decoding > 0 and fleet.finishing[first] >> NUMBER_BITS == replica.steps:
        number = fleet.finishing[first] & NUMBER
        request = fleet.requests[number]
        computed = request.input_tokens + request.output_tokens - 1
        _leave_batch(replica, 0, computed, computed - request.cached_tokens, fleet)
        fleet.finished_s[number] = replica.clock_s
        replica.finished += 1


@compiled_part
def _leave_batch(replica: Replica, at: int, computed: int, own: int, fleet: Fleet) -> None:
    """Take the sequence at a place of the heap out of the batch, and free its blocks."""
    size, first = replica.block_size, replica.first_finishing
    phase = replica.phase - own % size
    fleet.phases[replica.first_phase + (phase if phase >= 0 else phase + size)] -= 1
    replica.free_blocks += _blocks(own, size)
    replica.context -= computed
    replica.decoding -= 1
    if at < replica.decoding:
        last = fleet.finishing[first + replica.decoding]
        _place(fleet.finishing, first, replica.decoding, at, last)


@compiled_part
def _begin_decoding(replica: Replica, number: int, fleet: Fleet) -> None:
    """Let a request whose known tokens are all computed have one more."""
    request = fleet.requests[number]
    computed = request.input_tokens + request.generated
    own, size = computed - request.cached_tokens, replica.block_size
    generated = request.generated + 1
    if generated == 1:
        fleet.first_token_s[number] = replica.clock_s
    if generated == request.output_tokens:
        replica.free_blocks += _blocks(own, size)
        fleet.finished_s[number] = replica.clock_s
        replica.finished += 1
        return
    phase = replica.phase - own % size
    fleet.phases[replica.first_phase + (phase if phase >= 0 else phase + size)] += 1
    replica.context += computed
    finishes = replica.steps + request.output_tokens - generated
    key = (finishes << NUMBER_BITS) | number
    replica.decoding += 1
    _place(fleet.finishing, replica.first_finishing, replica.decoding, replica.decoding - 1, key)


@compiled_part
def _preempt(replica: Replica, fleet: Fleet) -> None:
    """Send the sequence that was admitted last back to the head of the queue."""
    number = replica.prefilling
    if number != NOBODY:
        own = replica.prefilled - fleet.requests[number].cached_tokens
        replica.free_blocks += _blocks(own, replica.block_size)
        replica.prefilling = NOBODY
    else:
        at = _last_admitted(replica, fleet)
        key = fleet.finishing[replica.first_finishing + at]
        number = key & NUMBER
        request = fleet.requests[number]
        request.generated = request.output_tokens - ((key >> NUMBER_BITS) - replica.steps)
        computed = request.input_tokens + request.generated - 1
        _leave_batch(replica, at, computed, computed - request.cached_tokens, fleet)
    fleet.requests[number].preemptions += 1
    fleet.requests[number].behind = replica.head
    if replica.head == NOBODY:
        replica.tail = number
    replica.head = number


@compiled_part
def _last_admitted(replica: Replica, fleet: Fleet) -> int:
    last, latest = 0, -1
    for at in range(replica.decoding):
        key = fleet.finishing[replica.first_finishing + at]
        admission = fleet.requests[key & NUMBER].admission
        if admission > latest:
            last, latest = at, admission
    return last


@compiled_part
def _needs(replica: Replica, fleet: Fleet) -> tuple[int, int]:
    """Return how much of the unfinished prompt the next step computes, and the blocks it needs."""
    chunk, blocks = 0, fleet.phases[replica.first_phase + replica.phase]
    if replica.prefilling != NOBODY:
        request, size = fleet.requests[replica.prefilling], replica.block_size
        own = replica.prefilled - request.cached_tokens
        lacking = request.input_tokens + request.generated - replica.prefilled
        chunk = min(lacking, replica.max_num_batched_tokens - replica.decoding)
        blocks += _blocks(own + chunk, size) - _blocks(own, size)
    return chunk, blocks


@compiled_part
def _admit(replica: Replica, running: int, budget: int, fleet: Fleet) -> tuple[int, int]:
    """Admit requests from the queue; return how many, and how many tokens the step computes."""
    admitted, left = 0, budget
    while left > 0 and replica.head != NOBODY and running + admitted < replica.max_num_seqs:
        request = fleet.requests[replica.head]
        own = request.input_tokens + request.generated - request.cached_tokens
        if own > replica.free_blocks * replica.block_size:
            break
        tokens = min(own, left)
        replica.free_blocks -= _blocks(tokens, replica.block_size)
        if tokens < own:
            replica.prefilling = replica.head
            replica.prefilled = request.cached_tokens + tokens
        request.admission = replica.admissions
        replica.admissions += 1
        replica.head = request.behind
        admitted += 1
        left -= tokens
    return admitted, budget - left


@compiled_part
def _do_step(replica: Replica, fleet: Fleet) -> None:
    """Do one step of any kind.

    The oracle goes through the running sequences in order and preempts from the end. That leaves
    the longest leading part whose needs are met by what is free without the others, as here.
    """
    chunk, blocks = _needs(replica, fleet)
    preempted = blocks > replica.free_blocks
    while blocks > replica.free_blocks:
        _preempt(replica, fleet)
        chunk, blocks = _needs(replica, fleet)
    replica.free_blocks -= blocks
    prompt, running, done = replica.prefilling, replica.decoding, False
    prefill, context = chunk, replica.context
    if prompt != NOBODY:
        request = fleet.requests[prompt]
        done = request.input_tokens + request.generated == replica.prefilled + chunk
        if done and chunk == 1 and request.generated > 0:  # it lacks its last token only: decodes
            prefill, context = 0, context + replica.prefilled
        running += 1
        replica.prefilled += chunk
        replica.prefilling = NOBODY if done else prompt
    first, admitted, begun = replica.head, 0, 0
    if not preempted:
        budget = replica.max_num_batched_tokens - replica.decoding - chunk
        admitted, begun = _admit(replica, running, budget, fleet)
    replica.clock_s += (
        replica.fixed_s
        + replica.per_sequence_s * (running + admitted)
        + replica.per_request_s * admitted
        + replica.per_context_token_s * context
        + replica.per_prefill_token_s * (prefill + begun)
    )
    replica.phase = replica.phase + 1 if replica.phase + 1 < replica.block_size else 0
    _count_steps(replica, 1, fleet)
    if done:
        _begin_decoding(replica, prompt, fleet)
    for _ in range(admitted):
        behind = fleet.requests[first].behind
        if first != replica.prefilling:
            _begin_decoding(replica, first, fleet)
        first = behind


@compiled_part
def _advance(replica: Replica, until_s: float, fleet: Fleet) -> None:
    """Do every step that begins before a moment, and let finish what finishes up to it."""
    while replica.clock_s < until_s and _busy(replica):
        replica.outstanding -= replica.finished
        replica.finished = 0
        if replica.plain_steps > 0:
            _do_plain_steps(replica, _steps_before(replica, until_s), fleet)
        else:
            _do_step(replica, fleet)
        replica.plain_steps = _plain_steps(replica, fleet)
    if replica.clock_s <= until_s:
        replica.outstanding -= replica.finished
        replica.finished = 0


@compiled_part
def _busy(replica: Replica) -> bool:
    return replica.decoding > 0 or replica.head != NOBODY or replica.prefilling != NOBODY


@compiled_part
def _earliest_end_s(replica: Replica, fleet: Fleet) -> float:
    """Return a moment before which no outstanding request of a replica will have finished."""
    if replica.finished > 0:
        return replica.clock_s
    if not _busy(replica):
        return np.inf
    end_s = replica.clock_s
    if replica.plain_steps > 0:
        end_s += _plain_steps_s(replica, replica.plain_steps)
    elif fleet.phases[replica.first_phase + replica.phase] <= replica.free_blocks:
        end_s += _plain_steps_s(replica, 1)  # else the next step may be as short as any
    if end_s > replica.clock_s:
        return end_s
    return float(np.nextafter(replica.clock_s, np.inf))  # a step seen to end has begun before


@compiled_part
def _accept(replica: Replica, number: int, at_s: float, fleet: Fleet) -> None:
    if not _busy(replica):
        replica.clock_s = max(replica.clock_s, at_s)
    fleet.requests[number].behind = NOBODY
    if replica.head == NOBODY:
        replica.head = number
    else:
        fleet.requests[replica.tail].behind = number
    replica.tail = number
    replica.outstanding += 1
    replica.plain_steps = _plain_steps(replica, fleet)


@compiled_part
def _visit(chosen: int, until_s: float, arrival: int, fleet: Fleet) -> None:
    """Bring a replica up to a moment, and give it the request that arrives then, if any."""
    replica = fleet.replicas[chosen]
    before = replica.outstanding
    _advance(replica, until_s, fleet)
    if arrival != NOBODY:
        _accept(replica, arrival, until_s, fleet)
    if replica.outstanding != before:
        _put(fleet.load, chosen, replica.outstanding / replica.devices)
    _put(fleet.ends_s, chosen, _earliest_end_s(replica, fleet))


@compiled
def play(fleet: Fleet, arrived_at_s: Floats, turns: Integers) -> None:
    """Play n calls in order of arrival; writes into the rows of the fleet.

    Args:
        fleet: Fresh; the trees are infinite but for the load of its replicas, which is zero.
        arrived_at_s: n; never falling.
        turns: n; where the rotation of the replicas that breaks ties starts, before the modulo.
    """
    number = 0
    while number < len(turns) or fleet.ends_s[ROOT] < np.inf:
        arrival = NOBODY
        until_s = arrived_at_s[number] if number < len(turns) else np.inf
        if fleet.ends_s[ROOT] <= until_s:  # dispatch is to see who has finished
            chosen = _least_from(fleet.ends_s, ROOT)
        else:
            start = turns[number] % len(fleet.replicas)
            chosen = _least_from(fleet.load, (len(fleet.load) >> 1) + start)
            replica, request = fleet.replicas[chosen], fleet.requests[number]
            request.replica = chosen
            arrival, number = number, number + 1
            tokens = request.input_tokens + request.output_tokens - 1 - request.cached_tokens
            if tokens > replica.kv_blocks * replica.block_size:
                continue
        _visit(chosen, until_s, arrival, fleet)
