"""What a step-time model says about requests that were really sent."""

from collections.abc import Sequence

import numpy as np

from core.domain.observation import Observations
from core.estimate.simulator import Arrivals, EngineSpec, Timeline, simulate


def replay(seen: Observations, replicas: Sequence[EngineSpec]) -> Timeline:
    """Simulate the requests of one load on replicas of one model, sent when they really were.

    Args:
        seen: n answers of a load that began on idle servers, in any order.
        replicas: All of pool 0.

    Returns:
        n predictions in the order of `seen`.
    """
    sent_at_s = np.frombuffer(seen.sent_at_s)
    order = np.argsort(sent_at_s, kind="stable")
    back = np.argsort(order, kind="stable")
    inputs = np.frombuffer(seen.input_tokens, dtype=np.int64)[order]
    outputs = np.frombuffer(seen.output_tokens, dtype=np.int64)[order]
    nothing = np.zeros(len(seen), dtype=np.int64)
    arrivals = Arrivals(
        sent_at_s[order], np.maximum(inputs, 1), np.maximum(outputs, 1), nothing, nothing
    )
    found = simulate(replicas, arrivals)
    return Timeline(
        found.ttft_s[back], found.e2e_s[back], found.replica[back], found.preemptions[back]
    )
