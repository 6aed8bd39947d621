"""Replicas of a benchmark: real processes, the engine replaced by a tiny server."""

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import psutil
import pytest

from core.domain.catalog import ModelSpec
from core.domain.deployment import Replica
from core.domain.fleet import Device
from core.entrypoints.bench.replica import (
    ReplicaSetup,
    pinned_to,
    running_replica,
    running_replicas,
)
from core.errors import EngineFailed, InvalidInput
from core.serving.command_line import MARKER, ServerCommand
from core.settings import Settings, load_settings

TINY = Path(__file__).parent.parent / "fixtures" / "tiny_server.py"
CORES = sorted(os.sched_getaffinity(0))
MISSING_CORE = max(CORES) + 1


def tiny(replica: Replica, model: ModelSpec, devices: Sequence[Device]) -> ServerCommand:
    arguments = (sys.executable, str(TINY), str(replica.port), model.name)
    return ServerCommand(arguments, {MARKER: replica.replica_id})


def broken(replica: Replica, model: ModelSpec, devices: Sequence[Device]) -> ServerCommand:
    code = "raise ValueError('no such architecture')"
    return ServerCommand((sys.executable, "-c", code), {MARKER: replica.replica_id})


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings({"BOUTE_HOME": str(tmp_path)})


def test_several_run_at_once_each_on_its_core(settings: Settings) -> None:
    setups = [ReplicaSetup(core=core) for core in CORES[:2]]
    with running_replicas(setups, settings, tiny) as replicas:
        assert len({replica.base_url for replica in replicas}) == len(setups)
        for setup, replica in zip(setups, replicas, strict=True):
            assert os.sched_getaffinity(replica.pid or 0) == {setup.core}
            assert Path(replica.log_path).exists()
    assert not any(psutil.pid_exists(replica.pid or 0) for replica in replicas)


def test_what_the_setup_says_is_on_the_command_line(settings: Settings) -> None:
    extra = ("--max-num-batched-tokens", "512")
    setup = ReplicaSetup(core=CORES[0], load_format="dummy", extra_arguments=extra)
    with running_replica(setup, settings, tiny) as replica:
        command = psutil.Process(replica.pid).cmdline()
    assert command[-4:] == ["--load-format", "dummy", *extra]


def test_a_termination_ends_the_server_and_its_child(settings: Settings) -> None:
    family: list[psutil.Process] = []

    def serve_until_terminated() -> None:
        with running_replica(ReplicaSetup(core=CORES[0]), settings, tiny) as replica:
            server = psutil.Process(replica.pid)
            family.extend([server, *server.children()])
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(SystemExit) as left:
        serve_until_terminated()
    assert left.value.code == 128 + signal.SIGTERM
    assert len(family) == 2
    assert not any(running(process) for process in family)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def running(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_server_that_dies_says_why(settings: Settings) -> None:
    with (
        pytest.raises(EngineFailed, match="no such architecture"),
        running_replica(ReplicaSetup(core=CORES[0]), settings, broken),
    ):
        pass


def test_a_core_that_is_not_there_is_refused(settings: Settings) -> None:
    with (
        pytest.raises(InvalidInput, match="CPU core"),
        running_replica(ReplicaSetup(core=MISSING_CORE), settings, tiny),
    ):
        pass
    with pytest.raises(InvalidInput, match="CPU core"), pinned_to(MISSING_CORE):
        pass


def test_pinning_ends_with_its_block() -> None:
    with pinned_to(CORES[-1]):
        assert os.sched_getaffinity(0) == {CORES[-1]}
    assert sorted(os.sched_getaffinity(0)) == CORES
