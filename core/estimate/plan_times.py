"""Latency of a plan: a mixture over its pools, what they hold on arrival, and the query classes.

An answer of a cascade takes one call or two. When it is accepted, the client gets nothing before
it is complete: its time to first token is its whole time. When it is not, the time is the sum of
two, made log-normal with the same mean and variance: how full the two models' pools are is
independent, how long the query's answers are is not, so the spread that lengths make adds up in
full. The first model's mean and variance are taken over all its pools.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from core.domain.plan import ReplicaKind
from core.estimate.flows import Escalation, Flows
from core.estimate.mixture import LognormalMixture
from core.estimate.queueing import PoolLatency, pool_latency
from core.estimate.speed import KindSpeed, Vector


@dataclass(frozen=True)
class Pool:
    """Equal replicas and what arrives at them.

    Attributes:
        mix: K; share of each query class in the arrivals.
        load: Arrivals as a fraction of the capacity.
    """

    kind: ReplicaKind
    count: int
    rate_rps: float
    mix: Vector
    load: float


@dataclass(frozen=True)
class Stage:
    """Time of the first of two calls.

    Attributes:
        mean_s: Mean.
        between: Variance, in s^2, that comes from how full the pools are.
        within_s: Standard deviation that different lengths make.
    """

    mean_s: float
    between: float
    within_s: float


Parts = tuple[Vector, Vector, Vector]
"""Shares, means in s and spreads of n log-normal times."""
Seen = tuple[Pool, PoolLatency]


def plan_mixtures(
    speeds: Mapping[ReplicaKind, KindSpeed],
    pools: Sequence[Pool],
    flows: Flows,
    rate_rps: float,
) -> tuple[LognormalMixture, LognormalMixture] | None:
    """Return end-to-end time and time to first token over all traffic.

    Args:
        pools: All that the flows go to.
        rate_rps: Queries per second.

    Returns:
        None when a pool cannot keep up.
    """
    seen: list[Seen] = []
    for pool in pools:
        latency = pool_latency(speeds[pool.kind], pool.count, pool.rate_rps, pool.mix)
        if latency is None:
            return None
        seen.append((pool, latency))
    calls = _joined([x.weight[:, None] * p.mix * (p.rate_rps / rate_rps) for p, x in seen])
    whole = _times([(x.e2e_s, x.e2e_sigma) for _, x in seen])
    begin = _times([(x.ttft_s, x.ttft_sigma) for _, x in seen])
    if not flows.escalations:
        return _mixture([(calls, *whole)]), _mixture([(calls, *begin)])
    plain, accepted = map(_joined, _outcomes(flows, seen))
    e2e = [(calls * (plain + accepted), *whole)]
    ttft = [(calls * plain, *begin), (calls * accepted, *whole)]
    for escalation in flows.escalations:
        for both, until_first in _twice(escalation, seen, escalation.rate_rps / rate_rps):
            e2e.append(both)
            ttft.append(until_first)
    return _mixture(e2e), _mixture(ttft)


def _outcomes(flows: Flows, seen: Sequence[Seen]) -> tuple[list[Vector], list[Vector]]:
    """Return B x K per pool; shares of its calls that are plain, and that end a cascade."""
    plain, accepted = [], []
    for pool, latency in seen:
        model, groups = pool.kind.model, (len(latency.weight), 1)
        calls = np.array(flows.calls[model])
        some = np.where(calls > 0, calls, 1.0)
        plain.append(np.tile(np.array(flows.plain[model]) / some, groups))
        accepted.append(np.tile(np.array(flows.accepted[model]) / some, groups))
    return plain, accepted


def _twice(
    escalation: Escalation, seen: Sequence[Seen], share: float
) -> list[tuple[Parts, Parts]]:
    """Return end-to-end times, and times to first token, of queries that go on; per pool.

    Args:
        share: Of these queries in all traffic.
    """
    if share <= 0:
        return []
    k = escalation.query_class
    first = _stage([(p, x) for p, x in seen if p.kind.model == escalation.first], k)
    seconds = [(p, x) for p, x in seen if p.kind.model == escalation.second]
    total_rps = sum(pool.rate_rps for pool, _ in seconds)
    parts = []
    for pool, latency in seconds:
        weight = share * (pool.rate_rps / total_rps) * latency.weight
        e2e = after(first, latency.e2e_s[:, k], latency.e2e_sigma, same_lengths=True)
        ttft = after(first, latency.ttft_s[:, k], latency.ttft_sigma, same_lengths=False)
        parts.append(((weight, *e2e), (weight, *ttft)))
    return parts


def _stage(seen: Sequence[Seen], k: int) -> Stage:
    total_rps = sum(pool.rate_rps for pool, _ in seen)
    weight = np.concatenate([pool.rate_rps / total_rps * x.weight for pool, x in seen])
    mean_s = np.concatenate([x.e2e_s[:, k] for _, x in seen])
    sigma = np.concatenate([x.e2e_sigma for _, x in seen])
    whole_s = float(weight @ mean_s)
    between = float(weight @ mean_s**2) - whole_s**2
    within = float(weight @ (mean_s**2 * np.expm1(sigma**2)))
    return Stage(whole_s, max(0.0, between), float(np.sqrt(within)))


def after(
    first: Stage, mean_s: Vector, sigma: Vector, *, same_lengths: bool
) -> tuple[Vector, Vector]:
    """Return n means and n spreads of a first call's time plus log-normal times (n).

    Args:
        same_lengths: Whether the spreads of both come from the same lengths.
    """
    second_s = mean_s * np.sqrt(np.expm1(sigma**2))
    within = (first.within_s + second_s) ** 2 if same_lengths else first.within_s**2 + second_s**2
    total_s = first.mean_s + mean_s
    return total_s, np.sqrt(np.log1p((first.between + within) / total_s**2))


def _times(pools: Sequence[tuple[Vector, Vector]]) -> tuple[Vector, Vector]:
    """Return n means and n spreads of pools with B x K means and B spreads each."""
    sigmas = [np.repeat(sigma, mean_s.shape[1]) for mean_s, sigma in pools]
    return _joined([mean_s for mean_s, _ in pools]), np.concatenate(sigmas)


def _joined(pools: Sequence[Vector]) -> Vector:
    return np.concatenate([values.ravel() for values in pools])


def _mixture(parts: Sequence[Parts]) -> LognormalMixture:
    """Join parts; drops empty ones."""
    shares, means, sigmas = map(np.concatenate, zip(*parts, strict=True))
    used = shares > 0
    return LognormalMixture(shares[used], means[used], sigmas[used])
