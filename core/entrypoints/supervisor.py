"""Starts programs, watches them, restarts what dies, and leaves nothing running.

Every program runs in a session of its own, so that Ctrl-C in the terminal reaches only the
supervisor, which then stops them in order. A program's listening socket is held here: while the
program is started again, new connections wait. What they start is found again in two ways: it
inherits `BOUTE_HOME` and `BOUTE_UP` (one value per run of the supervisor), and it is noted while
its parents live, because vLLM overwrites its environment block with a process title.
"""

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import psutil

from core.errors import EngineFailed
from core.settings import REPOSITORY

POLL_S = 0.2
CENSUS_EVERY_S = 2.0
HEALTH_TIMEOUT_S = 2.0
KILL_WAIT_S = 5.0
SWEEP_WAIT_S = 2.0
HURRY_AFTER_S = 1.0
MAX_QUICK_DEATHS = 3
LONGEST_PAUSE_S = 30.0
BACKLOG = 1024
LISTEN_FD = "BOUTE_LISTEN_FD"
TAIL_LINES = 15
LOG_MAX_BYTES = 20_000_000
RUN_MARK = "BOUTE_UP"

# Only this machine is asked: a proxy from the environment has no business in between.
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))

Say = Callable[[str], None]


@dataclass(frozen=True)
class Program:
    """A child to keep running.

    Attributes:
        name: What the operator calls it; also the name of its log file.
        command: Program and arguments, never a shell string.
        health_url: Answers 200 once it works; None when being alive is enough.
        listen: Host and port of a socket to hold for it; it finds the descriptor's number in
            `BOUTE_LISTEN_FD`. None: it listens by itself, or not at all.
    """

    name: str
    command: tuple[str, ...]
    health_url: str | None = None
    listen: tuple[str, int] | None = None


@dataclass(frozen=True)
class Patience:
    """How long to wait for what.

    Attributes:
        healthy_s: From the start of a program to its first healthy answer.
        quick_death_s: A life shorter than this counts towards giving up.
        backoff_s: Pause before the first restart; doubles with every quick death.
        stop_s: From the polite request to end to the kill. The controller needs some of it to
            stop its replicas.
    """

    healthy_s: float = 120.0
    quick_death_s: float = 20.0
    backoff_s: float = 1.0
    stop_s: float = 30.0


class StopRequest:
    """Whether the operator asked to stop; set by signals, so it takes no locks."""

    def __init__(self) -> None:
        self.asked_at_s: float | None = None
        self.hurry = False

    def __call__(self, sign: int, _: FrameType | None) -> None:
        """Note a signal; a second Ctrl-C later on means: do not wait."""
        now_s = time.monotonic()
        if self.asked_at_s is None:
            self.asked_at_s = now_s
        elif sign == signal.SIGINT and now_s - self.asked_at_s > HURRY_AFTER_S:
            self.hurry = True


