"""The NVML probe against a stand-in driver library compiled from C, found by the real loader."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SOURCE = Path(__file__).parent.parent / "fixtures" / "nvml"
COMPILER = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")

pytestmark = pytest.mark.skipif(
    COMPILER is None, reason="no C compiler; Debian: apt-get install gcc libc6-dev"
)

Look = Callable[..., list[Any]]


def build(folder: Path, *options: str) -> Path:
    library = folder / "libnvidia-ml.so.1"
    command = [str(COMPILER), "-Wall", "-Werror", "-shared", "-fPIC", *options]
    command += [f"-Wl,-soname,{library.name}", "-o", str(library), str(SOURCE / "nvml.c")]
    subprocess.run(command, check=True)
    return folder


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("driver"))


@pytest.fixture(scope="module")
def old_driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("old"), "-DOLD_DRIVER")


def look(folder: Path | None, *steps: str, **state: str) -> list[Any]:
    """Run steps of `look.py` with the stand-in driver of a folder, or with none."""
    environment = {**os.environ, **state, "LD_LIBRARY_PATH": str(folder or "")}
    done = subprocess.run(
        [sys.executable, str(SOURCE / "look.py"), *steps],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    found: list[Any] = json.loads(done.stdout)
    return found


def test_two_gpus_are_two_devices(driver: Path) -> None:
    available, devices, used = look(driver, "available", "devices", "used")
    assert available
    assert [d["index"] for d in devices] == [0, 1]
    first = devices[0]
    assert first["device_id"] == "GPU-00000000-0000-0000-0000-000000000000"
    assert first["sku"] == "NVIDIA H100 80GB HBM3"
    assert first["kind"] == "cuda"
    assert first["memory_total_bytes"] == 80 * 2**30
    assert first["memory_used_bytes"] == 3 * 2**30
    assert first["utilisation"] == 0.42
    assert first["power_w"] == 123.456
    assert first["note"] == ""
    assert used == {first["device_id"]: 3 * 2**30}


def test_memory_of_others_is_read_anew_each_time(driver: Path) -> None:
    before, after = look(driver, "used", "STANDIN_USED_GIB=79", "used")
    assert list(before.values()) == [3 * 2**30]
    assert list(after.values()) == [79 * 2**30]


def test_a_gpu_in_mig_mode_is_shown_but_not_schedulable(driver: Path) -> None:
    (devices,) = look(driver, "devices", STANDIN_MIG="1")
    assert devices[0]["note"] == ""
    assert devices[1]["note"].startswith("MIG is on")


def test_features_a_gpu_lacks_are_unknown(driver: Path) -> None:
    (devices,) = look(driver, "devices", STANDIN_NO_POWER="1", STANDIN_NO_LOAD="1")
    assert devices[0]["power_w"] is None
    assert devices[0]["utilisation"] is None
    assert devices[0]["memory_total_bytes"] == 80 * 2**30


def test_an_old_driver_without_the_newer_functions_works(old_driver: Path) -> None:
    (devices,) = look(old_driver, "devices")
    assert len(devices) == 2
    assert devices[0]["power_w"] is None
    assert devices[0]["note"] == ""


def test_without_a_driver_the_fleet_is_cpu_cores() -> None:
    available, devices, chosen = look(None, "available", "devices", "detect")
    if available:
        pytest.skip("this machine has an NVIDIA driver")
    assert "does not answer" in devices["failed"]
    assert chosen == "CpuProbe"


def test_a_library_without_a_loaded_driver_is_no_gpu(driver: Path) -> None:
    available, chosen = look(driver, "available", "detect", STANDIN_INIT="9")
    assert available is False
    assert chosen == "CpuProbe"


def test_a_driver_without_gpus_is_no_gpu(driver: Path) -> None:
    assert look(driver, "detect", STANDIN_GPUS="0") == ["CpuProbe"]


def test_gpus_are_preferred_to_cpu_cores(driver: Path) -> None:
    assert look(driver, "detect") == ["NvmlProbe"]


def test_a_driver_that_needs_a_restart_is_said(driver: Path) -> None:
    available, chosen = look(driver, "available", "detect", STANDIN_INIT="18")
    assert "mismatch" in available["failed"]
    assert "restart" in available["hint"]
    assert "failed" in chosen


def test_a_driver_that_fails_in_the_middle_is_said_and_recovers(driver: Path) -> None:
    steps = ("devices", "STANDIN_COUNT_ERROR=999", "devices", "STANDIN_COUNT_ERROR=0", "devices")
    before, during, after = look(driver, *steps)
    assert len(before) == 2
    assert "Unknown Error" in during["failed"]
    assert "nvidia-smi" in during["hint"]
    assert len(after) == 2


def test_a_lost_gpu_keeps_its_identity_and_is_not_schedulable(driver: Path) -> None:
    before, after = look(driver, "devices", "STANDIN_LOST=1", "devices")
    assert after[1]["device_id"] == before[1]["device_id"]
    assert after[1]["sku"] == before[1]["sku"]
    assert "lost" in after[1]["note"]
    assert after[0]["note"] == ""


def test_a_gpu_lost_from_the_beginning_hides_no_other(driver: Path) -> None:
    (devices,) = look(driver, "devices", STANDIN_LOST="0")
    assert [d["sku"] for d in devices] == ["unknown GPU", "NVIDIA H100 80GB HBM3"]


def test_many_threads_share_one_driver(driver: Path) -> None:
    (counts,) = look(driver, "threads")
    assert counts == [2] * 200
