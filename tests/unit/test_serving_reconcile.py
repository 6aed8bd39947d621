"""The reconcile loop against a fake machine and a real database."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from core.domain.catalog import ModelSpec
from core.domain.deployment import (
    SERVING,
    Deployment,
    DeploymentState,
    Replica,
    ReplicaState,
    job_owner,
)
from core.domain.fleet import DeviceKind
from core.domain.guard import Guard
from core.domain.ids import new_id
from core.domain.plan import ReplicaKind, make_plan
from core.ports import UnitOfWorkFactory
from core.serving import reconcile
from core.serving.reconcile import Reconciler
from core.settings import load_settings
from tests.fakes.serving_world import FakeLauncher, FakeProbe, InlineExecutor, SteppedClock

SMALL = ReplicaKind("small", "cpu-core")
LARGE = ReplicaKind("large", "cpu-core")
LARGE_TP2 = ReplicaKind("large", "cpu-core", tp=2)
READY, FAILED, STOPPED = ReplicaState.READY, ReplicaState.FAILED, ReplicaState.STOPPED


class World:
    """A controller's surroundings, and shortcuts to what a test wants to know."""

    def __init__(self, uow: UnitOfWorkFactory, devices: int = 2) -> None:
        self.uow = uow
        self.clock = SteppedClock()
        self.launcher = FakeLauncher()
        self.probe = FakeProbe(devices, self.clock)
        self.settings = load_settings(
            {"BOUTE_HOME": "/nowhere", "BOUTE_REPLICA_PORTS_FROM": "19800"}
        )
        self.reconciler = self.new_controller()
        with uow() as work:
            work.devices.upsert(self.probe.devices())
            for name in ("small", "large"):
                work.models.save(ModelSpec(name, "/models/x", 10**6, 1000, 256, 4, self.clock.now))
            work.commit()

    def new_controller(self) -> Reconciler:
        return Reconciler(
            self.uow, self.launcher, self.probe, self.settings, self.clock, InlineExecutor()
        )

    def deploy(self, placement: dict[ReplicaKind, int], guard: Guard | None = None) -> str:
        self.clock.advance(1)
        routing = {"easy": {next(iter(placement)).model: 1.0}}
        plan = make_plan(placement, routing)
        rolling = DeploymentState.ROLLING
        deployment = Deployment(new_id(), plan, None, rolling, self.clock.now, guard=guard)
        with self.uow() as work:
            work.deployments.add(deployment)
            work.commit()
        return deployment.deployment_id

    def want(self, kind: ReplicaKind, job: str) -> str:
        self.clock.advance(0.1)
        pending = ReplicaState.PENDING
        replica = Replica(new_id(), job_owner(job), kind, True, pending, self.clock.now)
        with self.uow() as work:
            work.replicas.add(replica)
            work.commit()
        return replica.replica_id

    def unwant(self, replica_id: str) -> None:
        with self.uow() as work:
            work.replicas.set_wanted(replica_id, False)
            work.commit()

    def rounds(self, count: int = 3, seconds: float = 0.5) -> None:
        for _ in range(count):
            self.reconciler.tick()
            self.clock.advance(seconds)

    def until(self, condition: Callable[[], bool], limit: int = 200) -> None:
        for _ in range(limit):
            if condition():
                return
            self.rounds(1)
        raise AssertionError([(r.kind.label, r.state, r.message) for r in self.replicas()])

    def replicas(self, *states: ReplicaState) -> list[Replica]:
        with self.uow() as work:
            return [r for r in work.replicas.all() if not states or r.state in states]

    def replica(self, replica_id: str) -> Replica:
        return next(r for r in self.replicas() if r.replica_id == replica_id)

    def kinds(self, *states: ReplicaState) -> list[str]:
        return sorted(r.kind.label for r in self.replicas(*states))

    def deployment(self, deployment_id: str) -> Deployment:
        with self.uow() as work:
            found = work.deployments.get(deployment_id)
        assert found is not None
        return found

    def state(self, deployment_id: str) -> DeploymentState:
        return self.deployment(deployment_id).state