@contextlib.contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Turn SIGINT, SIGTERM and SIGHUP into a stop request while the block runs."""
    request = StopRequest()
    signs = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {sign: signal.signal(sign, request) for sign in signs}
    try:
        yield request
    finally:
        for sign, handler in before.items():
            signal.signal(sign, handler)


class Child:
    """One program's current process and its history of deaths.

    Attributes:
        proven: Whether it worked once in this run: then it is started again for ever.
    """

    def __init__(self, program: Program, environment: Mapping[str, str], logs: Path) -> None:
        self.program = program
        self.log_path = logs / f"{program.name}.log"
        self.healthy = self.proven = False
        self.quick_deaths = 0
        self.started_s = 0.0
        self.restart_at_s: float | None = None
        self._environment = {**environment, "PYTHONUNBUFFERED": "1"}
        self._log_begin = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None

    def start(self) -> None:
        """Start the process; its output is appended to its log file."""
        descriptors = self._listen()
        if self.log_path.exists() and self.log_path.stat().st_size > LOG_MAX_BYTES:
            self.log_path.replace(self.log_path.with_suffix(".log.1"))
        with self.log_path.open("ab") as log:
            self._log_begin = log.tell()
            self._process = subprocess.Popen(
                self.program.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=REPOSITORY,
                env={**os.environ, **self._environment},
                pass_fds=descriptors,
                start_new_session=True,
            )
        self.healthy = False
        self.restart_at_s = None
        self.started_s = time.monotonic()

    def _listen(self) -> tuple[int, ...]:
        """Open the program's socket, or keep it; return its descriptor, if it has one."""
        if self.program.listen is None:
            return ()
        if self._socket is None:
            host, port = self.program.listen
            try:
                family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
                self._socket = socket.create_server((host, port), family=family, backlog=BACKLOG)
            except OSError as error:
                raise EngineFailed(f"Nothing can listen on {host}:{port}: {error}.") from error
            self._environment[LISTEN_FD] = str(self._socket.fileno())
        return (self._socket.fileno(),)

    def stop_listening(self) -> None:
        """Refuse new connections from now on."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    @property
    def running(self) -> bool:
        """Whether the process lives."""
        return self._process is not None and self._process.poll() is None

    @property
    def exit_words(self) -> str:
        """How the process ended, for a person."""
        status = self._process.returncode if self._process else None
        if status is not None and status < 0:
            return f"killed by {signal.Signals(-status).name}"
        return f"exit status {status}"

    def check_health(self) -> bool:
        """Ask whether it works, once it runs."""
        if not self.healthy and self.running:
            url = self.program.health_url
            self.healthy = url is None or answers(url)
            self.proven = self.proven or (self.healthy and url is not None)
        return self.healthy

    def descendants(self) -> list[psutil.Process]:
        """List the processes below this one, whatever their session."""
        if self._process is not None and self.running:
            with contextlib.suppress(psutil.Error):
                return psutil.Process(self._process.pid).children(recursive=True)
        return []

    def ask_to_end(self) -> None:
        """Send SIGTERM to the process alone, which ends what it started in its own order."""
        if self._process is not None and self.running:
            self._process.terminate()

    def kill_group(self) -> None:
        """Kill whatever is left of its process group, and reap it."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(KILL_WAIT_S)

    def last_words(self) -> str:
        """Return the end of what it logged since its start."""
        with self.log_path.open("rb") as log:
            log.seek(self._log_begin)
            lines = log.read().decode("utf-8", "replace").splitlines()
        return "\n".join(f"    {line}" for line in lines[-TAIL_LINES:]) or "    (nothing)"


