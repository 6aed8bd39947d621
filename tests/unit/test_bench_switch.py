"""The parts of the switch and chaos benchmarks that need no fleet."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import psutil
import pytest

from core.domain.deployment import SERVING, Replica, ReplicaState
from core.domain.plan import ReplicaKind
from core.entrypoints.bench import chaos, switch
from core.entrypoints.bench.chaos_kills import DATABASE, ENGINE, GATEWAY, REPLICA, Kill, is_meant
from core.entrypoints.bench.chaos_watch import shared
from core.entrypoints.bench.live_load import Fate, counts
from core.entrypoints.bench.live_product import CORES, STUB, double_booked
from core.serving.room import unserved
from tests.fakes.serving_world import START

PATIENCE_S = 30.0


def test_a_walk_repeats_with_its_seed_and_never_stands_still() -> None:
    walk = switch.random_walk(40, 3)
    assert walk == switch.random_walk(40, 3)
    assert walk != switch.random_walk(40, 4)
    assert len(walk) == 41
    assert all(a != b for a, b in pairwise(walk))


def test_every_plan_fits_and_serves_every_class() -> None:
    shapes = [(STUB, s) for s in switch.STUB_SHAPES] + [(CORES, s) for s in switch.REAL_SHAPES]
    for fleet, shape in shapes:
        plan = fleet.plan(*shape)
        ready = [
            Replica("r", SERVING, p.kind, True, ReplicaState.READY, START) for p in plan.placement
        ]
        assert plan.devices <= (fleet.devices or 2)
        assert not unserved(plan, ready)
        assert {r.query_class for r in plan.routing} == {"easy", "hard"}
        for name in ("easy", "hard"):
            assert sum(plan.shares(name).values()) == pytest.approx(1.0)


def fate(**changes: object) -> Fate:
    made = Fate(1, began_s=10.0, stream=True, ended_s=20.0, first_s=12.0, replica="r1")
    return replace(made, **changes)  # type: ignore[arg-type]


CUT = {"problem": "the stream says: it died", "truncated": True}


@pytest.mark.parametrize(
    ("one", "kill", "explained"),
    [
        (fate(**CUT), Kill(REPLICA, 19.0, "", "r1"), True),
        (fate(**CUT), Kill(REPLICA, 19.0, "", "r2"), False),
        (fate(**CUT), Kill(REPLICA, 11.0, "", "r1"), False),  # before its first event
        (fate(**CUT), Kill(REPLICA, 21.0, "", "r1"), False),  # after its end
        (fate(**CUT), Kill(GATEWAY, 19.0, ""), True),
        (fate(**CUT), Kill(DATABASE, 19.0, ""), False),
        (fate(**CUT, replica=""), Kill(DATABASE, 19.0, ""), False),
        (fate(problem="503", first_s=None), Kill(REPLICA, 19.0, "", "r1"), False),
    ],
)
def test_only_a_stream_from_the_killed_process_is_explained(
    one: Fate, kill: Kill, explained: bool
) -> None:
    assert chaos.cut(one, kill) is explained


def test_figures_count_what_no_kill_explains() -> None:
    kills = [Kill(GATEWAY, 19.0, "", repaired_s=2.0), Kill(DATABASE, 30.0, "")]
    fates = [fate(), fate(**CUT), fate(problem="503 no", first_s=None, attempts=["503 no"])]
    seen = chaos.figures(fates, kills)
    assert (seen["requests"], seen["cut_with_the_killed"], seen["others_affected"]) == (3, 1, 1)
    assert (seen["failed"], seen["truncated"], seen["sent_again"]) == (1, 1, 1)
    assert seen["repair_s"] == {"median": 2.0, "worst": 2.0}
    assert not chaos.bars({"stub": seen})["only streams of the killed affected"]


def test_most_at_once() -> None:
    spans = [(0.0, 5.0), (1.0, 2.0), (2.0, 3.0), (4.0, 6.0)]
    seen = counts([fate(began_s=a, ended_s=b) for a, b in spans])
    assert seen["most_in_flight"] == 2
    assert seen["longest_s"] == 5.0


def test_a_device_of_two_is_found_in_rows_and_in_reality() -> None:
    kind = ReplicaKind("small", "stub")
    live, over = ReplicaState.READY, ReplicaState.STOPPED
    rows = [
        Replica("a", SERVING, kind, True, live, START, device_ids=("d1",)),
        Replica("b", SERVING, kind, True, live, START, device_ids=("d2",)),
        Replica("c", SERVING, kind, False, over, START, device_ids=("d1",)),
    ]
    assert double_booked(rows) == []
    assert shared(rows, {"a", "b"}) == []
    assert shared(rows, {"a", "b", "c"}) == ["d1 runs ['a', 'c']"]
    assert double_booked([*rows, replace(rows[1], device_ids=("d1",))]) == ["d1"]


def test_only_an_engine_is_killed_as_one() -> None:
    """vLLM starts others that it can do without."""
    kind = ReplicaKind("small", "stub")
    row = Replica("a", SERVING, kind, True, ReplicaState.READY, START, pid=os.getpid())
    assert is_meant(REPLICA, row, psutil.Process())
    assert not is_meant(ENGINE, row, psutil.Process())
    with subprocess.Popen(["sleep", "600"]) as engine, subprocess.Popen(["cat"]) as other:
        deadline_s = time.monotonic() + PATIENCE_S
        while not is_meant(ENGINE, row, psutil.Process(engine.pid)):
            assert time.monotonic() < deadline_s  # it has its name once it runs
        assert not is_meant(ENGINE, row, psutil.Process(other.pid))
        assert not is_meant(REPLICA, row, psutil.Process(engine.pid))
        for process in (engine, other):
            process.kill()


@pytest.fixture
def stub() -> Iterator[tuple[int, "subprocess.Popen[bytes]"]]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "core.entrypoints.bench.engine_stub", "--port", str(port)]
    command += ["--name", "small", "--ready-s", "1", "--tokens", "3", "--gap-ms", "300"]
    with subprocess.Popen(command) as running:
        yield port, running
        children = psutil.Process(running.pid).children() if running.poll() is None else []
        for process in [*children, running]:
            process.kill()


def get(port: int, path: str) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
        return str(answer.read().decode())


def wait_until_ready(port: int) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while True:
        try:
            get(port, "/health")
            return
        except OSError:
            assert time.monotonic() < deadline_s
            time.sleep(0.05)


def test_a_stub_behaves_like_an_engine(stub: tuple[int, "subprocess.Popen[bytes]"]) -> None:
    port, running = stub
    wait_until_ready(port)
    assert json.loads(get(port, "/v1/models"))["data"][0]["id"] == "small"
    body = json.dumps({"stream": True, "stream_options": {"include_usage": True}}).encode()
    url = f"http://127.0.0.1:{port}/v1/chat/completions"
    with urllib.request.urlopen(urllib.request.Request(url, body), timeout=10) as answer:
        first = answer.readline()
        assert first.startswith(b"data: ")
        assert 'num_requests_running{engine="0"} 1.0' in get(port, "/metrics")
        assert b'"completion_tokens": 3' in answer.read()
    assert 'num_requests_running{engine="0"} 0.0' in get(port, "/metrics")
    [engine] = psutil.Process(running.pid).children()
    engine.kill()
    assert running.wait(PATIENCE_S) == 1


def test_a_killed_stub_leaves_its_engine_behind(
    stub: tuple[int, "subprocess.Popen[bytes]"],
) -> None:
    port, running = stub
    wait_until_ready(port)
    [engine] = psutil.Process(running.pid).children()
    running.kill()
    running.wait()
    assert engine.is_running()
    engine.kill()
