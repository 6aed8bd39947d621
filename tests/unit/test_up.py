"""The supervisor, on small stand-in programs: what it starts, restarts, and leaves behind."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from core.entrypoints import supervisor as supervising
from core.entrypoints.supervisor import Patience, Program, StopRequest, Supervisor
from core.entrypoints.up import addresses, check_ports, hold, prepare_home, reachable
from core.errors import Conflict, EngineFailed, EnvironmentFailed, InvalidInput
from core.settings import Settings

SLEEPER = "import time; time.sleep(600)"
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
QUICK = Patience(healthy_s=20, quick_death_s=60, backoff_s=0.05, stop_s=3)
WAIT_S = 20


def python(name: str, program: str, *arguments: str, url: str | None = None) -> Program:
    return Program(name, (sys.executable, "-c", program, *arguments), url)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def eventually(condition: Callable[[], bool]) -> bool:
    deadline_s = time.monotonic() + WAIT_S
    while not condition():
        if time.monotonic() > deadline_s:
            return False
        time.sleep(0.05)
    return True


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    home = tmp_path / "home"
    (home / "logs").mkdir(parents=True)
    return Settings(
        home=home,
        database_url=f"sqlite:///{home / 'boute.db'}",
        dashboard_port=free_port(),
        gateway_port=free_port(),
    )


@pytest.fixture(autouse=True)
def nothing_left(settings: Settings) -> Iterator[None]:
    yield
    left = supervising.processes_of(settings.home)
    supervising.end_processes(left)
    assert not left


class Run:
    """One run of a supervisor that stops as soon as it is ready, unless told otherwise."""

    def __init__(self, settings: Settings, *programs: Program, patience: Patience = QUICK) -> None:
        self.said: list[str] = []
        self.stop = StopRequest()
        self.supervisor = Supervisor(
            programs,
            settings.home,
            settings.logs,
            settings.environment,
            self.said.append,
            patience,
        )

    def until(self, condition: Callable[[], bool]) -> None:
        """Run until ready and the condition holds."""

        def ready() -> None:
            assert eventually(condition)
            self.ask()

        self.supervisor.run(self.stop, ready)

    def ask(self) -> None:
        self.stop(signal.SIGTERM, None)


def test_ready_means_every_health_address_answers(settings: Settings) -> None:
    port = free_port()
    server = (sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1")
    url = f"http://127.0.0.1:{port}/"
    seen: list[bool] = []
    run = Run(settings, Program("web", server, url), python("other", SLEEPER))

    run.until(lambda: seen.append(supervising.answers(url)) or seen[0])

    assert seen == [True]
    assert not supervising.answers(url)
    assert run.said[-1] == "Stopped."


def test_a_program_that_dies_is_started_again(settings: Settings, tmp_path: Path) -> None:
    marker, port = tmp_path / "lived", str(free_port())
    serves_in_its_second_life = (
        "import os, pathlib, sys; lived = pathlib.Path(sys.argv[1]);"
        "lived.exists() or (lived.touch(), sys.exit(7));"
        "os.execv(sys.executable, [sys.executable, '-m', 'http.server', sys.argv[2]])"
    )
    url = f"http://127.0.0.1:{port}/"
    run = Run(settings, python("gateway", serves_in_its_second_life, str(marker), port, url=url))

    run.until(lambda: True)

    said = "\n".join(run.said)
    assert "The gateway ended by itself (exit status 7); starting it again" in said
    assert "The gateway is back." in said


def test_a_program_that_keeps_dying_stops_everything_with_its_last_words(
    settings: Settings, tmp_path: Path
) -> None:
    pid_file = tmp_path / "pid"
    note_pid = (
        "import os, pathlib, sys; pathlib.Path(sys.argv[1]).write_text(str(os.getpid()));"
        + SLEEPER
    )
    broken = python("controller", "raise SystemExit('no such driver')")
    run = Run(settings, python("other", note_pid, str(pid_file)), broken)

    with pytest.raises(EngineFailed, match="controller died 3 times") as caught:
        run.supervisor.run(run.stop, lambda: None)

    assert "no such driver" in caught.value.hint
    assert not psutil.pid_exists(int(pid_file.read_text()))


def test_a_program_that_worked_once_is_started_again_for_ever(settings: Settings) -> None:
    """It dies quickly five times in a row, but answered before."""
    port = free_port()
    server = (sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1")
    url = f"http://127.0.0.1:{port}/"
    run, ready = Run(settings, Program("gateway", server, url)), threading.Event()

    def restarts() -> int:
        return sum("starting it again" in line for line in run.said)

    def kill_five_times() -> None:
        assert ready.wait(60)
        for number in range(5):
            assert eventually(lambda: supervising.answers(url))
            for process in psutil.Process().children():
                process.kill()
            while restarts() == number:
                time.sleep(0.05)
        assert eventually(lambda: supervising.answers(url))
        run.ask()

    threading.Thread(target=kill_five_times).start()
    run.supervisor.run(run.stop, ready.set)
    assert restarts() == 5


def test_new_connections_wait_while_a_program_is_started_again(
    settings: Settings, tmp_path: Path
) -> None:
    """The socket is the supervisor's: the second life answers who came between the two."""
    marker, port = tmp_path / "lived", free_port()
    serve = (
        "import os, pathlib, socket, sys, time; lived = pathlib.Path(sys.argv[1]);"
        "lived.exists() or (lived.touch(), sys.exit(7));"
        "held = socket.socket(fileno=int(os.environ['BOUTE_LISTEN_FD']));"
        "[s.recv(9) and s.sendall(b'hi') for s in iter(lambda: held.accept()[0], None)]"
    )
    command = (sys.executable, "-c", serve, str(marker))
    run = Run(settings, Program("gateway", command, listen=("127.0.0.1", port)))
    said: list[bytes] = []

    def come_in_between() -> None:
        assert eventually(marker.exists)
        with socket.create_connection(("127.0.0.1", port), timeout=WAIT_S) as caller:
            caller.sendall(b"hello")
            said.append(caller.recv(9))
        run.ask()

    threading.Thread(target=come_in_between).start()
    run.supervisor.run(run.stop, lambda: None)
    assert said == [b"hi"]
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))