class Supervisor:
    """Keeps programs running until told to stop.

    Args:
        programs: What to run.
        home: Home folder shared by all of them; recognises what they started.
        logs: Folder of the log files.
        environment: Variables for every program, beyond this process's own.
        say: Tells the operator one line.
        patience: Time limits.
    """

    def __init__(
        self,
        programs: Sequence[Program],
        home: Path,
        logs: Path,
        environment: Mapping[str, str],
        say: Say,
        patience: Patience | None = None,
    ) -> None:
        self._mark = f"{os.getpid()}-{time.time_ns()}"
        self._home = home
        marked = {**environment, "BOUTE_HOME": str(home), RUN_MARK: self._mark}
        self._children = [Child(program, marked, logs) for program in programs]
        self._say = say
        self._patience = patience or Patience()
        self._descendants: set[psutil.Process] = set()
        self._next_census_s = 0.0

    def run(self, stop: StopRequest, on_ready: Callable[[], None]) -> None:
        """Start everything, call `on_ready` when all are healthy, watch until stopped.

        Whatever happens, nothing is left running afterwards.

        Raises:
            EngineFailed: A program keeps dying or does not become healthy; everything was stopped.
        """
        try:
            for child in self._children:
                child.start()
            ready = False
            while stop.asked_at_s is None:
                self._look_after_children()
                if time.monotonic() >= self._next_census_s:
                    self._take_census()
                if not ready and all(child.healthy for child in self._children):
                    ready = True
                    on_ready()
                time.sleep(POLL_S)
        finally:
            self._stop_all(stop)

    def _look_after_children(self) -> None:
        for child in self._children:
            if child.restart_at_s is not None:
                if time.monotonic() >= child.restart_at_s:
                    child.start()
            elif not child.running:
                self._bury(child)
            elif not child.healthy:
                self._await_health(child)

    def _take_census(self) -> None:
        """Note what the children started, so that it is known even when they die."""
        self._next_census_s = time.monotonic() + CENSUS_EVERY_S
        now = {found for child in self._children for found in child.descendants()}
        self._descendants = now | {old for old in self._descendants if alive(old)}

    def _await_health(self, child: Child) -> None:
        if child.check_health():
            if child.quick_deaths:
                self._say(f"The {child.program.name} is back.")
        elif time.monotonic() - child.started_s > self._patience.healthy_s:
            if child.proven:
                child.kill_group()  # it hangs; the next look starts it again
                return
            waited = f"{self._patience.healthy_s:.0f} s"
            raise EngineFailed(
                f"The {child.program.name} did not answer within {waited}.", _post_mortem(child)
            )

    def _bury(self, child: Child) -> None:
        """Plan the restart of a dead child, or give up."""
        child.kill_group()
        quick = time.monotonic() - child.started_s < self._patience.quick_death_s
        child.proven = child.proven or not quick
        child.quick_deaths = child.quick_deaths + 1 if quick else 1
        if child.quick_deaths >= MAX_QUICK_DEATHS and not child.proven:
            raise EngineFailed(
                f"The {child.program.name} died {child.quick_deaths} times in a row "
                f"({child.exit_words}); everything was stopped.",
                _post_mortem(child),
            )
        pause_s = self._patience.backoff_s * 2.0 ** min(child.quick_deaths - 1, 10)
        pause_s = min(pause_s, LONGEST_PAUSE_S)
        child.restart_at_s = time.monotonic() + pause_s
        self._say(
            f"The {child.program.name} ended by itself ({child.exit_words}); starting it again "
            f"in {pause_s:.0f} s. Log: {child.log_path}"
        )

    def _stop_all(self, stop: StopRequest) -> None:
        self._say("Stopping; model servers take a few seconds ...")
        self._take_census()
        for child in self._children:
            child.ask_to_end()
            child.stop_listening()
        deadline_s = time.monotonic() + self._patience.stop_s
        while any(child.running for child in self._children):
            if stop.hurry or time.monotonic() > deadline_s:
                break
            time.sleep(POLL_S)
        self._take_census()
        stubborn = [child.program.name for child in self._children if child.running]
        for child in self._children:
            child.kill_group()
        swept = end_processes(self._descendants.union(processes_of(self._home, self._mark)))
        killed = f" (had to kill: {', '.join(stubborn)})" if stubborn else ""
        cleared = f" (cleared away {swept} processes they left)" if swept else ""
        self._say(f"Stopped{killed}{cleared}.")


def _post_mortem(child: Child) -> str:
    return f"Its last words, from {child.log_path}:\n{child.last_words()}"


def answers(url: str) -> bool:
    """Return whether a local address answers with status 200."""
    try:
        with _DIRECT.open(url, timeout=HEALTH_TIMEOUT_S) as reply:
            return int(reply.status) == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False


def processes_of(home: Path, mark: str | None = None) -> list[psutil.Process]:
    """Find what a supervisor's programs started, in whatever session it runs now.

    Args:
        home: The home folder they work for.
        mark: The run of the supervisor; then replicas that a controller marked with
            `BOUTE_REPLICA_ID` count too, whoever started them. None: all runs.
    """
    spared = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            variables = process.environ()
            if process.pid in spared or variables.get("BOUTE_HOME") != str(home):
                continue
            its_mark = variables.get(RUN_MARK)
            replica = "BOUTE_REPLICA_ID" in variables
            if its_mark is not None if mark is None else (its_mark == mark or replica):
                found.append(process)
    return found


def end_processes(processes: Collection[psutil.Process]) -> int:
    """Ask processes to end, kill those that stay; return how many of them were alive."""
    living = [process for process in processes if alive(process)]
    acts = ((psutil.Process.terminate, SWEEP_WAIT_S), (psutil.Process.kill, KILL_WAIT_S))
    for act, patience_s in acts:
        for process in living:
            with contextlib.suppress(psutil.Error):
                act(process)
        deadline_s = time.monotonic() + patience_s
        while any(alive(process) for process in living) and time.monotonic() < deadline_s:
            time.sleep(POLL_S)
    return len(living)


def alive(process: psutil.Process) -> bool:
    """Return whether a process still runs; one that only waits to be reaped does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
