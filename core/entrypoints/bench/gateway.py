"""BOute's gateway against calling the back-end directly, LiteLLM's proxy and vLLM's router.

Back-ends and load share one core, the gateway under test has the other. Latency comes from an
open loop of streaming requests, turn by turn for all subjects; each figure is the median over
rounds of the difference to the direct calls of the same round. Throughput comes from a closed
loop.
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from core.entrypoints.bench.gateway_subjects import (
    Backend,
    Subject,
    boute,
    free_ports,
    litellm,
    require,
    stub,
    vllm_router,
)
from core.entrypoints.bench.replica import ReplicaSetup, running_replica
from core.entrypoints.waiting import say
from core.errors import EngineFailed, EnvironmentFailed, InvalidInput
from core.settings import REPOSITORY, Settings
from db.unit_of_work import uow_factory

P50_BAR_MS = 1.0
P99_BAR_MS = 5.0
LITELLM_BAR = 10.0
ROUTER_BAR = 2.0
PACE = ("--tokens", "16", "--first-ms", "5", "--gap-ms", "2")
"""An answer of 16 tokens in 35 ms; each token is an event of its own."""
FAST = ("--tokens", "16", "--first-ms", "0", "--gap-ms", "0")
"""The same at once, for throughput."""
CALLERS = 32
SMALL = REPOSITORY / "core" / "demo" / "weights" / "small"


@dataclass(frozen=True, slots=True)
class Latency:
    """One subject in one round: milliseconds from when a request was due."""

    ttft_p50: float
    ttft_p99: float
    e2e_p50: float
    e2e_p99: float


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--litellm", type=Path, help="LiteLLM's program, in its own environment")
    parser.add_argument("--vllm-router", type=Path, help="vllm-router's program, in its own")
    parser.add_argument("--rate", type=float, default=200.0, help="streaming requests per second")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each subject")
    parser.add_argument("--seconds", type=float, default=8.0, help="of each turn")
    parser.add_argument("--real", action="store_true", help="also in front of a vLLM replica")


def run(parsed: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    """Measure everything in one run.

    Raises:
        InvalidInput: A peer's program is not there, or there is nothing to measure.
        EnvironmentFailed: There is no second CPU core.
        EngineFailed: A subject did not start, or answered wrongly.
    """
    require(parsed.litellm, "litellm", "litellm[proxy]")
    require(parsed.vllm_router, "vllm-router", "vllm-router")
    if parsed.rounds < 1 or not (parsed.seconds > 0 and parsed.rate > 0):
        raise InvalidInput("There must be at least one round of some seconds and requests.")
    load_core, gateway_core = _two_cores()
    with TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        bench = _Bench(parsed, Path(folder), load_core, gateway_core, stack)
        added, everything = bench.latency()
        result = {
            "rate_rps": parsed.rate,
            "rounds": parsed.rounds,
            "seconds": parsed.seconds,
            "added_ms": added,
            "records": everything,
            "requests_per_s": bench.throughput(),
        }
        if parsed.real:
            result["real"] = bench.real(settings)
    return {**result, "bars": bars(result)}


class _Bench:
    """The processes of one run, and turns under load."""

    def __init__(
        self,
        parsed: argparse.Namespace,
        folder: Path,
        load_core: int,
        gateway_core: int,
        stack: contextlib.ExitStack,
    ) -> None:
        self._parsed = parsed
        self._home = self._folder = folder
        self._load_core = load_core
        self._gateway_core = gateway_core
        self._stack = stack

    def latency(self) -> tuple[dict[str, Any], dict[str, int]]:
        """Return what each gateway adds, and what BOute wrote down meanwhile."""
        backends = self._begin("latency", PACE)
        subjects = [Subject("direct", backends[0].port, "stub"), *self._gateways(backends)]
        seen: dict[str, list[Latency]] = {subject.name: [] for subject in subjects}
        for number in range(self._parsed.rounds):
            for subject in subjects:
                say(f"round {number + 1}: {subject.name}")
                seen[subject.name].append(self._turn(subject, number))
        added = {
            name: added_ms(seen["direct"], turns)
            for name, turns in seen.items()
            if name != "direct"
        }
        added["direct"] = {
            key: median(asdict(turn)[key] for turn in seen["direct"])
            for key in asdict(seen["direct"][0])
        }
        return added, self._written()

    def throughput(self) -> dict[str, dict[str, float]]:
        """Return sustained requests per second, plain and streaming."""
        backends = self._begin("throughput", FAST)
        subjects = [
            Subject("direct", backends[0].port, "stub"),
            *self._gateways(backends, router=True, proxy=True),
        ]
        rates: dict[str, dict[str, float]] = {}
        for subject in subjects:
            rates[subject.name] = {}
            for kind in ("plain", "stream"):
                say(f"throughput: {subject.name}, {kind}")
                turns = [self._closed(subject, kind) for _ in range(3)]
                rates[subject.name][kind] = median(turns)
        return rates

    def real(self, settings: Settings) -> dict[str, Any]:
        """Return what BOute adds in front of one vLLM replica of the small built-in model."""
        self._enter("real")
        setup = ReplicaSetup(SMALL, self._load_core)
        with running_replica(setup, settings) as replica:
            backends = [Backend(replica.port or 0, replica.kind.model)]
            subject = self._stack.enter_context(boute(backends, self._gateway_core, self._folder))
            direct = Subject("direct", backends[0].port, replica.kind.model)
            seen: dict[str, list[Latency]] = {"direct": [], "boute": []}
            for number in range(self._parsed.rounds):
                for each in (direct, subject):
                    say(f"real replica, round {number + 1}: {each.name}")
                    seen[each.name].append(self._turn(each, number, rate_rps=2.0))
        return {
            "rate_rps": 2.0,
            "added_ms": added_ms(seen["direct"], seen["boute"]),
            "direct_ms": asdict(seen["direct"][0]),
        }

    def _enter(self, part: str) -> None:
        """End what ran, and give what comes a folder of its own."""
        self._stack.close()
        self._folder = self._home / part
        self._folder.mkdir()

    def _begin(self, part: str, pace: Sequence[str]) -> list[Backend]:
        self._enter(part)
        ports = free_ports(2)
        self._stack.enter_context(stub(ports, pace, self._load_core, self._folder))
        return [Backend(ports[0], "small"), Backend(ports[1], "large")]

    def _gateways(
        self, backends: Sequence[Backend], *, router: bool = True, proxy: bool = False
    ) -> list[Subject]:
        enter, at = self._stack.enter_context, (backends, self._gateway_core, self._folder)
        found = [enter(boute(*at))]
        if router and self._parsed.vllm_router:
            found.append(enter(vllm_router(self._parsed.vllm_router, *at)))
        if proxy and self._parsed.litellm:
            found.append(enter(litellm(self._parsed.litellm, *at)))
        return found

    def _turn(self, subject: Subject, number: int, rate_rps: float | None = None) -> Latency:
        rate = str(rate_rps or self._parsed.rate)
        seconds = str(self._parsed.seconds)
        options = ["--stream", "--rate", rate, "--seconds", seconds, "--seed", str(number)]
        seen = self._load(subject, options)
        ttft, e2e = seen["ttft_ms"], seen["e2e_ms"]
        if not (ttft and e2e):
            raise EngineFailed(f"{subject.name} answered nothing.")
        return Latency(ttft["p50"], ttft["p99"], e2e["p50"], e2e["p99"])

    def _closed(self, subject: Subject, kind: str) -> float:
        options = ["--callers", str(CALLERS), "--seconds", str(self._parsed.seconds / 2)]
        seen = self._load(subject, [*options, *(["--stream"] if kind == "stream" else [])])
        return float(seen["requests_per_s"])

    def _load(self, subject: Subject, options: Sequence[str]) -> dict[str, Any]:
        command = [sys.executable, "-m", "core.entrypoints.bench.gateway_load"]
        command += ["--port", str(subject.port), "--model", subject.model, *options]
        command += ["--key", subject.key] if subject.key else []
        done = subprocess.run(
            ["taskset", "-c", str(self._load_core), *command],
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise EngineFailed(f"The load failed: {done.stderr[-500:]}")
        seen: dict[str, Any] = json.loads(done.stdout)
        if seen["problems"]:
            raise EngineFailed(f"{subject.name} answered wrongly: {seen['problems']}.")
        return seen

    def _written(self) -> dict[str, int]:
        """Count BOute's records: all of them classified and with a key, or it was not on."""
        time.sleep(2.0)
        url = f"sqlite:///{self._folder / 'boute' / 'boute.db'}"
        with uow_factory(url)() as work:
            records = work.requests.latest(10**7)
        return {
            "written": len(records),
            "classified": sum(bool(record.query_class) for record in records),
            "with_key": sum(bool(record.key_id) for record in records),
            "with_cost": sum(record.cost_usd is not None for record in records),
        }


