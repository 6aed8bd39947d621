"""From single answers to what a level or a plan did."""

import math
from collections.abc import Sequence

import numpy as np
from scipy.special import bdtr

from core.domain.profile import LoadLevel, Spread
from core.profiling.client import Answer
from core.profiling.load import Window

T_95 = {5: 2.776, 6: 2.571, 7: 2.447, 8: 2.365, 9: 2.306, 10: 2.262}
"""Batches -> Student's t for 95 % with one degree of freedom less."""
MOST_BATCHES = max(T_95)


def spread(values: Sequence[float]) -> Spread:
    """Return mean and percentiles of a non-empty sample (linear interpolation)."""
    sample = np.asarray(values, dtype=float)
    p50, p95, p99 = np.percentile(sample, [50, 95, 99])
    return Spread(float(sample.mean()), float(p50), float(p95), float(p99))


def quantile_bounds(
    values: Sequence[float], share: float, confidence: float = 0.9
) -> tuple[float | None, float | None]:
    """Return an interval on a quantile of what a sample was drawn from, free of its distribution.

    Order statistics: the number of n independent values below the quantile is binomial (David &
    Nagaraja, Order Statistics, section 7.1). Answers that were in flight together are not quite
    independent, so it is somewhat narrow. A bound is None where the sample is too small for one:
    above the 95th percentile, with fewer than 59 values.

    Args:
        share: Which quantile, 0..1.
        confidence: Of both bounds together; each alone misses in half of the rest.
    """
    ranked, n, tail = sorted(values), len(values), (1 - confidence) / 2
    below = bdtr(np.arange(n), n, share)  # chance that at most so many values are below
    under, above = np.flatnonzero(below <= tail), np.flatnonzero(below >= 1 - tail)
    low = float(ranked[under[-1]]) if len(under) else None
    return low, float(ranked[above[0]]) if len(above) else None


def relative_half_width(values: Sequence[float]) -> float | None:
    """Return half the 95 % confidence interval of a mean, relative to it, by batch means.

    Answers that were in flight together are slow together, so a plain t-interval would be too
    narrow. The values, in order of time, are cut into b = 10 batches of equal size (fewer when
    there are fewer than 20 values), whose means are nearly independent; with s their standard
    deviation the half width is t(0.975, b - 1) s / sqrt(b) (A. M. Law, Simulation Modeling and
    Analysis, section 9.5.3; few large batches rather than many small ones: B. Schmeiser,
    Operations Research 30, 1982).

    Args:
        values: In order of time, positive on average.

    Returns:
        None for fewer than ten values: two in each of five batches.
    """
    batches = min(MOST_BATCHES, len(values) // 2)
    if batches not in T_95:
        return None
    means = [float(batch.mean()) for batch in np.array_split(np.asarray(values), batches)]
    mean = sum(means) / batches
    if mean <= 0:
        return None
    return T_95[batches] * float(np.std(means, ddof=1)) / math.sqrt(batches) / mean


def load_level(
    concurrency: int,
    window: Window,
    memory_bytes: int,
    *,
    rate_rps: float | None = None,
    half_width: float | None = None,
) -> LoadLevel | None:
    """Summarise what was counted; None when no request succeeded.

    Args:
        concurrency: Requests kept in flight; of an open loop their mean number.
        rate_rps: Arrivals per second of an open loop.
        half_width: How sure its means are; see `LoadLevel`.
    """
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
        rate_rps=rate_rps,
        half_width=half_width,
    )


def first_error(answers: Sequence[Answer]) -> str:
    """Return the first failure's text; empty when there is none."""
    return next((a.error for a in answers if a.error), "")


def _mean(values: Sequence[int]) -> float:
    return sum(values) / len(values)
