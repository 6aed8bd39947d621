"""From single answers to what a level or a plan did."""

from collections.abc import Sequence

import numpy as np

from core.domain.profile import LoadLevel, Spread
from core.profiling.client import Answer
from core.profiling.load import Window


def spread(values: Sequence[float]) -> Spread:
    """Return mean and percentiles of a non-empty sample (linear interpolation)."""
    sample = np.asarray(values, dtype=float)
    p50, p95, p99 = np.percentile(sample, [50, 95, 99])
    return Spread(float(sample.mean()), float(p50), float(p95), float(p99))


def load_level(concurrency: int, window: Window, memory_bytes: int) -> LoadLevel | None:
    """Summarise one closed-loop window; None when no request succeeded."""
    good = [a for a in window.answers if not a.error and a.ttft_ms is not None]
    if not good:
        return None
    tpot_ms = [a.tpot_ms for a in good if a.tpot_ms is not None]
    return LoadLevel(
        concurrency=concurrency,
        requests=len(good),
        errors=len(window.answers) - len(good),
        duration_s=window.duration_s,
        ttft_ms=spread([a.ttft_ms for a in good if a.ttft_ms is not None]),
        tpot_ms=spread(tpot_ms or [0.0]),
        e2e_ms=spread([a.e2e_ms for a in good]),
        input_tokens_mean=_mean([a.input_tokens for a in good]),
        output_tokens_mean=_mean([a.output_tokens for a in good]),
        memory_bytes=memory_bytes,
    )


def first_error(answers: Sequence[Answer]) -> str:
    """Return the first failure's text; empty when there is none."""
    return next((a.error for a in answers if a.error), "")


def _mean(values: Sequence[int]) -> float:
    return sum(values) / len(values)
