"""The controller process: refreshes the inventory, reconciles replicas, runs jobs."""

import contextlib
import fcntl
import logging
import time
from collections.abc import Iterator
from pathlib import Path

from core.entrypoints.job_runner import JobRunner
from core.entrypoints.supervisor import StopRequest, stop_on_signals
from core.errors import BOuteError, Conflict
from core.ports import GpuProbe, Launcher, UnitOfWorkFactory
from core.services import inventory
from core.serving.detect import detect_probe
from core.serving.launcher import LocalLauncher
from core.serving.reconcile import Reconciler
from core.settings import Settings
from db.unit_of_work import uow_factory

log = logging.getLogger(__name__)

TICK_S = 0.4
INVENTORY_EVERY_S = 5.0


def run(
    settings: Settings, probe: GpuProbe | None = None, launcher: Launcher | None = None
) -> int:
    """Run until SIGTERM or SIGINT; stop every replica on the way out.

    Args:
        settings: Addresses and folders.
        probe: The devices; those of this machine unless given.
        launcher: Starts servers; vLLM on this machine unless given.

    Raises:
        Conflict: Another controller works on this home.
    """
    with stop_on_signals() as stop, alone(settings.home):
        _run(settings, stop, probe or detect_probe(settings), launcher or LocalLauncher(settings))
    return 0


@contextlib.contextmanager
def alone(home: Path) -> Iterator[None]:
    """Be the only controller of a home; the operating system ends that however this process ends.

    Two of them would each start what the other has not written down yet.

    Raises:
        Conflict: There is one already.
    """
    home.mkdir(parents=True, exist_ok=True)
    with (home / "controller.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise Conflict(
                f"A controller already works on {home}.",
                "Stop that one first: there is one per fleet.",
            ) from error
        yield


def _run(settings: Settings, stop: StopRequest, probe: GpuProbe, launcher: Launcher) -> None:
    uow = uow_factory(settings.database_url)
    reconciler = Reconciler(uow, launcher, probe, settings)
    runner = JobRunner(uow, settings)
    inventory.refresh(uow, probe)
    runner.launch()
    log.info("controller is up")
    try:
        _loop(stop, uow, probe, reconciler, runner)
    finally:
        runner.close()
        reconciler.shutdown()


def _loop(
    stop: StopRequest,
    uow: UnitOfWorkFactory,
    probe: GpuProbe,
    reconciler: Reconciler,
    runner: JobRunner,
) -> None:
    next_inventory_s = 0.0
    while stop.asked_at_s is None:
        try:
            if time.monotonic() >= next_inventory_s:
                inventory.refresh(uow, probe)
                next_inventory_s = time.monotonic() + INVENTORY_EVERY_S
            reconciler.tick()
            runner.tick()
        except BOuteError:
            # A database or driver that is away comes back; replicas keep serving meanwhile.
            log.exception("this round failed; trying again")
        time.sleep(TICK_S)
