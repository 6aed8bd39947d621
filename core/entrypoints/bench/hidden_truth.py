"""A fleet that differs from its catalogue, for benchmarks of live optimisation.

What a planner is told are catalogue profiles. What it measures comes from here: every kind is
faster or slower than catalogued, replicas on one node slow each other, traffic comes in bursts
that queueing theory knows nothing of, and every measured time is noisy.
"""

import hashlib
import math
from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass, replace

import numpy as np

from core.domain.plan import PlanScore, ReplicaKind, ServingPlan
from core.domain.planning import PlanningFacts
from core.domain.profile import Provenance, StepTime
from core.domain.study import KindTelemetry, Measurement
from core.estimate import AnalyticEvaluator
from core.estimate.plan_times import Pool
from core.estimate.queueing import pool_latency
from core.estimate.speed import KindSpeed, Vector, answer_tokens
from core.estimate.validity import placement_of

REQUESTS = 600
"""Answers that measuring a plan gives."""
WINDOW_S = 60.0
"""How long an overloaded replica collects a backlog while it is measured."""
TPOT_NOISE = 0.02


@dataclass(frozen=True)
class Hidden:
    """What no planner is told.

    Attributes:
        decode: Per kind, factor on all decoding times of the catalogue.
        prefill: Per kind, factor on the prompt times of the catalogue.
        contention: Per SKU, slowdown of a replica when all else on its node is in use.
        burst: Stretch of all latencies at full load; it grows with the fourth power of the load.
        noise: Standard deviation of the logarithm of a measured P95.
    """

    decode: Mapping[ReplicaKind, float]
    prefill: Mapping[ReplicaKind, float]
    contention: Mapping[str, float]
    burst: float
    noise: float


class World:
    """One fleet: the facts as published and the truth behind them.

    Args:
        seed: Of the instance; measurements draw their noise from it too.
    """

    def __init__(self, seed: int, facts: PlanningFacts, hidden: Hidden) -> None:
        self.seed = seed
        self.facts = facts
        self.hidden = hidden
        self.true_facts = _true_facts(facts, hidden)
        self._evaluator = AnalyticEvaluator(self.true_facts)
        self._scores: dict[ServingPlan, PlanScore] = {}

    def truth(self, plan: ServingPlan) -> PlanScore:
        """Return how a plan really does, free of noise; limits are checked at the true speeds."""
        if plan not in self._scores:
            evaluator = self._at(plan)
            load = max((pool.load for pool in evaluator.pools(plan)), default=0.0)
            score = evaluator.evaluate(plan, 1 + self.hidden.burst * min(load, 1.0) ** 4)
            self._scores[plan] = replace(score, provenance=Provenance.MEASURED, estimator="live")
        return self._scores[plan]

    def measure(self, plan: ServingPlan, rng: np.random.Generator) -> Measurement:
        """Return a noisy measurement of a plan and what its replicas report.

        A plan that cannot keep up has no latency; its replicas report their times all the same.
        """
        true = self.truth(plan)
        common = float(np.exp(rng.normal(0, self.hidden.noise)))
        slower = float(np.exp(rng.normal(0, self.hidden.noise / 2)))
        noisy = replace(
            true,
            p50_e2e_s=None if true.p50_e2e_s is None else true.p50_e2e_s * slower,
            p95_e2e_s=None if true.p95_e2e_s is None else true.p95_e2e_s * common,
            p95_ttft_s=None if true.p95_ttft_s is None else true.p95_ttft_s * common,
        )
        evaluator = self._at(plan)
        pools = evaluator.pools(plan)
        return Measurement(noisy, tuple(self._reported(evaluator, p, rng) for p in pools))

    def _at(self, plan: ServingPlan) -> AnalyticEvaluator:
        """Return the evaluator whose replicas are as slow as this placement makes them."""
        slowdown = contention(placement_of(plan), self.facts, self.hidden.contention)
        slowed = copy(self._evaluator)
        slowed.speeds = {
            kind: _slower(self._evaluator.speeds[kind], factor)
            for kind, factor in slowdown.items()
            if kind in self._evaluator.speeds
        }
        return slowed

    def _reported(
        self, evaluator: AnalyticEvaluator, pool: Pool, rng: np.random.Generator
    ) -> KindTelemetry:
        speed, classes = evaluator.speeds[pool.kind], self.facts.workload.classes
        tokens = np.array([answer_tokens(self.facts, pool.kind.model, c) for c in classes])
        ttft_s, e2e_s = _mean_times(speed, pool)
        tpot_s = (e2e_s - ttft_s) / np.maximum(tokens - 1, 1.0)
        stretch = 1 + self.hidden.burst * min(pool.load, 1.0) ** 4
        share = pool.rate_rps / self.facts.workload.rate_rps
        noise = np.exp(rng.normal(0, [TPOT_NOISE, self.hidden.noise, self.hidden.noise / 2]))
        return KindTelemetry(
            kind=pool.kind,
            requests=max(1, round(REQUESTS * share)),
            tpot_mean_s=float(pool.mix @ tpot_s * noise[0]),
            ttft_mean_s=float(pool.mix @ ttft_s * stretch * noise[1]),
            e2e_mean_s=float(pool.mix @ e2e_s * stretch * noise[2]),
        )


