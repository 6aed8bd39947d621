"""How fast one replica answers, from its step-time model: for any lengths, not only measured ones.

Mean-value arithmetic of N requests in flight with mean prompt I and mean answer O (as of the whole
workload) and L the mean context while decoding, by the terms of `StepTime`:

    s      = fixed + N per_sequence + N L per_context_token             a decoding step
    x      = I per_prefill_token + per_request                          a neighbour that begins
    base_k = overhead + wait + I_k per_prefill_token + per_request + O_k s
    E2E_k  = base_k (1 + (N - 1) x / base)

While a request is answered each of its N - 1 neighbours is answered and replaced once on average,
so N - 1 prompts hold it up. A request that finds others at work waits for the step under way: its
mean remaining time, which the few long steps with prompts in them stretch (renewal theory, "the
inspection paradox").
"""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from core.domain.plan import ReplicaKind
from core.domain.planning import PlanningFacts
from core.domain.profile import EngineLimits, StepTime
from core.domain.workload import ClassTraffic
from core.estimate.engine import engine_limits
from core.estimate.speed import (
    MIN_SIGMA,
    MIN_TIME_S,
    KindSpeed,
    Vector,
    answer_tokens,
    compile_profile,
)

LEVELS = 10


def kind_speed(facts: PlanningFacts, kind: ReplicaKind) -> KindSpeed:
    """Compile the profile of a kind for the workload's classes.

    Its step-time model speaks for all lengths and batches; a profile without one speaks for the
    levels it has. How much lengths vary within a class is the workload's to know; where it does
    not, the spread that the profile saw is taken.
    """
    profile, classes = facts.profiles[kind], facts.workload.classes
    tokens = [answer_tokens(facts, kind.model, traffic) for traffic in classes]
    if profile.step is None:
        return compile_profile(profile, classes, tokens)
    speed = speed_of_step(profile.step, engine_limits(facts, kind), classes, tokens)
    if any(c.input_tokens_std or c.output_tokens_std for c in classes) or not profile.levels:
        return speed
    seen = compile_profile(profile, classes, tokens)
    return replace(
        speed,
        e2e_sigma=np.interp(speed.concurrency, seen.concurrency, seen.e2e_sigma),
        ttft_sigma=np.interp(speed.concurrency, seen.concurrency, seen.ttft_sigma),
    )


def speed_of_step(
    step: StepTime,
    limits: EngineLimits,
    classes: Sequence[ClassTraffic],
    tokens: Sequence[float],
) -> KindSpeed:
    """Return the speed of a replica by requests in flight.

    Args:
        classes: K classes; lengths and rates.
        tokens: K; mean answer length of the model per class.
    """
    traffic = _Traffic(classes, tokens)
    held = _levels(limits, traffic)
    times = [_times(step, n, traffic) for n in held]
    return KindSpeed(
        concurrency=held,
        ttft_s=np.array([ttft for ttft, _, _ in times]),
        e2e_s=np.array([e2e for _, e2e, _ in times]),
        efficiency=np.ones(len(held)),
        e2e_sigma=np.array([_spread(ttft, e2e, traffic) for ttft, e2e, _ in times]),
        ttft_sigma=np.array([_ttft_spread(step, ttft, s, traffic) for ttft, _, s in times]),
    )


class _Traffic:
    """Lengths per class (K each) and their traffic-weighted means."""

    def __init__(self, classes: Sequence[ClassTraffic], tokens: Sequence[float]) -> None:
        rates = np.array([c.rate_rps for c in classes])
        self.weight: Vector = rates / rates.sum()
        self.inputs: Vector = np.array([max(c.input_tokens_mean, 1.0) for c in classes])
        self.outputs: Vector = np.array(tokens, dtype=float)
        self.inputs_std: Vector = np.array([c.input_tokens_std for c in classes])
        # Models differ in how long they answer, not in how much that varies in proportion.
        described = np.array([max(c.output_tokens_mean, 1.0) for c in classes])
        described_std = np.array([c.output_tokens_std for c in classes])
        self.outputs_std: Vector = described_std * self.outputs / described
        self.mean_input = float(self.weight @ self.inputs)
        decoding = self.weight * self.outputs
        context = self.inputs + self.outputs / 2
        self.mean_context = float(decoding @ context / decoding.sum())
        self.mean_length = float(self.weight @ (self.inputs + self.outputs))


def _levels(limits: EngineLimits, traffic: _Traffic) -> Vector:
    """Requests in flight to look at: up to the batch limit, or to what the cache holds."""
    fitting = limits.kv_tokens / traffic.mean_length
    most = max(1.0, min(float(limits.max_num_seqs), math.floor(fitting)))
    return np.unique(np.round(np.geomspace(1.0, most, LEVELS)))


def _times(step: StepTime, held: float, traffic: _Traffic) -> tuple[Vector, Vector, float]:
    """Return K times to first token, K end-to-end times and one decoding step, in seconds."""
    decode_s = (
        step.fixed_s
        + held * step.per_sequence_s
        + held * traffic.mean_context * step.per_context_token_s
    )
    begin_s = traffic.mean_input * step.per_prefill_token_s + step.per_request_s
    own_s = step.overhead_s + traffic.inputs * step.per_prefill_token_s + step.per_request_s
    base = own_s + traffic.outputs * decode_s
    others = held - 1
    stay_s = float(traffic.weight @ base) + others * begin_s
    wait_s = _remaining_step_s(decode_s, begin_s, others, stay_s) if others > 0 else 0.0
    base = base + wait_s
    mean_base = float(traffic.weight @ base)
    e2e_s = np.maximum(base * (1 + others * begin_s / mean_base), MIN_TIME_S)
    # Whoever else comes during the same step begins with this request, in one step.
    together_s = others / stay_s * 2 * wait_s * begin_s
    ttft_s = np.maximum(own_s + decode_s + wait_s + together_s, MIN_TIME_S)
    return ttft_s, e2e_s, decode_s


def _remaining_step_s(decode_s: float, begin_s: float, others: float, stay_s: float) -> float:
    """Mean remaining time of the step under way: E[d^2] / 2 E[d] over the time of one stay."""
    long_s = decode_s + begin_s
    plain = max(0.0, stay_s - others * long_s)
    return (others * long_s**2 + plain * decode_s) / (2 * max(stay_s, others * long_s))


def _spread(ttft_s: Vector, e2e_s: Vector, traffic: _Traffic) -> float:
    """Log-normal spread within a class that different answer lengths make."""
    return _sigma(traffic.outputs_std / traffic.outputs * (1 - ttft_s / e2e_s), traffic)


def _ttft_spread(step: StepTime, ttft_s: Vector, decode_s: float, traffic: _Traffic) -> float:
    """The same of the time to first token: prompt lengths, and where in a step it arrives."""
    prompt_s = traffic.inputs_std * step.per_prefill_token_s
    phase_s = decode_s / math.sqrt(12)
    return _sigma(np.sqrt(prompt_s**2 + phase_s**2) / ttft_s, traffic)


def _sigma(variation: Vector, traffic: _Traffic) -> float:
    """Sigma of the log-normal with a coefficient of variation, averaged over the classes."""
    variances = np.log1p(variation**2)
    return max(MIN_SIGMA, math.sqrt(float(traffic.weight @ variances)))
