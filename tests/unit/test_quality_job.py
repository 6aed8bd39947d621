"""The jobs that score answers and train the classifier, against a server over HTTP."""

from collections.abc import Callable, Iterator

import pytest

from core.domain.intervals import wilson
from core.domain.job import JobKind
from core.domain.quality import Outcome, Query, QuerySet
from core.errors import Cancelled, EngineFailed, NotFound, NotReady
from core.ports import UnitOfWorkFactory
from core.quality.classifier_job import ClassifierJob
from core.quality.job import CONCURRENCY, QualityJob
from core.routing.reading import read_classifier
from tests.fakes.job_context import RunningReplicas, running_job
from tests.fakes.openai_stub import OpenAIStub, in_thread

PARAMS = {
    "model": "small",
    "sku": "cpu-core",
    "tp": 1,
    "query_set": "q",
    "per_class": 20,
    "classes": ["easy", "hard"],
}
EASY = tuple(Query(f"{n} + 1?", "easy", f"{n + 1}") for n in range(30))
HARD = tuple(Query(f"{n} * 1234 - 77?", "hard", f"{n * 1234 - 77}") for n in range(15))
Run = Callable[[], RunningReplicas]


def knows_easy_only(model: str, text: str) -> str:
    """Right on every easy question and on the hard one that starts with 7."""
    known = {q.text: q.reference for q in (*EASY, HARD[7])}
    return f"Let me see. Answer: {known.get(text, '0')}."


@pytest.fixture
def stub() -> Iterator[OpenAIStub]:
    with in_thread(OpenAIStub(("small",), ttft_ms=2, answer=knows_easy_only)) as stub:
        yield stub


@pytest.fixture
def uow(sqlite_uow: UnitOfWorkFactory) -> UnitOfWorkFactory:
    # The first question comes twice: it must count once.
    queries = (EASY[0], *EASY, *HARD)
    with sqlite_uow() as work:
        work.query_sets.save(QuerySet("q", "numeric", 16, queries))
        work.commit()
    return sqlite_uow


@pytest.fixture
def context(uow: UnitOfWorkFactory, stub: OpenAIStub) -> RunningReplicas:
    return RunningReplicas(running_job(JobKind.QUALITY, PARAMS), uow, {"small": [stub.base_url]})


def outcomes(context: RunningReplicas) -> list[Outcome]:
    with context.uow() as work:
        return list(work.outcomes.by_job(context.job.job_id))


def test_each_class_is_scored_with_its_interval(
    context: RunningReplicas, stub: OpenAIStub
) -> None:
    body = QualityJob()
    steps = body.steps(context.job)
    assert steps == ["start", "class:easy", "class:hard", "finish"]
    results = [body.run(step, context) for step in steps]
    with context.uow() as work:
        easy, hard = sorted(work.outcomes.estimates(), key=lambda e: e.query_class)
    assert (easy.n, easy.mean) == (20, 1.0)
    assert (hard.n, hard.mean) == (15, pytest.approx(1 / 15))
    assert (hard.lower, hard.upper) == pytest.approx(wilson(1 / 15, 15))
    assert hard.output_tokens_mean == 5
    assert stub.most_in_flight == CONCURRENCY
    assert len({o.query for o in outcomes(context)}) == len(outcomes(context)) == 35
    assert results[-1] == {"n": 35, "mean": {"easy": 1.0, "hard": pytest.approx(1 / 15)}}
    fractions = [fraction for fraction, _ in context.reports]
    assert fractions[-1] < 1
    assert "Class hard: 8 of 15 answers" in [message for _, message in context.reports]


def test_confidence_is_stored_and_makes_cascades(
    context: RunningReplicas, stub: OpenAIStub
) -> None:
    """The small model is right on the questions it is sure of: those of one digit."""
    stub.logprob = lambda _, text: -0.125 if text[1] == " " else -2.0
    stub.answer = lambda model, text: (
        knows_easy_only(model, text) if model == "large" or text[1] == " " else "0"
    )
    stub.models = ("small", "large")
    for model in ("small", "large"):
        job = running_job(JobKind.QUALITY, {**PARAMS, "model": model, "per_class": 30})
        scoring = RunningReplicas(job, context.uow, {model: [stub.base_url]})
        QualityJob().run("class:easy", scoring)
        assert {o.confidence for o in outcomes(scoring)} == {-0.125, -2.0}
    with context.uow() as work:
        cascades = work.outcomes.cascades()
    assert {(c.model, c.escalate_to, c.n) for c in cascades} == {("small", "large", 30)}
    assert [c.escalated for c in cascades] == [pytest.approx(2 / 3)]
    assert cascades[0].mean == 1.0
    assert -2.0 < cascades[0].threshold < -0.125


def test_a_step_that_runs_again_does_not_double_its_outcomes(context: RunningReplicas) -> None:
    body = QualityJob()
    for step in ("start", "class:hard", "class:hard"):
        body.run(step, context)
    assert len(outcomes(context)) == 15


def test_cancelling_keeps_the_classes_scored_before(context: RunningReplicas) -> None:
    body = QualityJob()
    body.run("class:hard", context)
    context.cancel_after = len(context.reports)
    with pytest.raises(Cancelled):
        body.run("class:easy", context)
    assert {o.query_class for o in outcomes(context)} == {"hard"}


def test_few_failures_are_left_out(context: RunningReplicas, stub: OpenAIStub) -> None:
    stub.fail = {3: "cut"}
    result = QualityJob().run("class:easy", context)
    assert result == {"class": "easy", "mean": 1.0, "n": 19, "failed": 1}
    assert len(outcomes(context)) == 19


def test_many_failures_end_the_job_with_a_remedy(
    context: RunningReplicas, stub: OpenAIStub
) -> None:
    stub.fail = dict.fromkeys(range(5), "status")
    with pytest.raises(EngineFailed, match=r"5 of 20 answers of class 'easy' failed: HTTP 500"):
        QualityJob().run("class:easy", context)
    assert outcomes(context) == []


def test_a_class_that_is_gone_is_named(context: RunningReplicas) -> None:
    with pytest.raises(NotFound, match="no queries of class 'medium'"):
        QualityJob().run("class:medium", context)


def test_a_classifier_is_trained_from_the_outcomes(context: RunningReplicas) -> None:
    for step in ("start", "class:easy", "class:hard"):
        QualityJob().run(step, context)
    training = RunningReplicas(running_job(JobKind.CLASSIFIER, {}), context.uow, {})
    body = ClassifierJob()
    [step] = body.steps(training.job)
    result = body.run(step, training)
    with context.uow() as work:
        newest = work.classifiers.latest()
    assert newest is not None
    version, content, facts = newest
    assert result == {"version": version, **facts}
    assert facts["n"] == 35
    assert facts["accuracy"] == 1.0
    assert read_classifier(content).classify("99 * 1234 - 77?")[0] == "hard"


def test_without_outcomes_there_is_nothing_to_learn(sqlite_uow: UnitOfWorkFactory) -> None:
    training = RunningReplicas(running_job(JobKind.CLASSIFIER, {}), sqlite_uow, {})
    with pytest.raises(NotReady, match="there are none") as refused:
        ClassifierJob().run("train", training)
    assert "Score a model" in refused.value.hint
