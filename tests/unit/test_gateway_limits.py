"""Rates and budgets: what was admitted, and when to come back."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.serving.gateway.errors import ApiError
from core.serving.gateway.limits import Bucket, Limits
from tests.contract import samples

NOW = datetime(2026, 3, 31, 23, 59, 30, tzinfo=UTC)


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0
        self.now = NOW

    def limits(self) -> Limits:
        return Limits(lambda: self.now_s, lambda: self.now)


@given(
    per_minute=st.integers(1, 500),
    steps=st.lists(st.tuples(st.floats(0, 30), st.floats(0.5, 80)), max_size=60),
)
def test_never_more_than_a_minutes_worth_and_the_refill(
    per_minute: int, steps: list[tuple[float, float]]
) -> None:
    bucket, now_s, taken = Bucket(per_minute, 0.0), 0.0, 0.0
    for pause_s, amount in steps:
        now_s += pause_s
        if bucket.wait_s(amount, now_s) == 0:
            bucket.take(amount)
            taken += amount
            # One request may be larger than a whole minute's worth: it needs a full bucket.
            most = per_minute * (1 + now_s / 60) + max(0.0, amount - per_minute)
            assert taken <= most * (1 + 1e-9) + sum(max(0.0, a - per_minute) for _, a in steps)


@given(per_minute=st.integers(1, 500), amounts=st.lists(st.floats(0.5, 80), max_size=20))
def test_who_comes_back_when_told_is_let_in(per_minute: int, amounts: list[float]) -> None:
    bucket, now_s = Bucket(per_minute, 0.0), 0.0
    for amount in amounts:
        now_s += bucket.wait_s(amount, now_s) + 1e-6
        assert bucket.wait_s(amount, now_s) == 0
        bucket.take(amount)


def refused(limits: Limits, **changes: object) -> ApiError:
    with pytest.raises(ApiError) as caught:
        limits.admit(samples.tenant(**changes), tokens=10, cost_usd=0.1)
    assert caught.value.status == 429
    return caught.value


def test_requests_per_minute() -> None:
    clock = Clock()
    limits = clock.limits()
    two: dict[str, object] = {"requests_per_minute": 2, "tokens_per_minute": None}
    for _ in range(2):
        limits.admit(samples.tenant(**two), 10, 0.0)
    error = refused(limits, **two)
    assert (error.code, error.retry_after_s) == ("rate_limit_exceeded", 30)
    assert "2 requests per minute" in error.message
    limits.admit(samples.tenant("t2", **two), 10, 0.0)
    clock.now_s += 30
    limits.admit(samples.tenant(**two), 10, 0.0)


def test_tokens_are_corrected_when_the_answer_is_there() -> None:
    clock = Clock()
    limits = clock.limits()
    hundred: dict[str, object] = {"requests_per_minute": None, "tokens_per_minute": 100}
    claim = limits.admit(samples.tenant(**hundred), 95, 0.0)
    assert refused(limits, **hundred).retry_after_s == 3
    limits.settle(claim, 20, 0.0)
    limits.admit(samples.tenant(**hundred), 80, 0.0)
    limits.settle(limits.admit(samples.tenant("t2", **hundred), 5, 0.0), 161, 0.0)
    assert "tokens" in refused(limits, tenant_id="t2", **hundred).message


def test_a_limit_that_was_changed_holds_at_once() -> None:
    limits = Clock().limits()
    limits.admit(samples.tenant(requests_per_minute=1), 1, 0.0)
    refused(limits, requests_per_minute=1)
    limits.admit(samples.tenant(requests_per_minute=None), 1, 0.0)
    limits.admit(samples.tenant(requests_per_minute=5), 1, 0.0)


def test_a_budget_counts_what_is_known_what_was_spent_and_what_is_under_way() -> None:
    clock = Clock()
    limits = clock.limits()
    budget: dict[str, object] = {"budget_usd_per_month": 10.0}
    limits.learn("2026-03-01", {"t1": 8.0})
    claim = limits.admit(samples.tenant(**budget), 1, 3.0)
    error = refused(limits, **budget)
    assert (error.code, error.retry_after_s) == ("insufficient_quota", 30)
    limits.settle(claim, 1, 1.0)
    limits.admit(samples.tenant(**budget), 1, 0.0)
    limits.learn("2026-03-01", {"t1": 8.5})  # its own last request is not written yet
    limits.settle(limits.admit(samples.tenant(**budget), 1, 0.0), 1, 1.0)
    refused(limits, **budget)
    limits.admit(samples.tenant("t2", **budget), 1, 0.0)


def test_a_new_month_begins_with_nothing_spent() -> None:
    clock = Clock()
    limits = clock.limits()
    limits.learn("2026-03-01", {"t1": 99.0})
    refused(limits)
    clock.now = datetime(2026, 4, 1, 0, 0, 1, tzinfo=UTC)
    limits.admit(samples.tenant(), 1, 0.0)
    limits.learn("2026-04-01", {"t1": 12.5})
    refused(limits)


def test_others_spending_is_learned() -> None:
    limits = Clock().limits()
    limits.learn("2026-03-01", {})
    limits.admit(samples.tenant(), 1, 0.0)
    limits.learn("2026-03-01", {"t1": 12.5})
    refused(limits)
