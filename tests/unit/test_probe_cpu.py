"""The embedded fleet: CPU cores as devices."""

import os
from pathlib import Path

import psutil

from core.domain.fleet import DeviceKind
from core.serving.probe_cpu import SKU, CpuProbe
from core.settings import Settings


def settings(cpu_devices: int | None = None) -> Settings:
    return Settings(home=Path("/nowhere"), database_url="sqlite://", cpu_devices=cpu_devices)


def test_every_usable_core_is_a_device() -> None:
    devices = CpuProbe(settings()).devices()
    cores = sorted(os.sched_getaffinity(0))
    assert [d.index for d in devices] == cores
    assert {d.sku for d in devices} == {SKU}
    assert {d.kind for d in devices} == {DeviceKind.CPU}
    assert len({d.device_id for d in devices}) == len(cores)
    assert all(d.device_id == f"{d.node}/cpu/{d.index}" and d.schedulable for d in devices)
    assert all(d.power_w is None for d in devices)


def test_memory_is_shared_out() -> None:
    devices = CpuProbe(settings()).devices()
    total = sum(d.memory_total_bytes for d in devices)
    assert 0 <= psutil.virtual_memory().total - total < len(devices)
    assert all(0 < d.memory_used_bytes < d.memory_total_bytes for d in devices)


def test_fewer_cores_can_be_offered_without_growing_their_share() -> None:
    everything, one = CpuProbe(settings()).devices(), CpuProbe(settings(1)).devices()
    assert len(one) == 1
    assert one[0].memory_total_bytes == everything[0].memory_total_bytes


def test_load_is_unknown_at_first_and_then_a_fraction() -> None:
    probe = CpuProbe(settings())
    assert all(d.utilisation is None for d in probe.devices())
    probe._load_read_s -= 10  # as if the first look were ten seconds ago
    assert all(0 <= (d.utilisation or 0.0) <= 1 for d in probe.devices())
    assert all(d.utilisation is not None for d in probe.devices())


def test_used_memory_is_told_for_the_devices_asked_for() -> None:
    probe = CpuProbe(settings())
    first = probe.devices()[0].device_id
    assert list(probe.used_memory_bytes([first, "elsewhere/cpu/0"])) == [first]
