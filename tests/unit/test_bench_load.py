"""The load benchmark without vLLM and without GuideLLM: both are replaced at their protocol."""

import copy
import json
import stat
import subprocess
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Sequence
from dataclasses import astuple, replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.domain.deployment import Replica, ReplicaState
from core.domain.ids import new_id, utc_now
from core.domain.plan import ReplicaKind
from core.entrypoints.bench import guidellm, load, load_figures
from core.entrypoints.bench.guidellm import Report, Seen, Task
from core.entrypoints.bench.load_figures import Round
from core.errors import EngineFailed, InvalidInput
from core.settings import load_settings
from tests.fakes.openai_stub import OpenAIStub, in_thread

PATIENCE_S = 30.0
SEEN = Seen(
    ended_at_s=100.0, e2e_ms=180.0, ttft_ms=20.0, tpot_ms=5.0, input_tokens=64, output_tokens=33
)


def request(ended_at_s: float = 101.0, **changed: object) -> dict[str, Any]:
    """One request as guidellm 0.8 writes it, less what nobody reads."""
    return {
        "request_start_time": ended_at_s - 0.18,
        "request_end_time": ended_at_s,
        "request_latency": 0.18,
        "time_to_first_token_ms": 20.0,
        "time_per_output_token_ms": 5.6,
        "inter_token_latency_ms": 5.0,
        "prompt_tokens": 64,
        "output_tokens": 33,
    } | changed


def report() -> dict[str, Any]:
    requests = [request(ended_at_s) for ended_at_s in (99.0, 101.0, 102.0, 111.0)]
    return {
        "metadata": {"version": 2, "guidellm_version": "0.8.1"},
        "benchmarks": [
            {
                "type_": "generative_benchmark",
                "start_time": 100.0,
                "end_time": 110.0,
                "requests": {"successful": requests, "incomplete": [], "errored": []},
            }
        ],
    }


def test_a_report_gives_guidellms_own_times() -> None:
    found = guidellm.read_report(json.dumps(report()))
    assert found.version == "0.8.1"
    assert found.window_s == (100.0, 110.0)
    assert [one.ended_at_s for one in found.seen] == [99.0, 101.0, 102.0, 111.0]
    assert found.seen[0] == replace(SEEN, ended_at_s=99.0)


def test_failed_requests_are_not_compared() -> None:
    made = report()
    made["benchmarks"][0]["requests"]["errored"] = [request(), request()]
    with pytest.raises(EngineFailed, match="2 of GuideLLM's requests failed"):
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


@given(path=st.sampled_from(paths(report())), value=JSON)
def test_a_report_with_anything_anywhere_is_read_or_refused(
    path: tuple[str | int, ...], value: object
) -> None:
    made: Any = copy.deepcopy(report())
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
    assert found.window_s[1] > found.window_s[0]
    for one in found.seen:
        assert all(figure > 0 for figure in astuple(one))


def program(folder: Path, body: str) -> Path:
    """An executable that is called as guidellm is."""
    path = folder / "guidellm"
    path.write_text(f"#!{sys.executable}\nimport json, subprocess, sys, time\n{body}")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


ANSWERING = """
assert sys.argv[1:3] == ["run", "--config"] and sys.argv[4] == "--disable-console"
told = json.load(open(sys.argv[3]))
assert len(open(told["spec"]["data"][0]["path"]).readlines()) > 1
made = json.loads({report!r})
worker = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
open({pid!r}, "w").write(str(worker.pid))
began_s = time.time()
time.sleep({seconds})
made["benchmarks"][0] |= {{"start_time": began_s, "end_time": time.time()}}
for one in made["benchmarks"][0]["requests"]["successful"]:
    one["request_end_time"] += began_s - 100
json.dump(made, open(told["spec"]["outputs"][0]["path"], "w"))
"""


def answering(folder: Path, seconds: float = 0.0) -> tuple[Path, Path]:
    """A program that sees what `report` says, and the file with its worker's id."""
    pid_path = folder / "pid"
    body = ANSWERING.format(report=json.dumps(report()), pid=str(pid_path), seconds=seconds)
    return program(folder, body), pid_path


