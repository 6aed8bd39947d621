"""The slow, obvious simulation: one Python loop per engine step. What the fast one must equal.

Scheduling as in vLLM V1 (vllm/v1/core/sched/scheduler.py, first come first served):

1. Running requests first, in order of admission: each is given the tokens it lacks (one when it
   decodes, the rest of its prompt while it prefills), within `max_num_batched_tokens`.
   When the cache has no block left for one, the last admitted is preempted: its blocks are freed,
   everything it had is to be computed again, and it goes to the head of the queue.
2. Unless somebody was preempted in this step, waiting requests are admitted in order, while
   tokens are left and fewer than `max_num_seqs` run. One is admitted when the free blocks hold
   its whole known sequence (`scheduler_reserve_full_isl`); it takes those of its first chunk only.
3. At the end of the step every request with nothing left to compute has one more token.

A step begins as soon as the one before has ended and there is something to do.
"""

from collections import deque
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush

import numpy as np

from core.domain.profile import StepTime
from core.estimate.simulator.spec import Arrivals, EngineSpec, Timeline


@dataclass(eq=False)
class _Request:
    number: int
    arrived_at_s: float
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    generated: int = 0
    computed: int = 0
    blocks: int = 0
    begun: bool = False
    first_token_s: float = float("nan")
    finished_s: float | None = None
    preemptions: int = 0

    @property
    def known_tokens(self) -> int:
        return self.input_tokens + self.generated


