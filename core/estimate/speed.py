"""How fast one replica answers, read off a measured profile and corrected for answer lengths."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from core.domain.planning import PlanningFacts
from core.domain.profile import LoadLevel, Profile, Spread
from core.domain.workload import ClassTraffic

Vector = NDArray[np.float64]

Z95 = 1.6448536269514722
MIN_SIGMA = 0.02
MIN_TIME_S = 1e-6


@dataclass(frozen=True)
class KindSpeed:
    """Speed of one replica of a kind by requests in flight; J levels, K query classes.

    Attributes:
        concurrency: J; measured requests in flight, rising.
        ttft_s: J x K; mean time to first token.
        e2e_s: J x K; mean end-to-end time.
        efficiency: J; measured throughput over concurrency / mean time: what the load client
            lost between an answer and its next question (about 1).
        e2e_sigma: J; log-normal spread of the end-to-end time within a class.
        ttft_sigma: J; the same of the time to first token.
    """

    concurrency: Vector
    ttft_s: Vector
    e2e_s: Vector
    efficiency: Vector
    e2e_sigma: Vector
    ttft_sigma: Vector

    @cached_property
    def table(self) -> Vector:
        """J x (2 K + 2): times to first token, end-to-end times and their two spreads."""
        spreads = np.stack([self.ttft_sigma, self.e2e_sigma], axis=1)
        return np.ascontiguousarray(np.concatenate([self.ttft_s, self.e2e_s, spreads], axis=1))

    def capacity_rps(self, mix: Vector) -> float:
        """Highest throughput any measured level sustains, for a mix of classes (K, sums to 1)."""
        return float((self._served / (self.e2e_s @ mix)).max())

    @cached_property
    def _served(self) -> Vector:
        """J; requests in flight that count as served."""
        served: Vector = self.concurrency * self.efficiency
        return served

    def busy_s(self, mix: Vector) -> Vector:
        """Return K; replica-seconds one request of a class takes at the mix's best level."""
        throughput = self.concurrency * self.efficiency / (self.e2e_s @ mix)
        best = int(np.argmax(throughput))
        busy: Vector = self.e2e_s[best] / (self.concurrency[best] * self.efficiency[best])
        return busy


def answer_tokens(facts: PlanningFacts, model: str, traffic: ClassTraffic) -> float:
    """Return the mean answer length of a model on a class, in tokens.

    The workload knows the length per class, the quality measurement how much a model's answers
    differ from the average model's: the product of both, at least one token.
    """
    known = {
        m: estimate.output_tokens_mean
        for (m, query_class), estimate in facts.quality.items()
        if query_class == traffic.query_class and estimate.output_tokens_mean > 0
    }
    if model not in known:
        return max(1.0, traffic.output_tokens_mean)
    average = sum(known.values()) / len(known)
    return max(1.0, traffic.output_tokens_mean * known[model] / average)


def compile_profile(
    profile: Profile, classes: Sequence[ClassTraffic], tokens: Sequence[float]
) -> KindSpeed:
    """Turn load levels into times per class: TTFT + TPOT x (tokens - 1).

    Prompts longer than the profiled ones stretch the time to first token in proportion; shorter
    ones are not credited. Nothing is extrapolated beyond the highest measured concurrency.

    Args:
        classes: K classes.
        tokens: K; mean answer length of this model per class.
    """
    closed = [level for level in profile.levels if level.rate_rps is None]
    counted = [level for level in closed or profile.levels if level.requests > 0]
    levels = sorted(counted, key=lambda level: level.concurrency)
    rows = [_times(level, classes, tokens) for level in levels]
    e2e_s = np.array([e2e for _, e2e, _ in rows])
    return KindSpeed(
        concurrency=np.array([float(level.concurrency) for level in levels]),
        ttft_s=np.array([ttft for ttft, _, _ in rows]),
        e2e_s=e2e_s,
        efficiency=np.array([efficiency for _, _, efficiency in rows]),
        e2e_sigma=np.array(
            [_within_class(level, times) for level, times in zip(levels, e2e_s, strict=True)]
        ),
        ttft_sigma=np.array([log_spread(level.ttft_ms) for level in levels]),
    )


def _times(
    level: LoadLevel, classes: Sequence[ClassTraffic], tokens: Sequence[float]
) -> tuple[list[float], list[float], float]:
    ttft_s, tpot_s = level.ttft_ms.mean / 1000, level.tpot_ms.mean / 1000
    ttft = [max(MIN_TIME_S, ttft_s * _longer_prompt(level, traffic)) for traffic in classes]
    e2e = [t + tpot_s * (n - 1) for t, n in zip(ttft, tokens, strict=True)]
    profiled_e2e_s = ttft_s + tpot_s * (level.output_tokens_mean - 1)
    return ttft, e2e, level.requests_per_s * profiled_e2e_s / level.concurrency


def _longer_prompt(level: LoadLevel, traffic: ClassTraffic) -> float:
    return max(1.0, traffic.input_tokens_mean / max(level.input_tokens_mean, 1.0))


def log_spread(spread: Spread) -> float:
    """Return sigma of the log-normal with the measured ratio of 95th to 50th percentile."""
    if spread.p50 <= 0 or spread.p95 <= spread.p50:
        return MIN_SIGMA
    return max(MIN_SIGMA, math.log(spread.p95 / spread.p50) / Z95)


def _within_class(level: LoadLevel, e2e_s: Vector) -> float:
    """Spread within one class: a profile's queries are of all classes, interleaved evenly, so the
    variance between the classes' means is taken out; token times alone are the least there is,
    unless a stalled stream delivered its tokens in lumps: the end-to-end time bounds them then.
    """
    total = log_spread(level.e2e_ms)
    least = min(total, log_spread(level.tpot_ms))
    between = float(np.var(np.log(e2e_s)))
    return math.sqrt(max(total**2 - between, least**2))