@pytest.fixture
def task() -> Task:
    prompts = [("1" * 20, tokens) for tokens in (3, 4, 5)]
    return Task("http://127.0.0.1:1", "large", Path("large"), prompts, 4, 2.0, 5.0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "files"
    made.mkdir()
    return made


def test_the_program_is_run_and_leaves_nothing_behind(
    tmp_path: Path, folder: Path, task: Task
) -> None:
    path, pid_path = answering(tmp_path)
    with guidellm.running(path, task, folder) as at_work:
        wait_for(at_work.over)
        assert len(at_work.report().seen) == 4
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
    [("sys.exit('No such option')", "status 1: No such option"), ("", "cannot be read")],
)
def test_a_program_that_fails_says_why(
    tmp_path: Path, folder: Path, task: Task, body: str, told: str
) -> None:
    with guidellm.running(program(tmp_path, body), task, folder) as at_work:
        wait_for(at_work.over)
        with pytest.raises(EngineFailed, match=told):
            at_work.report()


def test_a_program_that_hangs_is_over_when_it_had_its_time(folder: Path) -> None:
    (folder / "guidellm.out").write_text("Starting\n")
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as child:
        at_work = guidellm.Running(child, folder, patience_s=0.1)
        wait_for(at_work.over)
        with pytest.raises(EngineFailed, match="took longer than 0 s: Starting"):
            at_work.report()
        child.kill()


def test_the_scenario_asks_for_the_same_requests(task: Task) -> None:
    spec = guidellm.scenario(task, Path("d.jsonl"), Path("r.json"))["spec"]
    assert spec["backend"]["request_format"] == "/v1/chat/completions"
    assert spec["backend"]["extras"]["body"]["temperature"] == 0
    assert spec["constraints"] == [{"kind": "max_duration", "seconds": 10.0}]
    assert spec["profile"]["streams"] == 4


def test_a_missing_program_says_how_to_install_it(tmp_path: Path) -> None:
    parsed = Namespace(guidellm=tmp_path / "none", rounds=1, seconds=1.0)
    with pytest.raises(InvalidInput, match="pip install guidellm=="):
        load.run(parsed, load_settings({"BOUTE_HOME": str(tmp_path)}))


def test_no_window_has_luck_with_lengths() -> None:
    requests = load.requests_of(200, seed=1)
    deck = sorted(load.ANSWER_TOKENS)
    for first in range(0, 200 - len(deck), len(deck)):
        assert sorted(one.output_tokens for one in requests[first:][: len(deck)]) == deck
    assert {len(one.text) for one in requests} == {load.PROMPT_CHARACTERS}
    assert len({one.text for one in requests + load.requests_of(200, seed=2)}) == 400


def replica_at(stub: OpenAIStub) -> Replica:
    kind = ReplicaKind("large", "cpu-core")
    return Replica(new_id(), "bench", kind, True, ReplicaState.READY, utc_now(), port=stub.port)


def test_boutes_loop_runs_as_long_as_guidellm_and_is_counted_in_its_window(tmp_path: Path) -> None:
    path, _ = answering(tmp_path, seconds=3.0)
    with in_thread(OpenAIStub(models=("large",), ttft_ms=20, tpot_ms=2)) as stub:
        made, version = load.one_round(replica_at(stub), path, concurrency=2, seconds=3.0)
    assert version == "0.8.1"
    assert stub.most_in_flight == 2
    assert all(body["ignore_eos"] for body in stub.seen)
    assert len(made.boute) == len(stub.seen)
    assert min(one.ended_at_s for one in made.boute) < made.window_s[1]
    assert max(one.ended_at_s for one in made.boute) > made.window_s[1]
    assert [one.ttft_ms for one in made.guidellm] == [20.0] * 4
    for one in made.boute:
        assert one.input_tokens == load.PROMPT_CHARACTERS
        assert one.ttft_ms >= 20
        assert one.e2e_ms >= 20 + 2 * (one.output_tokens - 1)
        assert one.e2e_ms == pytest.approx(one.ttft_ms + one.tpot_ms * (one.output_tokens - 1))


def test_a_request_that_fails_ends_the_benchmark(tmp_path: Path) -> None:
    path, _ = answering(tmp_path)
    with (
        in_thread(OpenAIStub(models=("large",), fail="status")) as stub,
        pytest.raises(EngineFailed, match="HTTP 500"),
    ):
        load.one_round(replica_at(stub), path, concurrency=1, seconds=1.0)


def test_a_tool_that_saw_nothing_is_refused(tmp_path: Path) -> None:
    path, _ = answering(tmp_path)  # its window is over before anything ends
    with (
        in_thread(OpenAIStub(models=("large",), ttft_ms=500)) as stub,
        pytest.raises(EngineFailed, match="BOute saw no answer that counts"),
    ):
        load.one_round(replica_at(stub), path, concurrency=1, seconds=1.0)


