"""The two completion endpoints: read, decide, relay, record."""

import asyncio

from aiohttp import web

from core.errors import NotReady
from core.serving.gateway.body import AUTO, Ask, read_ask
from core.serving.gateway.errors import UNAVAILABLE, ApiError
from core.serving.gateway.metrics import Metrics
from core.serving.gateway.records import RecordWriter
from core.serving.gateway.relay import RETRY_AFTER_S, Relay
from core.serving.gateway.state import View, ViewKeeper
from core.serving.gateway.trace import CALLER_GONE, Trace, storable


class Completions:
    """Answers completion requests; every one of them leaves a record.

    Args:
        keeper: Knows plan, classifier and replicas.
        relay: Talks to replicas.
        records: Takes the records.
        metrics: Counts.
        log_prompts: Whether records keep the prompt text.
    """

    def __init__(
        self,
        keeper: ViewKeeper,
        relay: Relay,
        records: RecordWriter,
        metrics: Metrics,
        *,
        log_prompts: bool,
    ) -> None:
        self._keeper = keeper
        self._relay = relay
        self._records = records
        self._metrics = metrics
        self._log_prompts = log_prompts

    async def chat(self, request: web.Request) -> web.StreamResponse:
        """POST /v1/chat/completions."""
        return await self._recorded(request, chat=True)

    async def text(self, request: web.Request) -> web.StreamResponse:
        """POST /v1/completions."""
        return await self._recorded(request, chat=False)

    async def _recorded(self, request: web.Request, *, chat: bool) -> web.StreamResponse:
        trace = Trace()
        self._metrics.in_flight.inc()
        try:
            return await self._answer(request, trace, chat=chat)
        except ApiError as error:
            trace.status = error.status
            return error.response(trace.headers)
        except asyncio.CancelledError:
            trace.status = CALLER_GONE
            raise
        finally:
            self._metrics.in_flight.dec()
            record = trace.record()
            self._records.put(record)
            self._metrics.count(record)

    async def _answer(
        self, request: web.Request, trace: Trace, *, chat: bool
    ) -> web.StreamResponse:
        ask = await read_ask(request, chat=chat)
        view = self._keeper.view
        trace.plan_id = view.plan_id
        trace.note(ask, with_prompt=self._log_prompts)
        _choose(view, ask, trace)
        return await self._relay.answer(request, ask, trace)


def _choose(view: View, ask: Ask, trace: Trace) -> None:
    """Set the model that is to answer: by the active plan, or as the caller named it."""
    if view.router is None:
        raise _not_ready(str(view.why_not_ready()), "no_active_plan")
    if ask.model != AUTO:
        _require_known(view, ask.model)
        trace.model = ask.model
        return
    try:
        decision = view.router.choose(storable(ask.text or ""), view.models)
    except NotReady as error:
        raise _not_ready(str(error), "no_ready_replica") from error
    trace.model = decision.model
    if decision.confidence:  # without a classifier the class is only the router's way out
        trace.query_class = decision.query_class


def _require_known(view: View, model: str) -> None:
    known = sorted({*view.models, *(view.plan.models if view.plan else ())})
    if model not in known:
        raise ApiError(
            404,
            f"There is no model {model[:100]!r} in the active plan; "
            f"use 'auto' or one of: {', '.join(known)}.",
            param="model",
            code="model_not_found",
        )


def _not_ready(message: str, code: str) -> ApiError:
    return ApiError(503, message, kind=UNAVAILABLE, code=code, retry_after_s=RETRY_AFTER_S)