@dataclass
class _Replica:
    spec: EngineSpec
    free_blocks: int
    clock_s: float = 0.0
    waiting: deque[_Request] = field(default_factory=deque)
    running: list[_Request] = field(default_factory=list)
    assigned: list[_Request] = field(default_factory=list)

    def outstanding(self, at_s: float) -> int:
        """Requests not answered at a moment; moments never fall."""
        self.assigned = [r for r in self.assigned if r.finished_s is None or r.finished_s > at_s]
        return len(self.assigned)

    def accept(self, request: _Request) -> None:
        if not self.waiting and not self.running:
            self.clock_s = max(self.clock_s, request.arrived_at_s)
        self.waiting.append(request)
        self.assigned.append(request)

    def step(self) -> list[tuple[float, int]]:
        """Do the next step; return when the answers that it completes are with their clients, and
        the numbers of their calls.
        """
        scheduled: list[tuple[_Request, int]] = []
        budget = self.spec.limits.max_num_batched_tokens
        preempted, budget = self._schedule_running(scheduled, budget)
        if not preempted:
            self._admit(scheduled, budget)
        self.clock_s += _duration_s(self.spec.step, scheduled)
        for request, tokens in scheduled:
            request.begun = True
            request.computed += tokens
            if request.computed == request.known_tokens:
                self._generated(request)
        answered_s = self.clock_s + self.spec.step.overhead_s
        return [(answered_s, r.number) for r, _ in scheduled if r.finished_s is not None]

    def _schedule_running(
        self, scheduled: list[tuple[_Request, int]], budget: int
    ) -> tuple[bool, int]:
        preempted, position = False, 0
        while position < len(self.running) and budget > 0:
            request = self.running[position]
            tokens = min(request.known_tokens - request.computed, budget)
            while not self._allocate(request, request.computed + tokens):
                preempted = True
                victim = self.running.pop()
                self._preempt(victim)
                if victim is request:
                    return True, budget
            scheduled.append((request, tokens))
            budget -= tokens
            position += 1
        return preempted, budget

    def _admit(self, scheduled: list[tuple[_Request, int]], budget: int) -> None:
        while self.waiting and budget > 0 and len(self.running) < self.spec.limits.max_num_seqs:
            request = self.waiting[0]
            if self._blocks_for(request, request.known_tokens) > self.free_blocks:
                return
            request.computed = request.cached_tokens
            tokens = min(request.known_tokens - request.computed, budget)
            self._allocate(request, request.computed + tokens)
            self.running.append(self.waiting.popleft())
            scheduled.append((request, tokens))
            budget -= tokens

    def _blocks_for(self, request: _Request, tokens: int) -> int:
        """Blocks of its own that a request needs for its first so many tokens."""
        return -(-(tokens - request.cached_tokens) // self.spec.limits.block_size)

    def _allocate(self, request: _Request, tokens: int) -> bool:
        more = self._blocks_for(request, tokens) - request.blocks
        if more > self.free_blocks:
            return False
        self.free_blocks -= more
        request.blocks += more
        return True

    def _preempt(self, request: _Request) -> None:
        self.free_blocks += request.blocks
        request.blocks = request.computed = 0
        request.begun = False
        request.preemptions += 1
        self.waiting.appendleft(request)

    def _generated(self, request: _Request) -> None:
        request.generated += 1
        if request.generated == 1:
            request.first_token_s = self.clock_s
        if request.generated == request.output_tokens:
            request.finished_s = self.clock_s
            self.free_blocks += request.blocks
            request.blocks = 0
            self.running.remove(request)


def _duration_s(step: StepTime, scheduled: list[tuple[_Request, int]]) -> float:
    begins = sum(not request.begun for request, _ in scheduled)
    decoding = [r for r, _ in scheduled if _decodes(r)]
    prefill = sum(tokens for request, tokens in scheduled if request not in decoding)
    return (
        step.fixed_s
        + step.per_sequence_s * len(scheduled)
        + step.per_request_s * begins
        + step.per_context_token_s * sum(request.computed for request in decoding)
        + step.per_prefill_token_s * prefill
    )


def _decodes(request: _Request) -> bool:
    """Whether all it lacks is the token it generated last."""
    return request.begun and request.generated > 0 and request.known_tokens - request.computed == 1


def simulate_slowly(replicas: list[EngineSpec], arrivals: Arrivals) -> Timeline:
    """Return what happens to every call; see the module for the rules.

    A call goes, at its arrival, to the replica of its pool with the fewest outstanding calls per
    device; ties go to the first in a rotation that starts at (number of the call, or of the one
    it follows) modulo (replicas in the pool), as `core.routing.policy.in_turn` and the gateway do.
    One that a replica can never hold, even alone, is refused at once. A call that follows another
    arrives when that one's answer is with the client; of calls at the same moment the first by
    number is first.
    """
    servers = [_Replica(spec, spec.limits.kv_blocks) for spec in replicas]
    requests = [_request(arrivals, number) for number in range(len(arrivals))]
    preceding = arrivals.preceding.tolist()
    followed_by = {first: number for number, first in enumerate(preceding) if first >= 0}
    due = [(r.arrived_at_s, r.number) for r in requests if preceding[r.number] < 0]
    heapify(due)
    chosen = np.full(len(arrivals), -1, dtype=np.int64)
    while True:
        next_s, busy = min(
            ((s.clock_s, i) for i, s in enumerate(servers) if s.waiting or s.running),
            default=(float("inf"), -1),
        )
        if due and due[0][0] <= next_s:
            at_s, number = heappop(due)
            requests[number].arrived_at_s = at_s
            turn = number if preceding[number] < 0 else preceding[number]
            chosen[number] = _dispatched(
                requests[number], int(arrivals.pool[number]), turn, replicas, servers
            )
        elif busy >= 0:
            for ended_s, number in servers[busy].step():
                if number in followed_by:
                    heappush(due, (ended_s, followed_by[number]))
        else:
            return _timeline(requests, chosen, replicas)


def _dispatched(
    request: _Request,
    of_pool: int,
    turn: int,
    replicas: list[EngineSpec],
    servers: list[_Replica],
) -> int:
    """Give a call to a replica; return which, -1 for none."""
    pool = [i for i, spec in enumerate(replicas) if spec.pool == of_pool]
    if not pool:
        return -1
    first = turn % len(pool)
    best = min(
        pool[first:] + pool[:first],
        key=lambda i: servers[i].outstanding(request.arrived_at_s) / replicas[i].devices,
    )
    if _fits(replicas[best], request):
        servers[best].accept(request)
    return best


def _request(arrivals: Arrivals, number: int) -> _Request:
    return _Request(
        number,
        float(arrivals.arrived_at_s[number]),
        int(arrivals.input_tokens[number]),
        int(arrivals.output_tokens[number]),
        int(arrivals.cached_tokens[number]),
    )


def _fits(spec: EngineSpec, request: _Request) -> bool:
    tokens = request.input_tokens + request.output_tokens - 1 - request.cached_tokens
    return -(-tokens // spec.limits.block_size) <= spec.limits.kv_blocks


def _timeline(
    requests: list[_Request],
    chosen: "np.ndarray[tuple[int], np.dtype[np.int64]]",
    replicas: list[EngineSpec],
) -> Timeline:
    overhead_s = [replicas[i].step.overhead_s if i >= 0 else 0.0 for i in chosen]
    nan = float("nan")
    return Timeline(
        ttft_s=np.array(
            [
                r.first_token_s - r.arrived_at_s + o
                for r, o in zip(requests, overhead_s, strict=True)
            ]
        ),
        e2e_s=np.array(
            [
                (nan if r.finished_s is None else r.finished_s) - r.arrived_at_s + o
                for r, o in zip(requests, overhead_s, strict=True)
            ]
        ),
        replica=chosen,
        preemptions=np.array([r.preemptions for r in requests], dtype=np.int64),
    )
