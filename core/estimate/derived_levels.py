"""Load levels computed from a step-time model: for people, and for what reads levels only."""

import numpy as np

from core.domain.profile import EngineLimits, LoadLevel, Spread, StepTime
from core.domain.workload import Workload
from core.estimate.speed import MIN_SIGMA, Z95, KindSpeed, Vector
from core.estimate.step_speed import speed_of_step

REQUESTS = 1000
"""Pretended to be counted per level: one without requests would say nothing."""
Z99 = 2.3263478740408408


def derived_levels(
    step: StepTime, limits: EngineLimits, workload: Workload
) -> tuple[LoadLevel, ...]:
    """Return what closed loops of the workload's mean request would see, by rising concurrency.

    Args:
        limits: Levels go up to what its batches and its cache hold.
    """
    tokens = np.array([traffic.output_tokens_mean for traffic in workload.classes])
    speed = speed_of_step(step, limits, workload.classes, tokens.tolist())
    mix = np.array([traffic.rate_rps for traffic in workload.classes]) / workload.rate_rps
    inputs = float(mix @ np.array([traffic.input_tokens_mean for traffic in workload.classes]))
    return tuple(
        _level(speed, j, mix, inputs, float(mix @ tokens)) for j in range(len(speed.concurrency))
    )


def _level(speed: KindSpeed, j: int, mix: Vector, inputs: float, outputs: float) -> LoadLevel:
    held, e2e_s, ttft_s = speed.concurrency[j], speed.e2e_s[j], speed.ttft_s[j]
    mean_s, first_s = float(e2e_s @ mix), float(ttft_s @ mix)
    tpot_ms = 1000 * (mean_s - first_s) / max(outputs - 1, 1.0)
    # Seen from outside, the classes differ too: the evaluator takes that part out again.
    sigma = float(np.hypot(speed.e2e_sigma[j], np.std(np.log(e2e_s))))
    return LoadLevel(
        concurrency=int(held),
        requests=REQUESTS,
        errors=0,
        duration_s=REQUESTS * mean_s / held,
        ttft_ms=_spread(1000 * first_s, float(speed.ttft_sigma[j])),
        tpot_ms=_spread(tpot_ms, MIN_SIGMA),
        e2e_ms=_spread(1000 * mean_s, sigma),
        input_tokens_mean=inputs,
        output_tokens_mean=outputs,
        memory_bytes=0,
    )


def _spread(mean: float, sigma: float) -> Spread:
    """Return the summary of a log-normal sample."""
    median = mean * np.exp(-(sigma**2) / 2)
    p95, p99 = median * np.exp(sigma * np.array([Z95, Z99]))
    return Spread(mean, float(median), float(p95), float(p99))