def test_a_program_that_never_answers_is_reported(settings: Settings) -> None:
    silent = python("dashboard", SLEEPER, url=f"http://127.0.0.1:{free_port()}/")
    run = Run(settings, silent, patience=Patience(healthy_s=0.5, stop_s=3))

    with pytest.raises(EngineFailed, match=r"dashboard did not answer within 0 s|within 1 s"):
        run.supervisor.run(run.stop, lambda: None)


def test_who_ignores_sigterm_is_killed(settings: Settings) -> None:
    log = settings.logs / "controller.log"
    program = python("controller", STUBBORN.replace("time.sleep", "print('deaf'); time.sleep"))
    run = Run(settings, program, patience=Patience(stop_s=0.5))

    run.until(lambda: "deaf" in log.read_text())

    assert run.said[-1] == "Stopped (had to kill: controller)."


def test_a_second_interrupt_means_hurry() -> None:
    stop = StopRequest()
    stop(signal.SIGINT, None)
    stop(signal.SIGINT, None)  # the same key press, seen twice
    assert not stop.hurry
    assert stop.asked_at_s is not None
    stop.asked_at_s -= 10
    stop(signal.SIGINT, None)
    assert stop.hurry


def test_grandchildren_in_sessions_of_their_own_do_not_survive(
    settings: Settings, tmp_path: Path
) -> None:
    # Like vLLM's engine process: own session, environment gone, deaf, parent killed with -9.
    pid_file = tmp_path / "pid"
    program = (
        "import pathlib, subprocess, sys, time;"
        f"command = [sys.executable, '-c', {STUBBORN!r}];"
        "c = subprocess.Popen(command, start_new_session=True, env={});"
        "pathlib.Path(sys.argv[1]).write_text(str(c.pid)); time.sleep(600)"
    )
    run = Run(settings, python("controller", program, str(pid_file)))

    run.until(pid_file.exists)

    assert eventually(lambda: not psutil.pid_exists(int(pid_file.read_text())))
    assert "cleared away 1 process" in run.said[-1]


