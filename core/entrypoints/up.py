"""`boute up`: dashboard, controller and gateway, started and stopped together."""

import contextlib
import errno
import fcntl
import logging
import os
import shutil
import socket
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil

from core.entrypoints.supervisor import (
    Program,
    Supervisor,
    end_processes,
    processes_of,
    stop_on_signals,
)
from core.errors import Conflict, EnvironmentFailed, InvalidInput
from core.settings import Settings

MIN_FREE_BYTES = 500_000_000
PORT_SEARCH_SPAN = 100


def up(settings: Settings, programs: Sequence[Program] | None = None) -> int:
    """Run until Ctrl-C, SIGTERM or SIGHUP; leave nothing running.

    Args:
        settings: Addresses and folders.
        programs: What to run; dashboard, controller and gateway unless told otherwise.

    Raises:
        EnvironmentFailed: A port is taken, the home cannot be written, the disk is full, or the
            database does not answer.
        Conflict: BOute runs on this home already.
        EngineFailed: One of the programs keeps dying.
    """
    prepare_home(settings)
    with stop_on_signals() as stop, hold(settings.home):
        left_over = end_processes(processes_of(settings.home))
        if left_over:
            say(f"Ended {left_over} processes that an earlier run left behind.")
        check_ports(settings)
        migrate(settings.database_url)
        say("Starting dashboard, controller and gateway ...")
        supervisor = Supervisor(
            programs if programs is not None else product_programs(settings),
            settings.home,
            settings.logs,
            settings.environment,
            say,
        )
        supervisor.run(stop, lambda: say(addresses(settings)))
    return 0


def product_programs(settings: Settings) -> list[Program]:
    """Return what BOute consists of."""
    boute = (sys.executable, "-m", "core.entrypoints.cli")
    host = reachable(settings.host)
    return [
        Program(
            "dashboard",
            (*boute, "dashboard"),
            f"http://{host}:{settings.dashboard_port}/_stcore/health",
        ),
        Program("controller", (*boute, "controller")),
        Program(
            "gateway",
            (*boute, "gateway"),
            f"http://{host}:{settings.gateway_port}/health",
            listen=(settings.host, settings.gateway_port),
        ),
    ]


def prepare_home(settings: Settings) -> None:
    """Create the home and its log folder and check that there is room.

    Raises:
        EnvironmentFailed: It cannot be written, or the disk is full.
    """
    advice = "Set BOUTE_HOME to a folder that you may write."
    try:
        settings.logs.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EnvironmentFailed(
            f"The folder {settings.home} cannot be created: {error.strerror}.", advice
        ) from error
    if not os.access(settings.home, os.W_OK) or not os.access(settings.logs, os.W_OK):
        raise EnvironmentFailed(f"The folder {settings.home} cannot be written.", advice)
    free_bytes = shutil.disk_usage(settings.home).free
    if free_bytes < MIN_FREE_BYTES:
        raise EnvironmentFailed(
            f"Only {free_bytes / 1e6:.0f} MB are free on the disk of {settings.home}.",
            f"Free at least {MIN_FREE_BYTES / 1e6:.0f} MB, or set BOUTE_HOME to another disk.",
        )


@contextlib.contextmanager
def hold(home: Path) -> Iterator[None]:
    """Hold the home's lock; the operating system gives it back however this process ends.

    Raises:
        Conflict: Another `boute up` holds it.
    """
    with (home / "up.lock").open("a+", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            lock.seek(0)
            raise Conflict(
                f"BOute already runs on {home} (pid {lock.read().strip() or 'unknown'}).",
                "Stop it there with Ctrl-C, or set BOUTE_HOME and other ports for a second one.",
            ) from error
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def check_ports(settings: Settings) -> None:
    """Check that the dashboard's and the gateway's ports can be had.

    Raises:
        EnvironmentFailed: One is taken or not allowed; names who holds it and a free one.
        InvalidInput: Both are the same.
    """
    if settings.dashboard_port == settings.gateway_port:
        raise InvalidInput(
            f"Dashboard and gateway cannot share port {settings.dashboard_port}.",
            "Set BOUTE_DASHBOARD_PORT or BOUTE_GATEWAY_PORT.",
        )
    wanted = {
        "BOUTE_DASHBOARD_PORT": settings.dashboard_port,
        "BOUTE_GATEWAY_PORT": settings.gateway_port,
    }
    for variable, port in wanted.items():
        error = _refusal(settings.host, port)
        if error is not None:
            raise _port_failure(settings, variable, port, error)


def _refusal(host: str, port: int) -> OSError | None:
    """Try to listen on a port; return what the operating system objects to, if anything."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            probe.listen(1)
    except OSError as error:
        return error
    return None


def _port_failure(
    settings: Settings, variable: str, port: int, error: OSError
) -> EnvironmentFailed:
    host = settings.host
    taken = {settings.dashboard_port, settings.gateway_port}
    last = min(port + PORT_SEARCH_SPAN, 65_536)
    others = (p for p in range(port + 1, last) if p not in taken and _refusal(host, p) is None)
    other = next(others, None)
    if other is None and _refusal(host, 0) is not None:
        return EnvironmentFailed(
            f"Nothing can listen on {host}: {error.strerror or error}.",
            "Set BOUTE_HOST to an address of this machine.",
        )
    holder = _holder(port)
    in_use = error.errno == errno.EADDRINUSE
    state = "is in use" if in_use else f"cannot be used ({error.strerror or error})"
    stop = f" or stop what uses it ({holder})" if holder else ""
    advice = f"Set {variable}={other}" if other else f"Set {variable} to a free port"
    return EnvironmentFailed(f"Port {port} {state}.", f"{advice}{stop}.")


def _holder(port: int) -> str:
    """Name the process that listens on a port, as far as this user may see."""
    with contextlib.suppress(psutil.Error, OSError):
        for connection in psutil.net_connections("tcp"):
            listens = connection.status == psutil.CONN_LISTEN
            if listens and [*connection.laddr][1:2] == [port] and connection.pid:
                words = psutil.Process(connection.pid).cmdline()[:3]
                short = " ".join([Path(words[0]).name, *words[1:]]) if words else "?"
                return f"pid {connection.pid}, {short[:60]}"
    return ""


def migrate(database_url: str) -> None:
    """Bring the database to the newest schema, without alembic's talk.

    Raises:
        EnvironmentFailed: It does not answer.
    """
    logging.getLogger("alembic").setLevel(logging.WARNING)  # talks from its import on
    from db.migrate import upgrade

    upgrade(database_url)


def reachable(host: str) -> str:
    """Return a host under which this machine reaches what listens on `host`, ready for a URL."""
    plain = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)
    return f"[{plain}]" if ":" in plain else plain


def addresses(settings: Settings) -> str:
    """Return the block that tells the operator where everything is."""
    host = reachable(settings.host)
    return (
        "\nBOute is running.\n\n"
        f"  Dashboard  http://{host}:{settings.dashboard_port}\n"
        f'  Gateway    http://{host}:{settings.gateway_port}/v1   (OpenAI API, model "auto")\n'
        f"  Data       {settings.home}\n"
        f"  Logs       {settings.logs}\n\n"
        "Press Ctrl-C to stop everything.\n"
    )


def say(text: str) -> None:
    """Tell the operator; a terminal that went away must not get in the way of stopping."""
    with contextlib.suppress(OSError):
        print(text, flush=True)
