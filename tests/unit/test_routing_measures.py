"""Measures of routers against slow, obvious ones."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.routing.measures import auc, calibration_error, curve_of, reliability

FEW = settings(max_examples=60, deadline=None)
SMALL = st.integers(1, 5).flatmap(
    lambda n: st.tuples(*(st.lists(st.integers(0, 2), min_size=n, max_size=n) for _ in range(3)))
)


def slow_qualities(score: list[int], weak: list[int], strong: list[int]) -> np.ndarray:
    """Mean over every order in which equal scores may come."""
    rows = range(len(score))
    ranked = [
        o for o in permutations(rows) if sorted(score, reverse=True) == [score[i] for i in o]
    ]
    curves = [
        [
            np.mean([strong[i] if i in order[:c] else weak[i] for i in rows])
            for c in range(len(score) + 1)
        ]
        for order in ranked
    ]
    return np.mean(curves, axis=0)


@FEW
@given(SMALL)
def test_a_curve_is_the_mean_over_all_orders_of_ties(drawn: tuple[list[int], ...]) -> None:
    score, weak, strong = drawn
    curve = curve_of(*(np.array(its, dtype=float) for its in drawn))
    assert curve.quality == pytest.approx(slow_qualities(score, weak, strong))


def test_known_curves() -> None:
    weak, strong = np.array([0.0, 0, 1, 1]), np.array([1.0, 1, 1, 1])
    oracle = curve_of(strong - weak, weak, strong)
    assert oracle.apgr == pytest.approx(0.75)
    assert oracle.cpt(0.5) == pytest.approx(0.25)
    assert oracle.cpt(0.8) == pytest.approx(0.4)
    blind = curve_of(np.zeros(4), weak, strong)
    assert blind.apgr == pytest.approx(0.5)
    assert blind.cpt(0.5) == pytest.approx(0.5)
    assert blind.at(0.3) == pytest.approx(0.65)


def test_without_a_gap_nothing_is_recovered() -> None:
    same = np.array([0.0, 1.0])
    assert np.isnan(curve_of(np.arange(2.0), same, same).apgr)
    assert np.isnan(curve_of(np.arange(2.0), same, same).cpt(0.5))


@FEW
@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=1, max_size=20))
def test_auc_counts_pairs(drawn: list[tuple[int, bool]]) -> None:
    pairs = [
        1.0 if a > b else 0.5 if a == b else 0.0
        for a, right in drawn
        if right
        for b, wrong in drawn
        if not wrong
    ]
    found = auc(np.array([p for p, _ in drawn], dtype=float), np.array([r for _, r in drawn]))
    assert found == pytest.approx(np.mean(pairs)) if pairs else np.isnan(found)


def test_calibration_error_is_the_mean_distance_of_bins() -> None:
    predicted = np.repeat([0.2, 0.8], 50)
    score = np.concatenate([np.repeat([1.0, 0.0], [15, 35]), np.repeat([1.0, 0.0], [35, 15])])
    assert reliability(predicted, score, 2) == pytest.approx(
        np.array([[0.2, 0.3, 50], [0.8, 0.7, 50]])
    )
    assert calibration_error(predicted, score, 2) == pytest.approx(0.1)


def test_true_chances_are_calibrated() -> None:
    dice = np.random.default_rng(3)
    chance = dice.random(20_000)
    right = (dice.random(20_000) < chance).astype(float)
    assert calibration_error(chance, right) < 0.02
    assert calibration_error(np.clip(chance + 0.1, 0, 1), right) > 0.05
