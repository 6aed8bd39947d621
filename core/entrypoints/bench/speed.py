"""How fast the simulator is, and how fast a what-if scores a front of plans again.

On a machine that others use too, the clock also counts their work: each figure comes with the
time of the CPU in the thread that did it. The simulator and the what-if use one thread.
"""

import argparse
import gc
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, TypeVar

import numpy as np

from core.domain.plan import ReplicaKind, ServingPlan, make_plan
from core.domain.planning import PlanningFacts
from core.domain.profile import EngineLimits, Profile, Provenance, StepTime
from core.domain.quality import QualityEstimate
from core.domain.study import Limits
from core.domain.workload import ClassTraffic, Workload
from core.estimate.derived_levels import derived_levels
from core.estimate.simulator import Arrivals, EngineSpec, Timeline, simulate
from core.estimate.simulator.oracle import simulate_slowly
from core.services.whatif import Change, re_evaluated
from core.settings import Settings

GPU = StepTime(0.008, 5e-5, 1e-7, 2e-5, 1e-4, 0.002)
GPU_LIMITS = EngineLimits(256, 8192, 24_000, 16)
KINDS = ((0, 0.6, 1), (0, 0.35, 2), (1, 1.0, 1), (1, 0.6, 2), (2, 1.2, 2), (2, 0.7, 4))
"""Pool, factor on every part of the step time and devices of six replica kinds."""
LOAD = 0.7
PLANS = 200
BARS = {"ratio": 100.0, "fleet_ms": 50.0, "whatif_p95_ms": 200.0}
NOW = datetime(2026, 1, 1, tzinfo=UTC)
Answer = TypeVar("Answer")
Times = dict[str, dict[str, float]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add how large the instances are."""
    parser.add_argument("--replicas", type=int, default=500, help="of the large instance")
    parser.add_argument("--requests", type=int, default=100_000, help="of the large instance")
    parser.add_argument(
        "--runs", type=int, default=20, help="of everything but the slow simulator"
    )


def run(parsed: argparse.Namespace, _: Settings) -> dict[str, Any]:
    """Time the slow simulator and the fast one, the fast one at full size, and a what-if."""
    return {
        "bars": BARS,
        "machine": {"cores": os.cpu_count(), "load": os.getloadavg()[0]},
        "against_oracle": _against_oracle(parsed.runs),
        "fleet": _fleet(parsed.replicas, parsed.requests, parsed.runs),
        "whatif": _whatif(parsed.runs),
    }


def told(result: dict[str, Any]) -> str:
    """Return the figures as text."""
    oracle, fleet, whatif = result["against_oracle"], result["fleet"], result["whatif"]
    return "\n".join(
        (
            f"{oracle['replicas']} replicas, {oracle['requests']} requests, "
            f"{oracle['preemptions']} preemptions: {oracle['ratio']:.0f} times as fast as the "
            f"oracle ({oracle['slow_cpu_s']:.1f} s), differing by {oracle['difference']:.0e}",
            f"{fleet['replicas']} replicas, {fleet['requests']} requests: {_told(fleet['times'])}",
            f"what-if over {whatif['plans']} plans of {whatif['kinds_per_plan']:.1f} kinds: "
            f"{_told(whatif['times'])}",
        )
    )


def _told(times: Times) -> str:
    return "; ".join(
        f"{what} median {found['median_ms']:.1f} ms, least {found['least_ms']:.1f}, "
        f"P95 {found['p95_ms']:.1f}"
        for what, found in times.items()
    )


def _against_oracle(runs: int) -> dict[str, Any]:
    """Play an instance that both can do, with a cache small enough for preemptions."""
    limits = replace(GPU_LIMITS, kv_blocks=1500)
    replicas = [replace(spec, limits=limits) for spec in gpu_replicas(6)]
    arrivals = arrivals_for(replicas, 3000, LOAD)
    began_s = time.thread_time()
    slow = simulate_slowly(replicas, arrivals)
    slow_s = time.thread_time() - began_s
    fast, times = _timed(lambda: simulate(replicas, arrivals), runs)
    return {
        "replicas": len(replicas),
        "requests": len(arrivals),
        "preemptions": int(slow.preemptions.sum()),
        "slow_cpu_s": slow_s,
        "fast": times,
        "ratio": 1000 * slow_s / times["cpu"]["median_ms"],
        "difference": _difference(fast, slow),
    }


def _difference(fast: Timeline, slow: Timeline) -> float:
    """Return the largest relative difference of any time; infinite if anything else differs."""
    if not (
        np.array_equal(fast.replica, slow.replica)
        and np.array_equal(fast.preemptions, slow.preemptions)
    ):
        return float("inf")
    pairs = ((fast.ttft_s, slow.ttft_s), (fast.e2e_s, slow.e2e_s))
    return max(float(np.nanmax(np.abs(found / wanted - 1))) for found, wanted in pairs)


def _fleet(replicas: int, requests: int, runs: int) -> dict[str, Any]:
    specs = gpu_replicas(replicas)
    arrivals = arrivals_for(specs, requests, LOAD)
    seen, times = _timed(lambda: simulate(specs, arrivals), runs)
    return {
        "replicas": replicas,
        "devices": sum(spec.devices for spec in specs),
        "pools": len({spec.pool for spec in specs}),
        "requests": requests,
        "tokens": int(arrivals.input_tokens.sum() + arrivals.output_tokens.sum()),
        "p95_e2e_s": float(np.nanquantile(seen.e2e_s, 0.95)),
        "times": times,
    }


def gpu_replicas(count: int) -> list[EngineSpec]:
    """Return replicas of three models on six kinds, in turn."""
    kinds = [
        EngineSpec(pool, devices, _scaled(GPU, slowness), GPU_LIMITS)
        for pool, slowness, devices in KINDS
    ]
    return [kinds[i % len(kinds)] for i in range(count)]


def _scaled(step: StepTime, factor: float) -> StepTime:
    return StepTime(
        factor * step.fixed_s,
        factor * step.per_sequence_s,
        factor * step.per_context_token_s,
        factor * step.per_prefill_token_s,
        step.per_request_s,
        step.overhead_s,
    )


def arrivals_for(replicas: Sequence[EngineSpec], n: int, load: float) -> Arrivals:
    """Return Poisson arrivals with log-normal lengths at a share of what the replicas can do."""
    rng = np.random.default_rng(1)
    inputs = np.clip(rng.lognormal(np.log(220), 0.8, n), 1, 4000).astype(np.int64)
    outputs = np.clip(rng.lognormal(np.log(90), 0.75, n), 1, 1000).astype(np.int64)
    rates_rps = np.zeros(1 + max(spec.pool for spec in replicas))
    for spec in replicas:
        rates_rps[spec.pool] += load * _capacity_rps(spec, inputs.mean(), outputs.mean())
    total_rps = rates_rps.sum()
    return Arrivals(
        np.cumsum(rng.exponential(1 / total_rps, n)),
        inputs,
        outputs,
        rng.choice(len(rates_rps), n, p=rates_rps / total_rps),
        np.zeros(n, dtype=np.int64),
    )


def _capacity_rps(spec: EngineSpec, inputs: float, outputs: float) -> float:
    """Return the requests per second that a full batch of the mean request gets done."""
    step = spec.step
    token_s = (
        step.fixed_s / spec.limits.max_num_seqs
        + step.per_sequence_s
        + step.per_context_token_s * (inputs + outputs / 2)
    )
    return float(1 / (inputs * step.per_prefill_token_s + step.per_request_s + outputs * token_s))


def _whatif(runs: int) -> dict[str, Any]:
    facts, plans = _problem()
    change = Change(price_factor=1.2, traffic_factor=1.5)
    scores, times = _timed(lambda: re_evaluated(facts, plans, change), runs)
    return {
        "plans": len(plans),
        "profiles": len(facts.profiles),
        "kinds_per_plan": float(np.mean([len(plan.placement) for plan in plans])),
        "feasible": sum(score.feasible for score in scores),
        "times": times,
    }


def _problem() -> tuple[PlanningFacts, list[ServingPlan]]:
    """Return three models on three device types, three query classes, and plans for them."""
    models, skus, classes = ("small", "medium", "large"), ("L40S", "A100", "H100"), ("a", "b", "c")
    traffic = tuple(ClassTraffic(name, 5.0, 300.0, 120.0) for name in classes)
    workload = Workload("w", "bench", traffic, Provenance.IMPORTED, NOW)
    kinds = [ReplicaKind(model, sku, tp) for model in models for sku in skus for tp in (1, 2, 4)]
    quality = {
        (model, name): QualityEstimate(
            model, name, 200, 0.6 + 0.1 * m, 0.55 + 0.1 * m, 0.7, 120.0, NOW
        )
        for m, model in enumerate(models)
        for name in classes
    }
    facts = PlanningFacts(
        workload=workload,
        limits=Limits(quality_floor=0.5),
        profiles={kind: _profile(kind, models, skus, workload) for kind in kinds},
        quality=quality,
        price_usd_per_hour=dict(zip(skus, (0.9, 1.8, 3.0), strict=True)),
        devices_per_node={sku: (8,) * 8 for sku in skus},
        max_num_seqs=dict.fromkeys(models, 256),
    )
    return facts, _plans(kinds, models, classes)


def _profile(
    kind: ReplicaKind, models: Sequence[str], skus: Sequence[str], workload: Workload
) -> Profile:
    slowness = 2.0 ** (models.index(kind.model) - skus.index(kind.sku)) / kind.tp**0.8
    step = _scaled(GPU, slowness)
    return Profile(
        profile_id=kind.label,
        model=kind.model,
        sku=kind.sku,
        tp=kind.tp,
        pp=kind.pp,
        provenance=Provenance.PREDICTED,
        measured_at=NOW,
        engine="bench",
        host="bench",
        startup_s=0.0,
        levels=derived_levels(step, GPU_LIMITS, workload),
        step=step,
        engine_limits=GPU_LIMITS,
    )


def _plans(
    kinds: Sequence[ReplicaKind], models: Sequence[str], classes: Sequence[str]
) -> list[ServingPlan]:
    """Return random plans: each model on one or two kinds, every class split over all models."""
    rng, plans = np.random.default_rng(1), []
    for _ in range(PLANS):
        placement: dict[ReplicaKind, int] = {}
        for model in models:
            possible = [kind for kind in kinds if kind.model == model]
            for i in rng.choice(len(possible), rng.integers(1, 3), replace=False):
                placement[possible[i]] = int(rng.integers(1, 4))
        shares = rng.dirichlet(np.ones(len(models)), len(classes))
        routing = {
            name: dict(zip(models, map(float, row), strict=True))
            for name, row in zip(classes, shares, strict=True)
        }
        plans.append(make_plan(placement, routing))
    return plans


def _timed(call: Callable[[], Answer], runs: int) -> tuple[Answer, Times]:
    """Call once unmeasured, for what is compiled or cached then, and time the calls after it.

    Returns:
        The answer, and a summary of the times on the clock and of those of the CPU.
    """
    answer, clock_s, cpu_s = call(), [], []
    gc.collect()  # what earlier parts left must not be collected on this one's time
    for _ in range(runs):
        began_s, busy_s = time.perf_counter(), time.thread_time()
        call()
        clock_s.append(time.perf_counter() - began_s)
        cpu_s.append(time.thread_time() - busy_s)
    return answer, {"clock": _summary(clock_s), "cpu": _summary(cpu_s)}


def _summary(times_s: Sequence[float]) -> dict[str, float]:
    ms = 1000 * np.array(times_s)
    return {
        "least_ms": float(ms.min()),
        "median_ms": float(np.median(ms)),
        "p95_ms": float(np.quantile(ms, 0.95)),
    }
