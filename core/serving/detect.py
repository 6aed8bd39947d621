"""Chooses how to look at this machine."""

import logging

from core.ports import GpuProbe
from core.serving.probe_cpu import CpuProbe
from core.serving.probe_nvml import NvmlProbe
from core.settings import Settings

log = logging.getLogger(__name__)


def detect_probe(settings: Settings) -> GpuProbe:
    """Return the NVML probe where a GPU answers, else the CPU probe.

    Raises:
        EnvironmentFailed: There is a driver, but it does not answer.
    """
    nvml = NvmlProbe()
    if nvml.available() and nvml.devices():
        log.info("the fleet is this machine's NVIDIA GPUs")
        return nvml
    nvml.close()
    log.info("no NVIDIA GPU: the fleet is this machine's CPU cores")
    return CpuProbe(settings)
