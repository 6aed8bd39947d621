"""Mean token log-probabilities out of both of OpenAI's formats, and out of nonsense."""

import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.routing.confidence import LEAST, Confidence

LOGPROBS = st.lists(st.floats(-50, 0), max_size=20)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["logprobs", "content", "token_logprobs", "logprob"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


def mean_of(*choices: dict[str, Any]) -> float | None:
    confidence = Confidence()
    for choice in choices:
        confidence.add(choice)
    return confidence.mean


def chat(values: list[float]) -> dict[str, Any]:
    return {"logprobs": {"content": [{"token": "x", "logprob": value} for value in values]}}


@settings(max_examples=50, deadline=None)
@given(LOGPROBS, st.integers(0, 20))
def test_parts_of_a_stream_add_up(values: list[float], cut: int) -> None:
    wanted = math.fsum(values) / len(values) if values else None
    for whole in (chat, lambda v: {"logprobs": {"token_logprobs": v}}):
        parts = mean_of(whole(values[:cut]), {"delta": {}}, whole(values[cut:]))
        assert parts == (pytest.approx(wanted) if values else None)


def test_a_prompts_first_token_has_no_probability() -> None:
    assert mean_of({"logprobs": {"token_logprobs": [None, -0.5]}}) == -0.5


@pytest.mark.parametrize(
    "odd", [math.nan, math.inf, -math.inf, 10**400, -(10**400), "x", 2 * LEAST]
)
def test_what_is_no_log_probability_is_left_out(odd: object) -> None:
    assert mean_of({"logprobs": {"token_logprobs": [odd, -0.25]}}) == -0.25


def test_rounding_makes_nobody_surer_than_sure() -> None:
    assert mean_of(chat([1e-7])) == 0.0


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.just("logprobs"), JSON))
def test_nonsense_is_no_confidence_or_a_possible_one(choice: dict[str, Any]) -> None:
    found = mean_of(json.loads(json.dumps(choice)))
    assert found is None or LEAST <= found <= 0
