"""Which replica gets a request, and who waits while all are full."""

import asyncio
import math
from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count

from core.domain.deployment import Replica
from core.serving.gateway.breaker import Breaker
from core.serving.gateway.errors import UNAVAILABLE, UPSTREAM, ApiError
from core.serving.gateway.speed import Speed, fallback
from core.serving.gateway.state import ViewKeeper

RETRY_AFTER_S = 5
MOST_WAITING = 200
"""Requests that may wait per model; later ones are refused at once."""
LONGEST_WAIT_S = 30.0
LONGEST_RETRY_S = 60


@dataclass(frozen=True, slots=True)
class Weight:
    """How large a request is expected to be."""

    input_tokens: float
    output_tokens: float


@dataclass(slots=True)
class Ticket:
    """A request's place on a replica.

    Attributes:
        left_s: Work that is still to be done, in time of the replica.
    """

    replica: Replica
    speed: Speed
    left_s: float


@dataclass(frozen=True, slots=True)
class _Waiter:
    weight: Weight
    tried: Sequence[str]
    place: asyncio.Future[Ticket]


class Dispatch:
    """Gives each request to the replica that has the least work left, itself included.

    Work is counted in time of the replica (see `Speed`), so that a replica twice as fast gets
    twice the work, and a request for a thousand tokens counts for more than one for ten. What was
    streamed already no longer counts.

    Args:
        keeper: Knows the ready replicas and how fast they are.
        breaker: Knows who fails.
        longest_wait_s: For a place, before a request is refused.
    """

    def __init__(
        self, keeper: ViewKeeper, breaker: Breaker, longest_wait_s: float = LONGEST_WAIT_S
    ) -> None:
        self._keeper = keeper
        self._breaker = breaker
        self._longest_wait_s = longest_wait_s
        self._work_s: dict[str, float] = defaultdict(float)
        self._requests: dict[str, int] = defaultdict(int)
        self._waiting: dict[str, deque[_Waiter]] = defaultdict(deque)
        self._turns = count()

    @property
    def waiting(self) -> int:
        """Requests that wait for a place."""
        return sum(len(waiters) for waiters in self._waiting.values())

    @property
    def work_s(self) -> Mapping[str, float]:
        """Outstanding work per replica id; idle ones are left out."""
        return {key: self._work_s[key] for key in self._requests}

    async def take(self, model: str, weight: Weight, tried: Sequence[str] = ()) -> Ticket:
        """Return a place on a replica; waits for one while all are full.

        Args:
            tried: Ids of replicas that will not do.

        Raises:
            ApiError: 503 no ready replica, or all of them fail; 502 all were tried; 429 too many
                wait already, or none became free in time.
        """
        usable = self._usable(model, tried)
        if not self._waiting.get(model) and (ticket := self._place(usable, weight)):
            return ticket
        if len(self._waiting[model]) >= MOST_WAITING:
            raise self._too_busy(model)
        return await self._wait(model, weight, tried)

    def other_than(self, model: str, tried: Sequence[str]) -> bool:
        """Whether there is a replica that was not tried and does not fail."""
        return any(
            r.replica_id not in tried and self._breaker.allows(r)
            for r in self._keeper.view.replicas.get(model, ())
        )

    def progress(self, ticket: Ticket, output_tokens: int) -> None:
        """Answer tokens came: so much work is done."""
        done_s = min(ticket.left_s, output_tokens * ticket.speed.output_s)
        ticket.left_s -= done_s
        self._work_s[ticket.replica.replica_id] -= done_s

    def give(self, ticket: Ticket) -> None:
        """A request has ended; its place goes to who waits."""
        key = ticket.replica.replica_id
        self._requests[key] -= 1
        self._work_s[key] -= ticket.left_s
        if self._requests[key] <= 0:
            del self._requests[key], self._work_s[key]
        self._breaker.ended(ticket.replica)
        if self._waiting:
            self._serve(ticket.replica.kind.model)

    def view_changed(self) -> None:
        """Replicas came or went, or a pause is over: those who wait may have a place."""
        replicas = self._keeper.view.replicas
        self._breaker.keep_only([r for its in replicas.values() for r in its])
        for model in list(self._waiting):
            self._serve(model)

    def _usable(self, model: str, tried: Sequence[str]) -> list[Replica]:
        """Replicas that may be asked, in turn; raises when there will be none."""
        ready = self._keeper.view.replicas.get(model, ())
        if not ready:
            raise _no_replica(model)
        untried = [r for r in ready if r.replica_id not in tried] if tried else list(ready)
        if not untried:
            raise no_answer(model)
        usable = [replica for replica in untried if self._breaker.allows(replica)]
        if not usable:
            raise no_answer(model) if tried else _all_fail(model)
        first = next(self._turns) % len(usable)
        return usable[first:] + usable[:first]

    def _place(self, usable: Sequence[Replica], weight: Weight) -> Ticket | None:
        best: Ticket | None = None
        least_s = math.inf
        for replica in usable:
            speed = fallback(self._keeper.view.speeds, replica.kind)
            if self._requests.get(replica.replica_id, 0) >= speed.most_in_flight:
                continue
            own_s = speed.work_s(weight.input_tokens, weight.output_tokens)
            after_s = self._work_s.get(replica.replica_id, 0.0) + own_s
            if after_s < least_s:
                best, least_s = Ticket(replica, speed, own_s), after_s
        if best is not None:
            self._requests[best.replica.replica_id] += 1
            self._work_s[best.replica.replica_id] += best.left_s
            self._breaker.begun(best.replica)
        return best

    async def _wait(self, model: str, weight: Weight, tried: Sequence[str]) -> Ticket:
        place: asyncio.Future[Ticket] = asyncio.get_running_loop().create_future()
        waiter = _Waiter(weight, tried, place)
        self._waiting[model].append(waiter)
        try:
            async with asyncio.timeout(self._longest_wait_s):
                return await place
        except (TimeoutError, asyncio.CancelledError) as error:
            self._leave(model, waiter)
            if isinstance(error, TimeoutError):
                raise self._too_busy(model) from None
            raise

    def _leave(self, model: str, waiter: _Waiter) -> None:
        """Who gives up waiting gives back a place that came in the same moment."""
        if waiter in self._waiting[model]:
            self._waiting[model].remove(waiter)
        if waiter.place.done() and not waiter.place.cancelled() and not waiter.place.exception():
            self.give(waiter.place.result())

    def _serve(self, model: str) -> None:
        """Hand free places to who waits, first come first served."""
        waiters = self._waiting[model]
        while waiters:
            waiter = waiters[0]
            if not waiter.place.done():
                try:
                    ticket = self._place(self._usable(model, waiter.tried), waiter.weight)
                except ApiError as error:
                    waiter.place.set_exception(error)
                else:
                    if ticket is None:
                        return
                    waiter.place.set_result(ticket)
            waiters.popleft()
        del self._waiting[model]

    def _too_busy(self, model: str) -> ApiError:
        return ApiError(
            429,
            f"Model {model!r} is busy: {len(self._waiting.get(model, ()))} requests wait already.",
            kind="rate_limit_error",
            code="too_busy",
            retry_after_s=self._retry_after_s(model),
        )

    def _retry_after_s(self, model: str) -> int:
        """When what is outstanding will be done, if nothing else comes."""
        ready = self._keeper.view.replicas.get(model, ())
        left_s = [self._work_s.get(replica.replica_id, 0.0) for replica in ready]
        return min(max(1, math.ceil(min(left_s, default=0.0))), LONGEST_RETRY_S)


def _no_replica(model: str) -> ApiError:
    return ApiError(
        503,
        f"Model {model!r} has no ready replica right now.",
        kind=UNAVAILABLE,
        code="no_ready_replica",
        retry_after_s=RETRY_AFTER_S,
    )


def _all_fail(model: str) -> ApiError:
    return ApiError(
        503,
        f"No replica of model {model!r} answers at the moment; BOute is replacing it.",
        kind=UNAVAILABLE,
        code="replica_unreachable",
        retry_after_s=1,
    )


def no_answer(model: str, error: Exception | None = None) -> ApiError:
    """Return the error for a request that every replica failed."""
    because = f" ({error})" if error else ""
    return ApiError(
        502,
        f"No replica of model {model!r} answered{because}; BOute is replacing it.",
        kind=UPSTREAM,
        code="replica_unreachable",
        retry_after_s=RETRY_AFTER_S,
    )