def added_ms(direct: Sequence[Latency], through: Sequence[Latency]) -> dict[str, float]:
    """Return the median over rounds of what a gateway adds to each percentile."""
    pairs = [(asdict(d), asdict(t)) for d, t in zip(direct, through, strict=True)]
    return {key: median(t[key] - d[key] for d, t in pairs) for key in pairs[0][0]}


def bars(result: dict[str, Any]) -> dict[str, bool]:
    """Return which bars are met; those of peers that were not measured are left out."""
    added, rates = result["added_ms"], result["requests_per_s"]
    ours = added["boute"]
    met = {
        "added p50 <= 1 ms": max(ours["ttft_p50"], ours["e2e_p50"]) <= P50_BAR_MS,
        "added p99 <= 5 ms": max(ours["ttft_p99"], ours["e2e_p99"]) <= P99_BAR_MS,
    }
    if "vllm-router" in added:
        theirs = added["vllm-router"]
        met["added p50 <= 2 x vllm-router"] = all(
            ours[key] <= ROUTER_BAR * theirs[key] for key in ("ttft_p50", "e2e_p50")
        )
    if "litellm" in rates:
        for kind in ("plain", "stream"):
            enough = rates["boute"][kind] >= LITELLM_BAR * rates["litellm"][kind]
            met[f"requests/s >= 10 x LiteLLM, {kind}"] = enough
    return met


