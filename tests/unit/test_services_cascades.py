"""Cascades out of stored outcomes, and which of them a plan may use."""

from dataclasses import replace

import pytest

from core.domain.cascade import CascadeEstimate
from core.domain.plan import ReplicaKind
from core.domain.quality import Outcome
from core.domain.study import Limits
from core.ports import UnitOfWorkFactory
from core.services import cascades, planning
from tests.unit.planning_problems import NOW, two_models
from tests.unit.planning_world import fill

SMALL, LARGE = ReplicaKind("small", "cpu-core"), ReplicaKind("large", "cpu-core")


def outcomes(query_class: str, right: int, job_id: str = "job") -> list[Outcome]:
    """A hundred queries: the small model is right on so many, those it is surest of."""
    made = []
    for i in range(100):
        query = f"{query_class} {i}"
        made += [
            Outcome(query, query_class, "small", float(i < right), 5, job_id, -i / 100),
            Outcome(query, query_class, "large", 1.0, 5, job_id, -0.01),
        ]
    return made


def estimate(query_class: str = "easy", escalated: float = 0.2) -> CascadeEstimate:
    return CascadeEstimate(query_class, "small", "large", -0.5, escalated, 100, 0.9, 0.8, 0.95)


def test_cascades_follow_the_outcomes_of_their_class(sqlite_uow: UnitOfWorkFactory) -> None:
    with sqlite_uow() as work:
        work.outcomes.add([*outcomes("easy", 80), *outcomes("hard", 65)])
        assert {c.query_class for c in cascades.recalibrate(work, ["easy", "none"])} == {"easy"}
        cascades.recalibrate(work, ["hard"])
        work.commit()
    known = cascades.cascades(sqlite_uow)
    assert {c.query_class: c.escalated for c in known} == {"easy": 0.2, "hard": 0.4}
    with sqlite_uow() as work:
        work.outcomes.add(outcomes("easy", 90, "newer"))
        cascades.recalibrate(work, ["easy"])
        assert {c.query_class: c.escalated for c in work.outcomes.cascades()} == {
            "easy": 0.1,
            "hard": 0.4,
        }


def test_facts_hold_the_cascades_of_the_workload(sqlite_uow: UnitOfWorkFactory) -> None:
    fill(sqlite_uow)
    other = replace(estimate(), model="large", escalate_to="unknown")
    with sqlite_uow() as work:
        known = [estimate(), estimate("poetry"), other]
        work.outcomes.replace_cascades(["easy", "poetry"], known)
        work.commit()
    assert planning.load_facts(sqlite_uow, "w", Limits(0.5), NOW).cascades == (estimate(),)


@pytest.mark.parametrize(("escalated", "pays"), [(0.05, True), (0.99, False)])
def test_a_cascade_pays_while_both_calls_cost_less_than_the_large_one(
    escalated: float, pays: bool
) -> None:
    facts = two_models()
    made = estimate(escalated=escalated)
    kept = cascades.paying([made], facts.profiles, facts.quality, {"cpu-core": 0.04})
    assert kept == ((made,) if pays else ())


def test_what_pays_depends_on_prices() -> None:
    facts = two_models()
    dear = {ReplicaKind("small", "gold"): facts.profiles[SMALL], LARGE: facts.profiles[LARGE]}
    for price, pays in ((0.01, True), (10.0, False)):
        prices = {"cpu-core": 0.04, "gold": price}
        assert bool(cascades.paying([estimate()], dear, facts.quality, prices)) is pays


def test_a_model_without_profile_or_estimate_is_in_no_cascade() -> None:
    facts = two_models()
    prices = {"cpu-core": 0.04}
    alone = {LARGE: facts.profiles[LARGE]}
    assert not cascades.paying([estimate()], alone, facts.quality, prices)
    unknown = {key: its for key, its in facts.quality.items() if key != ("small", "easy")}
    assert not cascades.paying([estimate()], facts.profiles, unknown, prices)


def test_confidences_are_those_of_one_model_and_class(sqlite_uow: UnitOfWorkFactory) -> None:
    unknown = Outcome("?", "easy", "small", 1.0, 5, "job")
    with sqlite_uow() as work:
        work.outcomes.add([*outcomes("easy", 80), *outcomes("hard", 10), unknown])
        work.commit()
    found = cascades.confident_answers(sqlite_uow, "easy", "small")
    assert found == [(-i / 100, float(i < 80)) for i in range(100)]


def test_answers_of_unknown_length_count_as_equally_long() -> None:
    facts = two_models()
    unknown = {
        key: replace(its, output_tokens_mean=0.0) if key[0] == "small" else its
        for key, its in facts.quality.items()
    }
    prices = {"cpu-core": 0.04}
    assert cascades.paying([estimate(escalated=0.05)], facts.profiles, unknown, prices)
    assert not cascades.paying([estimate(escalated=0.99)], facts.profiles, unknown, prices)
