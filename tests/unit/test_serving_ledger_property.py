"""Whatever happens, no device is ever given to two replicas, and all ends well.

Random operators, jobs, crashes, hangs and controller restarts; `FakeLauncher.start` itself refuses
a device that has a server, and the rows are checked after every round.
"""

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from core.domain.deployment import DeploymentState, ReplicaState
from core.domain.plan import ReplicaKind
from tests.fakes.memory_uow import MemoryDatabase
from tests.unit.test_serving_reconcile import World

KINDS = [
    ReplicaKind("small", "cpu-core"),
    ReplicaKind("large", "cpu-core"),
    ReplicaKind("large", "cpu-core", tp=2),
]
DEVICES = 3
LIVE = (ReplicaState.STARTING, ReplicaState.READY, ReplicaState.DRAINING)

placements = st.dictionaries(st.sampled_from(KINDS), st.integers(1, 2), min_size=1, max_size=2)
events = st.one_of(
    st.tuples(st.just("deploy"), placements),
    st.tuples(st.just("undeploy"), st.none()),
    st.tuples(st.just("want"), st.sampled_from(KINDS)),
    st.tuples(st.just("job ends"), st.none()),
    st.tuples(st.just("dies"), st.integers(0, 5)),
    st.tuples(st.just("slow"), st.booleans()),
    st.tuples(st.just("disable"), st.integers(0, DEVICES - 1)),
    st.tuples(st.just("enable"), st.integers(0, DEVICES - 1)),
    st.tuples(st.just("restart"), st.none()),
    st.tuples(st.just("time"), st.integers(1, 30)),
)


def undeploy(world: World) -> None:
    with world.uow() as work:
        states = [DeploymentState.ROLLING, DeploymentState.ACTIVE]
        for deployment in work.deployments.all():
            work.deployments.transition(
                deployment.deployment_id, states, DeploymentState.STOPPED, world.clock.now
            )
        work.commit()


def end_jobs(world: World) -> None:
    for replica in world.replicas():
        if replica.owner.startswith("job:"):
            world.unwant(replica.replica_id)


def happen(world: World, event: str, detail: object) -> None:
    servers = list(world.launcher.servers.values())
    if event == "deploy" and isinstance(detail, dict):
        world.deploy(detail)
    elif event == "undeploy":
        undeploy(world)
    elif event == "want" and isinstance(detail, ReplicaKind):
        world.want(detail, "a")
    elif event == "job ends":
        end_jobs(world)
    elif event == "dies" and isinstance(detail, int) and servers:
        servers[detail % len(servers)].alive = False
    elif event == "slow":
        world.launcher.healthy_at_once = not detail
    elif event in {"disable", "enable"}:
        with world.uow() as work:
            work.devices.set_enabled(f"node0/cpu/{detail}", event == "enable")
            work.commit()
    elif event == "restart":
        world.reconciler = world.new_controller()
    elif event == "time" and isinstance(detail, int):
        world.clock.advance(detail)


def check_books(world: World) -> None:
    held = Counter(i for r in world.replicas(*LIVE) for i in r.device_ids)
    assert all(count == 1 for count in held.values()), held
    running = {s.replica_id for s in world.launcher.servers.values()}
    assert running <= {r.replica_id for r in world.replicas(*LIVE)}
    for replica in world.replicas():
        if replica.started_at and replica.stopped_at:
            assert replica.started_at <= replica.stopped_at
        if replica.state in (ReplicaState.STOPPED, ReplicaState.FAILED):
            assert replica.stopped_at


@settings(max_examples=40, deadline=None)
@given(story=st.lists(events, min_size=3, max_size=12))
def test_the_books_always_balance(story: list[tuple[str, object]]) -> None:
    world = World(MemoryDatabase().unit_of_work, devices=DEVICES)
    for event, detail in story:
        happen(world, event, detail)
        world.rounds(1)
        check_books(world)
    undeploy(world)
    end_jobs(world)
    world.rounds(12, seconds=2)
    check_books(world)
    assert not world.launcher.servers
    assert not world.replicas(ReplicaState.PENDING, *LIVE)
