"""The committed demo models, served by real vLLM, are as good and as slow as the demo needs."""

import contextlib
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from core.demo.arithmetic import QUERY_CLASSES, QueryClass, Question, extract_answer, questions

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(600)]

WEIGHTS = Path(__file__).resolve().parents[2] / "core" / "demo" / "weights"
CORE_OF_MODEL = {"small": 0, "large": 1}
READY_TIMEOUT_S = 240
CONCURRENCY = 16
QUESTIONS_PER_CLASS = int(os.environ.get("DEMO_QUESTIONS_PER_CLASS", "100"))
FRESH_SEED = 20_260


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start_vllm(name: str, port: int, log: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server"]
    command += ["--model", str(WEIGHTS / name), "--served-model-name", name]
    command += ["--host", "127.0.0.1", "--port", str(port), "--max-model-len", "256"]
    command += ["--enforce-eager", "--max-num-seqs", str(CONCURRENCY)]
    environment = os.environ | {
        "HF_HUB_OFFLINE": "1",
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_CPU_OMP_THREADS_BIND": str(CORE_OF_MODEL[name]),
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
    }
    with log.open("wb") as output:
        return subprocess.Popen(
            command,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def wait_until_ready(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline_s = time.monotonic() + READY_TIMEOUT_S
    while time.monotonic() < deadline_s:
        if process.poll() is not None:
            break
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2).close()
        except OSError:
            time.sleep(0.5)
        else:
            return
    pytest.fail(f"vLLM did not become ready:\n{log.read_text(errors='replace')[-3000:]}")


def kill_group(process: subprocess.Popen[bytes]) -> None:
    # The engine is a child of the API server and outlives it unless the whole group goes.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@pytest.fixture(scope="module")
def ports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, int]]:
    logs = tmp_path_factory.mktemp("vllm")
    ports = {name: free_port() for name in CORE_OF_MODEL}
    processes: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for name, port in ports.items():
            processes[name] = start_vllm(name, port, logs / name)
        for name, port in ports.items():
            wait_until_ready(processes[name], port, logs / name)
        yield ports
    finally:
        for process in processes.values():
            kill_group(process)


def post(port: int, path: str, body: dict[str, Any]) -> dict[str, Any]:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}",
        json.dumps(body | {"temperature": 0, "max_tokens": 64}).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=120) as response:
        choice = json.load(response)["choices"][0]
    assert isinstance(choice, dict)
    return choice


def complete(port: int, name: str, question: Question) -> dict[str, Any]:
    return post(port, "/v1/completions", {"model": name, "prompt": question.prompt})


def chat(port: int, name: str, question: Question) -> dict[str, Any]:
    messages = [{"role": "user", "content": question.text}]
    return post(port, "/v1/chat/completions", {"model": name, "messages": messages})


def share_right(port: int, name: str, query_class: QueryClass) -> float:
    asked = questions(query_class, QUESTIONS_PER_CLASS, FRESH_SEED)
    with ThreadPoolExecutor(CONCURRENCY) as pool:
        choices = pool.map(lambda question: chat(port, name, question), asked)
        answers = [extract_answer(choice["message"]["content"]) for choice in choices]
    return sum(a == q.answer for a, q in zip(answers, asked, strict=True)) / len(asked)


@pytest.fixture(scope="module")
def quality(ports: dict[str, int]) -> dict[str, dict[str, float]]:
    def measure(name: str) -> dict[str, float]:
        return {c: share_right(ports[name], name, c) for c in QUERY_CLASSES}

    with ThreadPoolExecutor(len(ports)) as pool:
        measured = dict(zip(ports, pool.map(measure, ports), strict=True))
    print(f"share right of {QUESTIONS_PER_CLASS} per class: {measured}")
    return measured


def test_small_is_only_good_at_easy_questions(quality: dict[str, dict[str, float]]) -> None:
    assert quality["small"]["easy"] >= 0.95
    assert quality["small"]["hard"] <= 0.30


def test_large_is_good_at_everything(quality: dict[str, dict[str, float]]) -> None:
    assert quality["large"]["easy"] >= 0.90
    assert quality["large"]["medium"] >= 0.90
    assert quality["large"]["hard"] >= 0.75


def test_large_takes_at_least_twice_as_long_per_answer(
    ports: dict[str, int], quality: dict[str, dict[str, float]]
) -> None:
    asked = [q for c in QUERY_CLASSES for q in questions(c, 10, FRESH_SEED + 1)]
    e2e_s: dict[str, list[float]] = {name: [] for name in ports}
    # Taken in turns: a noisy machine slows both models alike, and the medians shrug off spikes.
    for question in asked:
        for name, port in ports.items():
            started_s = time.perf_counter()
            complete(port, name, question)
            e2e_s[name].append(time.perf_counter() - started_s)
    ratio = statistics.median(e2e_s["large"]) / statistics.median(e2e_s["small"])
    print(f"device time per answer, large / small: {ratio:.2f}")
    assert ratio >= 2


@pytest.mark.parametrize("name", CORE_OF_MODEL)
def test_chat_and_raw_prompt_give_the_same_answer_and_stop(
    ports: dict[str, int], name: str
) -> None:
    question = questions("easy", 1, FRESH_SEED)[0]
    raw, chatted = complete(ports[name], name, question), chat(ports[name], name, question)
    assert raw["text"] == chatted["message"]["content"]
    assert raw["finish_reason"] == chatted["finish_reason"] == "stop"
