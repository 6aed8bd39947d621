"""The load benchmark without vLLM and without GuideLLM: both are replaced at their protocol."""

import copy
import json
import stat
import sys
import time
from argparse import Namespace
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.domain.deployment import Replica, ReplicaState
from core.domain.ids import new_id, utc_now
from core.domain.plan import ReplicaKind
from core.entrypoints.bench import guidellm, load
from core.entrypoints.bench.guidellm import Reading, Report, Task
from core.entrypoints.bench.validation import Request
from core.errors import EngineFailed, InvalidInput
from core.settings import load_settings
from tests.fakes.openai_stub import OpenAIStub, in_thread

PATIENCE_S = 30.0
REQUESTS = [Request("1" * 20, tokens) for tokens in (3, 4, 5)]
READING = Reading(40, 4.0, 128.0, 20.0, 5.0, 0.98, 64.0, 32.0)


def statistics(**values: float) -> dict[str, Any]:
    """One distribution as guidellm 0.8 writes it, less what nobody reads."""
    known = {"mean": 0.0, "median": 0.0, "std_dev": 0.0, "min": 0.0, "max": 0.0, "count": 0}
    return {"successful": known | values, "incomplete": None, "errored": None}


def benchmark(streams: int) -> dict[str, Any]:
    return {
        "type_": "generative_benchmark",
        "config": {"strategy": {"type_": "concurrent", "streams": streams, "worker_count": 1}},
        "metrics": {
            "request_totals": {"successful": 41, "incomplete": 0, "errored": 0, "total": 41},
            "requests_per_second": statistics(mean=4.0 * streams, median=4.1, count=40),
            "request_concurrency": statistics(mean=0.98 * streams, median=1.0, count=41),
            "output_tokens_per_second": statistics(mean=128.0 * streams, median=210.0),
            "time_to_first_token_ms": statistics(mean=21.0, median=20.0, count=40),
            "time_per_output_token_ms": statistics(mean=5.6, median=5.5, count=1280),
            "inter_token_latency_ms": statistics(mean=5.1, median=5.0, count=1240),
            "prompt_token_count": statistics(mean=64.0, median=64.0, count=41),
            "output_token_count": statistics(mean=32.0, median=32.0, count=41),
        },
        "duration": 10.0,
    }


def report(*streams: int) -> dict[str, Any]:
    return {
        "metadata": {"version": 2, "guidellm_version": "0.8.1"},
        "benchmarks": [benchmark(number) for number in streams],
    }


def test_a_report_gives_guidellms_own_figures() -> None:
    found = guidellm.read_report(json.dumps(report(1, 4)))
    assert found.version == "0.8.1"
    assert found.by_concurrency[1] == READING
    assert found.by_concurrency[4].requests_per_s == 16.0
    assert found.by_concurrency[4].in_flight == pytest.approx(3.92)
    assert found.by_concurrency[4].pause_s(4) == pytest.approx(0.08 / 16.0)


def test_failed_requests_are_not_compared() -> None:
    made = report(1)
    made["benchmarks"][0]["metrics"]["request_totals"]["errored"] = 3
    with pytest.raises(EngineFailed, match="3 of GuideLLM's requests failed"):
        guidellm.read_report(json.dumps(made))


def test_a_window_without_an_answer_is_refused() -> None:
    made = report(1)
    made["benchmarks"][0]["metrics"]["requests_per_second"] = statistics(mean=0.0)
    with pytest.raises(EngineFailed, match="counted no answer"):
        guidellm.read_report(json.dumps(made))


def paths(value: object, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    below: list[tuple[str | int, ...]] = []
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        below = [found for key, part in items for found in paths(part, (*path, key))]
    return [path, *below] if path else below


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda some: st.lists(some, max_size=3) | st.dictionaries(st.text(max_size=5), some),
)


@given(path=st.sampled_from(paths(report(1, 4))), value=JSON)
def test_a_report_with_anything_anywhere_is_read_or_refused(
    path: tuple[str | int, ...], value: object
) -> None:
    made: Any = copy.deepcopy(report(1, 4))
    place = made
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    check_read_or_refused(json.dumps(made))


@given(text=st.text() | JSON.map(json.dumps))
def test_any_text_is_read_or_refused(text: str) -> None:
    check_read_or_refused(text)


def check_read_or_refused(text: str) -> None:
    try:
        found = guidellm.read_report(text)
    except EngineFailed:
        return
    assert isinstance(found, Report)
    for reading in found.by_concurrency.values():
        assert reading.requests_per_s > 0
        load.compare({1: [reading]}, {1: [reading]})


def program(folder: Path, body: str) -> Path:
    """An executable that is called as guidellm is."""
    path = folder / "guidellm"
    path.write_text(f"#!{sys.executable}\nimport json, subprocess, sys\n{body}")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


ANSWERING = """
assert sys.argv[1:3] == ["run", "--config"] and sys.argv[4] == "--disable-console"
told = json.load(open(sys.argv[3]))
assert len(open(told["spec"]["data"][0]["path"]).readlines()) == 3
made = json.loads({report!r})
streams = [one["profile.streams"] for one in told["benchmarks"]]
assert streams == [b["config"]["strategy"]["streams"] for b in made["benchmarks"]]
worker = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
open({pid!r}, "w").write(str(worker.pid))
json.dump(made, open(told["spec"]["outputs"][0]["path"], "w"))
"""


