"""Passes a request to a replica and its answer back, chunk by chunk."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from aiohttp import web

from core.serving.gateway.body import Ask
from core.serving.gateway.breaker import Breaker
from core.serving.gateway.dispatch import Dispatch, Ticket, Weight, no_answer
from core.serving.gateway.errors import UPSTREAM, ApiError
from core.serving.gateway.judging import FirstAnswer, telling
from core.serving.gateway.speed import CHARS_PER_TOKEN, OutputLengths
from core.serving.gateway.sse import Usage, UsageFilter, usage_of_body
from core.serving.gateway.state import ViewKeeper
from core.serving.gateway.trace import CALLER_GONE, Trace
from core.serving.gateway.upstream import EVENT_STREAM, Connection, Connections, Unreachable

MOST_TRIES = 3
MAY_BE_THE_REQUEST = frozenset({500, 501})
"""Server errors that may be the request's own doing: they say nothing about the replica."""
ENGINE_DIED = b"EngineCore encountered an issue"
"""What a vLLM server says of its engine, once dead, while it has not ended itself yet."""
STREAM_BROKE = b'data: {"error": {"message": "The replica died during the answer.", "type": '
STREAM_BROKE += b'"upstream_error", "param": null, "code": 502}}\n\n'
STREAM_LATE = b'data: {"error": {"message": "The answer took too long.", "type": '
STREAM_LATE += b'"upstream_error", "param": null, "code": 504}}\n\n'
KEPT = {"content-type": "Content-Type", "content-encoding": "Content-Encoding"}
KEPT |= {"retry-after": "Retry-After"}


class _TryAnother(Exception):
    """The replica answered with an error of its own, and another one may do better."""


class _EndedLate(Exception):
    """The time was over in the middle of a stream to the caller, who was told."""


Passed = TypeVar("Passed")
Pass = Callable[[Connection, web.BaseRequest, Ask, Trace, Ticket], Awaitable[Passed]]
"""What becomes of an answer whose head has come."""


