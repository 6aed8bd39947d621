"""When a new plan is taken back: not for bad luck, not too late."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.domain.guard import Answered, Guard, breach

GUARD = Guard(max_error_rate=0.05, max_p95_e2e_s=2.0)


@pytest.mark.parametrize(
    ("answered", "said"),
    [
        (Answered(0, 0, 0), ""),
        (Answered(19, 1, 0), ""),  # 5 %, and of few
        (Answered(0, 3, 0), "3 of 3 requests failed (more than 5 %)."),
        (Answered(80, 20, 0), "20 of 100 requests failed (more than 5 %)."),
        (Answered(100, 0, 6), ""),
        (Answered(100, 0, 15), "15 of 100 answers took longer than 2 s"),
    ],
)
def test_only_what_is_certain_counts(answered: Answered, said: str) -> None:
    found = breach(GUARD, answered)
    assert found.startswith(said) if said else found == ""


def test_without_a_latency_only_errors_count() -> None:
    assert breach(Guard(), Answered(100, 0, 100)) == ""


@given(st.integers(0, 500), st.integers(0, 500), st.integers(0, 500))
def test_worse_is_never_better(whole: int, failed: int, slow: int) -> None:
    slow = min(slow, whole)
    if breach(GUARD, Answered(whole, failed, 0)):
        assert breach(GUARD, Answered(whole, failed + 1, 0))
    if breach(GUARD, Answered(whole, 0, slow)):
        assert slow == whole or breach(GUARD, Answered(whole, 0, slow + 1))


@given(st.integers(1, 10_000))
def test_what_keeps_the_limit_is_never_taken_back(n: int) -> None:
    assert breach(GUARD, Answered(n - n // 20, n // 20, 0)) == ""
    assert breach(GUARD, Answered(n, 0, n // 20)) == ""
