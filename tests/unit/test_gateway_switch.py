"""Requests that meet a switch of plans or the death of a replica: none of them fails for it."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from core.domain.catalog import ModelSpec
from core.domain.deployment import SERVING, Deployment, DeploymentState
from core.domain.ids import new_id, utc_now
from core.domain.plan import ReplicaKind, ServingPlan, make_plan
from core.ports import UnitOfWorkFactory
from core.serving.gateway.state import ViewKeeper
from tests.fakes.gateway_world import (
    DEAD_PORT,
    RunningGateway,
    eventually,
    ready,
    running_gateway,
    seed_classifier,
    seed_plan,
)
from tests.fakes.memory_operation import MemoryDeployments
from tests.fakes.memory_uow import MemoryDatabase, MemoryUnitOfWork
from tests.fakes.scripted_engine import WORDS, ScriptedEngine

SMALL, LARGE = ReplicaKind("small", "cpu-core"), ReplicaKind("large", "cpu-core")
OLD = make_plan({SMALL: 1}, {"easy": {"small": 1.0}})
NEW = make_plan({LARGE: 1}, {"easy": {"large": 1.0}})
BOTH = make_plan({SMALL: 1, LARGE: 1}, {"easy": {"small": 0.9, "large": 0.1}})


@pytest.fixture
async def small() -> AsyncIterator[ScriptedEngine]:
    async with ScriptedEngine() as engine:
        yield engine


@pytest.fixture
async def large() -> AsyncIterator[ScriptedEngine]:
    async with ScriptedEngine() as engine:
        yield engine


def switch(uow: UnitOfWorkFactory, plan: ServingPlan, port: int) -> None:
    """What the controller writes in one transaction, once the new replica is ready."""
    now = utc_now()
    active, superseded = DeploymentState.ACTIVE, DeploymentState.SUPERSEDED
    with uow() as work:
        for old in work.deployments.all():
            work.deployments.transition(old.deployment_id, [active], superseded, now)
        for replica in work.replicas.by_owner(SERVING):
            work.replicas.set_wanted(replica.replica_id, False)
        work.deployments.add(Deployment(new_id(), plan, None, active, now, active_at=now))
        work.replicas.add(ready(plan.models[0], port, now))
        work.commit()


async def ask(gateway: RunningGateway) -> tuple[int, str]:
    async with gateway.ask() as answer:
        await answer.read()
        return answer.status, answer.headers["X-BOute-Model"]


async def test_who_waits_for_a_replica_that_leaves_is_routed_again(
    memory_uow: UnitOfWorkFactory, small: ScriptedEngine, large: ScriptedEngine
) -> None:
    seed_classifier(memory_uow)
    seed_plan(memory_uow, {"small": [small.port]}, OLD)
    with memory_uow() as work:
        work.models.save(ModelSpec("small", "x", 1, 1, 64, 1, utc_now()))  # one at a time
        work.commit()
    small.hold.clear()
    async with running_gateway(memory_uow) as gateway:
        asked = [asyncio.create_task(ask(gateway)) for _ in range(5)]
        await eventually(lambda: len(small.seen) == 2)
        switch(memory_uow, NEW, large.port)
        await gateway.refresh()
        await eventually(lambda: len(large.seen) == 3)
        small.hold.set()
        answers = sorted(await asyncio.gather(*asked))
        assert answers == [(200, "large")] * 3 + [(200, "small")] * 2
        records = await gateway.records()
    assert {(r.model, r.plan_id) for r in records} == {
        ("small", OLD.plan_id),
        ("large", NEW.plan_id),
    }


async def test_a_view_that_is_out_of_date_costs_no_request(
    memory_uow: UnitOfWorkFactory, large: ScriptedEngine
) -> None:
    seed_classifier(memory_uow)
    seed_plan(memory_uow, {"small": [DEAD_PORT]}, OLD)
    async with running_gateway(memory_uow) as gateway:
        switch(memory_uow, NEW, large.port)
        assert await ask(gateway) == (200, "large")


async def test_another_model_of_the_route_answers_for_one_that_is_dead(
    memory_uow: UnitOfWorkFactory, large: ScriptedEngine
) -> None:
    seed_classifier(memory_uow)
    seed_plan(memory_uow, {"small": [DEAD_PORT], "large": [large.port]}, BOTH)
    async with running_gateway(memory_uow) as gateway:
        assert [await ask(gateway) for _ in range(5)] == [(200, "large")] * 5
        async with gateway.ask(model="small") as answer:  # who names a model gets it, or no other
            assert answer.status in (502, 503)


async def test_a_server_whose_engine_died_counts_as_dead(
    memory_uow: UnitOfWorkFactory, small: ScriptedEngine, large: ScriptedEngine
) -> None:
    """vLLM answers 500 for a moment before it ends itself."""
    small.status, small.says = 500, "EngineCore encountered an issue. See stack trace."
    seed_classifier(memory_uow)
    seed_plan(memory_uow, {"small": [small.port], "large": [large.port]}, BOTH)
    async with running_gateway(memory_uow) as gateway:
        assert [await ask(gateway) for _ in range(3)] == [(200, "large")] * 3
        small.says = "a fault of the request"
    async with running_gateway(memory_uow) as gateway:
        assert (await ask(gateway))[0] == 500


async def test_a_stream_without_an_event_yet_moves_to_another_replica(
    memory_uow: UnitOfWorkFactory, small: ScriptedEngine
) -> None:
    async with ScriptedEngine() as dying:
        dying.cut_after_head = True
        seed_classifier(memory_uow)
        seed_plan(memory_uow, {"small": [dying.port, small.port]}, OLD)
        async with running_gateway(memory_uow) as gateway:
            for _ in range(2):
                async with gateway.ask(stream=True) as answer:
                    body = await answer.text()
                assert "upstream_error" not in body
                assert body.count("data:") == len(WORDS) + 1
        assert dying.seen


class SwitchingInBetween(MemoryUnitOfWork):
    """A transaction in which another one commits, once, before the active plan is read."""

    def __init__(self, others: MemoryDatabase) -> None:
        super().__init__(others.store)
        self._others = others

    def __enter__(self) -> "SwitchingInBetween":
        super().__enter__()
        others, active = self._others, self.deployments.active

        class Deployments(MemoryDeployments):
            def active(self) -> Deployment | None:
                found = active()
                if found is not None and found.plan == OLD:
                    switch(others.unit_of_work, NEW, 2)
                return active()

        self.deployments = Deployments(self._transaction)
        return self


async def test_a_reading_that_a_switch_cuts_in_two_is_done_again() -> None:
    database = MemoryDatabase()
    seed_plan(database.unit_of_work, {"small": [1]}, OLD)
    keeper = ViewKeeper(lambda: SwitchingInBetween(database))
    assert await keeper.refresh()
    assert keeper.view.plan == NEW
    assert keeper.view.models == ("large",)