@pytest.fixture
def task() -> Task:
    prompts = [(request.text, request.output_tokens) for request in REQUESTS]
    return Task("http://127.0.0.1:1", "large", Path("large"), prompts, (1, 4), 1.0, 5.0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "files"
    made.mkdir()
    return made


def test_the_program_is_run_and_leaves_nothing_behind(
    tmp_path: Path, folder: Path, task: Task
) -> None:
    pid_path = tmp_path / "pid"
    body = ANSWERING.format(report=json.dumps(report(1, 4)), pid=str(pid_path))
    found = guidellm.measure(program(tmp_path, body), task, folder)
    assert sorted(found.by_concurrency) == [1, 4]
    wait_for(lambda: not running(int(pid_path.read_text())))


def running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def wait_for(condition: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline_s, "timed out"
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("body", "told"),
    [("sys.exit('No such option')", "No such option"), ("", "cannot be read")],
)
def test_a_program_that_fails_says_why(
    tmp_path: Path, folder: Path, task: Task, body: str, told: str
) -> None:
    with pytest.raises(EngineFailed, match=told):
        guidellm.measure(program(tmp_path, body), task, folder)


def test_the_scenario_asks_for_the_same_requests(task: Task) -> None:
    told = guidellm.scenario(task, Path("d.jsonl"), Path("r.json"))
    spec = told["spec"]
    assert spec["backend"]["request_format"] == "/v1/chat/completions"
    assert spec["backend"]["extras"]["body"]["temperature"] == 0
    assert spec["constraints"] == [{"kind": "max_duration", "seconds": 7.0}]
    assert told["benchmarks"] == [{"profile.streams": 1}, {"profile.streams": 4}]


def test_a_missing_program_says_how_to_install_it(tmp_path: Path) -> None:
    parsed = Namespace(guidellm=tmp_path / "none", rounds=1, seconds=1.0)
    with pytest.raises(InvalidInput, match="pip install guidellm=="):
        load.run(parsed, load_settings({"BOUTE_HOME": str(tmp_path)}))


def replica_at(stub: OpenAIStub) -> Replica:
    kind = ReplicaKind("large", "cpu-core")
    return Replica(new_id(), "bench", kind, True, ReplicaState.READY, utc_now(), port=stub.port)


def test_boutes_loop_keeps_so_many_in_flight_and_asks_for_exact_lengths() -> None:
    with in_thread(OpenAIStub(models=("large",), ttft_ms=20, tpot_ms=4, tokens=5)) as stub:
        found = load.boute_reading(replica_at(stub), REQUESTS, concurrency=2, seconds=0.6)
    assert stub.most_in_flight == 2
    assert all(body["ignore_eos"] for body in stub.seen)
    assert found.requests_per_s == pytest.approx(found.requests / 0.6)
    assert found.output_tokens_per_s == pytest.approx(found.requests_per_s * found.output_tokens)
    assert found.input_tokens == 20
    assert 3 <= found.output_tokens <= 5
    assert found.ttft_ms >= 20
    assert found.tpot_ms >= 4


def test_a_request_that_fails_ends_the_benchmark() -> None:
    with (
        in_thread(OpenAIStub(models=("large",), fail="status")) as stub,
        pytest.raises(EngineFailed, match="HTTP 500"),
    ):
        load.boute_reading(replica_at(stub), REQUESTS, concurrency=1, seconds=0.2)


def test_rows_compare_medians_over_rounds() -> None:
    ours = [replace(READING, tpot_ms=tpot_ms) for tpot_ms in (5.0, 5.2, 9.0)]
    theirs = [replace(READING, tpot_ms=tpot_ms) for tpot_ms in (4.0, 4.9, 5.1)]
    row = next(r for r in load.compare({4: ours}, {4: theirs}) if r.metric == "tpot_ms")
    assert row.ratio == pytest.approx(5.2 / 4.9)
    assert row.boute_spread == pytest.approx(4.0 / 5.2)
    assert row.guidellm_spread == pytest.approx(1.1 / 4.9)
    assert not row.within


@given(factor=st.floats(0.5, 2.0), metric=st.sampled_from(load.METRICS))
def test_a_row_is_within_when_the_figures_are_as_near_as_the_bar(
    factor: float, metric: str
) -> None:
    ours = replace(READING, **{metric: getattr(READING, metric) * factor})
    for row in load.compare({1: [ours]}, {1: [READING]}):
        wanted = factor if row.metric == metric else 1.0
        assert row.ratio == pytest.approx(wanted)
        if abs(abs(wanted - 1) - load.BAR) > 1e-9:
            assert row.within == (abs(wanted - 1) < load.BAR)


@pytest.mark.parametrize("other", [{"input_tokens": 93.0}, {"output_tokens": 34.0}])
def test_requests_of_other_lengths_are_not_compared(other: dict[str, float]) -> None:
    with pytest.raises(EngineFailed, match="differ"):
        load.compare({1: [READING]}, {1: [replace(READING, **other)]})


def test_the_table_says_what_is_beyond() -> None:
    ours, theirs = {1: [READING]}, {1: [replace(READING, ttft_ms=25.0)]}
    told = load.told(load.result(ours, theirs, "0.8.1", seconds=5.0))
    lines = told.splitlines()
    assert [line for line in lines if line.endswith("beyond")] == [
        line for line in lines if "ttft_ms" in line
    ]
    assert lines[-1] == "not all within 5%"
