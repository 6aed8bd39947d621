"""What the gateway's records say about the last while. Pure functions."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from core.domain.traffic import RequestRecord


@dataclass(frozen=True, slots=True)
class LiveNumbers:
    """Measured traffic of a window.

    Attributes:
        requests: All requests, refused ones included.
        failed: Requests that did not get an answer.
        p50_e2e_s: Median end-to-end latency of the answered; None without any.
        p95_e2e_s: 95th percentile of the same.
        sla_attainment: Share of the answered within the wanted latency; None without one.
    """

    requests: int
    failed: int
    p50_e2e_s: float | None
    p95_e2e_s: float | None
    sla_attainment: float | None


def live_numbers(records: Sequence[RequestRecord], sla_s: float | None = None) -> LiveNumbers:
    """Summarise request records; the wanted latency is in seconds."""
    latencies_s = np.array([r.e2e_ms / 1000 for r in records if r.status < 400])
    failed = len(records) - len(latencies_s)
    if not len(latencies_s):
        return LiveNumbers(len(records), failed, None, None, None)
    return LiveNumbers(
        requests=len(records),
        failed=failed,
        p50_e2e_s=float(np.percentile(latencies_s, 50)),
        p95_e2e_s=float(np.percentile(latencies_s, 95)),
        sla_attainment=None if sla_s is None else float(np.mean(latencies_s <= sla_s)),
    )