@pytest.fixture
def world(memory_uow: UnitOfWorkFactory) -> World:
    return World(memory_uow)


def test_on_a_real_database_too(sqlite_uow: UnitOfWorkFactory) -> None:
    """One transaction inside another would wait for ever there; a switch uses every kind."""
    world = World(sqlite_uow)
    first = world.deploy({SMALL: 1, LARGE: 1})
    world.until(lambda: world.state(first) is DeploymentState.ACTIVE)
    second = world.deploy({LARGE_TP2: 1})
    world.until(lambda: world.state(second) is DeploymentState.ACTIVE)
    world.until(lambda: world.kinds(READY) == [LARGE_TP2.label])
    world.launcher.servers[world.replicas(READY)[0].replica_id].alive = False
    world.until(lambda: len(world.replicas(FAILED, READY)) == 2)
    world.reconciler.shutdown()
    assert not world.launcher.servers


def test_a_plan_becomes_ready_replicas_and_an_active_deployment(world: World) -> None:
    deployment_id = world.deploy({SMALL: 1, LARGE: 1})
    world.rounds()
    ready = world.replicas(READY)
    assert world.kinds(READY) == [LARGE.label, SMALL.label]
    assert world.state(deployment_id) is DeploymentState.ACTIVE
    assert len({r.device_ids for r in ready}) == 2
    assert len({r.port for r in ready}) == 2
    assert all(r.owner == SERVING and r.engine.startswith("vllm") for r in ready)
    assert all(r.started_at and r.ready_at and r.memory_bytes for r in ready)


def test_a_second_look_changes_nothing(world: World) -> None:
    world.deploy({SMALL: 2})
    world.rounds(20)
    assert len(world.launcher.started) == 2


def test_a_new_controller_adopts_what_runs_and_replaces_what_died(world: World) -> None:
    world.deploy({SMALL: 1, LARGE: 1})
    world.rounds()
    small = next(r for r in world.replicas() if r.kind == SMALL)
    large = next(r for r in world.replicas() if r.kind == LARGE)
    world.launcher.servers[large.replica_id].alive = False
    world.reconciler = world.new_controller()
    world.until(
        lambda: len(world.replicas(READY)) == 2 and world.replica(large.replica_id).state is FAILED
    )
    assert world.replica(small.replica_id).state is READY
    assert world.replica(small.replica_id).pid == small.pid
    assert large.replica_id in world.launcher.stopped  # what it left behind was cleaned up
    assert world.replica(large.replica_id).stopped_at is not None


def test_a_claim_whose_controller_died_before_the_start_is_cleaned_up(world: World) -> None:
    replica_id = world.want(SMALL, "a")
    with world.uow() as work:
        claim = {"device_ids": ("node0/cpu/0",), "port": 1, "started_at": world.clock.now}
        work.replicas.transition(replica_id, [ReplicaState.PENDING], ReplicaState.STARTING, claim)
        work.commit()
    world.rounds()
    assert world.replica(replica_id).state is FAILED
    assert replica_id in world.launcher.stopped


def test_a_crash_loop_is_tried_three_times_with_rising_pauses_then_fails(world: World) -> None:
    world.launcher.die_at_start = True
    deployment_id = world.deploy({SMALL: 1})
    world.until(lambda: world.state(deployment_id) is DeploymentState.FAILED)
    failed = world.replicas(FAILED)
    assert sorted(r.restarts for r in failed) == [0, 1, 2]
    started = sorted(r.started_at for r in failed if r.started_at)
    assert started[2] - started[1] > started[1] - started[0]
    assert "weights are of another model" in world.deployment(deployment_id).message
    world.rounds(20)
    assert len(world.launcher.started) == 3
    assert not world.launcher.servers


def test_a_failed_roll_out_goes_back_to_the_active_plan(world: World) -> None:
    first = world.deploy({SMALL: 2})
    world.rounds()
    second = world.deploy({LARGE: 2})
    world.launcher.die_at_start = True
    world.until(lambda: world.state(second) is DeploymentState.FAILED)
    world.launcher.die_at_start = False
    world.until(lambda: world.kinds(READY) == [SMALL.label] * 2)
    assert world.state(first) is DeploymentState.ACTIVE


