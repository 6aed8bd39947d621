"""The cascade benchmark: what is asked of whom, and what the figures mean."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import pytest

from core.demo.arithmetic import reference_answer
from core.domain.cascade import CascadeEstimate
from core.domain.deployment import Replica
from core.domain.ids import utc_now
from core.domain.quality import Outcome
from core.entrypoints.bench.cascade import (
    ALL,
    TURN,
    answered,
    choose,
    halves,
    scored,
    told,
    turns,
)
from core.entrypoints.bench.cascade_figures import (
    CASCADE,
    LARGE_ALONE,
    SMALL_ALONE,
    Asked,
    Call,
    result_of,
)
from core.errors import EngineFailed
from tests.fakes.gateway_world import ready
from tests.fakes.openai_stub import OpenAIStub, in_thread

CHOSEN = CascadeEstimate(ALL, "small", "large", -0.5, 0.25, 100, 0.95, 0.9, 0.98)


def small_knows_sums_of_two(model: str, text: str) -> str:
    right = reference_answer(text) or ""
    return right if model == "large" or text.count("+") < 2 else "no idea"


@pytest.fixture
def replicas() -> Iterator[dict[str, Replica]]:
    stub = OpenAIStub(
        ("small", "large"),
        answer=small_knows_sums_of_two,
        logprob=lambda _, text: -0.25 if text.count("+") < 2 else -0.75,
    )
    with in_thread(stub):
        yield {model: ready(model, stub.port, utc_now()) for model in ("small", "large")}


def test_questions_are_different_and_in_the_mix() -> None:
    one, other = halves(200)
    assert len({question.text for question in (*one, *other)}) == 200
    for part in (one, other):
        kinds = Counter(question.query_class for question in part)
        assert kinds == {"easy": 70, "medium": 20, "hard": 10}
    assert halves(200) == (one, other)


def test_every_question_gets_every_way_once() -> None:
    questions = halves(6 * TURN + 10)[0]
    asked = [(way, q.text) for way, turn in turns(["a", "b", "c"], questions) for q in turn]
    assert len(asked) == len(set(asked)) == 3 * len(questions)


async def test_answers_are_scored_and_cascaded_as_they_would_be_served(
    replicas: dict[str, Replica],
) -> None:
    questions = halves(80)[0]
    outcomes = await scored(replicas, questions)
    assert len(outcomes) == 80
    assert {o.confidence for o in outcomes if o.model == "small"} == {-0.25, -0.75}
    asked = await answered(replicas, CHOSEN, questions)
    assert Counter(one.way for one in asked) == dict.fromkeys(
        (SMALL_ALONE, LARGE_ALONE, CASCADE), len(questions)
    )
    for one in asked:
        models = [call.model for call in one.calls]
        unsure = one.query.count("+") >= 2
        wanted = {
            SMALL_ALONE: ["small"],
            LARGE_ALONE: ["large"],
            CASCADE: ["small", "large"] if unsure else ["small"],
        }
        assert models == wanted[one.way]
        assert one.score == float(one.way != SMALL_ALONE or not unsure)


def asked(query: str, small: float, large: float, sure: bool) -> list[Asked]:
    first = Call("small", small, 0.1, -0.25 if sure else -0.75)
    last = Call("large", large, 0.4, None)
    calls = {SMALL_ALONE: (first,), LARGE_ALONE: (last,)}
    calls[CASCADE] = (first,) if sure else (first, last)
    times = {SMALL_ALONE: 0.08, LARGE_ALONE: 0.3, CASCADE: 0.2}
    return [Asked(way, query, "easy", its, times[way]) for way, its in calls.items()]


def test_figures_are_what_the_calls_say() -> None:
    """Of ten, the small model is right on six, sure of seven; the large one is always right."""
    made = [a for i in range(10) for a in asked(str(i), float(i < 6), 1.0, i < 7)]
    outcomes = [Outcome("q", ALL, "large", 1.0, 3, "")]
    found = result_of(outcomes, [CHOSEN], CHOSEN, made)
    assert [row["score"] for row in found["ways"].values()] == pytest.approx([0.6, 1.0, 0.9])
    assert found["ways"][CASCADE]["seconds"] == pytest.approx(0.1 + 0.3 * 0.4)
    assert found["saving"]["seconds"] == pytest.approx(1 - 0.22 / 0.4)
    assert found["saving"]["cpu_s"] == pytest.approx(1 - 0.2 / 0.3)
    assert found["saving"]["within"]
    assert found["quality_lost"]["points"] == pytest.approx(10)
    assert not found["quality_lost"]["within"]
    assert found["escalated"]["seen"] == pytest.approx(0.3)
    [row] = found["thresholds"]
    assert (row["seen_escalated"], row["seen_score"]) == (pytest.approx(0.3), pytest.approx(0.9))
    assert found["first_call_s"] == {"accepted": 0.1, "escalated": pytest.approx(0.1)}
    text = told(json.loads(json.dumps(found)) | {"engine": "vllm"})
    assert "one at a time: 45.0%" in text
    assert "beyond 1%" in text


def test_the_cascade_that_escalates_fewest_and_is_as_good_is_run() -> None:
    outcomes = [Outcome("q", ALL, "large", 0.95, 3, "")]
    offered = [
        replace(CHOSEN, threshold=-0.9, escalated=0.1, mean=0.90),
        replace(CHOSEN, threshold=-0.5, escalated=0.2, mean=0.946),
        replace(CHOSEN, threshold=-0.3, escalated=0.35, mean=0.95),
    ]
    assert choose(offered, outcomes) == offered[1]
    assert choose(offered[:1], outcomes) == offered[0]
    with pytest.raises(EngineFailed, match="confidence tells nothing"):
        choose([], outcomes)
