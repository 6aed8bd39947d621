"""The compiled inner loops against plain numpy and scipy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.special import ndtr

from core.estimate.kernels import chain, log_quantile, share_within
from core.estimate.queueing import BIN_EDGES

seeds = st.integers(0, 2**32 - 1)


def slow_chain(held, replicas, rate_rps, capacity_rps, concurrency, e2e_s, efficiency):
    """State by state, then grouped where the distribution function passes an edge."""
    states = np.arange(1.0, held + 1)
    times_s = np.interp(states / replicas, concurrency, e2e_s)
    lost = np.interp(states / replicas, concurrency, efficiency)
    served = np.minimum(states, replicas * concurrency[-1]) * lost / times_s
    rates = np.maximum.accumulate(served)
    log_weight = np.concatenate([[0.0], np.cumsum(np.log(rate_rps) - np.log(rates[:-1]))])
    seen = np.exp(log_weight - log_weight.max())
    seen /= seen.sum()
    waits_s = np.maximum(0.0, states - replicas * concurrency[-1]) / capacity_rps
    starts = np.unique(np.searchsorted(np.cumsum(seen), np.concatenate([[0.0], BIN_EDGES])))
    weight = np.add.reduceat(seen, starts)
    mean = np.add.reduceat(seen * states / replicas, starts) / weight
    return weight, mean, np.add.reduceat(seen * waits_s, starts) / weight


@settings(max_examples=80, deadline=None)
@given(seeds)
def test_the_chain_is_the_slow_one(seed: int) -> None:
    dice = np.random.default_rng(seed)
    concurrency = np.unique(dice.integers(1, 60, int(dice.integers(1, 6)))).astype(float)
    e2e_s = np.cumsum(dice.uniform(0.05, 1.0, len(concurrency)))
    efficiency = dice.uniform(0.9, 1.0, len(concurrency))
    replicas = int(dice.integers(1, 5))
    capacity_rps = replicas * float(np.max(concurrency * efficiency / e2e_s))
    rate_rps = float(dice.uniform(0.05, 0.99)) * capacity_rps
    held = int(replicas * concurrency[-1]) + 50
    facts = (held, replicas, rate_rps, capacity_rps, concurrency, e2e_s, efficiency)
    for found, expected in zip(chain(*facts, BIN_EDGES), slow_chain(*facts), strict=True):
        assert found == pytest.approx(expected, rel=1e-9, abs=1e-12)


@settings(max_examples=80, deadline=None)
@given(seeds, st.floats(0.01, 0.99))
def test_quantiles_and_shares_are_those_of_the_mixture(seed: int, share: float) -> None:
    dice = np.random.default_rng(seed)
    count = int(dice.integers(1, 30))
    weight = dice.dirichlet(np.ones(count))
    centre, sigma = dice.normal(0, 2, count), dice.uniform(0.02, 1.0, count)

    def excess(at: float) -> float:
        return float(ndtr((at - centre) / sigma) @ weight) - share

    found = log_quantile(share, weight, centre, sigma)
    assert found == pytest.approx(brentq(excess, -20, 20, xtol=1e-12), abs=1e-5)
    assert share_within(found, weight, centre, sigma) == pytest.approx(excess(found) + share)
