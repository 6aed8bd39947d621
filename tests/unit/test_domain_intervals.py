"""Intervals on means of graded scores: they hold whatever the distribution, and shrink."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.domain.intervals import betting, score_interval, wilson

SCORES = st.lists(st.floats(0, 1), min_size=1, max_size=40)
FEW = settings(max_examples=60, deadline=None)
TRIALS = 400
DISTRIBUTIONS = {
    "right or wrong": lambda dice, n: (dice.random(n) < 0.9).astype(float),
    "hardly ever right": lambda dice, n: (dice.random(n) < 0.03).astype(float),
    "graded": lambda dice, n: dice.beta(2, 5, n),
    "extremes": lambda dice, n: dice.beta(0.2, 0.1, n),
    "a rare failure": lambda dice, n: np.where(dice.random(n) < 0.04, 0.0, 0.8),
    "ties": lambda dice, n: dice.choice([0, 0.5, 1], n, p=[0.2, 0.5, 0.3]),
}
MEANS = {
    "right or wrong": 0.9,
    "hardly ever right": 0.03,
    "graded": 2 / 7,
    "extremes": 2 / 3,
    "a rare failure": 0.96 * 0.8,
    "ties": 0.55,
}


@pytest.mark.parametrize("name", sorted(DISTRIBUTIONS))
@pytest.mark.parametrize("n", [5, 30])
def test_the_mean_is_missed_in_at_most_five_of_a_hundred(name: str, n: int) -> None:
    """Three standard errors of the count are allowed for; a bootstrap fails the rare failure."""
    dice = np.random.default_rng([n, len(name)])
    missed = 0
    for _ in range(TRIALS):
        low, high = betting(DISTRIBUTIONS[name](dice, n).tolist())
        missed += not low <= MEANS[name] <= high
    assert missed <= TRIALS * 0.05 + 3 * math.sqrt(TRIALS * 0.05 * 0.95)


@FEW
@given(SCORES)
def test_it_holds_the_sample_mean_and_stays_inside(scores: list[float]) -> None:
    low, high = betting(scores)
    mean = sum(scores) / len(scores)
    assert 0 <= low <= mean + 1e-9
    assert mean - 1e-9 <= high <= 1
    assert betting(scores[::-1]) == (low, high)


@FEW
@given(SCORES)
def test_what_is_gained_is_lost_the_other_way_round(scores: list[float]) -> None:
    """Up to the order that scores are taken in, which mirrored scores reverse."""
    even = [0.25, 0.75] * len(scores)
    low, high = betting(even)
    mirrored = betting([1 - score for score in even])
    assert mirrored[0] == pytest.approx(1 - high, abs=0.1)
    assert mirrored[1] == pytest.approx(1 - low, abs=0.1)


def test_a_bound_is_where_the_money_is_two_in_miss() -> None:
    """Theorem 3 by hand: of equal scores no order matters, and money only grows."""
    scores = [0.9] * 6
    stakes = []
    for seen in range(6):
        guesses = [(0.5 + 0.9 * n) / (n + 1) for n in range(1, seen + 1)]
        variance = (0.25 + sum((0.9 - guess) ** 2 for guess in guesses)) / (seen + 1)
        stakes.append(math.sqrt(2 * math.log(2 / 0.05) / (6 * variance)))

    def money(of: float) -> float:
        return math.prod(1 + min(stake, 0.75 / of) * (0.9 - of) for stake in stakes)

    low = betting(scores)[0]
    assert low > 0
    assert money(low + 2e-6) < 2 / 0.05 <= money(low) + 1e-3


def test_more_answers_and_less_spread_narrow_it() -> None:
    dice = np.random.default_rng(0)
    width = [np.ptp(betting(dice.beta(20, 30, n).tolist())) for n in (20, 100, 500)]
    assert width[0] > width[1] > width[2]
    assert width[2] < np.ptp(wilson(0.4, 500))


@pytest.mark.parametrize("scores", [[1.0] * 8, [0.0, 1.0, 1.0], []])
def test_right_or_wrong_is_wilsons(scores: list[float]) -> None:
    mean = sum(scores) / max(1, len(scores))
    assert score_interval(scores) == wilson(mean, len(scores))


def test_graded_is_bet_on() -> None:
    assert score_interval([0.5, 1.0]) == betting([1.0, 0.5])
    assert betting([]) == (0.0, 1.0)
