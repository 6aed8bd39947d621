"""Plans that differ by less than the noise are folded under the cheaper one."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.domain.plan import PlanScore, ReplicaKind, make_plan
from core.domain.profile import Provenance
from core.domain.study import Origin, Trial
from core.optimize.folding import folded, surely_better
from tests.unit.planning_problems import two_models

FACTS = two_models()
SMALL, LARGE = ReplicaKind("small", "cpu-core"), ReplicaKind("large", "cpu-core")


def plan(hard_to_large: float, small: int = 1, large: int = 1):
    routing = {
        "easy": {"small": 1.0},
        "medium": {"small": 1.0},
        "hard": {"small": 1 - hard_to_large, "large": hard_to_large},
    }
    return make_plan({SMALL: small, LARGE: large}, routing)


def trial(number: int, cost: float, p95_s: float, hard: float = 0.5, front: bool = True) -> Trial:
    score = PlanScore(Provenance.PREDICTED, cost, 1.0, p95_s / 2, p95_s, 0.1, 0.8, 0.7, 0.5)
    return Trial("s", number, plan(hard), Origin.SEED, score, on_front=front)


def alike(trials: list[Trial], runs=None) -> dict[int, int | None]:
    return {t.number: t.alike for t in folded(FACTS, trials, runs or {})}


def test_a_dearer_plan_that_is_hardly_faster_is_folded() -> None:
    trials = [trial(0, 1.0, 1.00), trial(1, 1.2, 0.99), trial(2, 1.4, 0.9)]
    assert alike(trials) == {0: None, 1: 0, 2: None}


def test_noise_is_that_of_pairs_not_of_single_runs() -> None:
    """The seeds differ a lot, but alike for both plans: the difference is certain."""
    trials = [trial(0, 1.0, 1.0), trial(1, 1.2, 0.9)]
    seeds = np.array([0.5, 0.8, 1.0, 1.3, 1.9])
    assert alike(trials, {0: seeds, 1: 0.9 * seeds}) == {0: None, 1: None}
    shuffled = 0.9 * seeds[[3, 0, 4, 1, 2]]
    assert alike(trials, {0: seeds, 1: shuffled}) == {0: None, 1: 0}


def test_a_surely_better_quality_is_worth_its_price() -> None:
    assert alike([trial(0, 1.0, 1.0, 0.2), trial(1, 1.2, 1.0, 0.9)]) == {0: None, 1: None}
    assert surely_better(FACTS, plan(0.9), plan(0.2))
    assert not surely_better(FACTS, plan(0.2), plan(0.9))
    assert not surely_better(FACTS, plan(0.5), plan(0.5))


def test_quality_that_no_measurement_tells_apart_is_no_reason() -> None:
    even = {key: replace(e, mean=0.8, lower=0.7, upper=0.9) for key, e in FACTS.quality.items()}
    almost = {**even, ("large", "hard"): replace(even["large", "hard"], mean=0.81)}
    assert not surely_better(replace(FACTS, quality=almost), plan(0.9), plan(0.1))


def test_only_the_front_is_folded_and_a_plan_without_runs_is_compared_by_its_estimate() -> None:
    trials = [trial(0, 1.0, 1.0), trial(1, 1.2, 1.0, front=False), trial(2, 1.3, 0.5)]
    assert alike(trials, {0: [1.0, None]}) == {0: None, 1: None, 2: None}


points = st.tuples(st.integers(1, 6), st.integers(1, 6), st.sampled_from([0.0, 0.5, 1.0]))


@settings(max_examples=60, deadline=None)
@given(st.lists(points, min_size=1, max_size=8))
def test_what_is_folded_is_no_better_than_what_it_is_folded_under(values: list) -> None:
    trials = [trial(i, c / 2, p / 3, hard) for i, (c, p, hard) in enumerate(values)]
    after = {t.number: t for t in folded(FACTS, trials, {})}
    assert any(t.alike is None for t in after.values())
    for one in after.values():
        if one.alike is None:
            continue
        over = after[one.alike]
        assert over.alike is None
        assert over.score.cost_usd_per_hour <= one.score.cost_usd_per_hour
        assert over.score.p95_e2e_s <= one.score.p95_e2e_s * np.exp(0.02) + 1e-12
        assert not surely_better(FACTS, one.plan, over.plan)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
def test_the_order_of_trials_does_not_matter(order: tuple[int, ...]) -> None:
    trials = [trial(0, 1.0, 1.0), trial(1, 1.0, 1.005), trial(2, 2.0, 0.995)]
    assert alike([trials[i] for i in order]) == {0: None, 1: 0, 2: 0}
