"""Thresholds and what is promised of them, against a truth that is known."""

import math
import random
from collections.abc import Sequence
from statistics import fmean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.domain.cascade import CascadeEstimate
from core.domain.cascade_calibration import (
    ESCALATED,
    FEWEST,
    Pair,
    calibrated,
    cascades_of,
    pairs_of,
    thresholds,
)
from core.domain.quality import Outcome

CONFIDENCES = st.floats(-5, 0, allow_nan=False)
SCORES = st.sampled_from([0.0, 1.0])
GRADED = st.floats(0, 1)


def pairs(scores: st.SearchStrategy[float]) -> st.SearchStrategy[list[Pair]]:
    return st.lists(st.builds(Pair, CONFIDENCES, scores, scores), min_size=FEWEST, max_size=60)


def found(given: Sequence[Pair]) -> list[CascadeEstimate]:
    return cascades_of("easy", "small", "large", given)


@settings(max_examples=100, deadline=None)
@given(pairs(SCORES) | pairs(GRADED))
def test_what_is_offered_is_what_the_pairs_say(drawn: list[Pair]) -> None:
    alone, all_large = fmean(p.small for p in drawn), fmean(p.large for p in drawn)
    best = alone
    for cascade in found(drawn):
        on = [p for p in drawn if p.confidence < cascade.threshold]
        kept = [p for p in drawn if p.confidence >= cascade.threshold]
        assert cascade.escalated == len(on) / len(drawn)
        assert 0 < cascade.escalated < 1
        mean = fmean([*(p.large for p in on), *(p.small for p in kept)])
        assert cascade.mean == pytest.approx(mean)
        assert 0 <= cascade.lower <= cascade.mean <= cascade.upper <= 1
        assert cascade.n == len(drawn)
        assert cascade.threshold <= 0
        assert mean > best, "escalating more must score more"
        assert mean > alone + cascade.escalated * (all_large - alone), "or a draw by lot will do"
        best = mean
    if all_large <= alone:
        assert not found(drawn)


@settings(max_examples=100, deadline=None)
@given(st.lists(CONFIDENCES, min_size=1, max_size=80))
def test_thresholds_lie_at_shares_that_no_score_has_moved(confidences: list[float]) -> None:
    cuts = thresholds(confidences)
    assert cuts == sorted(set(cuts))
    below = {sum(c < cut for c in confidences) for cut in cuts}
    assert all(0 < k < len(confidences) for k in below)
    # Where one may cut at all: between two different confidences.
    ranked = sorted(confidences)
    edges = [k for k in range(1, len(ranked)) if ranked[k - 1] < ranked[k]]
    wanted = {max(1, round(share * len(confidences))) for share in ESCALATED}
    assert below == {min(e for e in edges if e >= k) for k in wanted if edges and k <= edges[-1]}


def test_equal_confidences_cannot_be_told_apart() -> None:
    assert thresholds([-0.5] * 50) == []
    assert found([Pair(-0.5, 0.0, 1.0)] * 50) == []


def test_too_few_queries_say_nothing() -> None:
    drawn = [Pair(-i / 100, float(i < 10), 1.0) for i in range(FEWEST - 1)]
    assert found(drawn) == []
    assert found([*drawn, Pair(-1.0, 0.0, 1.0)])


class World:
    """Queries whose true quality under any threshold is known.

    Confidence is uniform on (-1, 0); the small model is right with a chance that grows with it,
    the large one with a constant chance.
    """

    def __init__(self, floor: float, large: float) -> None:
        self.floor = floor
        self.large = large

    def draw(self, rng: random.Random, n: int) -> list[Pair]:
        drawn = []
        for _ in range(n):
            confidence = -rng.random()
            small = rng.random() < self.chance(confidence)
            drawn.append(Pair(confidence, float(small), float(rng.random() < self.large)))
        return drawn

    def chance(self, confidence: float) -> float:
        return self.floor + (1 - self.floor) * (1 + confidence)

    def quality(self, threshold: float) -> float:
        """P(large right) below the threshold, the integral of `chance` above it."""
        kept = -threshold
        accepted = kept * self.floor + (1 - self.floor) * (kept - kept * kept / 2)
        return (1 - kept) * self.large + accepted


@pytest.mark.parametrize("world", [World(0.1, 0.95), World(0.5, 0.9), World(0.3, 0.8)])
@pytest.mark.parametrize("n", [40, 100, 300])
def test_the_best_looking_threshold_keeps_its_promise(world: World, n: int) -> None:
    """The planner picks by what the bounds say; 97.5 % of the picked bounds must hold."""
    rng, missed, trials = random.Random(f"{world.floor}/{n}"), 0, 600
    for _ in range(trials):
        offered = found(world.draw(rng, n))
        if offered:
            picked = max(offered, key=lambda c: c.lower)
            missed += world.quality(picked.threshold) < picked.lower
    # Expected at most 15; a fair coin of 2.5 % has more than 27 in one of a thousand such tests.
    assert missed <= 27


@pytest.mark.parametrize("n", [60, 200])
def test_all_intervals_of_a_pair_hold_together(n: int) -> None:
    world, rng, missed, trials = World(0.2, 0.9), random.Random(n), 0, 500
    for _ in range(trials):
        drawn = world.draw(rng, n)
        missed += any(
            not cascade.lower <= world.quality(cascade.threshold) <= cascade.upper
            for cascade in found(drawn)
        )
    assert missed <= 0.05 * trials + 3 * math.sqrt(0.05 * 0.95 * trials)


def test_an_informative_confidence_reaches_the_large_model_early() -> None:
    """Here every wrong answer is an unsure one: escalating three in ten is as good as all."""
    drawn = [Pair(-i / 100, float(i < 70), 1.0) for i in range(100)]
    best = found(drawn)[-1]
    assert (best.escalated, best.mean) == (0.3, 1.0)


def outcome(query: str, model: str, score: float, confidence: float | None = None) -> Outcome:
    return Outcome(query, "easy", model, score, 5, "job", confidence)


def test_pairs_are_of_the_same_query_and_the_newest_answers() -> None:
    outcomes = [
        outcome("a", "small", 0.0, -0.5),
        outcome("a", "small", 1.0, -0.25),
        outcome("a", "large", 1.0),
        outcome("b", "small", 1.0, -0.1),
        outcome("c", "small", 1.0),
        outcome("c", "large", 0.5, -0.2),
        outcome("a", "other", 0.0, -0.3),
    ]
    assert pairs_of(outcomes, "small", "large") == [Pair(-0.25, 1.0, 1.0)]
    assert pairs_of(outcomes, "large", "small") == [Pair(-0.2, 0.5, 1.0)]


def test_every_two_models_are_tried_both_ways() -> None:
    outcomes = [
        made
        for i in range(100)
        for made in (
            outcome(str(i), "small", float(i < 50), -i / 100),
            outcome(str(i), "mid", float(i < 75), -i / 100),
            outcome(str(i), "large", 1.0, -i / 100),
        )
    ]
    pairs_seen = {(c.model, c.escalate_to) for c in calibrated("easy", outcomes)}
    assert pairs_seen == {("small", "mid"), ("small", "large"), ("mid", "large")}