def test_orphans_of_a_killed_run_are_recognised_and_strangers_are_not(settings: Settings) -> None:
    marks = {"BOUTE_HOME": str(settings.home), supervising.RUN_MARK: "1-1"}
    alone = {"BOUTE_HOME": str(settings.home)}  # `boute controller`, started by hand
    with (
        subprocess.Popen([sys.executable, "-c", SLEEPER], env={**os.environ, **marks}) as orphan,
        subprocess.Popen([sys.executable, "-c", SLEEPER], env={**os.environ, **alone}) as stranger,
    ):
        assert eventually(lambda: len(supervising.processes_of(settings.home)) == 1)
        found = supervising.processes_of(settings.home)
        assert [process.pid for process in found] == [orphan.pid]
        assert supervising.end_processes(found) == 1
        assert stranger.poll() is None
        stranger.kill()


def test_two_runs_on_one_home_are_refused(settings: Settings) -> None:
    with (
        hold(settings.home),
        pytest.raises(Conflict, match=rf"already runs .*pid {os.getpid()}"),
        hold(settings.home),
    ):
        pass
    with hold(settings.home):
        pass


def test_a_port_in_use_names_the_variable_a_free_port_and_the_holder(settings: Settings) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", settings.dashboard_port))
        taken.listen()
        with pytest.raises(EnvironmentFailed) as caught:
            check_ports(settings)
    assert caught.value.message == f"Port {settings.dashboard_port} is in use."
    assert "Set BOUTE_DASHBOARD_PORT=" in caught.value.hint
    assert f"(pid {os.getpid()}, " in caught.value.hint


def test_free_ports_pass(settings: Settings) -> None:
    check_ports(settings)


def test_equal_ports_and_foreign_addresses_are_refused(settings: Settings) -> None:
    equal = Settings(settings.home, settings.database_url, dashboard_port=9, gateway_port=9)
    with pytest.raises(InvalidInput, match="cannot share port 9"):
        check_ports(equal)
    away = Settings(settings.home, settings.database_url, host="192.0.2.1")  # RFC 5737
    with pytest.raises(EnvironmentFailed, match=r"Nothing can listen on 192\.0\.2\.1"):
        check_ports(away)


def test_a_home_that_cannot_be_created_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    home = tmp_path / "file" / "home"
    with pytest.raises(EnvironmentFailed, match="cannot be created") as caught:
        prepare_home(Settings(home, "sqlite://"))
    assert "BOUTE_HOME" in caught.value.hint


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "127.0.0.1"), ("::", "[::1]"), ("box", "box")],
)
def test_reachable(host: str, expected: str) -> None:
    assert reachable(host) == expected


DRIVER = """
import sys
from core.entrypoints.supervisor import Program
from core.entrypoints.up import up
from core.settings import load_settings
settings = load_settings()
web = lambda name, port: Program(
    name, (sys.executable, "-m", "http.server", str(port)), f"http://127.0.0.1:{port}/")
sys.exit(up(settings, [web("dashboard", settings.dashboard_port),
                       web("gateway", settings.gateway_port)]))
"""


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_up_starts_announces_and_stops_on_a_signal(
    settings: Settings, sign: signal.Signals
) -> None:
    said = settings.home / "said"
    with (
        said.open("wb") as out,
        subprocess.Popen(
            [sys.executable, "-c", DRIVER],
            env={**os.environ, **settings.environment},
            stdout=out,
            stderr=out,
            start_new_session=True,
        ) as process,
        contextlib.ExitStack() as clean,
    ):
        clean.callback(process.kill)
        assert eventually(lambda: "BOute is running" in said.read_text()), said.read_text()
        assert addresses(settings) in said.read_text()
        process.send_signal(sign)
        assert process.wait(WAIT_S) == 0
    assert said.read_text().rstrip().endswith("Stopped.")
    check_ports(settings)
