"""What a profile asks."""

from array import array

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.domain.observation import Observations
from core.domain.quality import Query, QuerySet
from core.profiling.levels import LONG_ANSWERS, LONG_PROMPTS
from core.profiling.questions import Question, of_probe, of_query_set, probes_for

QUERIES = tuple(Query(f"What is {n} + {n}?", "easy" if n < 50 else "hard", "") for n in range(100))
QUESTIONS = [Question("What is 3 + 4?", 80), Question("Compute 12 + 30.", 80)]


def seen(inputs: list[int], outputs: list[int]) -> Observations:
    times = [array("d", [0.1] * len(inputs)) for _ in range(3)]
    return Observations(*times, array("q", inputs), array("q", outputs))


def test_a_set_that_is_sorted_by_class_is_not_asked_class_by_class() -> None:
    questions = of_query_set(QuerySet("q", "numeric", 16, QUERIES))
    assert sorted(q.text for q in questions) == sorted(q.text for q in QUERIES)
    assert {q.max_tokens for q in questions} == {16}
    easy = {q.text for q in QUERIES if q.query_class == "easy"}
    assert 10 < sum(q.text in easy for q in questions[:50]) < 40
    assert questions == of_query_set(QuerySet("q", "numeric", 16, QUERIES))


@pytest.mark.parametrize(
    ("inputs", "outputs", "wanted"),
    [
        ([10, 11, 12] * 10, [20, 30, 40] * 10, (LONG_PROMPTS, LONG_ANSWERS)),
        ([10, 100, 400] * 10, [20, 30, 40] * 10, (LONG_ANSWERS,)),
        ([10, 11, 12] * 10, [5, 100, 300] * 10, (LONG_PROMPTS,)),
        ([10, 100, 400] * 10, [5, 100, 300] * 10, ()),
        ([10] * 99 + [4000], [5, 300] * 50, (LONG_PROMPTS,)),
    ],
)
def test_probes_stand_in_for_lengths_that_hardly_vary(
    inputs: list[int], outputs: list[int], wanted: tuple[str, ...]
) -> None:
    assert probes_for([seen(inputs[:7], outputs[:7]), seen(inputs[7:], outputs[7:])]) == wanted


def test_before_anything_was_seen_both_probes_may_come() -> None:
    assert probes_for([]) == (LONG_PROMPTS, LONG_ANSWERS)


@settings(deadline=None, max_examples=40)
@given(input_tokens=st.floats(1, 200), max_model_len=st.integers(64, 200_000))
def test_long_prompts_fit_and_differ(input_tokens: float, max_model_len: int) -> None:
    made = of_probe(LONG_PROMPTS, QUESTIONS, input_tokens, max_model_len)
    per_token = sum(len(q.text) for q in QUESTIONS) / len(QUESTIONS) / input_tokens
    lengths = [len(q.text) / per_token for q in made]
    assert all(q.exact for q in made)
    assert {q.max_tokens for q in made} <= {2, 3, 4, 5}
    assert all(q.text for q in made)
    assert max(lengths) <= 0.6 * max_model_len + 1 / per_token
    assert len(set(lengths)) > 1 or max(len(q.text) for q in made) < 40


@settings(deadline=None, max_examples=40)
@given(input_tokens=st.floats(1, 200), max_model_len=st.integers(400, 200_000))
def test_long_answers_fit_and_differ(input_tokens: float, max_model_len: int) -> None:
    made = of_probe(LONG_ANSWERS, QUESTIONS, input_tokens, max_model_len)
    assert {q.text for q in made} == {q.text for q in QUESTIONS}
    assert all(q.exact for q in made)
    assert all(input_tokens + q.max_tokens < max_model_len for q in made)
    assert max(q.max_tokens for q in made) <= 2 * min(q.max_tokens for q in made)
    assert len({q.max_tokens for q in made}) > 10
