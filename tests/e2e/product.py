"""A running BOute in a temporary home, as `make run` starts it, for end-to-end tests."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from core.domain.job import JobState
from core.domain.study import StudyState
from core.ports import UnitOfWorkFactory
from core.services import jobs, studies
from core.settings import Settings
from db.unit_of_work import uow_factory

STOP_S = 60
HEALTHY_S = 120


@dataclass
class Product:
    """`boute up` and its addresses."""

    settings: Settings
    process: "subprocess.Popen[bytes]"
    descendants: list[psutil.Process] = field(default_factory=list)
    descendant_names: list[str] = field(default_factory=list)

    @property
    def dashboard_url(self) -> str:
        return f"http://127.0.0.1:{self.settings.dashboard_port}"

    @property
    def gateway_url(self) -> str:
        return f"http://127.0.0.1:{self.settings.gateway_port}"

    @property
    def uow(self) -> UnitOfWorkFactory:
        return uow_factory(self.settings.database_url)

    def wait_for_front(self, timeout_s: float) -> str:
        """Wait until a study is done and return its id; a failed job fails the test."""
        deadline_s = time.monotonic() + timeout_s
        while time.monotonic() < deadline_s:
            done = [s for s in studies.studies(self.uow) if s.state is StudyState.DONE]
            if done:
                return done[0].study_id
            failed = [j for j in jobs.jobs(self.uow) if j.state is JobState.FAILED]
            assert not failed, f"{failed[0].title}: {failed[0].message} {failed[0].hint}"
            time.sleep(0.5)
        raise AssertionError(f"no front after {timeout_s} s")

    def stop(self) -> None:
        """Press Ctrl-C; remember what ran below it, vLLM's engines included."""
        if self.process.poll() is None:
            self.descendants = psutil.Process(self.process.pid).children(recursive=True)
            self.descendant_names = [process.name() for process in self.descendants]
            self.process.send_signal(signal.SIGINT)
            self.process.wait(STOP_S)


@contextlib.contextmanager
def running_product(home: Path) -> Iterator[Product]:
    ports = free_ports(3)
    settings = Settings(
        home=home,
        database_url=f"sqlite:///{home / 'boute.db'}",
        dashboard_port=ports[0],
        gateway_port=ports[1],
        replica_ports_from=ports[2],
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "core.entrypoints.cli", "up"],
        env={**os.environ, **settings.environment},
        stdin=subprocess.DEVNULL,
    )
    product = Product(settings, process)
    try:
        wait_healthy(f"{product.dashboard_url}/_stcore/health")
        wait_healthy(f"{product.gateway_url}/health")
        yield product
    finally:
        product.stop()


def free_ports(count: int) -> list[int]:
    """Return free TCP ports; the last one is the start of a free-looking range."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def wait_healthy(url: str) -> None:
    deadline_s = time.monotonic() + HEALTHY_S
    while True:
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5) as answer:
            if answer.status == 200:
                return
        if time.monotonic() > deadline_s:
            raise AssertionError(f"{url} is not healthy after {HEALTHY_S} s")
        time.sleep(0.3)
