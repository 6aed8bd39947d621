import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.demo.arithmetic import (
    QUERY_CLASSES,
    Question,
    extract_answer,
    is_held_out,
    mixed,
    questions,
    reference_answer,
)

classes = st.sampled_from(QUERY_CLASSES)
seeds = st.integers(0, 2**32)


def operands(question: Question) -> tuple[int, ...]:
    signed = question.text.replace("plus ", "").replace("minus ", "-").replace("- ", "-")
    return tuple(int(n) for n in re.findall(r"-?\d+", signed))


@given(classes, seeds, st.booleans())
def test_answers_are_right(query_class, seed, held_out):
    for question in questions(query_class, 20, seed, held_out=held_out):
        assert question.query_class == query_class
        assert question.answer == str(sum(operands(question)))
        assert reference_answer(question.text) == question.answer
        assert extract_answer(question.completion) == question.answer


@given(classes, seeds)
def test_every_step_of_the_working_is_right(query_class, seed):
    for question in questions(query_class, 20, seed):
        for step in question.working.rstrip(".").split(", "):
            left, right = step.split("=")
            assert sum(int(n) for n in re.findall(r"[+-]?\d+", left)) == int(right)


@given(classes, seeds)
def test_completions_have_20_to_60_characters(query_class, seed):
    assert all(20 <= len(q.completion) <= 60 for q in questions(query_class, 20, seed))


@given(classes, seeds, st.booleans())
def test_a_seed_always_draws_the_same_questions(query_class, seed, held_out):
    first = questions(query_class, 10, seed, held_out=held_out)
    assert first == questions(query_class, 10, seed, held_out=held_out)
    assert first[:5] == questions(query_class, 5, seed, held_out=held_out)


def test_seeds_draw_different_questions():
    assert questions("hard", 10, 1) != questions("hard", 10, 2)


@pytest.mark.parametrize("query_class", ["medium", "hard"])
def test_evaluation_questions_are_never_trained_on(query_class):
    trained = {tuple(sorted(operands(q))) for q in questions(query_class, 5000, 3, held_out=False)}
    evaluated = {tuple(sorted(operands(q))) for q in questions(query_class, 5000, 3)}
    assert evaluated
    assert not trained & evaluated


@given(st.lists(st.integers(10, 99), min_size=2, max_size=4), st.randoms())
def test_reordering_the_operands_does_not_change_sides(terms, rng):
    shuffled = list(terms)
    rng.shuffle(shuffled)
    assert is_held_out("hard", tuple(terms)) == is_held_out("hard", tuple(shuffled))


def test_mixed_draws_classes_by_their_shares():
    drawn = mixed({"easy": 3, "hard": 1}, 2000, 7)
    easy = sum(q.query_class == "easy" for q in drawn)
    assert {q.query_class for q in drawn} == {"easy", "hard"}
    assert 0.7 < easy / len(drawn) < 0.8
    assert drawn == mixed({"easy": 3, "hard": 1}, 2000, 7)


def test_classes_share_their_wording():
    wordings = [
        {re.sub(r"\d.*\d", "", q.text) for q in questions(query_class, 500, 0)}
        for query_class in QUERY_CLASSES
    ]
    assert wordings[0] == wordings[1] == wordings[2]


@pytest.mark.parametrize(
    ("completion", "answer"),
    [
        ("3+4=7, 4+3=7. Answer: 7.", "7"),
        ("Answer: 5. No, wait. Answer: 007", "7"),
        ("Answer: -12.", "-12"),
        ("3+4=7", None),
        ("Answer: none.", None),
        ("", None),
    ],
)
def test_extract_answer_reads_the_last_final_answer(completion, answer):
    assert extract_answer(completion) == answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [("What is 4 + 7?", "11"), ("12 minus 30 plus 1 = ?", "-17"), ("Hello 7!", None)],
)
def test_reference_answer_reads_the_question(text, answer):
    assert reference_answer(text) == answer


def test_prompt_is_the_text_and_a_line_end():
    question = questions("easy", 1, 0)[0]
    assert question.prompt == question.text + "\n"
