"""Real replicas for a benchmark: each pinned to one CPU core, ended with all its processes."""

import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import NoReturn

from core.domain.catalog import ModelSpec
from core.domain.deployment import Replica, ReplicaState
from core.domain.fleet import Device
from core.domain.ids import new_id, utc_now
from core.domain.plan import ReplicaKind
from core.errors import EngineFailed, InvalidInput
from core.serving import server_log
from core.serving.command_line import ServerCommand, vllm_command
from core.serving.launcher import CommandOf, LocalLauncher
from core.serving.ports_pool import free_port
from core.serving.probe_cpu import SKU, CpuProbe
from core.settings import REPOSITORY, Settings

LARGE = REPOSITORY / "core" / "demo" / "weights" / "large"
POLL_S = 0.5
LOG_LINES = 200


@dataclass(frozen=True)
class ReplicaSetup:
    """One vLLM server to start.

    Attributes:
        model_path: Folder of the model; its name is the name it is served by.
        core: The CPU core that the server and all it starts may use.
        port: TCP port; None for a free one.
        max_num_seqs: Most sequences in a batch.
        max_model_len: Longest sequence in tokens.
        load_format: `dummy` serves a folder without weights.
        extra_arguments: Added to vLLM's command line.
    """

    model_path: Path = LARGE
    core: int = 0
    port: int | None = None
    max_num_seqs: int = 8
    max_model_len: int = 256
    load_format: str = "auto"
    extra_arguments: tuple[str, ...] = ()


@contextmanager
def running_replica(
    setup: ReplicaSetup, settings: Settings, command_of: CommandOf = vllm_command
) -> Iterator[Replica]:
    """Run one replica; see `running_replicas`."""
    with running_replicas([setup], settings, command_of) as (replica,):
        yield replica


@contextmanager
def running_replicas(
    setups: Sequence[ReplicaSetup], settings: Settings, command_of: CommandOf = vllm_command
) -> Iterator[list[Replica]]:
    """Start servers together and yield them once all are healthy; end them on the way out.

    A SIGTERM meanwhile ends them too: they lead sessions of their own and would outlive us.
    Logs are where every replica's are; `Replica.log_path` tells.

    Args:
        command_of: What to execute, but for the setup's own arguments.

    Raises:
        InvalidInput: A core is not there, or a model cannot be served.
        EngineFailed: A server did not become healthy in `settings.replica_start_timeout_s`.
    """
    with ExitStack() as stack:
        stack.enter_context(_term_as_exit())
        started = [stack.enter_context(_started(setup, settings, command_of)) for setup in setups]
        deadline_s = time.monotonic() + settings.replica_start_timeout_s
        for replica, launcher in started:
            _wait_until_healthy(replica, launcher, deadline_s)
        yield [replica for replica, _ in started]


@contextmanager
def pinned_to(core: int) -> Iterator[None]:
    """Keep this thread, and what it starts, on one CPU core: the load beside the server.

    Raises:
        InvalidInput: This process may not use that core.
    """
    before = os.sched_getaffinity(0)
    if core not in before:
        raise InvalidInput(f"CPU core {core} is not one of {sorted(before)}.")
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def _started(
    setup: ReplicaSetup, settings: Settings, command_of: CommandOf
) -> Iterator[tuple[Replica, LocalLauncher]]:
    def with_setup(replica: Replica, model: ModelSpec, devices: Sequence[Device]) -> ServerCommand:
        command = command_of(replica, model, devices)
        extra = ("--load-format", setup.load_format, *setup.extra_arguments)
        return replace(command, arguments=command.arguments + extra)

    launcher = LocalLauncher(settings, with_setup)
    model = _model(setup)
    replica = _replica(setup, settings)
    process = launcher.start(replica, model, [_device(setup.core, settings)])
    replica = replace(
        replica,
        pid=process.pid,
        process_started_at=process.process_started_at,
        log_path=process.log_path,
    )
    try:
        yield replica, launcher
    finally:
        launcher.stop(replica)


def _model(setup: ReplicaSetup) -> ModelSpec:
    return ModelSpec(
        name=setup.model_path.name,
        path=str(setup.model_path),
        weight_bytes=0,
        kv_bytes_per_token=0,
        max_model_len=setup.max_model_len,
        max_num_seqs=setup.max_num_seqs,
        added_at=utc_now(),
    )


def _replica(setup: ReplicaSetup, settings: Settings) -> Replica:
    # One port per core: servers that start together do not listen yet when the next one looks.
    first = settings.replica_ports_from + 100 * (1 + setup.core)
    return Replica(
        replica_id=f"bench-{new_id()}",
        owner="bench",
        kind=ReplicaKind(setup.model_path.name, SKU),
        wanted=True,
        state=ReplicaState.STARTING,
        created_at=utc_now(),
        port=setup.port or free_port("127.0.0.1", first, ()),
    )


def _device(core: int, settings: Settings) -> Device:
    devices = CpuProbe(settings).devices()
    found = next((device for device in devices if device.index == core), None)
    if found is None:
        raise InvalidInput(f"CPU core {core} is not one of {[d.index for d in devices]}.")
    return found


def _wait_until_healthy(replica: Replica, launcher: LocalLauncher, deadline_s: float) -> None:
    while not launcher.healthy(replica):
        late = time.monotonic() > deadline_s
        if late or not launcher.alive(replica):
            why = server_log.cause(launcher.log_tail(replica, LOG_LINES))
            what = "did not become healthy in time" if late else "died while starting"
            raise EngineFailed(
                f"{replica.kind.label} {what}. {why}".rstrip(), f"Look at {replica.log_path}."
            )
        time.sleep(POLL_S)


@contextmanager
def _term_as_exit() -> Iterator[None]:
    def leave(number: int, _: FrameType | None) -> NoReturn:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