def test_deploying_a_failed_plan_again_starts_counting_again(world: World) -> None:
    world.launcher.die_at_start = True
    first = world.deploy({SMALL: 1})
    world.until(lambda: world.state(first) is DeploymentState.FAILED)
    world.launcher.die_at_start = False
    second = world.deploy({SMALL: 1})
    world.until(lambda: world.state(second) is DeploymentState.ACTIVE)
    assert world.replicas(READY)[0].restarts == 0


def test_an_active_deployment_is_never_given_up(world: World) -> None:
    deployment_id = world.deploy({SMALL: 1})
    world.rounds()
    world.launcher.die_at_start = True
    world.launcher.servers[world.replicas(READY)[0].replica_id].alive = False
    world.rounds(100)
    assert world.state(deployment_id) is DeploymentState.ACTIVE
    world.launcher.die_at_start = False
    world.until(lambda: bool(world.replicas(READY)), limit=300)


def test_a_replica_that_never_answers_fails_with_its_last_words(world: World) -> None:
    world.launcher.healthy_at_once = False
    replica_id = world.want(SMALL, "a")
    world.rounds()
    assert world.replica(replica_id).state is ReplicaState.STARTING
    world.clock.advance(world.settings.replica_start_timeout_s)
    world.rounds()
    failed = world.replica(replica_id)
    assert failed.state is FAILED
    assert "did not answer within 300 s" in failed.message
    assert "weights are of another model" in failed.message
    assert failed.wanted  # the job has to see it
    assert not world.launcher.servers


def test_a_job_replica_that_dies_fails_at_once_without_another_try(world: World) -> None:
    world.launcher.die_at_start = True
    replica_id = world.want(SMALL, "a")
    world.rounds(20)
    assert world.replica(replica_id).state is FAILED
    assert len(world.launcher.started) == 1


def test_a_launcher_that_refuses_fails_the_replica_with_its_message(world: World) -> None:
    world.launcher.refuses = True
    replica_id = world.want(SMALL, "a")
    world.rounds()
    assert world.replica(replica_id).state is FAILED
    assert "No memory to start a process. Free some." in world.replica(replica_id).message


def test_an_unknown_model_fails_the_replica(world: World) -> None:
    replica_id = world.want(ReplicaKind("gone", "cpu-core"), "a")
    world.rounds()
    assert world.replica(replica_id).state is FAILED
    assert "'gone'" in world.replica(replica_id).message


def test_a_replica_waits_for_a_device_and_says_so(world: World) -> None:
    world.deploy({SMALL: 2})
    world.rounds()
    replica_id = world.want(LARGE, "a")
    world.rounds()
    waiting = world.replica(replica_id)
    assert waiting.state is ReplicaState.PENDING
    assert waiting.message == "Waiting for 1 x cpu-core: 2 of 2 are in use"


def test_more_devices_than_there_are_is_said_and_blocks_nobody(world: World) -> None:
    huge = world.want(ReplicaKind("large", "cpu-core", tp=4), "a")
    small = world.want(SMALL, "b")
    world.rounds()
    assert "the fleet has 2 usable" in world.replica(huge).message
    assert world.replica(small).state is READY


def test_devices_collect_for_the_first_in_line(world: World) -> None:
    one = world.want(SMALL, "a")
    world.rounds()
    wide = world.want(LARGE_TP2, "b")
    later = world.want(SMALL, "c")
    world.rounds()
    assert world.replica(later).state is ReplicaState.PENDING
    world.unwant(one)
    world.until(lambda: world.replica(wide).state is READY)
    assert world.replica(later).state is ReplicaState.PENDING


def test_disabled_noted_and_vanished_devices_are_not_used(world: World) -> None:
    with world.uow() as work:
        work.devices.set_enabled("node0/cpu/0", False)
        work.commit()
    world.probe.found[1] = replace(world.probe.found[1], note="MIG is on")
    replica_id = world.want(SMALL, "a")
    world.rounds()
    assert world.replica(replica_id).state is ReplicaState.PENDING
    world.probe.found[1] = replace(world.probe.found[1], note="")
    gone = world.probe.found.pop()
    world.rounds()
    assert world.replica(replica_id).state is ReplicaState.PENDING
    world.probe.found.append(gone)
    world.rounds()
    assert world.replica(replica_id).device_ids == ("node0/cpu/1",)


