"""Finding and ending everything that belongs to one server, even after its leader has died.

A server is started as leader of its own session, with its replica's id in the environment and a
log file of its own as output. Its children inherit all three. The session finds children that
rewrote their environment block (vLLM sets process titles, which may overwrite it); the marker
finds children that left the session; the log file finds both where the controller died before it
wrote the session down.
"""

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from core.errors import EnvironmentFailed
from core.serving.command_line import MARKER

# The kernel start time is derived from the boot time, which clock corrections move a little.
START_TOLERANCE_S = 2.0
KILL_WAIT_S = 10.0


def running(pid: int | None, started_at: float | None) -> psutil.Process | None:
    """Return the process if exactly that one (pid and start time) still runs, else None."""
    if pid is None or started_at is None:
        return None
    try:
        process = psutil.Process(pid)
        same = abs(process.create_time() - started_at) < START_TOLERANCE_S
        return process if same and process.status() != psutil.STATUS_ZOMBIE else None
    except psutil.Error:
        return None


@dataclass(frozen=True, slots=True)
class Marks:
    """What the processes of a replica are known by.

    Attributes:
        pid: Of the leader, as far as it was written down.
        started_at: Kernel start time of the leader, s since the epoch.
        log_path: Where they write; empty when unknown.
    """

    replica_id: str
    pid: int | None
    started_at: float | None
    log_path: str = ""


def members(marks: Marks) -> list[psutil.Process]:
    """Return every live process of a replica."""
    session = marks.pid if _session_is_ours(marks.pid, marks.started_at) else None
    return list(_members(marks, session))


def end(marks: Marks, patience_s: float) -> None:
    """End a server with all its processes: ask, wait, kill; return when they are gone.

    Args:
        patience_s: How long a server that is asked may take to leave by itself.

    Raises:
        EnvironmentFailed: A process survives SIGKILL (a driver or a disk hangs).
    """
    if marks.pid is not None and running(marks.pid, marks.started_at):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(marks.pid, signal.SIGTERM)
        psutil.wait_procs(members(marks), timeout=patience_s)
    deadline_s = time.monotonic() + KILL_WAIT_S
    while left := members(marks):
        if time.monotonic() > deadline_s:
            raise EnvironmentFailed(
                f"Processes {[p.pid for p in left]} cannot be killed.",
                "They wait for a driver or a disk; look at `dmesg`, or restart the machine.",
            )
        for process in left:
            with contextlib.suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(left, timeout=1.0)


def memory_bytes(processes: list[psutil.Process]) -> int:
    """Return the memory of processes in bytes, pages they share counted once (PSS)."""
    total = 0
    for process in processes:
        with contextlib.suppress(psutil.Error):
            try:
                total += process.memory_full_info().pss
            except psutil.AccessDenied:
                total += process.memory_info().rss
    return total


def _session_is_ours(pid: int | None, started_at: float | None) -> bool:
    """The kernel reuses no pid that still names a session: a stranger there means ours is gone."""
    if pid is None or started_at is None:
        return False
    try:
        return abs(psutil.Process(pid).create_time() - started_at) < START_TOLERANCE_S
    except psutil.Error:
        return True


def _members(marks: Marks, session: int | None) -> Iterator[psutil.Process]:
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.pid == os.getpid() or process.status() == psutil.STATUS_ZOMBIE:
                continue
            if _belongs(process, marks, session):
                yield process


def _belongs(process: psutil.Process, marks: Marks, session: int | None) -> bool:
    in_session = session is not None and os.getsid(process.pid) == session
    if marks.log_path and _output_of(process) == marks.log_path:
        return True
    try:
        marker = process.environ().get(MARKER)
    except (psutil.Error, OSError):
        marker = None
    # A session whose number was recycled may hold another replica: its marker tells.
    return marker == marks.replica_id or (in_session and marker is None)


def _output_of(process: psutil.Process) -> str:
    """The file that a process prints to; empty when this user may not know."""
    try:
        return str(Path(f"/proc/{process.pid}/fd/1").readlink())
    except OSError:
        return ""
