"""Looks all the time whether a device is given to two replicas, in the rows and in reality."""

import contextlib
import threading
from collections import defaultdict
from types import TracebackType
from typing import Self

import psutil

from core.domain.deployment import Replica
from core.entrypoints.bench.live_product import Product, double_booked
from core.errors import BOuteError
from core.serving.command_line import MARKER

EVERY_S = 0.25


class Watch:
    """A thread that looks; use as a context manager.

    Attributes:
        problems: What was wrong.
        looks: How often it looked while the database answered.
    """

    def __init__(self, product: Product) -> None:
        self.problems: list[str] = []
        self.looks = 0
        self._product = product
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(EVERY_S):
            with contextlib.suppress(BOuteError):
                self._look()

    def _look(self) -> None:
        with self._product.uow() as work:
            known = work.replicas.all()
        self.looks += 1
        self.problems += [f"{d} is held twice" for d in double_booked(known)]
        self.problems += shared(known, _running())


def _running() -> set[str]:
    """Ids of replicas whose server process lives."""
    found = set()
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.status() != psutil.STATUS_ZOMBIE:
                found.add(process.environ().get(MARKER, ""))
    return found - {""}


def shared(known: list[Replica], running: set[str]) -> list[str]:
    """Return devices on which the processes of two replicas run."""
    on: dict[str, set[str]] = defaultdict(set)
    for replica in known:
        for device in replica.device_ids if replica.replica_id in running else ():
            on[device].add(replica.replica_id)
    return [f"{d} runs {sorted(ids)}" for d, ids in on.items() if len(ids) > 1]
