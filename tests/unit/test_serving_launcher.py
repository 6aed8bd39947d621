"""The launcher with real processes: a tiny server with a child that would outlive it."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from core.domain.catalog import ModelSpec
from core.domain.deployment import Replica, ReplicaState
from core.domain.fleet import Device, DeviceKind
from core.domain.ids import new_id, utc_now
from core.domain.plan import ReplicaKind
from core.errors import EngineFailed, InvalidInput
from core.serving import process_group
from core.serving.command_line import MARKER, ServerCommand
from core.serving.launcher import LocalLauncher
from core.settings import Settings, load_settings

TINY = Path(__file__).parent.parent / "fixtures" / "tiny_server.py"
MODEL = ModelSpec("small", "unused/model", 1, 1, 64, 1, utc_now())
PATIENCE_S = 30.0

Start = Callable[..., Replica]


def tiny(*options: str) -> Callable[[Replica, ModelSpec, Sequence[Device]], ServerCommand]:
    def command_of(replica: Replica, model: ModelSpec, devices: Sequence[Device]) -> ServerCommand:
        arguments = (sys.executable, str(TINY), str(replica.port), model.name, *options)
        return ServerCommand(arguments, {MARKER: replica.replica_id})

    return command_of


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings({"BOUTE_HOME": str(tmp_path)})


@pytest.fixture
def started(settings: Settings) -> Iterator[Callable[..., tuple[LocalLauncher, Replica]]]:
    """Starts tiny servers and makes sure that none is left."""
    made: list[tuple[LocalLauncher, Replica]] = []

    def start(*options: str) -> tuple[LocalLauncher, Replica]:
        launcher = LocalLauncher(settings, tiny(*options))
        replica = launch(launcher, new_replica())
        made.append((launcher, replica))
        wait_for(lambda: launcher.healthy(replica))
        return launcher, replica

    yield start
    for launcher, replica in made:
        launcher.stop(replica)


def new_replica() -> Replica:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    kind = ReplicaKind("small", "cpu-core")
    return Replica(new_id(), "deployment", kind, True, ReplicaState.STARTING, utc_now(), port=port)


def launch(launcher: LocalLauncher, replica: Replica, devices: Sequence[Device] = ()) -> Replica:
    process = launcher.start(replica, MODEL, devices)
    return replace(replica, pid=process.pid, process_started_at=process.process_started_at)


def wait_for(condition: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline_s, "timed out"
        time.sleep(0.05)


def child_of(launcher: LocalLauncher, replica: Replica) -> psutil.Process:
    found = re.search(r"child (\d+)", launcher.log_tail(replica))
    assert found
    return psutil.Process(int(found[1]))


def gone(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def test_a_server_starts_answers_and_stops_with_its_child(
    started: Callable[..., tuple[LocalLauncher, Replica]],
) -> None:
    launcher, replica = started()
    child = child_of(launcher, replica)
    assert launcher.alive(replica)
    assert os.getsid(replica.pid or 0) == replica.pid
    assert launcher.requests_in_flight(replica) == 3
    assert launcher.memory_bytes(replica) > 5_000_000
    launcher.stop(replica)
    assert not launcher.alive(replica)
    assert not launcher.healthy(replica)
    assert launcher.requests_in_flight(replica) is None
    assert gone(child)
    assert not psutil.pid_exists(replica.pid or 0)  # no zombie either


def test_a_server_that_ignores_the_request_is_killed(
    started: Callable[..., tuple[LocalLauncher, Replica]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.serving.launcher.TERM_PATIENCE_S", 0.3)
    launcher, replica = started("stubborn")
    child = child_of(launcher, replica)
    launcher.stop(replica)
    assert gone(child)
    assert not launcher.alive(replica)


def test_what_a_killed_leader_leaves_is_found_and_ended(
    started: Callable[..., tuple[LocalLauncher, Replica]],
) -> None:
    launcher, replica = started()
    child = child_of(launcher, replica)
    os.kill(replica.pid or 0, signal.SIGKILL)
    wait_for(lambda: not launcher.alive(replica))
    assert child.is_running()  # the orphan that would keep the device's memory
    launcher.stop(replica)
    assert gone(child)


def test_another_controller_can_adopt_and_stop_it(
    started: Callable[..., tuple[LocalLauncher, Replica]], settings: Settings
) -> None:
    launcher, replica = started()
    child = child_of(launcher, replica)
    other = LocalLauncher(settings)
    assert other.alive(replica)
    assert other.healthy(replica)
    other.stop(replica)
    assert gone(child)
    assert not launcher.alive(replica)


def test_a_claim_without_a_pid_is_found_by_its_marker(settings: Settings) -> None:
    replica = new_replica()
    environment = {**os.environ, MARKER: replica.replica_id}
    with subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(600)"],
        env=environment,
        start_new_session=True,
    ) as lost:
        wait_for(
            lambda: bool(
                process_group.members(process_group.Marks(replica.replica_id, None, None))
            )
        )
        LocalLauncher(settings).stop(replica)
        lost.wait(PATIENCE_S)


def test_a_claim_without_a_pid_is_found_by_its_log(settings: Settings) -> None:
    """As when the controller died before it wrote the pid down, and the title hid the marker."""
    replica = new_replica()
    launcher = LocalLauncher(settings)
    log_path = Path(launcher.marks(replica).log_path)
    log_path.parent.mkdir(parents=True)
    with (
        log_path.open("wb") as log,
        subprocess.Popen(
            ["/bin/sleep", "600"], env={}, stdout=log, start_new_session=True
        ) as lost,
    ):
        wait_for(lambda: bool(process_group.members(launcher.marks(replica))))
        launcher.stop(replica)
        lost.wait(PATIENCE_S)


def test_a_recycled_pid_is_not_the_server(settings: Settings) -> None:
    """This very test process poses as a stranger that got the pid."""
    mine = psutil.Process()
    replica = replace(new_replica(), pid=mine.pid, process_started_at=mine.create_time() - 3600)
    launcher = LocalLauncher(settings)
    assert not launcher.alive(replica)
    launcher.stop(replica)  # would end this process
    assert process_group.members(launcher.marks(replica)) == []


def test_another_model_on_the_port_is_not_healthy(
    started: Callable[..., tuple[LocalLauncher, Replica]],
) -> None:
    launcher, replica = started()
    assert not launcher.healthy(replace(replica, kind=ReplicaKind("large", "cpu-core")))


def test_a_program_that_does_not_exist_is_an_engine_failure(settings: Settings) -> None:
    launcher = LocalLauncher(settings, lambda *_: ServerCommand(("/no/such/program",), {}))
    with pytest.raises(EngineFailed, match="could not be started"):
        launcher.start(new_replica(), MODEL, [])


def test_a_model_outside_of_the_roots_is_not_started(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    model = replace(MODEL, path=str(tmp_path / "elsewhere"))
    confined = replace(settings, model_roots=(tmp_path / "models",))
    with pytest.raises(InvalidInput, match="outside of the folders"):
        LocalLauncher(confined, tiny()).start(new_replica(), model, [])


def test_the_database_password_does_not_reach_the_server(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BOUTE_DATABASE_URL", "postgresql://user:secret@host/db")
    show = "import os; print(sorted(k for k in os.environ if k.startswith('BOUTE_DATA')))"
    command = ServerCommand((sys.executable, "-c", show), {MARKER: "x"})
    launcher = LocalLauncher(settings, lambda *_: command)
    replica = launch(launcher, new_replica())
    wait_for(lambda: not launcher.alive(replica))
    assert launcher.log_tail(replica) == "[]"


def test_no_log_gives_an_empty_tail(settings: Settings) -> None:
    assert LocalLauncher(settings).log_tail(new_replica()) == ""


def test_a_server_stays_on_the_cores_it_was_given(settings: Settings) -> None:
    core = max(os.sched_getaffinity(0))
    device = Device("d", "n", core, "cpu-core", DeviceKind.CPU, 2**33, 0, None, None, utc_now())
    launcher = LocalLauncher(settings, tiny())
    replica = launch(launcher, new_replica(), [device])
    try:
        assert os.sched_getaffinity(replica.pid or 0) == {core}
    finally:
        launcher.stop(replica)
