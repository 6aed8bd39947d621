"""The interval on a measured percentile, against its definition and by drawing samples."""

from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.profiling.statistics import quantile_bounds


def at_most(k: int, n: int, share: float) -> float:
    """Binomial distribution function."""
    return sum(comb(n, i) * share**i * (1 - share) ** (n - i) for i in range(k + 1))


@given(st.integers(1, 120), st.sampled_from([0.5, 0.9, 0.95]))
def test_ranks_are_the_tightest_that_the_binomial_allows(n: int, share: float) -> None:
    low, high = quantile_bounds(list(range(1, n + 1)), share)
    if high is not None:
        rank = int(high)
        assert at_most(rank - 1, n, share) >= 0.95 - 1e-9
        assert rank == 1 or at_most(rank - 2, n, share) < 0.95 + 1e-9
    else:
        assert at_most(n - 1, n, share) < 0.95
    if low is not None:
        assert 1 - at_most(int(low) - 1, n, share) >= 0.95 - 1e-9
        assert int(low) == n or 1 - at_most(int(low), n, share) < 0.95 + 1e-9


@pytest.mark.parametrize("n", [60, 150])
def test_bounds_cover_the_true_percentile(n: int) -> None:
    rng = np.random.default_rng(0)
    truth = np.exp(1.6448536)
    missed_low = missed_high = 0
    for _ in range(1500):
        low, high = quantile_bounds(list(rng.lognormal(0, 1, n)), 0.95)
        missed_low += low is not None and low > truth
        missed_high += high is not None and high < truth
    assert missed_low / 1500 <= 0.065
    assert missed_high / 1500 <= 0.065


def test_small_samples_have_no_upper_bound() -> None:
    assert quantile_bounds([1.0] * 58, 0.95)[1] is None
    assert quantile_bounds([1.0] * 59, 0.95)[1] == 1.0
    assert quantile_bounds([], 0.95) == (None, None)
