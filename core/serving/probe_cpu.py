"""The embedded fleet: every CPU core this process may use is a device."""

import os
import socket
import threading
import time
from collections.abc import Sequence

import psutil

from core.domain.fleet import Device, DeviceKind
from core.domain.ids import utc_now
from core.settings import Settings

SKU = "cpu-core"
# Shorter intervals say more about the asking than about the load.
LOAD_WINDOW_S = 1.0


class CpuProbe:
    """Shows CPU cores as devices; see `GpuProbe`.

    Args:
        settings: `cpu_devices` limits how many cores are offered.
    """

    def __init__(self, settings: Settings) -> None:
        self._limit = settings.cpu_devices
        self._node = socket.gethostname()
        self._lock = threading.Lock()
        self._load: dict[int, float] = {}
        self._load_read_s = 0.0

    def devices(self) -> list[Device]:
        """Return one device per usable core; memory is shared out evenly among all of them."""
        cores = sorted(os.sched_getaffinity(0))
        memory = psutil.virtual_memory()
        load = self._load_per_core()
        now = utc_now()
        return [
            Device(
                device_id=f"{self._node}/cpu/{core}",
                node=self._node,
                index=core,
                sku=SKU,
                kind=DeviceKind.CPU,
                memory_total_bytes=memory.total // len(cores),
                memory_used_bytes=(memory.total - memory.available) // len(cores),
                utilisation=load.get(core),
                power_w=None,
                seen_at=now,
            )
            for core in cores[: self._limit]
        ]

    def used_memory_bytes(self, device_ids: Sequence[str]) -> dict[str, int]:
        """Return each core's even share of the memory in use on this machine."""
        return {
            d.device_id: d.memory_used_bytes for d in self.devices() if d.device_id in device_ids
        }

    def _load_per_core(self) -> dict[int, float]:
        """Busy fraction per core since the last reading; empty before there are two readings."""
        with self._lock:
            now_s = time.monotonic()
            if now_s - self._load_read_s >= LOAD_WINDOW_S:
                first = self._load_read_s == 0.0
                percents = psutil.cpu_percent(interval=None, percpu=True)
                self._load = {} if first else {i: p / 100 for i, p in enumerate(percents)}
                self._load_read_s = now_s
            return dict(self._load)
