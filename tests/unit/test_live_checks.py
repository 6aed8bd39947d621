"""Checks of live traffic: who is asked, what is stored, what counts as a breach."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.domain.check import LiveCheck
from core.domain.intervals import betting_at_any_time, wilson
from core.domain.quality import Outcome, QualityEstimate
from core.ports import UnitOfWorkFactory
from core.quality.agreement import agrees
from core.quality.scorers import scorer
from core.services.checks import drift_in_words, drifts
from core.serving.gateway.live_checks import LiveChecks
from tests.fakes.gateway_world import (
    EASY_TEXT,
    RunningGateway,
    running_gateway,
    seed_classifier,
    seed_plan,
)
from tests.fakes.openai_stub import OpenAIStub

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
CHECK = LiveCheck(NOW, "easy", "small", "large", "numeric", True)


def estimates(uow: UnitOfWorkFactory, at: datetime = NOW - timedelta(days=1)) -> None:
    with uow() as work:
        for model, mean in (("small", 0.8), ("large", 0.95)):
            for name in ("easy", "hard"):
                its = QualityEstimate(model, name, 50, mean, mean, mean, 9.0, at, "numeric")
                work.outcomes.save_estimate(its)
        work.commit()


def scored(uow: UnitOfWorkFactory, both_right: int, of: int) -> None:
    outcomes = [
        Outcome(f"q{i}", "easy", model, float(i < both_right or model == "large"), 9, "j")
        for i in range(of)
        for model in ("small", "large")
    ]
    with uow() as work:
        work.outcomes.add(outcomes)
        work.commit()


def seen(uow: UnitOfWorkFactory, agreed: list[bool], at: datetime = NOW) -> None:
    with uow() as work:
        work.checks.add_live([replace(CHECK, at=at, agrees=its) for its in agreed])
        work.commit()


NUMBERS = st.integers(-50, 50)


@settings(max_examples=60, deadline=None)
@given(NUMBERS, NUMBERS, NUMBERS)
def test_two_right_answers_agree(reference: int, one: int, other: int) -> None:
    texts = f"It is {one}.", f"So: {other}"
    right = [scorer("numeric")(text, str(reference)) for text in texts]
    assert agrees("numeric", *texts) is (one == other)
    if all(right):
        assert agrees("numeric", *texts)


@pytest.mark.parametrize(
    ("metric", "one", "other", "same"),
    [
        ("multiple_choice", "The answer is (B).", "B", True),
        ("multiple_choice", "I do not know.", "I do not know.", False),
        ("exact_match", "Paris ", "paris", True),
        ("numeric", "none", "none", False),
        ("rouge_l", "a", "a", None),
        ("judge", "a", "a", None),
        ("", "a", "a", None),
    ],
)
def test_agreement_by_metric(metric: str, one: str, other: str, same: bool | None) -> None:
    assert agrees(metric, one, other) is same


def test_less_agreement_than_outcomes_allow_is_a_breach(any_uow: UnitOfWorkFactory) -> None:
    estimates(any_uow)
    scored(any_uow, 95, 100)
    seen(any_uow, [True, False] * 40)
    [its] = drifts(any_uow, NOW)
    assert its.breached
    assert its.expected == wilson(0.95, 100)[0]
    assert (its.lower, its.upper) == betting_at_any_time([1.0, 0.0] * 40)
    assert "go back to an earlier plan" in drift_in_words(its)


def test_as_much_as_expected_is_none(any_uow: UnitOfWorkFactory) -> None:
    estimates(any_uow)
    scored(any_uow, 50, 100)
    seen(any_uow, [True, False] * 40)
    [its] = drifts(any_uow, NOW)
    assert not its.breached
    assert "was expected" in drift_in_words(its)


def test_checks_before_the_last_measurement_do_not_count(any_uow: UnitOfWorkFactory) -> None:
    estimates(any_uow)
    seen(any_uow, [False] * 60, NOW - timedelta(days=2))
    assert drifts(any_uow, NOW) == []
    seen(any_uow, [True])
    [its] = drifts(any_uow, NOW)
    assert (its.n, its.expected, its.breached) == (1, None, False)
    assert "unknown" in drift_in_words(its)


@pytest.mark.parametrize("graded", [True, False])
def test_graded_or_few_outcomes_promise_nothing(any_uow: UnitOfWorkFactory, graded: bool) -> None:
    scored(any_uow, 10, 100 if graded else 20)
    if graded:
        with any_uow() as work:
            work.outcomes.add([Outcome("q0", "easy", "small", 0.4, 9, "k")])
            work.commit()
    seen(any_uow, [False] * 60)
    assert drifts(any_uow, NOW)[0].expected is None


def test_looking_again_and_again_raises_no_false_alarm() -> None:
    """At every moment of 150 the interval holds the truth; in 5 of 100 runs it may not."""
    dice = np.random.default_rng(3)
    missed = 0
    for _ in range(40):
        agreed = (dice.random(150) < 0.7).astype(float).tolist()
        ends = [betting_at_any_time(agreed[:n]) for n in (5, 15, 30, 50, 75, 100, 125, 150)]
        missed += any(not low <= 0.7 <= high for low, high in ends)
    assert missed <= 40 * 0.05 + 3 * (40 * 0.05 * 0.95) ** 0.5


def test_old_checks_are_removed(any_uow: UnitOfWorkFactory) -> None:
    seen(any_uow, [True, True], NOW - timedelta(days=100))
    seen(any_uow, [False])
    with any_uow() as work:
        assert work.checks.prune_live(NOW - timedelta(days=90)) == 2
        work.commit()
    with any_uow() as work:
        assert work.checks.live(NOW - timedelta(days=365)) == [replace(CHECK, agrees=False)]


@asynccontextmanager
async def checked(
    uow: UnitOfWorkFactory, large: str, share: float = 1.0
) -> AsyncIterator[tuple[RunningGateway, LiveChecks, list[OpenAIStub]]]:
    """A gateway that checks, before a small model that says 4 and a large one."""
    estimates(uow)
    seed_classifier(uow)
    async with (
        OpenAIStub(("small",), answer="It is 4") as small,
        OpenAIStub(("large",), answer=large) as big,
    ):
        seed_plan(uow, {"small": [small.port], "large": [big.port]})
        async with running_gateway(uow, check_share=share) as world:
            assert world.gateway.checks is not None
            yield world, world.gateway.checks, [small, big]


async def settled(checks: LiveChecks, stored: int) -> None:
    for _ in range(3000):
        if checks.stored + checks.failed >= stored:
            return
        await asyncio.sleep(0.01)
    pytest.fail("nothing was checked")


@pytest.mark.parametrize(("large", "same"), [("So: 4", True), ("So: 5", False)])
async def test_a_live_query_is_put_to_the_best_model(
    sqlite_uow: UnitOfWorkFactory, large: str, same: bool
) -> None:
    async with checked(sqlite_uow, large) as (world, checks, [small, big]):
        async with world.ask(EASY_TEXT) as response:
            assert response.status == 200
        await settled(checks, 1)
        assert (len(small.seen), len(big.seen)) == (2, 1)
    with sqlite_uow() as work:
        [its] = work.checks.live(NOW - timedelta(days=1))
    assert (its.query_class, its.model, its.best) == ("easy", "small", "large")
    assert (its.metric, its.agrees) == ("numeric", same)


async def test_what_two_fresh_answers_say_little_about_is_left_alone(
    sqlite_uow: UnitOfWorkFactory,
) -> None:
    async with checked(sqlite_uow, "4") as (world, checks, [_, big]):
        turns = [{"role": "user", "content": EASY_TEXT}, {"role": "assistant", "content": "4"}]
        talk = {"model": "auto", "messages": [*turns, turns[0]]}
        for body in (
            {**talk, "model": "small"},
            talk,
            {"model": "auto", "messages": turns[:1], "tools": [{"type": "function"}]},
        ):
            async with world.client.post(f"{world.url}/v1/chat/completions", json=body) as said:
                assert said.status == 200
        async with world.ask(EASY_TEXT) as said:
            assert said.status == 200
        await settled(checks, 1)
        assert len(big.seen) == 1


async def test_a_check_that_fails_does_not_end_those_behind_it(
    sqlite_uow: UnitOfWorkFactory,
) -> None:
    async with checked(sqlite_uow, "4") as (world, checks, [_, big]):
        big.fail = {0: "status"}
        for _ in range(2):
            async with world.ask(EASY_TEXT) as said:
                assert said.status == 200
        await settled(checks, 2)
        assert (checks.failed, checks.stored) == (1, 1)


async def test_without_a_share_nothing_is_checked(sqlite_uow: UnitOfWorkFactory) -> None:
    async with running_gateway(sqlite_uow) as world:
        assert world.gateway.checks is None
