"""The fast simulation against the slow one, on instances nobody would think of."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.domain.profile import EngineLimits, StepTime
from core.errors import InvalidInput
from core.estimate.simulator import Arrivals, EngineSpec, Timeline, simulate
from core.estimate.simulator.oracle import simulate_slowly
from tests.unit.simulator_instances import (
    GRID_S,
    Instance,
    random_instance,
    requests,
    with_second_calls,
)

RANDOM_INSTANCES = 400


def assert_same(fast: Timeline, slow: Timeline, tolerance: float) -> None:
    """Compare times to a tolerance relative to the longest, everything else exactly."""
    np.testing.assert_array_equal(fast.replica, slow.replica)
    np.testing.assert_array_equal(fast.preemptions, slow.preemptions)
    for found_s, wanted_s in ((fast.ttft_s, slow.ttft_s), (fast.e2e_s, slow.e2e_s)):
        np.testing.assert_allclose(found_s, wanted_s, rtol=tolerance, atol=0)


@pytest.mark.parametrize("on_grid", [True, False])
def test_equal_on_random_instances(on_grid: bool) -> None:
    """Where times are exact, many moments coincide, and the answers must too, to the last bit."""
    met: Counter[str] = Counter()
    for seed in range(RANDOM_INSTANCES // 2):
        instance = random_instance(np.random.default_rng(seed), on_grid=on_grid)
        slow = simulate_slowly(instance.replicas, instance.arrivals)
        fast = simulate(instance.replicas, instance.arrivals)
        assert_same(fast, slow, tolerance=0.0 if on_grid else 1e-9)
        met.update(_corners(instance, slow))
    for corner in ("preempted", "preempted twice", "chunked", "cached", "refused", "dispatched"):
        assert met[corner] > RANDOM_INSTANCES // 20, (corner, met)


@pytest.mark.parametrize("on_grid", [True, False])
def test_equal_with_second_calls(on_grid: bool) -> None:
    followed = 0
    for seed in range(RANDOM_INSTANCES // 2):
        rng = np.random.default_rng(seed)
        instance = with_second_calls(random_instance(rng, on_grid=on_grid), rng)
        slow = simulate_slowly(instance.replicas, instance.arrivals)
        fast = simulate(instance.replicas, instance.arrivals)
        assert_same(fast, slow, tolerance=0.0 if on_grid else 1e-9)
        second = instance.arrivals.preceding >= 0
        followed += int(np.isfinite(slow.e2e_s[second]).sum())
        # A call that follows a refused one is never made.
        refused = np.isnan(slow.e2e_s)[instance.arrivals.preceding[second]]
        assert np.all(np.isnan(slow.e2e_s[second][refused]))
    assert followed > 300


def test_pools_that_call_each_other_in_a_circle_are_refused() -> None:
    spec = EngineSpec(0, 1, StepTime(0.01, 0, 0, 0), EngineLimits(4, 64, 500, 16))
    none, two = np.zeros(4, dtype=np.int64), np.full(4, 2)
    pools, after = np.array([0, 1, 1, 0]), np.array([-1, -1, 0, 1])
    arrivals = Arrivals(np.zeros(4), two, two, pools, none, after)
    assert np.isfinite(simulate_slowly([spec, replace(spec, pool=1)], arrivals).e2e_s).all()
    with pytest.raises(InvalidInput, match="circle"):
        simulate([spec, replace(spec, pool=1)], arrivals)


@pytest.mark.parametrize("after", [[-1, 5], [-1, -2], [1, 0], [-1, 1]])
def test_second_calls_that_follow_nothing_are_refused(after: list[int]) -> None:
    two, none = np.full(2, 2), np.zeros(2, dtype=np.int64)
    with pytest.raises(InvalidInput, match="follows"):
        Arrivals(np.zeros(2), two, two, none, none, np.array(after))


def _corners(instance: Instance, seen: Timeline) -> list[str]:
    """Name what an instance exercises."""
    arrivals, replicas = instance.arrivals, instance.replicas
    answered = np.isfinite(seen.e2e_s)
    budget = np.array([r.limits.max_num_batched_tokens for r in replicas])[seen.replica]
    lengths = arrivals.input_tokens - arrivals.cached_tokens
    facts = {
        "preempted": seen.preemptions.max() > 0,
        "preempted twice": seen.preemptions.max() > 1,
        "chunked": np.any(answered & (lengths > budget)),
        "cached": np.any(answered & (arrivals.cached_tokens > 0)),
        "refused": np.any((seen.replica >= 0) & ~answered),
        "dispatched": len(set(seen.replica[answered])) > 1,
    }
    return [name for name, met in facts.items() if met]


times_s = st.integers(0, 2**14).map(lambda steps: steps * GRID_S)
steps = st.builds(StepTime, *[times_s] * 6)


@st.composite
def engines(draw: st.DrawFn) -> EngineSpec:
    seqs = draw(st.integers(1, 5))
    limits = EngineLimits(
        seqs, seqs + draw(st.integers(0, 12)), draw(st.integers(0, 24)), draw(st.integers(1, 4))
    )
    return EngineSpec(draw(st.integers(0, 1)), draw(st.integers(1, 3)), draw(steps), limits)


@st.composite
def few_requests(draw: st.DrawFn) -> Arrivals:
    n = draw(st.integers(0, 14))

    def column(values: st.SearchStrategy[int]) -> list[int]:
        return draw(st.lists(values, min_size=n, max_size=n))

    arrived = np.cumsum(np.array(column(st.integers(0, 2**16)), dtype=np.int64)) * GRID_S
    inputs = column(st.integers(1, 12))
    cached = [min(c, i - 1) for c, i in zip(column(st.integers(0, 11)), inputs, strict=True)]
    outputs, pools = column(st.integers(1, 14)), column(st.integers(0, 1))
    return requests(arrived.tolist(), inputs, outputs, pools, cached)


@settings(max_examples=300, deadline=None)
@given(st.lists(engines(), max_size=4), few_requests())
def test_equal_to_the_last_bit_where_times_are_exact(
    replicas: list[EngineSpec], arrivals: Arrivals
) -> None:
    fast, slow = simulate(replicas, arrivals), simulate_slowly(replicas, arrivals)
    assert_same(fast, slow, tolerance=0.0)


def test_long_answers_are_jumped_over_exactly() -> None:
    """Runs of thousands of steps, cut short by arrivals and by a cache that fills up."""
    limits = EngineLimits(4, 64, 500, 16)
    replicas = [EngineSpec(0, 1, StepTime(0.013, 1e-4, 1e-6, 1e-5), limits)] * 2
    arrivals = requests(
        [0.0, 0.1, 20.0, 20.1, 35.0, 35.0], [9, 5, 90, 4, 1, 70], [4000, 5000, 3000, 9, 2500, 7000]
    )
    fast, slow = simulate(replicas, arrivals), simulate_slowly(replicas, arrivals)
    assert_same(fast, slow, tolerance=1e-9)
    assert slow.preemptions.sum() > 0


def test_many_equal_replicas_take_turns_as_the_oracle_says() -> None:
    rng = np.random.default_rng(7)
    limits = EngineLimits(16, 256, 4000, 16)
    kinds = [
        EngineSpec(0, devices, StepTime(0.02 / devices, 1e-3, 1e-6, 1e-4), limits)
        for devices in (1, 2, 4)
    ]
    replicas = [kinds[i % 3] for i in range(37)]  # not a power of two: the tree has empty leaves
    n = 1500
    arrivals = Arrivals(
        np.cumsum(rng.exponential(0.004, n)),
        rng.integers(1, 200, n),
        rng.integers(1, 40, n),
        np.zeros(n, dtype=np.int64),
        np.zeros(n, dtype=np.int64),
    )
    fast, slow = simulate(replicas, arrivals), simulate_slowly(replicas, arrivals)
    assert_same(fast, slow, tolerance=1e-9)
    assert len(set(slow.replica.tolist())) == len(replicas)


def test_a_length_that_cannot_be_counted_is_refused() -> None:
    spec = EngineSpec(0, 1, StepTime(1, 0, 0, 0), EngineLimits(1, 1, 1, 1))
    with pytest.raises(InvalidInput, match="too long"):
        simulate([spec], requests([0.0], [2**31], [1]))
