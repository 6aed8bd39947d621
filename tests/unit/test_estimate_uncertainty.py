"""Intervals on a plan's latency."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.domain.plan import PlanScore, ReplicaKind, ServingPlan, make_plan
from core.domain.planning import PlanningFacts
from core.domain.profile import Provenance, StepTime
from core.estimate.analytic import AnalyticEvaluator
from core.estimate.uncertainty import DEFAULT_ERROR, relative_error, slowed, with_interval
from tests.unit.planning_problems import two_models

SMALL, LARGE = ReplicaKind("small", "cpu-core"), ReplicaKind("large", "cpu-core")
SPLIT = make_plan(
    {SMALL: 1, LARGE: 1},
    {"easy": {"small": 1.0}, "medium": {"large": 1.0}, "hard": {"large": 1.0}},
)


def with_error(facts: PlanningFacts, error: float | None) -> PlanningFacts:
    changed = {k: replace(p, relative_error=error) for k, p in facts.profiles.items()}
    return replace(facts, profiles=changed)


def scored(facts: PlanningFacts, plan: ServingPlan = SPLIT) -> PlanScore:
    return with_interval(facts, plan, AnalyticEvaluator(facts).evaluate(plan))


@settings(deadline=None)
@given(st.floats(0.1, 1.2), st.floats(0.01, 0.3), st.floats(1.1, 3))
def test_the_interval_holds_the_score_and_grows_with_doubt(
    load: float, error: float, more: float
) -> None:
    narrow = scored(with_error(two_models(load=load), error))
    wide = scored(with_error(two_models(load=load), error * more))
    assert narrow.p95_e2e_s is not None
    assert narrow.p95_e2e_low_s is not None
    assert wide.p95_e2e_low_s is not None
    assert wide.p95_e2e_low_s < narrow.p95_e2e_low_s < narrow.p95_e2e_s
    if wide.p95_e2e_high_s is not None:
        assert narrow.p95_e2e_high_s is not None
        assert narrow.p95_e2e_s < narrow.p95_e2e_high_s < wide.p95_e2e_high_s


def test_it_is_the_plan_on_slower_replicas() -> None:
    """The oracle slows every profile by hand and evaluates the plan again."""
    facts = with_error(two_models(load=0.8), 0.1)
    factor = 2.718281828 ** (1.6449 * 0.1)
    by_hand = {k: slowed(p, factor) for k, p in facts.profiles.items()}
    slow = AnalyticEvaluator(replace(facts, profiles=by_hand)).evaluate(SPLIT)
    assert scored(facts).p95_e2e_high_s == pytest.approx(slow.p95_e2e_s, rel=1e-3)


def test_queues_make_it_lopsided() -> None:
    score = scored(with_error(two_models(load=1.2), 0.15))
    assert score.p95_e2e_s is not None
    assert score.p95_e2e_low_s is not None
    assert score.p95_e2e_high_s is not None
    above = score.p95_e2e_high_s / score.p95_e2e_s
    assert above > 1.02 * score.p95_e2e_s / score.p95_e2e_low_s


def test_a_plan_that_slower_replicas_cannot_carry_has_no_upper_end() -> None:
    score = scored(with_error(two_models(load=1.2), 0.6))
    assert score.p95_e2e_s is not None
    assert score.p95_e2e_low_s is not None
    assert score.p95_e2e_high_s is None


def test_a_plan_that_cannot_keep_up_is_left_as_it_is() -> None:
    facts = two_models(load=20)
    score = AnalyticEvaluator(facts).evaluate(SPLIT)
    assert score.p95_e2e_s is None
    assert with_interval(facts, SPLIT, score) == score


def test_another_estimators_score_keeps_its_own_middle() -> None:
    facts = two_models(load=0.5)
    own = AnalyticEvaluator(facts).evaluate(SPLIT)
    assert own.p95_e2e_s is not None
    twice = replace(own, p95_e2e_s=2 * own.p95_e2e_s, estimator="simulated")
    first, second = with_interval(facts, SPLIT, own), with_interval(facts, SPLIT, twice)
    assert first.p95_e2e_low_s is not None
    assert second.p95_e2e_low_s == pytest.approx(2 * first.p95_e2e_low_s)
    assert second.estimator == "simulated"


@pytest.mark.parametrize("provenance", list(Provenance))
def test_a_profile_without_its_own_error_has_its_kinds(provenance: Provenance) -> None:
    profile = replace(two_models().profiles[SMALL], provenance=provenance)
    assert relative_error(profile) == DEFAULT_ERROR[provenance]
    assert relative_error(replace(profile, relative_error=0.2)) == 0.2


def test_measured_is_believed_more_than_predicted() -> None:
    ranked = (Provenance.MEASURED, Provenance.IMPORTED, Provenance.PREDICTED)
    errors = [DEFAULT_ERROR[p] for p in ranked]
    assert errors == sorted(errors)


@settings(deadline=None)
@given(st.floats(0.2, 5))
def test_slowing_is_undone_by_speeding_up(factor: float) -> None:
    profile = replace(two_models().profiles[SMALL], step=StepTime(1.0, 2.0, 3.0, 4.0, 5.0, 6.0))
    back = slowed(slowed(profile, factor), 1 / factor)
    assert back.step is not None
    assert back.step.overhead_s == pytest.approx(6.0)
    assert back.levels[0].e2e_ms.p95 == pytest.approx(profile.levels[0].e2e_ms.p95)
    slow = slowed(profile, factor).levels[0]
    assert slow.requests_per_s == pytest.approx(profile.levels[0].requests_per_s / factor)
