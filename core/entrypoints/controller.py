"""The controller process: refreshes the inventory, reconciles replicas, runs jobs."""

import logging
import signal
import threading
import time

from core.entrypoints.job_runner import JobRunner
from core.errors import BOuteError
from core.ports import GpuProbe, UnitOfWorkFactory
from core.services import inventory
from core.serving.detect import detect_probe
from core.serving.launcher import LocalLauncher
from core.serving.reconcile import Reconciler
from core.settings import Settings
from db.unit_of_work import uow_factory

log = logging.getLogger(__name__)

TICK_S = 0.4
INVENTORY_EVERY_S = 5.0


def run(settings: Settings) -> int:
    """Run until SIGTERM or SIGINT; stop every replica on the way out."""
    stop = threading.Event()
    for sign in (signal.SIGTERM, signal.SIGINT):
        signal.signal(sign, lambda *_: stop.set())
    uow = uow_factory(settings.database_url)
    probe = detect_probe(settings)
    reconciler = Reconciler(uow, LocalLauncher(settings), probe, settings)
    runner = JobRunner(uow, settings)
    inventory.refresh(uow, probe)
    runner.launch()
    log.info("controller is up")
    try:
        _loop(stop, uow, probe, reconciler, runner)
    finally:
        runner.close()
        reconciler.shutdown()
    return 0


def _loop(
    stop: threading.Event,
    uow: UnitOfWorkFactory,
    probe: GpuProbe,
    reconciler: Reconciler,
    runner: JobRunner,
) -> None:
    next_inventory_s = 0.0
    while not stop.is_set():
        try:
            if time.monotonic() >= next_inventory_s:
                inventory.refresh(uow, probe)
                next_inventory_s = time.monotonic() + INVENTORY_EVERY_S
            reconciler.tick()
            runner.tick()
        except BOuteError:
            # A database or driver that is away comes back; replicas keep serving meanwhile.
            log.exception("this round failed; trying again")
        stop.wait(TICK_S)
