"""A pool of equal replicas as a queue whose service rate depends on how many requests it holds.

Continuous batching shares a replica between the requests in flight, so a pool is modelled as a
flow-equivalent server (Chandy, Herzog & Woo 1975; Lazowska et al., "Quantitative System
Performance", 1984, chapter 8): a birth-death chain with Poisson arrivals and, in state n, the
throughput that was measured with n requests in flight. Under processor sharing its state
distribution does not depend on the distribution of service times. Dispatch to the replica with
the fewest requests outstanding keeps replicas balanced (Foschini & Salz 1978), so R replicas
holding n requests hold n / R each.

An arrival sees the chain's time average (PASTA) and is given the mean time measured at the
concurrency it makes. Weighted over the states this mean is Little's law, exactly, waiting
included; the spread over states is a little pessimistic, as concurrency also varies during a stay.
"""

from dataclasses import dataclass

import numpy as np

from core.estimate.kernels import chain, interpolated, states
from core.estimate.speed import KindSpeed, Vector

BIN_EDGES = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.86, 0.9, 0.93, 0.95, 0.97, 0.99])


@dataclass(frozen=True)
class PoolLatency:
    """Times in one pool as B groups of states by K query classes.

    Attributes:
        weight: B; probability that an arrival meets a state of the group; sums to 1.
        ttft_s: B x K; mean time to first token, waiting included.
        e2e_s: B x K; mean end-to-end time, waiting included.
        ttft_sigma: B; log-normal spread around the means.
        e2e_sigma: B; the same of the end-to-end time.
    """

    weight: Vector
    ttft_s: Vector
    e2e_s: Vector
    ttft_sigma: Vector
    e2e_sigma: Vector


def pool_latency(
    speed: KindSpeed, replicas: int, rate_rps: float, mix: Vector
) -> PoolLatency | None:
    """Return the times in a pool in steady state, or None when it cannot keep up.

    Args:
        replicas: Equal replicas in the pool, at least 1.
        rate_rps: Poisson arrivals per second to the whole pool.
        mix: K; share of each class in these arrivals, sums to 1.
    """
    capacity_rps = replicas * speed.capacity_rps(mix)
    load = rate_rps / capacity_rps
    if load >= 1:
        return None
    weight, concurrency, wait_s = chain(
        states(float(speed.concurrency[-1]), replicas, load),
        replicas,
        rate_rps,
        capacity_rps,
        speed.concurrency,
        speed.e2e_s @ mix,
        speed.efficiency,
        BIN_EDGES,
    )
    # Averaging over a group of states and interpolating commute, up to the knots in the group.
    times = interpolated(speed.concurrency, concurrency, speed.table)
    classes = len(mix)
    times[:, : 2 * classes] += wait_s[:, None]
    return PoolLatency(
        weight=weight,
        ttft_s=times[:, :classes],
        e2e_s=times[:, classes : 2 * classes],
        ttft_sigma=times[:, -2],
        e2e_sigma=times[:, -1],
    )
