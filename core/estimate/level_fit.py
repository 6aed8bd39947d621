"""How well a step-time model reproduces the load levels it was read off."""

import math
from collections.abc import Sequence

import numpy as np

from core.domain.profile import LoadLevel, StepFit, StepTime

LEAST_TIME_S = 1e-9


def level_fit(step: StepTime, levels: Sequence[LoadLevel]) -> tuple[StepFit, float]:
    """Return the fit to J levels, at least one, and the deviation of its logarithm.

    The deviation is the root mean square of log(predicted / measured mean E2E): the relative
    error of the same lengths and loads, in sample.
    """
    predicted = np.array([_times_s(step, level) for level in levels])
    measured = np.array([(x.ttft_ms.mean / 1000, x.e2e_ms.mean / 1000) for x in levels])
    ratio = np.maximum(predicted, LEAST_TIME_S) / np.maximum(measured, LEAST_TIME_S)
    missed = np.log(ratio[:, 1])
    log_e2e = np.log(np.maximum(measured[:, 1], LEAST_TIME_S))
    variance = float(np.var(log_e2e))
    fit = StepFit(
        requests=sum(level.requests for level in levels),
        r_squared=1 - float(np.mean(missed**2)) / variance if variance > 0 else 0.0,
        e2e_median_error=float(np.median(np.abs(ratio[:, 1] - 1))),
        ttft_median_error=float(np.median(np.abs(ratio[:, 0] - 1))),
    )
    return fit, math.sqrt(float(np.mean(missed**2)))


def _times_s(step: StepTime, level: LoadLevel) -> tuple[float, float]:
    """Return TTFT and E2E of a closed loop, as `core.estimate.derived_step` has them."""
    held, inputs = level.concurrency, level.input_tokens_mean
    context = held * (inputs + level.output_tokens_mean / 2)
    decode_s = step.fixed_s + held * step.per_sequence_s + context * step.per_context_token_s
    prefill_s = inputs * step.per_prefill_token_s
    ttft_s = (1.0 if held == 1 else 1.5) * decode_s + prefill_s
    further = level.output_tokens_mean - 1
    if further <= 0:
        return ttft_s, ttft_s
    return ttft_s, ttft_s + further * decode_s + (held - 1) * prefill_s