class Relay:
    """Talks to replicas.

    Args:
        connections: To replicas, shared.
        keeper: Knows the ready replicas.
        dispatch: Gives each request a place on one.
        breaker: Learns who fails.
        lengths: Knows how long answers are.
    """

    def __init__(
        self,
        connections: Connections,
        keeper: ViewKeeper,
        dispatch: Dispatch,
        breaker: Breaker,
        lengths: OutputLengths,
    ) -> None:
        self.retries = 0
        self._connections = connections
        self._keeper = keeper
        self._dispatch = dispatch
        self._breaker = breaker
        self._lengths = lengths

    def weight(self, ask: Ask, trace: Trace) -> Weight:
        """Return how large an answer is expected to be."""
        expected = self._lengths.expected(trace.model, trace.query_class, ask.most_tokens)
        return Weight(ask.size_bytes / CHARS_PER_TOKEN, expected)

    async def answer(
        self, request: web.BaseRequest, ask: Ask, trace: Trace, weight: Weight
    ) -> web.StreamResponse:
        """Relay to the replica of `trace.model` with the least work; to another when it fails.

        Nothing is tried again once a part of the answer went out.

        Raises:
            ApiError: 503 no ready replica, 429 all are full, 502 none answered.
        """
        try:
            return await self._tried(request, ask, trace, weight, self._pass)
        except _EndedLate:
            assert trace.response is not None
            return trace.response

    async def hold_back(
        self,
        request: web.BaseRequest,
        ask: Ask,
        trace: Trace,
        weight: Weight,
        most_tokens: int | None,
    ) -> FirstAnswer | None:
        """Ask the first model of a cascade, and hold back what comes.

        Reading ends, and with it the engine's work, once the answer cannot be accepted any more;
        it costs what was made until then.

        Args:
            most_tokens: Longest answer to reckon with for that; None when nothing bounds it.

        Returns:
            The answer, as far as it was read; None for an error of the engine.

        Raises:
            ApiError: As `answer`.
        """

        async def hold(
            connection: Connection, _: web.BaseRequest, __: Ask, trace: Trace, ticket: Ticket
        ) -> FirstAnswer | None:
            first = FirstAnswer(ask, trace.threshold, most_tokens)
            return await self._hold(first, connection, ask, trace, ticket)

        return await self._tried(request, telling(ask), trace, weight, hold)

    async def _tried(
        self,
        request: web.BaseRequest,
        ask: Ask,
        trace: Trace,
        weight: Weight,
        pass_on: Pass[Passed],
    ) -> Passed:
        tried: list[str] = []
        error: Unreachable | None = None
        for _ in range(MOST_TRIES):
            ticket = await self._dispatch.take(trace.model, weight, tried)
            try:
                return await self._on(ticket, request, ask, trace, tried, pass_on)
            except _TryAnother:
                tried.append(ticket.replica.replica_id)
            except Unreachable as problem:
                again = error is None and not problem.refused
                error = problem
                self._breaker.failed(ticket.replica, refused=problem.refused)
                self._keeper.refresh_soon()
                others = self._dispatch.other_than(
                    trace.model, [*tried, ticket.replica.replica_id]
                )
                # A cut connection may have been an idle one that was just closed.
                if others or not again:
                    tried.append(ticket.replica.replica_id)
                if not others and not again:
                    break
            finally:
                self._dispatch.give(ticket)
            self.retries += 1
        raise no_answer(trace.model, error)

    async def _on(
        self,
        ticket: Ticket,
        request: web.BaseRequest,
        ask: Ask,
        trace: Trace,
        tried: list[str],
        pass_on: Pass[Passed],
    ) -> Passed:
        trace.replica_id = ticket.replica.replica_id
        connection = await self._connections.open(ticket.replica)
        try:
            async with asyncio.timeout_at(trace.deadline_s):
                connection.send(*_request(request.path, ask, trace, ticket))
                await connection.head()
                self._judge(connection.status, ticket, trace, tried)
                return await pass_on(connection, request, ask, trace, ticket)
        except TimeoutError:
            await self._end_late(request, trace, ticket)
            raise _EndedLate from None
        finally:
            self._connections.give_back(connection)

    async def _end_late(self, request: web.BaseRequest, trace: Trace, ticket: Ticket) -> None:
        """Say that the time is over to a caller who reads; leave one who does not."""
        if trace.response is None:
            self._breaker.failed(ticket.replica, refused=False)
            raise _late()
        trace.status = 504
        transport = request.transport
        if transport is not None and transport.get_write_buffer_size():
            transport.abort()
        elif transport is not None:
            await trace.response.write(STREAM_LATE)
            await trace.response.write_eof()

    def _judge(self, status: int, ticket: Ticket, trace: Trace, tried: list[str]) -> None:
        """Learn from an answer's status how the replica is."""
        if status < 500:
            self._breaker.succeeded(ticket.replica)
            return
        if status not in MAY_BE_THE_REQUEST:
            self._breaker.failed(ticket.replica, refused=False)
        tried_too = [*tried, ticket.replica.replica_id]
        if len(tried_too) < MOST_TRIES and self._dispatch.other_than(trace.model, tried_too):
            raise _TryAnother

    async def _pass(
        self,
        connection: Connection,
        request: web.BaseRequest,
        ask: Ask,
        trace: Trace,
        ticket: Ticket,
    ) -> web.StreamResponse:
        if connection.headers.get("content-type", "").startswith(EVENT_STREAM):
            return await self._pass_stream(connection, request, ask, trace, ticket)
        return await self._pass_whole(connection, ask, trace, ticket)

    async def _hold(
        self, first: FirstAnswer, connection: Connection, ask: Ask, trace: Trace, ticket: Ticket
    ) -> FirstAnswer | None:
        if connection.status != 200:
            return None
        trace.answered = True
        try:
            while not first.hopeless and (chunk := await connection.chunk()):
                before = first.events
                first.feed(chunk)
                self._dispatch.progress(ticket, first.events - before)
        finally:
            trace.usage = first.usage
            self._note_cost(ask, trace, ticket, first.events)
        return first

    async def _pass_whole(
        self, connection: Connection, ask: Ask, trace: Trace, ticket: Ticket
    ) -> web.Response:
        """Return an answer that is one JSON document, or an error of the engine."""
        content = await connection.body()
        if connection.status == 500 and ENGINE_DIED in content:
            raise Unreachable("its engine died")
        trace.answered = True
        trace.note_bytes()
        trace.status = connection.status
        trace.usage = usage_of_body(content) or Usage()
        if connection.status == 200:
            self._note_cost(ask, trace, ticket, trace.usage.output_tokens or 0)
        headers = {
            kept: connection.headers[name]
            for name, kept in KEPT.items()
            if name in connection.headers
        }
        return web.Response(
            status=connection.status, body=content, headers={**headers, **trace.headers}
        )

    async def _pass_stream(
        self,
        connection: Connection,
        request: web.BaseRequest,
        ask: Ask,
        trace: Trace,
        ticket: Ticket,
    ) -> web.StreamResponse:
        """Pass events on as they come, but for the usage event when only BOute wanted it.

        Nothing goes out before the first event: until then another replica may still answer.
        """
        first = await connection.chunk()
        trace.answered = True
        trace.status = connection.status
        headers = {"Content-Type": connection.headers["content-type"], "Cache-Control": "no-cache"}
        trace.response = response = web.StreamResponse(
            status=connection.status, headers={**headers, **trace.headers}
        )
        events = UsageFilter(strip=not ask.wants_usage)
        try:
            await response.prepare(request)
            await self._pump(first, connection, response, events, trace, ticket)
            await response.write_eof()
        except ConnectionResetError:
            trace.status = CALLER_GONE
        finally:
            trace.usage = events.usage
            self._note_cost(ask, trace, ticket, events.events)
        return response

    async def _pump(
        self,
        chunk: bytes,
        connection: Connection,
        response: web.StreamResponse,
        events: UsageFilter,
        trace: Trace,
        ticket: Ticket,
    ) -> None:
        """Raises ConnectionResetError when the caller is gone."""
        while True:
            before = events.events
            passed = events.feed(chunk) if chunk else events.end()
            if passed:
                trace.note_bytes()
                await response.write(passed)
                self._dispatch.progress(ticket, events.events - before)
            if not chunk:
                return
            try:
                chunk = await connection.chunk()
            except Unreachable:
                # The status line is gone already: say it in the stream, as engines do.
                trace.status = 502
                await response.write(STREAM_BROKE)
                return

    def _note_cost(self, ask: Ask, trace: Trace, ticket: Ticket, seen_tokens: int) -> None:
        """Price an answer by what the engine counted, or by what was seen of one that was cut."""
        counted = trace.usage
        sent = counted.input_tokens
        if sent is None:
            sent = round(ask.size_bytes / CHARS_PER_TOKEN)
        made = seen_tokens if counted.output_tokens is None else counted.output_tokens
        trace.cost_usd = ticket.speed.cost_usd(sent, made)
        if counted.output_tokens is not None:
            self._lengths.learn(trace.model, trace.query_class, counted.output_tokens)


def _late() -> ApiError:
    message = "The answer took longer than this gateway allows."
    return ApiError(504, message, kind=UPSTREAM, code="time_limit")


def _request(path: str, ask: Ask, trace: Trace, ticket: Ticket) -> tuple[bytes, bytes]:
    """Return head and body of the request to a replica."""
    body = ask.upstream_body(ticket.replica.kind.model)
    head = (
        f"POST {path} HTTP/1.1\r\n"
        f"Host: {ticket.replica.host}:{ticket.replica.port}\r\n"
        "Content-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n"
        f"X-Request-Id: {trace.request_id}\r\n\r\n"
    )
    return head.encode(), body
