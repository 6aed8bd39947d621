"""A plan that does not keep its promise goes back by itself, once, and without a gap."""

import pytest

from core.domain.deployment import DeploymentState, ReplicaState
from core.domain.guard import Guard
from core.domain.traffic import RequestRecord
from core.ports import UnitOfWorkFactory
from core.serving.guarding import EVERY, SETTLING
from tests.unit.test_serving_reconcile import LARGE, READY, SMALL, World

GUARD = Guard(minutes=5.0, max_error_rate=0.05, max_p95_e2e_s=1.0)
ACTIVE, FAILED = DeploymentState.ACTIVE, DeploymentState.FAILED
ROLLING, SUPERSEDED = DeploymentState.ROLLING, DeploymentState.SUPERSEDED


@pytest.fixture
def world(memory_uow: UnitOfWorkFactory) -> World:
    return World(memory_uow, devices=3)


def answer(world: World, deployment_id: str, status: int, e2e_s: float, count: int = 40) -> None:
    plan_id = world.deployment(deployment_id).plan.plan_id
    at = world.clock.now
    with world.uow() as work:
        known = len(work.requests.latest(10_000))
        work.requests.add(
            [
                RequestRecord(
                    f"{known + i}",
                    at,
                    "auto",
                    "easy",
                    "m",
                    "r",
                    plan_id,
                    status,
                    None,
                    1000 * e2e_s,
                    1,
                    1,
                )
                for i in range(count)
            ]
        )
        work.commit()


def switched(world: World, guard: Guard | None = GUARD) -> tuple[str, str]:
    """Switch from one plan to another that is watched."""
    first = world.deploy({SMALL: 1})
    world.until(lambda: world.state(first) is ACTIVE)
    second = world.deploy({LARGE: 1}, guard)
    world.until(lambda: world.state(second) is ACTIVE)
    world.rounds(20)
    assert world.kinds(READY) == [LARGE.label]
    return first, second


def way_back(world: World, bad: str) -> str | None:
    with world.uow() as work:
        found = [d.deployment_id for d in work.deployments.all() if d.reverts == bad]
    assert len(found) <= 1
    return found[0] if found else None


def test_errors_bring_the_earlier_plan_back_without_a_gap(world: World) -> None:
    first, second = switched(world)
    answer(world, second, 502, 0.1)
    world.launcher.healthy_at_once = False
    world.until(lambda: way_back(world, second) is not None)
    back = way_back(world, second)
    assert back is not None
    assert world.deployment(back).plan == world.deployment(first).plan
    world.rounds(10)
    assert world.state(second) is ACTIVE  # it serves until the earlier one can
    assert world.kinds(READY) == [LARGE.label]
    for server in world.launcher.servers.values():
        server.healthy = True
    world.until(lambda: world.kinds(READY) == [SMALL.label])
    assert world.state(back) is ACTIVE
    assert world.state(second) is FAILED
    assert "40 of 40 requests failed" in world.deployment(second).message
    assert "40 of 40 requests failed" in world.deployment(back).message


def test_slow_answers_do_too_and_the_way_back_is_not_guarded(world: World) -> None:
    first, second = switched(world)
    answer(world, second, 200, 1.5)
    world.until(lambda: world.state(second) is FAILED)
    back = way_back(world, second)
    assert back is not None
    assert world.deployment(back).guard is None
    answer(world, first, 502, 9.0)
    world.rounds(60, seconds=2)
    assert world.state(back) is ACTIVE
    assert way_back(world, back) is None


@pytest.mark.parametrize("bad", ["few", "late", "of another plan", "unguarded"])
def test_what_is_no_breach_changes_nothing(world: World, bad: str) -> None:
    first, second = switched(world, None if bad == "unguarded" else GUARD)
    if bad == "late":
        world.clock.advance(60 * GUARD.minutes + 2 * SETTLING.total_seconds())
    answer(
        world, first if bad == "of another plan" else second, 502, 9.0, 1 if bad == "few" else 40
    )
    if bad == "few":
        answer(world, second, 200, 0.1)
    world.rounds(10, seconds=EVERY.total_seconds())
    assert way_back(world, second) is None
    assert world.state(second) is ACTIVE


def test_a_way_back_that_fails_is_not_tried_twice(world: World) -> None:
    _, second = switched(world)
    answer(world, second, 502, 0.1)
    world.launcher.die_at_start = True
    world.until(lambda: way_back(world, second) is not None)
    back = way_back(world, second)
    assert back is not None
    world.until(lambda: world.state(back) is FAILED)
    answer(world, second, 502, 0.1)
    world.rounds(20, seconds=EVERY.total_seconds())
    assert way_back(world, second) == back
    assert world.state(second) is ACTIVE
    assert world.kinds(READY) == [LARGE.label]


def test_without_an_earlier_plan_there_is_no_way_back(world: World) -> None:
    only = world.deploy({SMALL: 1}, GUARD)
    world.until(lambda: world.state(only) is ACTIVE)
    answer(world, only, 502, 9.0)
    world.rounds(10, seconds=EVERY.total_seconds())
    assert world.state(only) is ACTIVE
    assert way_back(world, only) is None


def test_replicas_that_do_not_come_up_after_the_flip_do_too(memory_uow: UnitOfWorkFactory) -> None:
    """Without room, requests follow the new plan before all of it is ready."""
    world = World(memory_uow, devices=2)
    first = world.deploy({SMALL: 2})
    world.until(lambda: world.state(first) is ACTIVE)
    second = world.deploy({LARGE: 2}, GUARD)
    world.until(lambda: world.state(second) is ACTIVE)
    world.launcher.die_at_start = True
    world.until(lambda: way_back(world, second) is not None)
    assert "failed 3 times" in world.deployment(str(way_back(world, second))).message
    world.launcher.die_at_start = False
    world.until(lambda: world.kinds(READY) == [SMALL.label] * 2)
    assert world.state(second) is FAILED
    assert not world.replicas(ReplicaState.PENDING, ReplicaState.STARTING)
