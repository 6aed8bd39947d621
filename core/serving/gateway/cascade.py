"""A small model answers first; a better one does when the small one was unsure."""

from aiohttp import web

from core.routing.answer_lengths import AcceptedLengths
from core.serving.gateway.body import Ask
from core.serving.gateway.dispatch import Weight
from core.serving.gateway.errors import ApiError
from core.serving.gateway.judging import FirstAnswer
from core.serving.gateway.relay import Relay
from core.serving.gateway.trace import CALLER_GONE, Trace
from core.serving.gateway.upstream import EVENT_STREAM

LATE = 504


class Cascade:
    """Answers requests whose route escalates.

    The first answer is held back until all of it is there: the caller gets it as it would have
    come, streamed or not, or gets another model's answer and nothing of this one. The first model
    is stopped as soon as its answer cannot be accepted any more.

    Args:
        relay: Talks to replicas.
    """

    def __init__(self, relay: Relay) -> None:
        self._relay = relay
        self._lengths = AcceptedLengths()

    async def answer(
        self, request: web.BaseRequest, ask: Ask, trace: Trace, weight: Weight
    ) -> web.StreamResponse:
        """Ask `trace.model`; when it is unsure or fails, ask `trace.escalate_to` instead.

        Args:
            weight: Of the first call.

        Raises:
            ApiError: As `Relay.answer`, of the second call; 504 when the first one took all time.
        """
        first = await self._first(request, ask, trace, weight)
        if first is not None and first.accepted:
            made = trace.usage.output_tokens
            self._lengths.accepted(
                trace.model, trace.query_class, first.events if made is None else made
            )
            return await _give(request, ask, trace, first)
        trace.escalate()
        return await self._relay.answer(request, ask, trace, self._relay.weight(ask, trace))

    async def _first(
        self, request: web.BaseRequest, ask: Ask, trace: Trace, weight: Weight
    ) -> FirstAnswer | None:
        """Return what the first model said; None for an error.

        The other model may do better, and says itself what is wrong with a request.
        """
        most_tokens = self._lengths.most(trace.model, trace.query_class, ask.most_tokens)
        try:
            first = await self._relay.hold_back(request, ask, trace, weight, most_tokens)
        except ApiError as error:
            if error.status == LATE:
                raise
            return None
        trace.confidence = first.confidence if first else None
        return first


async def _give(
    request: web.BaseRequest, ask: Ask, trace: Trace, first: FirstAnswer
) -> web.StreamResponse:
    trace.status = 200
    trace.note_bytes()
    if not ask.stream:
        headers = {"Content-Type": "application/json", **trace.headers}
        return web.Response(body=first.content(), headers=headers)
    headers = {"Content-Type": EVENT_STREAM, "Cache-Control": "no-cache", **trace.headers}
    trace.response = response = web.StreamResponse(headers=headers)
    try:
        await response.prepare(request)
        await response.write(first.content())
        await response.write_eof()
    except ConnectionResetError:
        trace.status = CALLER_GONE
    return response