def test_ranks_stay_on_one_node(memory_uow: UnitOfWorkFactory) -> None:
    world = World(memory_uow, devices=4)
    world.probe.found = FakeProbe(4, world.clock, nodes=2).found
    with memory_uow() as work:
        work.devices.upsert(world.probe.found)
        work.commit()
    for job in "abc":
        world.want(SMALL if job != "c" else LARGE_TP2, job)
    world.rounds()
    wide = next(r for r in world.replicas(READY) if r.kind == LARGE_TP2)
    assert len({i.split("/")[0] for i in wide.device_ids}) == 1
    assert len(world.replicas(READY)) == 3  # the two small ones share a node


def test_a_switch_keeps_replicas_that_both_plans_have(world: World) -> None:
    world.deploy({SMALL: 1, LARGE: 1})
    world.rounds()
    kept = next(r for r in world.replicas() if r.kind == SMALL)
    second = world.deploy({SMALL: 2})
    world.until(lambda: world.state(second) is DeploymentState.ACTIVE)
    assert world.replica(kept.replica_id).state is READY
    assert world.replica(kept.replica_id).pid == kept.pid
    assert world.kinds(READY) == [SMALL.label] * 2


def test_with_room_the_old_plan_serves_until_the_new_one_is_ready(
    memory_uow: UnitOfWorkFactory,
) -> None:
    world = World(memory_uow, devices=3)
    first = world.deploy({SMALL: 1})
    world.rounds()
    old = world.replicas(READY)[0]
    world.launcher.healthy_at_once = False
    second = world.deploy({LARGE: 2})
    world.rounds(10)
    assert world.replica(old.replica_id).state is READY
    assert world.state(first) is DeploymentState.ACTIVE
    for server in world.launcher.servers.values():
        server.healthy = True
    world.until(lambda: world.replica(old.replica_id).state is STOPPED)
    assert world.state(first) is DeploymentState.SUPERSEDED
    assert world.state(second) is DeploymentState.ACTIVE


def test_without_room_only_what_is_in_the_way_goes(world: World) -> None:
    world.deploy({SMALL: 2})
    world.rounds()
    world.launcher.healthy_at_once = False
    world.deploy({LARGE: 1})
    world.until(lambda: world.kinds(ReplicaState.STARTING) == [LARGE.label])
    assert world.kinds(READY) == [SMALL.label]


def test_a_draining_replica_leaves_when_its_requests_are_answered(world: World) -> None:
    deployment_id = world.deploy({SMALL: 1})
    world.rounds()
    replica_id = world.replicas(READY)[0].replica_id
    world.launcher.servers[replica_id].in_flight = 3
    with world.uow() as work:
        work.deployments.transition(
            deployment_id, [DeploymentState.ACTIVE], DeploymentState.STOPPED, world.clock.now
        )
        work.commit()
    world.rounds(20)
    assert world.replica(replica_id).state is ReplicaState.DRAINING
    world.launcher.servers[replica_id].in_flight = 0
    world.rounds(2)
    assert world.replica(replica_id).state is STOPPED
    assert world.replica(replica_id).stopped_at is not None
    assert not world.launcher.servers


def test_a_draining_replica_does_not_wait_for_ever(world: World) -> None:
    deployment_id = world.deploy({SMALL: 1})
    world.rounds()
    world.launcher.servers[world.replicas(READY)[0].replica_id].in_flight = 1
    with world.uow() as work:
        work.deployments.transition(
            deployment_id, [DeploymentState.ACTIVE], DeploymentState.STOPPED, world.clock.now
        )
        work.commit()
    world.rounds(4)
    world.clock.advance(world.settings.request_time_limit_s - 60)
    world.rounds(2)
    assert world.launcher.servers  # an answer may take that long
    world.clock.advance(60)
    world.rounds(2)
    assert not world.launcher.servers