def a_round(ours: Sequence[Seen], theirs: Sequence[Seen]) -> Round:
    return Round((SEEN.ended_at_s - 1, SEEN.ended_at_s + 1), tuple(ours), tuple(theirs))


def test_figures_are_of_what_ended_in_the_windows() -> None:
    first = [replace(SEEN, ttft_ms=ttft_ms) for ttft_ms in (10.0, 20.0)]
    late = replace(SEEN, ended_at_s=201.1, ttft_ms=999.0)  # began at 200.92
    second = [replace(SEEN, ended_at_s=200.5, ttft_ms=90.0), late]
    found = load_figures.figures([((99.5, 100.5), first), ((200.5, 201.0), second)])
    assert found.requests == 3
    assert found.requests_per_s == 2.0
    assert found.output_tokens_per_s == 66.0
    assert found.ttft_ms == 20.0
    assert found.in_flight == pytest.approx((0.18 + 0.18 + 0.0 + 0.08) / 1.5)
    assert found.pause_s(1) == pytest.approx((1 - found.in_flight) / 2.0)


@given(
    e2e_s=st.floats(0.01, 50),
    ended_at_s=st.floats(0, 99),
    window_s=st.tuples(*[st.floats(0, 99)] * 2),
)
def test_what_is_under_way_is_under_way_in_the_parts_of_a_window(
    e2e_s: float, ended_at_s: float, window_s: tuple[float, float]
) -> None:
    one = replace(SEEN, ended_at_s=ended_at_s, e2e_ms=1000 * e2e_s)
    began_s, ended_s = sorted(window_s)
    middle_s = (began_s + ended_s) / 2
    whole_s = one.under_way_s((began_s, ended_s))
    assert 0 <= whole_s <= min(e2e_s, ended_s - began_s) + 1e-9
    parts_s = one.under_way_s((began_s, middle_s)) + one.under_way_s((middle_s, ended_s))
    assert whole_s == pytest.approx(parts_s, abs=1e-9)
    assert one.under_way_s((-100.0, 100.0)) == pytest.approx(e2e_s)


def test_rows_compare_the_answers_of_all_rounds() -> None:
    def answers(*tpots_ms: float) -> list[Seen]:
        return [replace(SEEN, tpot_ms=tpot_ms) for tpot_ms in tpots_ms]

    rounds = [a_round(answers(5.0, 5.2), answers(4.0)), a_round(answers(9.0), answers(4.9, 5.1))]
    row = next(r for r in load_figures.compare({4: rounds}) if r.metric == "tpot_ms")
    assert row.ratio == pytest.approx(5.2 / 4.9)
    assert row.round_ratios == pytest.approx((5.1 / 4.0, 9.0 / 5.0))
    assert not row.within


@given(factor=st.floats(0.5, 2.0), metric=st.sampled_from(["ttft_ms", "tpot_ms"]))
def test_a_row_is_within_when_the_figures_are_as_near_as_the_bar(
    factor: float, metric: str
) -> None:
    changed: dict[str, float] = {metric: getattr(SEEN, metric) * factor}
    for row in load_figures.compare({1: [a_round([replace(SEEN, **changed)], [SEEN])]}):
        wanted = factor if row.metric == metric else 1.0
        assert row.ratio == pytest.approx(wanted)
        if abs(abs(wanted - 1) - load_figures.BAR) > 1e-9:
            assert row.within == (abs(wanted - 1) < load_figures.BAR)


@pytest.mark.parametrize("other", [{"input_tokens": 93.0}, {"output_tokens": 36.0}])
def test_requests_of_other_lengths_are_not_compared(other: dict[str, float]) -> None:
    with pytest.raises(EngineFailed, match="differ"):
        load_figures.compare({1: [a_round([SEEN], [replace(SEEN, **other)])]})


def test_the_table_says_what_is_beyond() -> None:
    rounds = {1: [a_round([SEEN], [replace(SEEN, ttft_ms=25.0)])]}
    lines = load.told(load.result(rounds, "0.8.1")).splitlines()
    assert [line for line in lines if line.endswith("beyond")] == [
        line for line in lines if "ttft_ms" in line
    ]
    assert lines[-1] == "not all within 5%"
