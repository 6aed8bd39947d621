"""Passes a request to a replica and its answer back, chunk by chunk."""

import io
from collections.abc import Sequence
from itertools import count

import aiohttp
from aiohttp import web

from core.domain.deployment import Replica
from core.routing.policy import pick_replica
from core.serving.gateway.body import Ask
from core.serving.gateway.errors import UNAVAILABLE, UPSTREAM, ApiError
from core.serving.gateway.load import Load
from core.serving.gateway.sse import Usage, UsageFilter, usage_of_body
from core.serving.gateway.state import ViewKeeper
from core.serving.gateway.trace import CALLER_GONE, Trace

RETRY_AFTER_S = 5
CONNECT_S = 5.0
SILENCE_S = 600.0
# Shorter than the 5 s after which a vLLM server closes an idle connection: a request never
# meets a connection that is being closed.
KEEP_ALIVE_S = 3.0
LARGE_BYTES = 256 * 1024
EVENT_STREAM = "text/event-stream"
STREAM_BROKE = b'data: {"error": {"message": "The replica died during the answer.", "type": '
STREAM_BROKE += b'"upstream_error", "param": null, "code": 502}}\n\n'


class _Unreachable(Exception):
    """The replica gave no answer; nothing was sent to the caller yet.

    Args:
        refused: Nobody listens there: asking the very same replica again is useless.
    """

    def __init__(self, reason: str, *, refused: bool) -> None:
        super().__init__(reason)
        self.refused = refused


