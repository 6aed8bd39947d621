"""A gateway in front of scripted engines: rows in a database, real sockets everywhere."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import aiohttp
import numpy as np
from aiohttp import web

from core.domain.deployment import (
    SERVING,
    Deployment,
    DeploymentState,
    Replica,
    ReplicaState,
)
from core.domain.ids import new_id, utc_now
from core.domain.plan import ReplicaKind, ServingPlan, make_plan
from core.domain.traffic import RequestRecord
from core.ports import UnitOfWorkFactory
from core.quality.agreement import agrees
from core.routing.classifier import Classifier
from core.routing.features import SIZE
from core.services import tenants
from core.services.tenants import IssuedKey
from core.serving.gateway.app import Gateway
from core.serving.gateway.site import make_runner
from core.settings import Settings

EASY_TEXT = "2 + 2?"
DEAD_PORT = 9  # discard: nobody listens
HARD_TEXT = "Work out " + "12 * 34 + " * 30 + "1?"
PLAN = make_plan(
    {ReplicaKind("small", "cpu-core"): 1, ReplicaKind("large", "cpu-core"): 1},
    {"easy": {"small": 1.0}, "hard": {"large": 1.0}},
)


async def eventually(holds: Callable[[], bool]) -> None:
    """Wait until something is so."""
    for _ in range(1000):
        if holds():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("did not happen")


def by_length() -> Classifier:
    """A classifier that calls long texts hard: the first feature is log1p(length) / 5."""
    weights = np.zeros((2, SIZE), dtype=np.float32)
    weights[1, 0] = 40.0
    return Classifier(["easy", "hard"], weights, np.array([0.0, -30.0], dtype=np.float32))


def seed_classifier(uow: UnitOfWorkFactory, content: bytes | None = None) -> None:
    with uow() as work:
        work.classifiers.add(content or by_length().to_bytes(), {}, utc_now())
        work.commit()


def seed_plan(
    uow: UnitOfWorkFactory, ports: Mapping[str, list[int]], plan: ServingPlan = PLAN
) -> list[Replica]:
    """Write an active deployment and ready replicas at the given ports per model."""
    now = utc_now()
    replicas = [ready(model, port, now) for model, its in ports.items() for port in its]
    with uow() as work:
        work.deployments.add(
            Deployment(
                deployment_id=new_id(),
                plan=plan,
                study_id=None,
                state=DeploymentState.ACTIVE,
                created_at=now,
                active_at=now,
            )
        )
        for replica in replicas:
            work.replicas.add(replica)
        work.commit()
    return replicas


def seed_key(uow: UnitOfWorkFactory, name: str = "Team", **limits: Any) -> IssuedKey:
    """Make a tenant with limits, and a key of it."""
    tenant = tenants.create_tenant(uow, name, tenants.Limits(**limits), utc_now())
    return tenants.issue_key(uow, tenant.tenant_id, "test", utc_now())


def ready(model: str, port: int, now: datetime) -> Replica:
    return Replica(
        replica_id=new_id(),
        owner=SERVING,
        kind=ReplicaKind(model, "cpu-core"),
        wanted=True,
        state=ReplicaState.READY,
        created_at=now,
        port=port,
        started_at=now,
        ready_at=now,
    )


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"} if key else {}


class RunningGateway:
    """A gateway on a port of its own, and a client for it."""

    def __init__(
        self, gateway: Gateway, url: str, client: aiohttp.ClientSession, uow: UnitOfWorkFactory
    ) -> None:
        self.gateway = gateway
        self.url = url
        self.client = client
        self._uow = uow

    async def refresh(self) -> None:
        assert await self.gateway.keeper.refresh()

    def ask(
        self, text: str = EASY_TEXT, model: str = "auto", key: str = "", **fields: object
    ) -> "aiohttp.client._RequestContextManager":
        messages = [{"role": "user", "content": text}]
        body = {"model": model, "messages": messages, **fields}
        url = f"{self.url}/v1/chat/completions"
        return self.client.post(url, json=body, headers=bearer(key))

    def get(self, path: str, key: str = "") -> "aiohttp.client._RequestContextManager":
        return self.client.get(f"{self.url}{path}", headers=bearer(key))

    async def records(self) -> list[RequestRecord]:
        """Every record so far, oldest first, through the database."""
        assert await self.gateway.records.flush()
        with self._uow() as work:
            return sorted(work.requests.latest(10_000), key=lambda record: record.at)


@contextlib.asynccontextmanager
async def running_gateway(uow: UnitOfWorkFactory, **changes: Any) -> AsyncIterator[RunningGateway]:
    """Run a gateway with settings of one's own; its home is thrown away."""
    with TemporaryDirectory() as home:
        settings = replace(Settings(home=Path(home), database_url=""), **changes)
        async with _served(uow, settings) as gateway:
            yield gateway


@contextlib.asynccontextmanager
async def _served(uow: UnitOfWorkFactory, settings: Settings) -> AsyncIterator[RunningGateway]:
    gateway = Gateway(uow, settings, agrees)
    async with gateway.running():
        runner = make_runner(gateway.site)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            async with aiohttp.ClientSession() as client:
                yield RunningGateway(gateway, url, client, uow)
        finally:
            await runner.cleanup()
