"""The gateway as an aiohttp application."""

import asyncio
import logging
from collections.abc import AsyncIterator

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from core.ports import UnitOfWorkFactory
from core.serving.gateway.access import Access
from core.serving.gateway.body import MAX_BODY_BYTES
from core.serving.gateway.breaker import Breaker
from core.serving.gateway.completions import Completions
from core.serving.gateway.dispatch import Dispatch
from core.serving.gateway.errors import openai_errors
from core.serving.gateway.fixed import FixedFleet
from core.serving.gateway.limits import Limits
from core.serving.gateway.metrics import Metrics
from core.serving.gateway.records import RecordWriter
from core.serving.gateway.relay import Relay
from core.serving.gateway.retention import Retention
from core.serving.gateway.speed import OutputLengths
from core.serving.gateway.spool import Spool
from core.serving.gateway.state import ViewKeeper
from core.serving.gateway.told import Told
from core.serving.gateway.upstream import Connections
from core.settings import Settings

DRAIN_S = 10.0
IDLE_S = 75.0
"""A connection that sends no whole request head for so long is closed."""
LARGEST_LINE_BYTES = 8190
MOST_HEADERS = 100

KEEPER = web.AppKey("keeper", ViewKeeper)
RECORDS = web.AppKey("records", RecordWriter)


class Gateway:
    """The parts of a gateway, put together.

    Args:
        uow: Opens one transaction.
        settings: Keys, prompts, limits, where to keep records while the database is away.

    Raises:
        InvalidInput: The plan file cannot be used.
    """

    def __init__(self, uow: UnitOfWorkFactory, settings: Settings) -> None:
        fleet = FixedFleet(settings.plan_file) if settings.plan_file else None
        self.keeper = ViewKeeper(uow, fleet=fleet)
        self.records = RecordWriter(uow, Spool(settings.home / "spool"))
        self.connections = Connections()
        self._breaker = Breaker()
        self._dispatch = Dispatch(self.keeper, self._breaker)
        self._limits = Limits()
        self._retention: Retention | None = None
        if settings.request_retention_days:
            self._retention = Retention(uow, settings.request_retention_days)
        relay = Relay(
            self.connections, self.keeper, self._dispatch, self._breaker, OutputLengths()
        )
        metrics = Metrics()
        access = Access(required=settings.keys_required)
        self.completions = Completions(
            self.keeper,
            access,
            self._limits,
            relay,
            self.records,
            metrics,
            log_prompts=settings.log_prompts,
            time_limit_s=settings.request_time_limit_s,
        )
        self.told = Told(uow, self.keeper, access, self._limits, metrics)
        self.keeper.follow(self._view_changed)
        self._watch(metrics, relay)

    def _watch(self, metrics: Metrics, relay: Relay) -> None:
        records, keeper, dispatch = self.records, self.keeper, self._dispatch
        metrics.watch("records_pending", "Records not written yet.", lambda: records.pending)
        metrics.watch("records_spooled", "Of these, on disk.", lambda: records.spooled)
        metrics.watch("records_dropped", "Records lost.", lambda: records.dropped)
        metrics.watch("view_age_seconds", "Age of the known plan.", lambda: keeper.age_s)
        metrics.watch("waiting", "Requests that wait for a place.", lambda: dispatch.waiting)
        metrics.watch("retries", "Requests sent again so far.", lambda: relay.retries)
        metrics.watch("circuits_open", "Replicas left alone.", lambda: self._breaker.open)

    def _view_changed(self) -> None:
        self._dispatch.view_changed()
        self._limits.learn(self.keeper.view.month, self.keeper.view.spent_usd)

    async def background(self, _: web.Application) -> AsyncIterator[None]:
        """Keep the view fresh and write records; write the last ones at the end."""
        await self.keeper.refresh()
        loops = [self.keeper.run(), self.records.run(), self.connections.run()]
        if self._retention is not None:
            loops.append(self._retention.run())
        tasks = [asyncio.create_task(loop) for loop in loops]
        yield
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self.connections.close()
        await self.records.close()


def make_app(uow_factory: UnitOfWorkFactory, settings: Settings) -> web.Application:
    """Build the gateway; it reads the database when it starts and every second from then on.

    Args:
        uow_factory: Opens one transaction.
        settings: Keys, prompts, limits, where to keep records while the database is away.
    """
    gateway = Gateway(uow_factory, settings)
    app = web.Application(middlewares=[openai_errors], client_max_size=MAX_BODY_BYTES)
    app[KEEPER], app[RECORDS] = gateway.keeper, gateway.records
    app.router.add_post("/v1/chat/completions", gateway.completions.chat)
    app.router.add_post("/v1/completions", gateway.completions.text)
    app.router.add_get("/v1/models", gateway.told.models)
    app.router.add_get("/v1/usage", gateway.told.usage)
    app.router.add_get("/", gateway.told.about)
    app.router.add_get("/health", gateway.told.health)
    app.router.add_get("/ready", gateway.told.ready)
    app.router.add_get("/metrics", gateway.told.metrics)
    app.cleanup_ctx.append(gateway.background)
    return app


def make_runner(app: web.Application) -> web.AppRunner:
    """Return how to run the gateway: a caller who leaves cancels the work for them."""
    log = logging.getLogger("core.serving.gateway.http")
    log.addFilter(_no_bad_requests)
    return web.AppRunner(
        app,
        handler_cancellation=True,
        access_log=None,
        logger=log,
        shutdown_timeout=DRAIN_S,
        keepalive_timeout=IDLE_S,
        max_line_size=LARGEST_LINE_BYTES,
        max_field_size=LARGEST_LINE_BYTES,
        max_headers=MOST_HEADERS,
        auto_decompress=False,
    )


def _no_bad_requests(record: logging.LogRecord) -> bool:
    """Leave bytes that are not HTTP out of the log: whoever connects could fill the disk."""
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, HttpProcessingError)