def upstream_session() -> aiohttp.ClientSession:
    """Return the session all requests share: no limit of its own, no total timeout."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE_S),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=SILENCE_S),
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
    )


class Relay:
    """Talks to replicas.

    Args:
        session: Shared connections.
        keeper: Knows the ready replicas.
        load: Knows how busy they are.
    """

    def __init__(self, session: aiohttp.ClientSession, keeper: ViewKeeper, load: Load) -> None:
        self._session = session
        self._keeper = keeper
        self._load = load
        self._turns = count()

    async def answer(self, request: web.Request, ask: Ask, trace: Trace) -> web.StreamResponse:
        """Relay to the least busy replica of `trace.model`; once more when it does not answer.

        Raises:
            ApiError: 503 no ready replica, 502 none answered, 504 one fell silent.
        """
        replica = self._pick(trace.model, ())
        try:
            return await self._relay(request, ask, trace, replica)
        except _Unreachable as error:
            self._load.suspect(replica)
            self._keeper.refresh_soon()
            again = self._pick(trace.model, (replica,), same_will_do=not error.refused)
        try:
            return await self._relay(request, ask, trace, again)
        except _Unreachable as error:
            self._load.suspect(again)
            raise _no_answer(trace.model, error) from error

    def _pick(
        self, model: str, tried: tuple[Replica, ...], *, same_will_do: bool = False
    ) -> Replica:
        ready = self._keeper.view.replicas.get(model, ())
        if not ready:
            raise ApiError(
                503,
                f"Model {model!r} has no ready replica right now.",
                kind=UNAVAILABLE,
                code="no_ready_replica",
                retry_after_s=RETRY_AFTER_S,
            )
        tried_ids = {replica.replica_id for replica in tried}
        untried = [replica for replica in ready if replica.replica_id not in tried_ids]
        candidates = untried or (list(ready) if same_will_do else [])
        if not candidates:
            raise _no_answer(model, None)
        return pick_replica(self._in_turn(candidates), self._load.outstanding)

    def _in_turn(self, candidates: Sequence[Replica]) -> list[Replica]:
        """Rotate, so that equally busy replicas take turns."""
        preferred = self._load.preferred(candidates)
        first = next(self._turns) % len(preferred)
        return preferred[first:] + preferred[:first]

    async def _relay(
        self, request: web.Request, ask: Ask, trace: Trace, replica: Replica
    ) -> web.StreamResponse:
        trace.replica_id = replica.replica_id
        with self._load.on(replica):
            async with await self._open(request.path, ask, trace, replica) as upstream:
                if upstream.content_type == EVENT_STREAM:
                    trace.answered = True
                    return await _pass_stream(request, upstream, ask, trace)
                return await _pass_whole(upstream, trace)

    async def _open(
        self, path: str, ask: Ask, trace: Trace, replica: Replica
    ) -> aiohttp.ClientResponse:
        headers = {"Content-Type": "application/json", "X-Request-Id": trace.request_id}
        try:
            return await self._session.post(
                replica.base_url + path,
                data=_sendable(ask.upstream_body(replica.kind.model)),
                headers=headers,
                allow_redirects=False,
            )
        except aiohttp.SocketTimeoutError:
            raise _silent(trace.model) from None
        except aiohttp.ClientError as error:
            refused = isinstance(
                error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError
            )
            raise _Unreachable(_reason(error), refused=refused) from error


async def _pass_whole(upstream: aiohttp.ClientResponse, trace: Trace) -> web.Response:
    """Return an answer that is one JSON document, or an error of the engine."""
    try:
        content = await upstream.read()
    except aiohttp.SocketTimeoutError:
        raise _silent(trace.model) from None
    except aiohttp.ClientError as error:
        raise _Unreachable(_reason(error), refused=False) from error
    trace.answered = True
    trace.note_bytes()
    trace.status = upstream.status
    trace.usage = usage_of_body(content) or Usage()
    kept = ("Content-Type", "Content-Encoding", "Retry-After")
    headers = {name: upstream.headers[name] for name in kept if name in upstream.headers}
    return web.Response(status=upstream.status, body=content, headers={**headers, **trace.headers})


async def _pass_stream(
    request: web.Request, upstream: aiohttp.ClientResponse, ask: Ask, trace: Trace
) -> web.StreamResponse:
    """Pass events on as they come, but for the usage event when only BOute wanted it."""
    trace.status = upstream.status
    headers = {"Content-Type": upstream.headers["Content-Type"], "Cache-Control": "no-cache"}
    response = web.StreamResponse(status=upstream.status, headers={**headers, **trace.headers})
    events = UsageFilter(strip=not ask.wants_usage)
    try:
        await response.prepare(request)
        await _pump(upstream, response, events, trace)
        await response.write_eof()
    except ConnectionResetError:
        trace.status = CALLER_GONE
    finally:
        trace.usage = events.usage
    return response


async def _pump(
    upstream: aiohttp.ClientResponse,
    response: web.StreamResponse,
    events: UsageFilter,
    trace: Trace,
) -> None:
    """Raises ConnectionResetError when the caller is gone."""
    chunks = upstream.content.iter_any()
    while True:
        try:
            chunk = await anext(chunks, b"")
        except (aiohttp.ClientError, ConnectionResetError):
            # The status line is gone already: say it in the stream, as engines do.
            trace.status = 502
            await response.write(STREAM_BROKE)
            return
        passed = events.feed(chunk) if chunk else events.end()
        if passed:
            trace.note_bytes()
            await response.write(passed)
        if not chunk:
            return


def _sendable(body: bytes) -> bytes | io.BytesIO:
    """A large body goes out in pieces, so that other requests get their turn in between."""
    return body if len(body) <= LARGE_BYTES else io.BytesIO(body)


def _reason(error: aiohttp.ClientError) -> str:
    return type(error).__name__


def _no_answer(model: str, error: Exception | None) -> ApiError:
    because = f" ({error})" if error else ""
    return ApiError(
        502,
        f"No replica of model {model!r} answered{because}; BOute is replacing it.",
        kind=UPSTREAM,
        code="replica_unreachable",
        retry_after_s=RETRY_AFTER_S,
    )


def _silent(model: str) -> ApiError:
    message = f"A replica of model {model!r} sent nothing for {SILENCE_S:.0f} s."
    return ApiError(504, message, kind=UPSTREAM, code="replica_silent")
