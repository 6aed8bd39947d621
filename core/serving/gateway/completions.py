"""The two completion endpoints: who asks, what, which model, relay, record."""

import asyncio

from aiohttp import web

from core.serving.gateway.access import Access
from core.serving.gateway.body import read_ask
from core.serving.gateway.choice import choose
from core.serving.gateway.dispatch import Weight
from core.serving.gateway.errors import ApiError
from core.serving.gateway.limits import Claim, Limits
from core.serving.gateway.metrics import Metrics
from core.serving.gateway.records import RecordWriter
from core.serving.gateway.relay import Relay
from core.serving.gateway.speed import fallback
from core.serving.gateway.state import View, ViewKeeper
from core.serving.gateway.trace import CALLER_GONE, Trace


class Completions:
    """Answers completion requests; every one of them leaves a record.

    Args:
        keeper: Knows plan, classifier, replicas and keys.
        access: Lets callers in.
        limits: Knows what tenants may still use.
        relay: Talks to replicas.
        records: Takes the records.
        metrics: Counts.
        log_prompts: Whether records keep the prompt text.
        time_limit_s: Longest time to the end of an answer.
    """

    def __init__(
        self,
        keeper: ViewKeeper,
        access: Access,
        limits: Limits,
        relay: Relay,
        records: RecordWriter,
        metrics: Metrics,
        *,
        log_prompts: bool,
        time_limit_s: float,
    ) -> None:
        self._keeper = keeper
        self._access = access
        self._limits = limits
        self._relay = relay
        self._records = records
        self._metrics = metrics
        self._log_prompts = log_prompts
        self._time_limit_s = time_limit_s

    async def chat(self, request: web.BaseRequest) -> web.StreamResponse:
        """POST /v1/chat/completions."""
        return await self._recorded(request, chat=True)

    async def text(self, request: web.BaseRequest) -> web.StreamResponse:
        """POST /v1/completions."""
        return await self._recorded(request, chat=False)

    async def _recorded(self, request: web.BaseRequest, *, chat: bool) -> web.StreamResponse:
        trace = Trace()
        trace.deadline_s = asyncio.get_running_loop().time() + self._time_limit_s
        self._metrics.in_flight.inc()
        try:
            return await self._answer(request, trace, chat=chat)
        except ApiError as error:
            trace.status = error.status
            self._metrics.refused(error)
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
        self, request: web.BaseRequest, trace: Trace, *, chat: bool
    ) -> web.StreamResponse:
        view = self._keeper.view
        authorization = request.headers.get("Authorization", "")
        trace.caller = self._access.caller(authorization, view.callers)
        ask = await read_ask(request, chat=chat)
        view = self._keeper.view  # the body may have taken a while
        trace.plan_id = view.plan_id
        trace.note(ask, with_prompt=self._log_prompts)
        choose(view, ask, trace.caller.tenant if trace.caller else None, trace)
        weight = self._relay.weight(ask, trace)
        if trace.caller is None:
            return await self._relay.answer(request, ask, trace, weight)
        claim = self._limits.admit(
            trace.caller.tenant,
            weight.input_tokens + weight.output_tokens,
            _cost(view, trace, weight),
        )
        try:
            return await self._relay.answer(request, ask, trace, weight)
        finally:
            self._settle(claim, trace)

    def _settle(self, claim: Claim, trace: Trace) -> None:
        """Count what was really used; a request that nothing answered used nothing."""
        used = (trace.usage.input_tokens or 0) + (trace.usage.output_tokens or 0)
        if not used and trace.cost_usd:
            used = round(claim.tokens)  # cut short: what it used is known as a cost only
        self._limits.settle(claim, used, trace.cost_usd or 0.0)


def _cost(view: View, trace: Trace, weight: Weight) -> float:
    """Expected cost on the first of the model's replicas, $; 0 when unknown."""
    for replica in view.replicas.get(trace.model, ()):
        speed = fallback(view.speeds, replica.kind)
        return speed.cost_usd(weight.input_tokens, weight.output_tokens) or 0.0
    return 0.0
