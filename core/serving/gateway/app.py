"""The parts of the gateway, put together."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from core.ports import UnitOfWorkFactory
from core.serving.gateway.access import Access
from core.serving.gateway.breaker import Breaker
from core.serving.gateway.completions import Completions
from core.serving.gateway.dispatch import Dispatch
from core.serving.gateway.fixed import FixedFleet
from core.serving.gateway.limits import Limits
from core.serving.gateway.live_checks import Agrees, LiveChecks
from core.serving.gateway.metrics import Metrics
from core.serving.gateway.records import RecordWriter
from core.serving.gateway.relay import Relay
from core.serving.gateway.retention import Retention
from core.serving.gateway.site import Site
from core.serving.gateway.speed import OutputLengths
from core.serving.gateway.spool import Spool
from core.serving.gateway.state import ViewKeeper
from core.serving.gateway.told import Told
from core.serving.gateway.upstream import Connections
from core.settings import Settings


class Gateway:
    """A gateway: `site` answers while `running` is entered.

    Args:
        uow: Opens one transaction.
        settings: Keys, prompts, limits, where to keep records while the database is away.
        agrees: Compares two answers by a metric; needed for checks of live queries.

    Raises:
        InvalidInput: The plan file cannot be used.
    """

    def __init__(
        self, uow: UnitOfWorkFactory, settings: Settings, agrees: Agrees | None = None
    ) -> None:
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
        self.checks: LiveChecks | None = None
        if agrees is not None and settings.check_share:
            self.checks = LiveChecks(self.keeper, uow, agrees, settings.check_share)
        completions = Completions(
            self.keeper,
            access,
            self._limits,
            relay,
            self.records,
            metrics,
            log_prompts=settings.log_prompts,
            time_limit_s=settings.request_time_limit_s,
            checks=self.checks,
        )
        told = Told(uow, self.keeper, access, self._limits, metrics)
        self.site = Site(
            {
                "/v1/chat/completions": {"POST": completions.chat},
                "/v1/completions": {"POST": completions.text},
                "/v1/models": {"GET": told.models},
                "/v1/usage": {"GET": told.usage},
                "/": {"GET": told.about},
                "/health": {"GET": told.health},
                "/ready": {"GET": told.ready},
                "/metrics": {"GET": told.metrics},
            }
        )
        self.keeper.follow(self._view_changed)
        self._watch(metrics, relay)

    def _watch(self, metrics: Metrics, relay: Relay) -> None:
        records, keeper, dispatch = self.records, self.keeper, self._dispatch
        metrics.watch("records_pending", "Records not written yet.", lambda: records.pending)
        metrics.watch("records_spooled", "Of these, on disk.", lambda: records.spooled)
        metrics.watch("records_dropped", "Records lost.", lambda: records.dropped)
        metrics.watch("view_age_seconds", "Age of the known plan.", lambda: keeper.age_s)
        metrics.watch("queries_unlike_training", "So far, by this plan.", self._new_queries)
        metrics.watch("waiting", "Requests that wait for a place.", lambda: dispatch.waiting)
        metrics.watch("retries", "Requests sent again so far.", lambda: relay.retries)
        metrics.watch("circuits_open", "Replicas left alone.", lambda: self._breaker.open)

    def _new_queries(self) -> float:
        router = self.keeper.view.router
        return router.new_queries if router else 0

    def _view_changed(self) -> None:
        self._dispatch.view_changed()
        self._limits.learn(self.keeper.view.month, self.keeper.view.spent_usd)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Keep the view fresh and write records; write the last ones at the end."""
        await self.keeper.refresh()
        loops = [self.keeper.run(), self.records.run(), self.connections.run()]
        if self._retention is not None:
            loops.append(self._retention.run())
        if self.checks is not None:
            loops.append(self.checks.run())
        tasks = [asyncio.create_task(loop) for loop in loops]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self.connections.close()
            await self.records.close()
