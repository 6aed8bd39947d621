"""Live evaluation of plans on servers over HTTP."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from core.domain.cascade import CascadeEstimate
from core.domain.job import JobKind
from core.domain.plan import ReplicaKind, Route, ServingPlan, make_plan
from core.domain.planning import PlanningFacts
from core.domain.profile import Provenance
from core.domain.quality import Query, QuerySet
from core.errors import Cancelled, EngineFailed
from core.estimate import AnalyticEvaluator
from core.ports import UnitOfWorkFactory
from core.profiling.cascade import cascaded
from core.profiling.client import Answer
from core.profiling.live import LiveEvaluator
from core.routing.answer_lengths import AcceptedLengths
from core.routing.classifier import Classifier
from core.routing.features import SIZE
from core.routing.policy import Decision
from tests.fakes.job_context import RunningReplicas, running_job
from tests.fakes.openai_stub import OpenAIStub, in_thread
from tests.unit.planning_problems import two_models, workload

SMALL, LARGE = ReplicaKind("small", "cpu-core"), ReplicaKind("large", "cpu-core")
SPLIT = make_plan(
    {SMALL: 1, LARGE: 1},
    {
        "easy": {"small": 1.0},
        "medium": {"small": 0.5, "large": 0.5},
        "hard": {"large": 1.0},
    },
)
ALL_SMALL = make_plan({SMALL: 2}, {name: {"small": 1.0} for name in ("easy", "medium", "hard")})
MARKS = {"easy": "?", "medium": "+", "hard": "*"}
QUERIES = QuerySet(
    "q",
    "numeric",
    16,
    tuple(Query(f"{n} {mark * 3}", name, "4") for n in range(9) for name, mark in MARKS.items()),
)


def by_mark() -> Classifier:
    """Tells the classes apart by the symbol their texts are written with."""
    weights = np.zeros((3, SIZE), dtype=np.float32)
    for row, symbol in enumerate("?*+"):
        weights[row, 8 + "+-*/=?.,:;()[]{}".index(symbol)] = 10.0
    return Classifier(["easy", "hard", "medium"], weights, np.zeros(3, dtype=np.float32))


def says(model: str, text: str) -> str:
    return "The answer is 4" if model == "large" or "?" in text else "The answer is 5"


@pytest.fixture
def stubs() -> Iterator[list[OpenAIStub]]:
    one = OpenAIStub(("small", "large"), ttft_ms=5, tpot_ms=1, answer=says)
    other = OpenAIStub(("small", "large"), ttft_ms=5, tpot_ms=1, answer=says)
    with in_thread(one), in_thread(other):
        yield [one, other]


@pytest.fixture
def facts() -> PlanningFacts:
    rates = {"easy": 60.0, "medium": 25.0, "hard": 15.0}
    problem = two_models(sla_p95_e2e_s=30.0)
    return replace(problem, workload=workload(rates, tokens=4.0))


@pytest.fixture
def context(memory_uow: UnitOfWorkFactory, stubs: list[OpenAIStub]) -> RunningReplicas:
    urls = [stub.base_url for stub in stubs]
    job = running_job(JobKind.OPTIMISE, {})
    return RunningReplicas(job, memory_uow, {"small": urls, "large": urls[1:]})


def numeric(answer: str, reference: str) -> float:
    return float(answer.rsplit(maxsplit=1)[-1] == reference)


def evaluator(
    context: RunningReplicas, facts: PlanningFacts, seconds: float = 1.0
) -> LiveEvaluator:
    return LiveEvaluator(context, facts, QUERIES, numeric, by_mark(), seconds=seconds)


def routed(stubs: list[OpenAIStub]) -> Counter[tuple[str, str]]:
    return Counter(
        (body["model"], body["messages"][0]["content"][-1]) for s in stubs for body in s.seen
    )


def test_a_plan_is_measured_as_it_would_serve(
    context: RunningReplicas, facts: PlanningFacts, stubs: list[OpenAIStub]
) -> None:
    measured = evaluator(context, facts).evaluate(SPLIT)
    score = measured.score
    known = AnalyticEvaluator(facts).evaluate(SPLIT)
    assert score.provenance is Provenance.MEASURED
    assert score.cost_usd_per_hour == known.cost_usd_per_hour
    assert score.quality_lower == known.quality_lower
    assert score.p50_e2e_s is not None
    assert score.p95_e2e_s is not None
    assert score.p95_ttft_s is not None
    assert 0.007 < score.p50_e2e_s <= score.p95_e2e_s
    assert 0.004 < score.p95_ttft_s <= score.p95_e2e_s
    assert score.sla_attainment == 1.0
    sent = routed(stubs)
    assert {key for key, count in sent.items() if count} == {
        ("small", "?"),
        ("small", "+"),
        ("large", "+"),
        ("large", "*"),
    }
    assert abs(sent["small", "+"] - sent["large", "+"]) <= 1
    assert [kind.kind for kind in measured.telemetry] == [LARGE, SMALL]
    assert sum(kind.requests for kind in measured.telemetry) == 100
    for kind in measured.telemetry:
        assert 0.0005 < kind.tpot_mean_s < kind.ttft_mean_s < kind.e2e_mean_s
        assert kind.e2e_mean_s < score.p95_e2e_s * 1.5
    # Right are the large model and every easy answer: about 60 + 12.5 + 15 of 100.
    assert score.quality_mean == pytest.approx(0.875, abs=0.15)


def test_plans_are_compared_on_the_same_traffic(
    context: RunningReplicas, facts: PlanningFacts, stubs: list[OpenAIStub]
) -> None:
    measure = evaluator(context, facts)
    measure.evaluate(SPLIT)
    first = sorted(body["messages"][0]["content"] for s in stubs for body in s.seen)
    for stub in stubs:
        stub.seen.clear()
    score = measure.evaluate(ALL_SMALL).score
    assert sorted(b["messages"][0]["content"] for s in stubs for b in s.seen) == first
    assert score.quality_mean == pytest.approx(0.6, abs=0.15)
    assert all(len(stub.seen) > len(first) / 4 for stub in stubs), "replicas share the load"


def test_failed_requests_make_a_plan_infeasible(
    context: RunningReplicas, facts: PlanningFacts, stubs: list[OpenAIStub]
) -> None:
    stubs[0].fail = dict.fromkeys(range(0, 10_000, 3), "status")
    score = evaluator(context, facts).evaluate(ALL_SMALL).score
    assert not score.feasible
    assert "requests failed when it was measured" in score.violations[-1]
    assert score.sla_attainment is not None
    assert score.sla_attainment < 1


def test_when_every_request_fails_there_is_no_score(
    context: RunningReplicas, facts: PlanningFacts, stubs: list[OpenAIStub]
) -> None:
    for stub in stubs:
        stub.fail = "status"
    with pytest.raises(EngineFailed, match=f"{SPLIT.plan_id} failed: HTTP 500") as failed:
        evaluator(context, facts).evaluate(SPLIT)
    assert failed.value.hint


def test_cancelling_ends_the_measurement(context: RunningReplicas, facts: PlanningFacts) -> None:
    context.cancel_after = 0
    with pytest.raises(Cancelled):
        evaluator(context, facts, seconds=600).evaluate(SPLIT)


def test_a_model_without_a_replica_is_refused(
    context: RunningReplicas, facts: PlanningFacts
) -> None:
    torn = ServingPlan(ALL_SMALL.placement, SPLIT.routing)
    with pytest.raises(EngineFailed, match="routes to large without a replica"):
        evaluator(context, facts).evaluate(torn)


UNSURE = -0.5
CASCADE = make_plan(
    {SMALL: 1, LARGE: 1},
    {"easy": {"small": 1.0}, "hard": {"large": 1.0}},
    [Route("medium", "small", 1.0, "large", UNSURE)],
)


def sure_of_even_numbers(model: str, text: str) -> float:
    return -0.25 if int(text.split(maxsplit=1)[0]) % 2 == 0 else -0.75


def test_a_cascade_is_measured_with_both_its_calls(
    context: RunningReplicas, facts: PlanningFacts, stubs: list[OpenAIStub]
) -> None:
    promised = CascadeEstimate("medium", "small", "large", UNSURE, 0.5, 100, 0.9, 0.8, 0.95)
    with_cascade = replace(facts, cascades=(promised,))
    for stub in stubs:
        stub.logprob = sure_of_even_numbers
    score = evaluator(context, with_cascade).evaluate(CASCADE).score
    sent = Counter(
        (body["model"], body["messages"][0]["content"][-1], bool(body.get("logprobs")))
        for stub in stubs
        for body in stub.seen
    )
    asked = {key for key, count in sent.items() if count}
    assert asked == {
        ("small", "?", False),
        ("small", "+", True),
        ("large", "+", False),
        ("large", "*", False),
    }
    odd = sum(
        int(body["messages"][0]["content"].split()[0]) % 2
        for stub in stubs
        for body in stub.seen
        if body.get("logprobs")
    )
    assert sent["large", "+", False] == odd > 0
    assert score.quality_lower == AnalyticEvaluator(with_cascade).evaluate(CASCADE).quality_lower
    assert score.p95_ttft_s is not None
    assert score.p95_ttft_s > 0.005


def told(**changes: Any) -> Answer:
    return replace(Answer("4", 5.0, 20.0, 3, 4), **changes)


@pytest.mark.parametrize(
    ("first", "model", "ttft_ms", "e2e_ms"),
    [
        (told(confidence=-0.25), "small", 20.0, 20.0),
        (told(confidence=UNSURE), "small", 20.0, 20.0),
        (told(confidence=-0.75), "large", 25.0, 40.0),
        (told(), "large", 25.0, 40.0),
        (told(error="HTTP 500", confidence=-0.25), "large", 25.0, 40.0),
    ],
)
async def test_nothing_is_seen_of_a_first_answer_before_it_is_accepted(
    first: Answer, model: str, ttft_ms: float, e2e_ms: float
) -> None:
    decision = Decision("medium", "small", 1.0, False, "large", UNSURE)
    kinds = {"small": SMALL, "large": LARGE}

    async def ask(
        asked: str, threshold: float | None, likely_tokens: int | None
    ) -> tuple[ReplicaKind, Answer]:
        assert likely_tokens is None
        assert threshold == (UNSURE if asked == "small" else None)
        return kinds[asked], first if asked == "small" else told()

    came = await cascaded(decision, ask, AcceptedLengths())
    assert came.escalated is (model == "large")
    assert [kind.model for kind, _ in came.calls] == ["small", "large"][: len(came.calls)]
    assert (came.answer.ttft_ms, came.answer.e2e_ms) == (ttft_ms, e2e_ms)
    assert came.calls[-1][0].model == model
    assert not came.answer.error
