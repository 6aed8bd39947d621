"""The world of the reconcile loop without processes: a launcher, a probe, a clock, an executor."""

from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import ParamSpec, TypeVar

from core.domain.catalog import ModelSpec
from core.domain.deployment import Replica
from core.domain.fleet import Device, DeviceKind
from core.errors import EngineFailed

P = ParamSpec("P")
T = TypeVar("T")

START = datetime(2026, 1, 1, tzinfo=UTC)


class SteppedClock:
    """Time that moves only when told."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


class InlineExecutor(Executor):
    """Does the work at once, in the caller's thread."""

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> "Future[T]":
        done: Future[T] = Future()
        try:
            done.set_result(fn(*args, **kwargs))
        except (EngineFailed, OSError) as error:
            done.set_exception(error)
        return done


@dataclass
class FakeServer:
    """One server process of the fake machine."""

    replica_id: str
    devices: tuple[str, ...]
    alive: bool = True
    healthy: bool = False
    in_flight: int | None = 0


@dataclass(frozen=True)
class FakeProcess:
    pid: int
    process_started_at: float
    log_path: str


@dataclass
class FakeLauncher:
    """A machine whose servers become healthy, die and hang when a test says so."""

    healthy_at_once: bool = True
    refuses: bool = False
    die_at_start: bool = False
    servers: dict[str, FakeServer] = field(default_factory=dict)
    started: list[str] = field(default_factory=list)
    stopped: list[str] = field(default_factory=list)

    def start(self, replica: Replica, model: ModelSpec, devices: Sequence[Device]) -> FakeProcess:
        if self.refuses:
            raise EngineFailed("No memory to start a process.", "Free some.")
        ids = tuple(d.device_id for d in devices)
        busy = {i for s in self.servers.values() for i in s.devices}
        assert not busy & set(ids), "two servers on one device"
        server = FakeServer(replica.replica_id, ids, not self.die_at_start, self.healthy_at_once)
        self.servers[replica.replica_id] = server
        self.started.append(replica.replica_id)
        return FakeProcess(1000 + len(self.started), float(len(self.started)), "fake.log")

    def alive(self, replica: Replica) -> bool:
        server = self.servers.get(replica.replica_id)
        return replica.pid is not None and server is not None and server.alive

    def healthy(self, replica: Replica) -> bool:
        return self.alive(replica) and self.servers[replica.replica_id].healthy

    def requests_in_flight(self, replica: Replica) -> int | None:
        server = self.servers.get(replica.replica_id)
        return server.in_flight if server else None

    def stop(self, replica: Replica) -> None:
        self.servers.pop(replica.replica_id, None)
        self.stopped.append(replica.replica_id)

    def memory_bytes(self, replica: Replica) -> int:
        return 700_000_000

    def log_tail(self, replica: Replica, lines: int = 15) -> str:
        return "ValueError: the weights are of another model"


class FakeProbe:
    """A fleet of so many devices."""

    def __init__(
        self, count: int, clock: SteppedClock, kind: DeviceKind = DeviceKind.CPU, nodes: int = 1
    ) -> None:
        sku = "cpu-core" if kind is DeviceKind.CPU else "NVIDIA H100 80GB HBM3"
        self.found = [
            Device(
                device_id=f"node{i * nodes // count}/{kind.value}/{i}",
                node=f"node{i * nodes // count}",
                index=i,
                sku=sku,
                kind=kind,
                memory_total_bytes=80 * 2**30,
                memory_used_bytes=0,
                utilisation=0.0,
                power_w=None,
                seen_at=clock.now,
            )
            for i in range(count)
        ]

    def use(self, device_id: str, used_bytes: int) -> None:
        """Let another process take memory of a device."""
        self.found = [
            replace(d, memory_used_bytes=used_bytes) if d.device_id == device_id else d
            for d in self.found
        ]

    def devices(self) -> list[Device]:
        return list(self.found)

    def used_memory_bytes(self, device_ids: Sequence[str]) -> dict[str, int]:
        return {d.device_id: d.memory_used_bytes for d in self.found if d.device_id in device_ids}
