"""What the gateway tells about itself: models, a key's own usage, health, metrics."""

import asyncio

from aiohttp import web

from core.domain.ids import utc_now
from core.domain.tenant import Usage, first_of_month
from core.ports import UnitOfWorkFactory
from core.serving.gateway.access import Access, unauthorized
from core.serving.gateway.body import AUTO
from core.serving.gateway.dispatch import RETRY_AFTER_S
from core.serving.gateway.errors import UNAVAILABLE, ApiError
from core.serving.gateway.limits import Limits
from core.serving.gateway.metrics import Metrics
from core.serving.gateway.state import ViewKeeper

PROMETHEUS = {"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}


class Told:
    """Answers everything but completions.

    Args:
        uow: Opens one transaction.
        keeper: Knows plan, replicas and keys.
        access: Lets callers in.
        limits: Knows what tenants may still use.
        counted: What Prometheus is told.
    """

    def __init__(
        self,
        uow: UnitOfWorkFactory,
        keeper: ViewKeeper,
        access: Access,
        limits: Limits,
        counted: Metrics,
    ) -> None:
        self._uow = uow
        self._keeper = keeper
        self._access = access
        self._limits = limits
        self._counted = counted

    async def about(self, _: web.BaseRequest) -> web.Response:
        """GET /."""
        return web.json_response(
            {
                "what": "BOute gateway: an OpenAI-compatible endpoint that picks the model.",
                "how": "POST /v1/chat/completions with model 'auto', or the name of a model.",
                "endpoints": [
                    "POST /v1/chat/completions",
                    "POST /v1/completions",
                    "GET /v1/models",
                    "GET /v1/usage",
                    "GET /health",
                    "GET /ready",
                    "GET /metrics",
                ],
                "api_key": "needed" if self._access.required else "not needed",
            }
        )

    async def health(self, _: web.BaseRequest) -> web.Response:
        """GET /health: the process runs."""
        return web.json_response({"status": "up"})

    async def ready(self, _: web.BaseRequest) -> web.Response:
        """GET /ready: at least one model can answer."""
        view = self._keeper.view
        why = view.why_not_ready()
        facts = {"ready": why is None, "plan": view.plan_id or None, "models": list(view.models)}
        return web.json_response({**facts, "why_not": why}, status=200 if why is None else 503)

    async def metrics(self, _: web.BaseRequest) -> web.Response:
        """GET /metrics."""
        return web.Response(body=self._counted.text(), headers=PROMETHEUS)

    async def models(self, request: web.BaseRequest) -> web.Response:
        """GET /v1/models: `auto` and what is ready."""
        view = self._keeper.view
        self._access.caller(request.headers.get("Authorization", ""), view.callers)
        names = [AUTO, *view.models]
        found = [{"id": n, "object": "model", "created": 0, "owned_by": "boute"} for n in names]
        return web.json_response({"object": "list", "data": found})

    async def usage(self, request: web.BaseRequest) -> web.Response:
        """GET /v1/usage: what the key itself used in this UTC month, and nobody else."""
        authorization = request.headers.get("Authorization", "")
        caller = self._access.caller(authorization, self._keeper.view.callers)
        if caller is None:
            raise unauthorized(bool(authorization))
        self._limits.admit(caller.tenant, tokens=0.0, cost_usd=0.0)
        since = first_of_month(utc_now())
        [used] = await asyncio.gather(
            asyncio.to_thread(self._used, since, caller.key_id), return_exceptions=True
        )
        if isinstance(used, BaseException):
            raise ApiError(
                503,
                "The database does not answer.",
                kind=UNAVAILABLE,
                code="no_database",
                retry_after_s=RETRY_AFTER_S,
            ) from used
        days = [
            {
                "day": u.day,
                "model": u.model,
                "requests": u.requests,
                "input_tokens": u.input_tokens,
                "output_tokens": u.output_tokens,
                "cost_usd": u.cost_usd,
            }
            for u in used
        ]
        return web.json_response(
            {"object": "usage", "key": caller.key_name, "since": since, "data": days}
        )

    def _used(self, since: str, key_id: str) -> list[Usage]:
        with self._uow() as work:
            return work.usage.since(since, key_id)
