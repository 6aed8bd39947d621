"""The controller process: refreshes the inventory, reconciles replicas, runs jobs."""

import logging
import time

from core.entrypoints.job_runner import JobRunner
from core.entrypoints.supervisor import StopRequest, stop_on_signals
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
    with stop_on_signals() as stop:
        _run(settings, stop)
    return 0


def _run(settings: Settings, stop: StopRequest) -> None:
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
