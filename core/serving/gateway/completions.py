"""The two completion endpoints: who asks, what, which model, relay, record."""

import asyncio
from collections.abc import Awaitable

from aiohttp import web

from core.serving.gateway.access import Access
from core.serving.gateway.body import Ask, read_ask
from core.serving.gateway.cascade import Cascade
from core.serving.gateway.choice import choose
from core.serving.gateway.dispatch import Weight
from core.serving.gateway.errors import ApiError
from core.serving.gateway.limits import Claim, Limits
from core.serving.gateway.live_checks import LiveChecks
from core.serving.gateway.metrics import Metrics
from core.serving.gateway.records import RecordWriter
from core.serving.gateway.relay import Relay
from core.serving.gateway.speed import fallback
from core.serving.gateway.state import View, ViewKeeper
from core.serving.gateway.trace import CALLER_GONE, Trace

NO_REPLICA = frozenset({"no_ready_replica", "replica_unreachable"})
"""Codes of errors that another choice may avoid."""
MOST_CHOICES = 3
NEWER_VIEW_S = 2.0


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
        checks: Takes a share of the queries, to be put to the best model as well; None for none.
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
        checks: LiveChecks | None = None,
    ) -> None:
        self._keeper = keeper
        self._access = access
        self._limits = limits
        self._relay = relay
        self._cascade = Cascade(relay)
        self._records = records
        self._metrics = metrics
        self._log_prompts = log_prompts
        self._checks = checks
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
        if self._checks is not None:
            self._checks.offer(ask, trace)
        weight = self._relay.weight(ask, trace)
        if trace.caller is None:
            return await self._relayed(request, ask, trace, weight)
        claim = self._limits.admit(
            trace.caller.tenant,
            weight.input_tokens + weight.output_tokens,
            _cost(view, trace, weight),
        )
        try:
            return await self._relayed(request, ask, trace, weight)
        finally:
            self._settle(claim, trace)

    async def _relayed(
        self, request: web.BaseRequest, ask: Ask, trace: Trace, weight: Weight
    ) -> web.StreamResponse:
        """Relay; when no replica of the model is left, choose again by the newest view.

        A switch of plans may have taken them all since the request was routed, or since it began
        to wait for one.
        """
        gone: set[str] = set()
        for _ in range(MOST_CHOICES - 1):
            try:
                return await self._asked(request, ask, trace, weight)
            except ApiError as error:
                if error.code not in NO_REPLICA or trace.response is not None:
                    raise
                before = self._keeper.view.replicas.get(trace.model)
                await self._keeper.newer(NEWER_VIEW_S)
                view = self._keeper.view
                if view.replicas.get(trace.model) == before:
                    gone.add(trace.model)
                self._choose_again(view, ask, trace, gone, error)
        return await self._asked(request, ask, trace, weight)

    def _asked(
        self, request: web.BaseRequest, ask: Ask, trace: Trace, weight: Weight
    ) -> Awaitable[web.StreamResponse]:
        if trace.escalate_to:
            return self._cascade.answer(request, ask, trace, weight)
        return self._relay.answer(request, ask, trace, weight)

    def _choose_again(
        self, view: View, ask: Ask, trace: Trace, gone: set[str], error: ApiError
    ) -> None:
        """Raises the error that the first choice ended with if there is no other one."""
        if ask.model in gone:
            raise error
        try:
            choose(view, ask, trace.caller.tenant if trace.caller else None, trace, gone)
        except ApiError:
            raise error from None
        trace.plan_id = view.plan_id

    def _settle(self, claim: Claim, trace: Trace) -> None:
        """Count what was really used; a request that nothing answered used nothing."""
        used = trace.used_tokens
        if not used and trace.spent_usd:
            used = round(claim.tokens)  # cut short: what it used is known as a cost only
        self._limits.settle(claim, used, trace.spent_usd)


def _cost(view: View, trace: Trace, weight: Weight) -> float:
    """Expected cost on the first of the model's replicas, $; 0 when unknown."""
    for replica in view.replicas.get(trace.model, ()):
        speed = fallback(view.speeds, replica.kind)
        return speed.cost_usd(weight.input_tokens, weight.output_tokens) or 0.0
    return 0.0