def noise_rng(seed: int, plan: ServingPlan, repeat: int) -> np.random.Generator:
    """Return the noise of the n-th measurement of a plan, the same whoever measures it."""
    digits = hashlib.sha256(f"{seed} {plan.plan_id} {repeat}".encode()).digest()[:8]
    return np.random.default_rng(int.from_bytes(digits, "big"))


def contention(
    placement: Mapping[ReplicaKind, int], facts: PlanningFacts, per_sku: Mapping[str, float]
) -> dict[ReplicaKind, float]:
    """Return by what each kind is slowed: 1 + c (devices of the node that others use) / (size).

    Replicas are placed largest first, each on the fullest node that has room; a kind's factor is
    the mean over its replicas.
    """
    slowed: dict[ReplicaKind, float] = {}
    for sku in {kind.sku for kind in placement}:
        mine = {kind: n * kind.pp for kind, n in placement.items() if kind.sku == sku}
        homes, sizes = _homes(mine, facts.devices_per_node.get(sku, ()))
        used = np.zeros(len(sizes))
        for kind, nodes in homes.items():
            np.add.at(used, nodes, kind.tp)
        for kind, nodes in homes.items():
            others = (used[nodes] - kind.tp) / sizes[nodes] if nodes else np.zeros(1)
            slowed[kind] = 1 + per_sku.get(sku, 0.0) * float(others.mean())
    return slowed


def _homes(
    groups: Mapping[ReplicaKind, int], nodes: tuple[int, ...]
) -> tuple[dict[ReplicaKind, list[int]], Vector]:
    """Return the node of every group, per kind, and the nodes' sizes."""
    sizes = np.array(sorted(nodes, reverse=True), dtype=float)
    free = sizes.copy()
    homes: dict[ReplicaKind, list[int]] = {}
    for kind in sorted(groups, key=lambda kind: (-kind.tp, kind)):
        homes[kind] = []
        for _ in range(groups[kind]):
            able = np.flatnonzero(free >= kind.tp)
            if not len(able):
                break
            home = int(able[np.argmin(free[able])])
            free[home] -= kind.tp
            homes[kind].append(home)
    return homes, sizes


def _true_facts(facts: PlanningFacts, hidden: Hidden) -> PlanningFacts:
    profiles = {
        kind: replace(
            profile,
            step=_scaled(profile.step, hidden.decode[kind], hidden.prefill[kind]),
        )
        for kind, profile in facts.profiles.items()
        if profile.step is not None
    }
    return replace(facts, profiles=profiles)


def hastened(facts: PlanningFacts, log_factor: float) -> PlanningFacts:
    """Return facts in which every catalogued step takes exp(log_factor) times as long."""
    factor = math.exp(log_factor)
    profiles = {
        kind: replace(profile, step=_scaled(profile.step, factor, factor))
        for kind, profile in facts.profiles.items()
        if profile.step is not None
    }
    return replace(facts, profiles=profiles)


def _scaled(step: StepTime, decode: float, prefill: float) -> StepTime:
    return replace(
        step,
        fixed_s=step.fixed_s * decode,
        per_sequence_s=step.per_sequence_s * decode,
        per_context_token_s=step.per_context_token_s * decode,
        per_prefill_token_s=step.per_prefill_token_s * prefill,
    )


def _slower(speed: KindSpeed, factor: float) -> KindSpeed:
    return replace(speed, ttft_s=speed.ttft_s * factor, e2e_s=speed.e2e_s * factor)


def _mean_times(speed: KindSpeed, pool: Pool) -> tuple[Vector, Vector]:
    """Return K mean times to first token and end-to-end times, in seconds."""
    latency = pool_latency(speed, pool.count, pool.rate_rps, pool.mix)
    if latency is not None:
        return latency.weight @ latency.ttft_s, latency.weight @ latency.e2e_s
    backlog_s = (pool.load - 1) * WINDOW_S / 2 if pool.load > 1 else 0.0
    return speed.ttft_s[-1] + backlog_s, speed.e2e_s[-1] + backlog_s
