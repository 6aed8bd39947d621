"""NVIDIA GPUs through NVML, the driver's own management library."""

import socket
import threading
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import pynvml

from core.domain.fleet import Device, DeviceKind
from core.domain.ids import utc_now
from core.errors import EnvironmentFailed

T = TypeVar("T")

MIG_NOTE = "MIG is on: its slices are not schedulable; turn it off with `nvidia-smi -mig 0`"
LOST_NOTE = "The driver has lost this GPU; it comes back after a reset or a restart"

# What a GPU answers when it lacks a feature (power on some laptops, utilisation under MIG).
_ABSENT = {
    pynvml.NVML_ERROR_NOT_SUPPORTED,
    pynvml.NVML_ERROR_FUNCTION_NOT_FOUND,
    pynvml.NVML_ERROR_NO_PERMISSION,
    pynvml.NVML_ERROR_NO_DATA,
    pynvml.NVML_ERROR_INVALID_ARGUMENT,
}
_NO_DRIVER = {
    pynvml.NVML_ERROR_LIBRARY_NOT_FOUND,
    pynvml.NVML_ERROR_DRIVER_NOT_LOADED,
    pynvml.NVML_ERROR_GPU_NOT_FOUND,
}
_LOST = {pynvml.NVML_ERROR_GPU_IS_LOST, pynvml.NVML_ERROR_RESET_REQUIRED}


class NvmlProbe:
    """Shows NVIDIA GPUs as devices; see `GpuProbe`. Safe to use from several threads."""

    def __init__(self) -> None:
        self._node = socket.gethostname()
        self._lock = threading.Lock()
        self._started = False
        # A lost GPU no longer says who it is: what it said before keeps its identity.
        self._last_seen: dict[int, Device] = {}

    def available(self) -> bool:
        """Whether there is a driver to talk to.

        Raises:
            EnvironmentFailed: There is one, but it does not start.
        """
        with self._lock:
            try:
                self._start()
            except pynvml.NVMLError as error:
                if error.value in _NO_DRIVER:
                    return False
                raise _failed(error) from error
            return True

    def devices(self) -> list[Device]:
        """Return every GPU of this host.

        Raises:
            EnvironmentFailed: The driver is missing or does not answer.
        """
        with self._lock:
            try:
                self._start()
                return [self._device(i) for i in range(pynvml.nvmlDeviceGetCount())]
            except pynvml.NVMLError as error:
                self._stop()
                raise _failed(error) from error

    def used_memory_bytes(self, device_ids: Sequence[str]) -> dict[str, int]:
        """Return memory in use per GPU, by anybody.

        Raises:
            EnvironmentFailed: The driver is missing or does not answer.
        """
        return {
            d.device_id: d.memory_used_bytes for d in self.devices() if d.device_id in device_ids
        }

    def close(self) -> None:
        """Let go of the driver; the next look takes it up again."""
        with self._lock:
            self._stop()

    def _start(self) -> None:
        if not self._started:
            pynvml.nvmlInit()
            self._started = True

    def _stop(self) -> None:
        """After a driver failure, too: a fresh start is the only way to see it recover."""
        if self._started:
            self._started = False
            _or_none(pynvml.nvmlShutdown)

    def _device(self, index: int) -> Device:
        try:
            device = self._ask(index)
        except pynvml.NVMLError as error:
            if error.value in _LOST:
                return self._lost(index)
            raise
        self._last_seen[index] = device
        return device

    def _ask(self, index: int) -> Device:
        handle = pynvml.nvmlDeviceGetHandleByIndex(index)
        memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
        load = _or_none(lambda: pynvml.nvmlDeviceGetUtilizationRates(handle))
        milliwatts = _or_none(lambda: pynvml.nvmlDeviceGetPowerUsage(handle))
        return Device(
            device_id=_text(pynvml.nvmlDeviceGetUUID(handle)),
            node=self._node,
            index=index,
            sku=_text(pynvml.nvmlDeviceGetName(handle)),
            kind=DeviceKind.CUDA,
            memory_total_bytes=int(memory.total),
            memory_used_bytes=int(memory.used),
            utilisation=None if load is None else load.gpu / 100,
            power_w=None if milliwatts is None else milliwatts / 1000,
            seen_at=utc_now(),
            note=MIG_NOTE if _mig_is_on(handle) else "",
        )

    def _lost(self, index: int) -> Device:
        known = self._last_seen.get(index)
        return Device(
            device_id=known.device_id if known else f"{self._node}/gpu/{index}",
            node=self._node,
            index=index,
            sku=known.sku if known else "unknown GPU",
            kind=DeviceKind.CUDA,
            memory_total_bytes=known.memory_total_bytes if known else 0,
            memory_used_bytes=0,
            utilisation=None,
            power_w=None,
            seen_at=utc_now(),
            note=LOST_NOTE,
        )


def _mig_is_on(handle: Any) -> bool:
    mode = _or_none(lambda: pynvml.nvmlDeviceGetMigMode(handle))
    return mode is not None and mode[0] == pynvml.NVML_DEVICE_MIG_ENABLE


def _or_none(question: Callable[[], T]) -> T | None:
    """Return the answer, or None where this GPU has no such feature."""
    try:
        return question()
    except pynvml.NVMLError as error:
        if error.value in _ABSENT:
            return None
        raise


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _failed(error: pynvml.NVMLError) -> EnvironmentFailed:
    return EnvironmentFailed(
        f"The NVIDIA driver does not answer: {error}.",
        "Run `nvidia-smi`; if it fails too, reload the driver or restart the machine "
        "(a driver update needs a restart).",
    )
