"""Random instances for the simulator: small ones that get into every corner."""

from dataclasses import dataclass, replace

import numpy as np

from core.domain.profile import EngineLimits, StepTime
from core.estimate.simulator import Arrivals, EngineSpec

GRID_S = 2.0**-20
"""Times on this grid add up without rounding, however they are grouped."""


@dataclass(frozen=True)
class Instance:
    replicas: list[EngineSpec]
    arrivals: Arrivals


def requests(
    arrived_at_s: list[float],
    input_tokens: list[int],
    output_tokens: list[int],
    pool: list[int] | None = None,
    cached_tokens: list[int] | None = None,
) -> Arrivals:
    zeros = [0] * len(arrived_at_s)
    whole = (np.array(x, dtype=np.int64) for x in (input_tokens, output_tokens))
    return Arrivals(
        np.array(arrived_at_s, dtype=np.float64),
        *whole,
        np.array(pool or zeros, dtype=np.int64),
        np.array(cached_tokens or zeros, dtype=np.int64),
    )


def random_instance(rng: np.random.Generator, *, on_grid: bool) -> Instance:
    """Draw up to five replicas of up to three pools, and up to 60 requests.

    Args:
        on_grid: Times are on a coarse grid, so that many coincide.
    """
    pools = int(rng.integers(1, 4))
    replicas = [_replica(rng, pools, on_grid) for _ in range(rng.integers(1, 6))]
    return Instance(replicas, _arrivals(rng, pools, on_grid))


def with_second_calls(instance: Instance, rng: np.random.Generator) -> Instance:
    """The same; some of the calls are followed by one to a pool of a higher number."""
    calls = instance.arrivals
    first = np.flatnonzero((rng.random(len(calls)) < 0.5) & (calls.pool < 2))
    number = np.concatenate([np.arange(len(calls)), first])
    pool = np.concatenate([calls.pool, rng.integers(calls.pool[first] + 1, 3)])
    longer = rng.integers(1, 30, len(first))
    arrivals = Arrivals(
        calls.arrived_at_s[number],
        calls.input_tokens[number],
        np.concatenate([calls.output_tokens, longer]),
        pool,
        calls.cached_tokens[number],
        np.concatenate([np.full(len(calls), -1), first]),
    )
    replicas = [
        replace(r, step=replace(r.step, fixed_s=r.step.fixed_s + 2**-8)) for r in instance.replicas
    ]
    return Instance(replicas, arrivals)


def _replica(rng: np.random.Generator, pools: int, on_grid: bool) -> EngineSpec:
    block_size, seqs = int(rng.choice([1, 2, 3, 16])), int(rng.integers(1, 9))
    longest = 98  # tokens of a request; caches reach from hopeless to ample
    blocks = int(longest * rng.choice([0.5, 1.0, 1.5, 4.0]) / block_size) + 1
    limits = EngineLimits(seqs, int(seqs + rng.integers(0, 40)), blocks, block_size)
    scales_s = (0.01, 0.002, 1e-4, 1e-3, 0.005, 0.1)
    step = StepTime(*(_part_s(rng, scale_s, on_grid) for scale_s in scales_s))
    return EngineSpec(int(rng.integers(0, pools)), int(rng.choice([1, 2, 3, 4])), step, limits)


def _part_s(rng: np.random.Generator, scale_s: float, on_grid: bool) -> float:
    drawn_s = 0.0 if rng.random() < 0.2 else rng.random() * scale_s
    return float(np.round(drawn_s / GRID_S) * GRID_S) if on_grid else float(drawn_s)


def _arrivals(rng: np.random.Generator, pools: int, on_grid: bool) -> Arrivals:
    n = int(rng.integers(1, 60))
    gap_s = rng.choice([0, 0.001, 0.01, 0.1, 1.0])
    arrived_at_s = np.cumsum(rng.exponential(1, n) * gap_s * (rng.random(n) < 0.7))
    if on_grid:
        arrived_at_s = np.round(arrived_at_s * 2**10) / 2**10
    inputs, outputs = rng.integers(1, 40, n), rng.integers(1, rng.choice([2, 10, 60]), n)
    cached = np.where(rng.random(n) < 0.3, (rng.random(n) * inputs).astype(np.int64), 0)
    return Arrivals(arrived_at_s, inputs, outputs, rng.integers(0, pools, n), cached)