def test_a_draining_replica_that_says_nothing_gets_time_to_answer(world: World) -> None:
    deployment_id = world.deploy({SMALL: 1})
    world.rounds()
    server = world.launcher.servers[world.replicas(READY)[0].replica_id]
    server.in_flight = None
    with world.uow() as work:
        work.deployments.transition(
            deployment_id, [DeploymentState.ACTIVE], DeploymentState.STOPPED, world.clock.now
        )
        work.commit()
    world.rounds(20)
    server.in_flight = 1  # it was only busy
    world.rounds(2)
    server.in_flight = None
    world.rounds(50)
    assert world.launcher.servers
    world.clock.advance(reconcile.SILENCE.total_seconds())
    world.rounds(2)
    assert not world.launcher.servers


def test_a_job_replica_lingers_for_the_next_job(world: World) -> None:
    replica_id = world.want(SMALL, "a")
    world.rounds()
    world.unwant(replica_id)
    world.rounds(4)
    assert world.replica(replica_id).state is READY
    with world.uow() as work:
        assert work.replicas.change_owner(replica_id, job_owner("a"), job_owner("b"))
        work.commit()
    world.rounds(40)
    assert world.replica(replica_id).state is READY
    world.unwant(replica_id)
    world.until(lambda: world.replica(replica_id).state is STOPPED)
    assert world.launcher.started == [replica_id]


def test_a_lingering_replica_gives_way_to_one_that_waits(world: World) -> None:
    first, second = world.want(SMALL, "a"), world.want(SMALL, "a")
    world.rounds()
    for replica_id in (first, second):
        world.unwant(replica_id)
    world.rounds(1)
    world.want(LARGE_TP2, "b")
    world.rounds(4, seconds=0.1)
    assert world.kinds(READY) == [LARGE_TP2.label]


def test_pending_and_starting_replicas_nobody_wants_end_at_once(world: World) -> None:
    world.launcher.healthy_at_once = False
    starting = world.want(LARGE_TP2, "a")
    world.rounds(1)
    pending = world.want(SMALL, "b")
    for replica_id in (starting, pending):
        world.unwant(replica_id)
    world.rounds(2)
    assert world.kinds(STOPPED) == [LARGE_TP2.label, SMALL.label]
    assert world.launcher.stopped == [starting]


def test_a_replica_that_hangs_is_replaced_after_several_looks(world: World) -> None:
    world.deploy({SMALL: 1})
    world.rounds()
    hanging = world.replicas(READY)[0].replica_id
    world.launcher.servers[hanging].healthy = False
    world.rounds(5)
    assert world.replica(hanging).state is READY
    world.rounds(8, seconds=11)
    assert world.replica(hanging).state is FAILED
    assert "stopped answering" in world.replica(hanging).message
    world.until(lambda: len(world.replicas(READY)) == 1)


def test_stopping_the_controller_stops_every_server_and_keeps_the_plan(world: World) -> None:
    deployment_id = world.deploy({SMALL: 1})
    job_replica = world.want(SMALL, "a")
    world.rounds()
    world.reconciler.shutdown()
    assert not world.launcher.servers
    assert world.kinds(STOPPED) == [SMALL.label] * 2
    assert not world.replica(job_replica).wanted
    world.reconciler = world.new_controller()
    world.until(lambda: len(world.replicas(READY)) == 1)
    assert world.state(deployment_id) is DeploymentState.ACTIVE


def test_a_gpu_that_others_fill_is_not_used_and_said(world: World) -> None:
    world.probe = FakeProbe(2, world.clock, DeviceKind.CUDA)
    full, free = world.probe.found
    with world.uow() as work:
        work.devices.upsert(world.probe.found)
        work.commit()
    world.reconciler = world.new_controller()
    world.probe.use(full.device_id, 79 * 2**30)
    first, second = (world.want(ReplicaKind("small", full.sku), "a") for _ in range(2))
    world.rounds()
    assert world.replica(first).device_ids == (free.device_id,)
    assert "Other processes hold 79.0 GiB" in world.replica(second).message
    world.probe.use(full.device_id, 0)
    world.rounds()
    assert world.replica(second).state is READY