def told(result: dict[str, Any]) -> str:
    """Return the result for people."""
    lines = [f"{result['rate_rps']:g} streaming requests/s, median of {result['rounds']} rounds"]
    lines.append(f"{'added, ms':<14}{'TTFT p50':>10}{'p99':>9}{'E2E p50':>10}{'p99':>9}")
    keys = (("ttft_p50", 10), ("ttft_p99", 9), ("e2e_p50", 10), ("e2e_p99", 9))
    for name, added in result["added_ms"].items():
        shown = "".join(f"{added[key]:>{width}.2f}" for key, width in keys)
        lines.append(f"{name + (' (whole)' if name == 'direct' else ''):<14}{shown}")
    lines.append(f"{'requests/s':<14}{'plain':>10}{'stream':>9}")
    for name, rates in result["requests_per_s"].items():
        lines.append(f"{name:<14}{rates['plain']:>10.0f}{rates['stream']:>9.0f}")
    lines.append(f"records: {result['records']}")
    if "real" in result:
        lines.append(f"in front of vLLM: {result['real']}")
    lines += [f"{'met   ' if met else 'MISSED'} {bar}" for bar, met in result["bars"].items()]
    return "\n".join(lines)


def _two_cores() -> tuple[int, int]:
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise EnvironmentFailed(
            "Load and gateway need a CPU core each.", "Run it on a machine with two."
        )
    return cores[0], cores[1]
