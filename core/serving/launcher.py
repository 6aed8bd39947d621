"""Model servers as local processes: each a session of its own, with a log file."""

import contextlib
import json
import os
import re
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

import psutil

from core.domain.catalog import ModelSpec
from core.domain.deployment import Replica
from core.domain.fleet import Device, DeviceKind
from core.errors import EngineFailed
from core.serving import process_group, server_log
from core.serving.command_line import ServerCommand, require_allowed, vllm_command
from core.settings import REPOSITORY, Settings

HTTP_TIMEOUT_S = 1.5
TERM_PATIENCE_S = 12.0
BUILT_IN_MODELS = REPOSITORY / "core" / "demo" / "weights"
# The database password is none of the model server's business.
WITHHELD = ("BOUTE_DATABASE_URL",)

# No proxy: a server on the loopback address must never be asked through one.
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))

CommandOf = Callable[[Replica, ModelSpec, Sequence[Device]], ServerCommand]

_IN_FLIGHT = re.compile(
    r"^vllm:num_requests_(?:running|waiting)(?:\{[^}]*\})? (\S+)$", re.MULTILINE
)


@dataclass(frozen=True, slots=True)
class StartedProcess:
    """Facts of a started server process; see `ReplicaProcess`."""

    pid: int
    process_started_at: float
    log_path: str


class LocalLauncher:
    """Starts and stops servers on this host; see `Launcher`.

    Args:
        settings: Where log files go.
        command_of: Decides what to execute; vLLM unless told otherwise.
    """

    def __init__(self, settings: Settings, command_of: CommandOf = vllm_command) -> None:
        self._logs = settings.logs / "replicas"
        roots = settings.model_roots
        self._roots = (*roots, BUILT_IN_MODELS) if roots else ()
        self._command_of = command_of
        # Only to collect exit codes: everything else works on servers of an earlier controller.
        self._children: dict[int, subprocess.Popen[bytes]] = {}

    def start(
        self, replica: Replica, model: ModelSpec, devices: Sequence[Device]
    ) -> StartedProcess:
        """Start the server in a session of its own.

        Raises:
            InvalidInput: The model cannot be given to a server.
            EngineFailed: The process could not be started.
        """
        require_allowed(model.path, self._roots)
        command = self._command_of(replica, model, devices)
        log_path = self._log_path(replica)
        inherited = {k: v for k, v in os.environ.items() if k not in WITHHELD}
        try:
            self._logs.mkdir(parents=True, exist_ok=True)
            with log_path.open("ab") as log:
                child = subprocess.Popen(
                    command.arguments,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    env={**inherited, **command.environment},
                )
        except OSError as error:
            raise EngineFailed(
                f"The server of {replica.kind.label} could not be started: {error}.",
                "Check free disk space and memory.",
            ) from error
        _confine(child.pid, devices)
        self._children[child.pid] = child
        return StartedProcess(child.pid, _start_time(child.pid), str(log_path))

    def alive(self, replica: Replica) -> bool:
        """Whether that very process (pid and start time) still runs."""
        self._collect(replica.pid)
        return process_group.running(replica.pid, replica.process_started_at) is not None

    def healthy(self, replica: Replica) -> bool:
        """Whether the server answers and lists the model of the replica."""
        if _get(f"{replica.base_url}/health") is None:
            return False
        answer = _get(f"{replica.base_url}/v1/models")
        try:
            listed = json.loads(answer or "{}")["data"]
            return replica.kind.model in [model["id"] for model in listed]
        except (ValueError, KeyError, TypeError):
            return False

    def requests_in_flight(self, replica: Replica) -> int | None:
        """Requests the server runs or queues now; None when it does not say."""
        found = _IN_FLIGHT.findall(_get(f"{replica.base_url}/metrics") or "")
        return int(sum(float(number) for number in found)) if found else None

    def stop(self, replica: Replica) -> None:
        """End the server with all its processes; return when they are gone.

        Raises:
            EnvironmentFailed: A process survives SIGKILL.
        """
        process_group.end(self.marks(replica), TERM_PATIENCE_S)
        self._collect(replica.pid)

    def memory_bytes(self, replica: Replica) -> int:
        """Memory of all processes of the server, shared pages counted once."""
        return process_group.memory_bytes(process_group.members(self.marks(replica)))

    def log_tail(self, replica: Replica, lines: int = 15) -> str:
        """Return the last lines of its log; empty when there is none."""
        return server_log.tail(self._log_path(replica), lines)

    def marks(self, replica: Replica) -> process_group.Marks:
        """Return what its processes are known by."""
        path = str(self._log_path(replica).resolve())
        facts = (replica.pid, replica.process_started_at)
        return process_group.Marks(replica.replica_id, *facts, log_path=path)

    def _log_path(self, replica: Replica) -> Path:
        return self._logs / f"{replica.replica_id}.log"

    def _collect(self, pid: int | None) -> None:
        """Take the exit code of a child that ended, so that no zombie stays."""
        child = self._children.get(pid or 0)
        if child is not None and child.poll() is not None:
            self._children.pop(child.pid, None)


def _confine(pid: int, devices: Sequence[Device]) -> None:
    """Keep a server on the CPU cores it was given, with everything it will start.

    vLLM binds its compute threads only; its other processes wait by spinning and would take the
    cores that other replicas were given, so that no profile would hold beside a neighbour.
    """
    cores = [device.index for device in devices if device.kind is DeviceKind.CPU]
    if cores:
        # One that ended already is noticed by whoever looks at it next; one whose cores were
        # taken from this session meanwhile runs unconfined.
        with contextlib.suppress(OSError):
            os.sched_setaffinity(pid, cores)


def _start_time(pid: int) -> float:
    """Kernel start time in seconds since the epoch; the process may be a zombie already."""
    with contextlib.suppress(psutil.Error):
        return float(psutil.Process(pid).create_time())
    return 0.0


def _get(url: str) -> str | None:
    """Return the body of a 200 answer, else None. Only ever asks servers on this host."""
    try:
        with _DIRECT.open(url, timeout=HTTP_TIMEOUT_S) as answer:
            body: bytes = answer.read()
            return body.decode("utf-8", errors="replace") if answer.status == 200 else None
    except urllib.error.HTTPError as error:
        error.close()
        return None
    except (OSError, HTTPException):
        return None
