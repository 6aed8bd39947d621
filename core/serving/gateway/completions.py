"""The two completion endpoints: read, decide, relay, record."""

import asyncio

from aiohttp import web

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
        _require_plan(view)
        if ask.model == AUTO:
            _choose(view, ask, trace)
        else:
            _require_known(view, ask.model)
            trace.model = ask.model
        return await self._relay.answer(request, ask, trace)


def _require_plan(view: View) -> None:
    if view.plan is None:
        raise ApiError(
            503,
            str(view.why_not_ready()),
            kind=UNAVAILABLE,
            code="no_active_plan",
            retry_after_s=RETRY_AFTER_S,
        )


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


def _choose(view: View, ask: Ask, trace: Trace) -> None:
    """Let the active plan decide which model answers."""
    if view.router is None:
        raise ApiError(
            503,
            "No classifier is trained yet, so 'auto' cannot decide; name a model meanwhile: "
            f"{', '.join(view.models) or 'none is ready'}.",
            kind=UNAVAILABLE,
            code="no_classifier",
            retry_after_s=RETRY_AFTER_S,
        )
    decision = view.router.choose(storable(ask.text or ""), available_models=view.models)
    trace.query_class, trace.model = decision.query_class, decision.model
