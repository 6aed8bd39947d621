"""How fast replicas really are, read off what they report while a plan is measured.

A replica that is slower than its profile shows it twice: every step takes longer, and more
requests are in flight at the same rate, which makes steps longer again. The queueing model holds
both, so the factor is the one at which it gives the time per token that was reported. Time per
token is what is read: it hardly scatters, and neither bursts nor waiting move it much.
"""

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace

import numpy as np

from core.domain.plan import ReplicaKind, ServingPlan
from core.domain.planning import PlanningFacts
from core.domain.study import KindTelemetry
from core.estimate.analytic import AnalyticEvaluator
from core.estimate.plan_times import Pool
from core.estimate.queueing import pool_latency
from core.estimate.speed import KindSpeed, Vector, answer_tokens
from core.estimate.uncertainty import slowed

FARTHEST = 2.5
"""Largest logarithm of a factor that is believed: twelve times the profile's times."""
MOST_STEPS = 12
TOLERANCE = 1e-4
SCATTER = 0.3
"""Standard deviation of the logarithm of the time per token between answers."""
SYSTEMATIC = 0.02
"""What a mean over many answers still is off by."""


@dataclass(frozen=True)
class Slowdown:
    """By what factor replicas of a kind take longer than their profile says.

    Attributes:
        log_factor: Natural logarithm of the factor.
        deviation: Standard deviation of it.
    """

    kind: ReplicaKind
    log_factor: float
    deviation: float


def slowdowns(
    evaluator: AnalyticEvaluator, plan: ServingPlan, telemetry: Sequence[KindTelemetry]
) -> list[Slowdown]:
    """Return the slowdown of every kind of a plan that reported.

    Traffic of a model is split over its kinds as their answers were.
    """
    reported = {told.kind: told for told in telemetry if told.requests > 0}
    pools = [pool for pool in evaluator.pools(plan) if pool.kind in reported]
    answers: dict[str, int] = {}
    rates_rps: dict[str, float] = {}
    for pool in pools:
        model = pool.kind.model
        answers[model] = answers.get(model, 0) + reported[pool.kind].requests
        rates_rps[model] = rates_rps.get(model, 0.0) + pool.rate_rps
    found = []
    for pool in pools:
        told = reported[pool.kind]
        share = told.requests / answers[pool.kind.model]
        real = replace(pool, rate_rps=rates_rps[pool.kind.model] * share)
        tokens = _tokens(evaluator.facts, pool.kind.model)
        found.append(_slowdown(evaluator.speeds[pool.kind], real, tokens, told))
    return found


def slowed_facts(facts: PlanningFacts, log_factors: Mapping[ReplicaKind, float]) -> PlanningFacts:
    """Return facts whose profiles of these kinds take exp(log factor) times as long."""
    profiles = {
        kind: slowed(profile, float(np.exp(log_factors[kind]))) if kind in log_factors else profile
        for kind, profile in facts.profiles.items()
    }
    return replace(facts, profiles=profiles)


def slowed_evaluator(
    evaluator: AnalyticEvaluator, log_factors: Mapping[ReplicaKind, float]
) -> AnalyticEvaluator:
    """Return an evaluator in which these kinds take exp(log factor) times as long."""
    changed = copy(evaluator)
    changed.speeds = dict(evaluator.speeds)
    for kind, log_factor in log_factors.items():
        speed, factor = evaluator.speeds[kind], float(np.exp(log_factor))
        changed.speeds[kind] = replace(
            speed, ttft_s=speed.ttft_s * factor, e2e_s=speed.e2e_s * factor
        )
    return changed


def _tokens(facts: PlanningFacts, model: str) -> Vector:
    return np.array([answer_tokens(facts, model, c) for c in facts.workload.classes])


def _slowdown(speed: KindSpeed, pool: Pool, tokens: Vector, told: KindTelemetry) -> Slowdown:
    """Invert the mean time per token by secants: it rises at least as fast as the factor."""
    wanted, at, slope = np.log(told.tpot_mean_s), 0.0, 1.0
    reached = _log_tpot(speed, pool, tokens, at)
    for _ in range(MOST_STEPS):
        step = np.clip(at + (wanted - reached) / slope, -FARTHEST, FARTHEST) - at
        if abs(step) < TOLERANCE:
            break
        before, reached = reached, _log_tpot(speed, pool, tokens, at + step)
        slope, at = max((reached - before) / step, 1.0), at + step
    noise = np.hypot(SYSTEMATIC, SCATTER / np.sqrt(told.requests))
    return Slowdown(pool.kind, float(at), float(noise / slope))


def _log_tpot(speed: KindSpeed, pool: Pool, tokens: Vector, log_factor: float) -> float:
    """Return the logarithm of the mean time per token of replicas slower by exp(log factor).

    Slower replicas at a rate are the profile's replicas at a higher rate, on a slower clock.
    """
    factor = float(np.exp(log_factor))
    latency = pool_latency(speed, pool.count, pool.rate_rps * factor, pool.mix)
    if latency is None:
        decode_s = speed.e2e_s[-1] - speed.ttft_s[-1]
    else:
        decode_s = latency.weight @ (latency.e2e_s - latency.ttft_s)
    return float(np.log(factor * pool.mix @ (decode_s / np.maximum(tokens - 1, 1.0))))
