"""The gateway as an aiohttp application."""

import asyncio
from collections.abc import AsyncIterator

from aiohttp import web

from core.ports import UnitOfWorkFactory
from core.serving.gateway.body import AUTO, MAX_BODY_BYTES
from core.serving.gateway.completions import Completions
from core.serving.gateway.errors import openai_errors
from core.serving.gateway.load import Load
from core.serving.gateway.metrics import Metrics
from core.serving.gateway.records import RecordWriter
from core.serving.gateway.relay import Relay, upstream_session
from core.serving.gateway.state import ViewKeeper
from core.settings import Settings

DRAIN_S = 10.0

KEEPER = web.AppKey("keeper", ViewKeeper)
RECORDS = web.AppKey("records", RecordWriter)
METRICS = web.AppKey("metrics", Metrics)
COMPLETIONS = web.AppKey("completions", Completions)
LOG_PROMPTS = web.AppKey("log_prompts", bool)


def make_app(uow_factory: UnitOfWorkFactory, settings: Settings) -> web.Application:
    """Build the gateway; it reads the database when it starts and every second from then on.

    Args:
        uow_factory: Opens one transaction.
        settings: Whether prompts are recorded.
    """
    app = web.Application(middlewares=[openai_errors], client_max_size=MAX_BODY_BYTES)
    app[KEEPER] = ViewKeeper(uow_factory)
    app[RECORDS] = RecordWriter(uow_factory)
    app[METRICS] = Metrics(app[KEEPER], app[RECORDS])
    app.router.add_get("/", _about)
    app.router.add_get("/health", _health)
    app.router.add_get("/ready", _ready)
    app.router.add_get("/metrics", _metrics)
    app.router.add_get("/v1/models", _models)
    app.router.add_post("/v1/chat/completions", _chat)
    app.router.add_post("/v1/completions", _text)
    app[LOG_PROMPTS] = settings.log_prompts
    app.cleanup_ctx.extend([_background, _completions])
    return app


def make_runner(app: web.Application) -> web.AppRunner:
    """Return how to run the gateway: a caller who leaves cancels the work for them."""
    return web.AppRunner(
        app,
        handler_cancellation=True,
        access_log=None,
        shutdown_timeout=DRAIN_S,
        auto_decompress=False,
    )


async def _background(app: web.Application) -> AsyncIterator[None]:
    """Keep the view fresh and write records; write the last ones at the end."""
    await app[KEEPER].refresh()
    tasks = [asyncio.create_task(app[key].run()) for key in (KEEPER, RECORDS)]
    yield
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await app[RECORDS].close()


async def _completions(app: web.Application) -> AsyncIterator[None]:
    """Hold the connections to replicas while the gateway runs."""
    async with upstream_session() as session:
        app[COMPLETIONS] = Completions(
            app[KEEPER],
            Relay(session, app[KEEPER], Load()),
            app[RECORDS],
            app[METRICS],
            log_prompts=app[LOG_PROMPTS],
        )
        yield


async def _chat(request: web.Request) -> web.StreamResponse:
    return await request.app[COMPLETIONS].chat(request)


async def _text(request: web.Request) -> web.StreamResponse:
    return await request.app[COMPLETIONS].text(request)


async def _about(request: web.Request) -> web.Response:
    view = request.app[KEEPER].view
    return web.json_response(
        {
            "what": "BOute gateway: an OpenAI-compatible endpoint that picks the model for you.",
            "how": "POST /v1/chat/completions with model 'auto', or the name of a model.",
            "endpoints": [
                "POST /v1/chat/completions",
                "POST /v1/completions",
                "GET /v1/models",
                "GET /health",
                "GET /ready",
                "GET /metrics",
            ],
            "plan": view.plan_id or None,
            "models": [AUTO, *view.models],
        }
    )


async def _health(_: web.Request) -> web.Response:
    return web.json_response({"status": "up"})


async def _ready(request: web.Request) -> web.Response:
    view = request.app[KEEPER].view
    why = view.why_not_ready()
    facts = {"ready": why is None, "plan": view.plan_id or None, "models": list(view.models)}
    return web.json_response({**facts, "why_not": why}, status=200 if why is None else 503)


async def _metrics(request: web.Request) -> web.Response:
    headers = {"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
    return web.Response(body=request.app[METRICS].text(), headers=headers)


async def _models(request: web.Request) -> web.Response:
    names = [AUTO, *request.app[KEEPER].view.models]
    models = [{"id": n, "object": "model", "created": 0, "owned_by": "boute"} for n in names]
    return web.json_response({"object": "list", "data": models})
