"""Servers being stopped: takes seconds each, so it happens beside the reconcile loop."""

import logging
import time
from collections.abc import Iterator
from concurrent.futures import Executor, Future
from dataclasses import dataclass

import psutil

from core.domain.deployment import Replica, ReplicaState
from core.domain.fleet import Device, DeviceKind
from core.errors import BOuteError
from core.ports import GpuProbe, Launcher
from core.serving.ledger import MOST_FOREIGN_SHARE

log = logging.getLogger(__name__)

MEMORY_WAIT_S = 20.0
MEMORY_POLL_S = 0.3


@dataclass(frozen=True, slots=True)
class Ending:
    """One replica on its way out.

    Attributes:
        state: What it will be once it is gone: stopped or failed.
        message: Why, if it failed.
    """

    replica: Replica
    state: ReplicaState
    message: str
    work: "Future[None]"


class Endings:
    """The replicas that are being stopped right now; in memory, because stopping can be redone."""

    def __init__(self, launcher: Launcher, probe: GpuProbe, executor: Executor) -> None:
        self._launcher = launcher
        self._probe = probe
        self._executor = executor
        self._under_way: dict[str, Ending] = {}

    def __contains__(self, replica_id: str) -> bool:
        return replica_id in self._under_way

    def begin(
        self, replica: Replica, state: ReplicaState, message: str, devices: list[Device]
    ) -> None:
        """Start ending a replica; a second call for the same one does nothing."""
        if replica.replica_id in self._under_way:
            return
        work = self._executor.submit(self._end, replica, devices)
        self._under_way[replica.replica_id] = Ending(replica, state, message, work)

    def finished(self, wait: bool = False) -> Iterator[Ending]:
        """Yield the replicas that are gone since the last call; failed attempts are forgotten.

        Args:
            wait: Whether to wait for all that are under way.
        """
        for ending in list(self._under_way.values()):
            if not (wait or ending.work.done()):
                continue
            del self._under_way[ending.replica.replica_id]
            try:
                ending.work.result()
            except (BOuteError, OSError, psutil.Error):
                # The caller sees the replica still alive in its next round and tries again.
                log.exception("replica %s could not be stopped", ending.replica.replica_id)
            else:
                yield ending

    def _end(self, replica: Replica, devices: list[Device]) -> None:
        self._launcher.stop(replica)
        on_gpu = [d for d in devices if d.kind is DeviceKind.CUDA]
        if on_gpu:
            self._wait_for_memory(on_gpu)

    def _wait_for_memory(self, devices: list[Device]) -> None:
        """Wait until the driver has taken the memory back; the next start would fail on less."""
        ids = [d.device_id for d in devices]
        deadline_s = time.monotonic() + MEMORY_WAIT_S
        while True:
            used = self._probe.used_memory_bytes(ids)
            full = [
                d
                for d in devices
                if used.get(d.device_id, 0) > MOST_FOREIGN_SHARE * d.memory_total_bytes
            ]
            if not full:
                return
            if time.monotonic() > deadline_s:
                log.warning("memory of %s is still in use, by other processes", full[0].device_id)
                return
            time.sleep(MEMORY_POLL_S)
