"""Judging: verdicts, both orders, ties, cost, resume, addresses and keys."""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import asdict
from urllib.parse import urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.domain.check import Judgement, Verdict, report_of
from core.domain.intervals import score_interval
from core.domain.job import JobKind
from core.domain.judge import JudgeEndpoint
from core.domain.quality import Query, QuerySet
from core.errors import Cancelled, EngineFailed, InvalidInput
from core.ports import UnitOfWorkFactory
from core.quality.judge import MOST_CHARS, Judge, prompt, verdict
from core.quality.judge_job import BATCH, JudgeJob
from core.services.judging import judging_cost
from tests.fakes.job_context import RunningReplicas, running_job
from tests.fakes.openai_stub import OpenAIStub, in_thread

QUERIES = tuple(Query(f"Say {n}.", "chat", f"It is {n}.") for n in range(20))
KEY = "sk-secret-7f3a"
FEW = settings(max_examples=60, deadline=None)


def fair(model: str, text: str) -> str:
    """Finds answers that hold "good" better, whatever the order; else it is undecided."""
    first, second = (part.split("[End")[0] for part in text.split("]\n")[2:5:2])
    better = ("good" in first) - ("good" in second)
    return f"A reason.\n[[{'CAB'[better]}]]"


def partial(model: str, text: str) -> str:
    return "The first one reads well. [[A]]"


def speaker(model: str, text: str) -> str:
    number = int(text.removeprefix("Say ").rstrip("."))
    return f"A good {number}" if number % 4 == 0 else f"Perhaps {number}"


@pytest.fixture
def small() -> Iterator[OpenAIStub]:
    with in_thread(OpenAIStub(("small",), answer=speaker)) as stub:
        yield stub


@pytest.fixture
def judge() -> Iterator[OpenAIStub]:
    with in_thread(OpenAIStub(("judge",), answer=fair)) as stub:
        yield stub


def context_of(
    uow: UnitOfWorkFactory, small: OpenAIStub, judge: OpenAIStub, per_class: int = 20
) -> RunningReplicas:
    with uow() as work:
        work.query_sets.save(QuerySet("q", "contains", 16, QUERIES))
        work.commit()
    params = {
        "model": "small",
        "sku": "cpu-core",
        "tp": 1,
        "query_set": "q",
        "per_class": per_class,
        "classes": ["chat"],
        "judge": JudgeEndpoint(f"{judge.base_url}/v1", "judge", 2.0, 10.0).to_params(),
    }
    return RunningReplicas(running_job(JobKind.JUDGE, params), uow, {"small": [small.base_url]})


def run(context: RunningReplicas, body: JudgeJob) -> list[dict[str, object]]:
    return [body.run(step, context) for step in body.steps(context.job)]


def test_answers_are_scored_by_both_orders(
    sqlite_uow: UnitOfWorkFactory, small: OpenAIStub, judge: OpenAIStub
) -> None:
    context = context_of(sqlite_uow, small, judge)
    *_, last = run(context, JudgeJob())
    with sqlite_uow() as work:
        outcomes = work.outcomes.by_job(context.job.job_id)
        [estimate] = work.outcomes.estimates()
    good = [o.score for o in outcomes if int(o.query[4:-1]) % 4 == 0]
    assert good == [1.0] * 5
    assert {o.score for o in outcomes} == {1.0, 0.5}
    assert {o.metric for o in outcomes} == {"judge"} == {estimate.metric}
    assert (estimate.lower, estimate.upper) == score_interval([o.score for o in outcomes])
    assert (last["n"], last["agreement"], last["unreadable"]) == (20, 1.0, 0)
    assert len(judge.seen) == 40
    expected = (2.0 * last["input_tokens"] + 10.0 * last["output_tokens"]) / 1e6  # type: ignore[operator]
    assert last["cost_usd"] == pytest.approx(expected)
    assert any("$" in message and "agree" in message for _, message in context.reports)


def test_a_judge_that_prefers_a_place_gives_ties(
    sqlite_uow: UnitOfWorkFactory, small: OpenAIStub
) -> None:
    with in_thread(OpenAIStub(("judge",), answer=partial)) as judge:
        context = context_of(sqlite_uow, small, judge)
        *_, last = run(context, JudgeJob())
    with sqlite_uow() as work:
        assert {o.score for o in work.outcomes.all()} == {0.5}
    assert (last["agreement"], last["first_shown"]) == (0.0, 1.0)


def test_what_was_judged_is_not_judged_again(
    sqlite_uow: UnitOfWorkFactory, small: OpenAIStub, judge: OpenAIStub
) -> None:
    context = context_of(sqlite_uow, small, judge)
    context.cancel_after = 0
    body = JudgeJob()
    with pytest.raises(Cancelled):
        body.run("class:chat", context)
    assert len(judge.seen) == 2 * BATCH
    context.cancel_after = None
    run(context, body)
    assert len(judge.seen) == 2 * len(QUERIES)
    with sqlite_uow() as work:
        assert len(work.outcomes.all()) == len(work.checks.judgements(context.job.job_id)) == 20


def test_a_short_failure_of_the_judge_is_tried_again(
    sqlite_uow: UnitOfWorkFactory, small: OpenAIStub
) -> None:
    with in_thread(OpenAIStub(("judge",), answer=fair, fail={0: "status", 3: "cut"})) as judge:
        *_, last = run(context_of(sqlite_uow, small, judge, 4), JudgeJob(pause_s=0.001))
    assert last["n"] == 4


def test_a_judge_that_is_not_there_ends_the_job_and_keeps_its_key(
    sqlite_uow: UnitOfWorkFactory, small: OpenAIStub, caplog: pytest.LogCaptureFixture
) -> None:
    with in_thread(OpenAIStub((KEY,), answer=fair)) as judge:
        context = context_of(sqlite_uow, small, judge)
        with pytest.raises(EngineFailed, match="The judge does not answer: HTTP 404") as failed:
            run(context, JudgeJob(KEY, pause_s=0.001))
    said = f"{failed.value.message} {failed.value.hint} {caplog.text} {context.reports}"
    assert KEY not in said
    assert KEY not in json.dumps(context.job.params)


def test_too_many_failed_answers_end_the_job(
    sqlite_uow: UnitOfWorkFactory, judge: OpenAIStub
) -> None:
    with in_thread(OpenAIStub(("small",), fail="status")) as small:
        context = context_of(sqlite_uow, small, judge)
        with pytest.raises(EngineFailed, match="of 20 answers of class 'chat' failed"):
            run(context, JudgeJob())


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("[[A]]", Verdict.ANSWER),
        ("[[B]] at first. But no: [[C]]", Verdict.TIE),
        ("**[[B]]**", Verdict.REFERENCE),
        ("A is better", Verdict.UNREADABLE),
        ("[[D]]", Verdict.UNREADABLE),
        ("", Verdict.UNREADABLE),
    ],
)
def test_verdicts_are_read(said: str, meant: Verdict) -> None:
    assert verdict(said, Verdict.ANSWER, Verdict.REFERENCE) is meant


def test_texts_stay_as_they_are_in_the_prompt() -> None:
    asked = prompt("Why {second}?", "{question} [[B]]", "x" * (MOST_CHARS + 9))
    assert "Why {second}?" in asked
    assert "{question} [[B]]" in asked
    assert "[... cut ...]" in asked
    assert len(asked) < MOST_CHARS + 2000


VERDICTS = st.sampled_from(list(Verdict))


@FEW
@given(st.lists(st.tuples(VERDICTS, VERDICTS), max_size=30))
def test_a_report_counts(pairs: list[tuple[Verdict, Verdict]]) -> None:
    its = report_of(
        [Judgement("j", str(i), "c", "m", *pair, 7, 3) for i, pair in enumerate(pairs)]
    )
    alike = sum(a is b and a is not Verdict.UNREADABLE for a, b in pairs)
    assert its.agreement * max(1, its.n) == pytest.approx(alike)
    assert its.agreement_lower <= its.agreement <= its.agreement_upper or its.n == 0
    assert (its.input_tokens, its.output_tokens) == (7 * len(pairs), 3 * len(pairs))
    assert its.cost_usd(1e6, 2e6) == pytest.approx(7 * len(pairs) + 6 * len(pairs))


@FEW
@given(VERDICTS, VERDICTS)
def test_only_what_both_orders_say_counts(first: Verdict, second: Verdict) -> None:
    its = Judgement("j", "q", "c", "m", first, second, 0, 0)
    sure = {Verdict.ANSWER: 1.0, Verdict.REFERENCE: 0.0}
    assert its.score == (sure.get(first, 0.5) if first is second else 0.5)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "judge.example.com",
        "ftp://judge.example.com",
        "file:///etc/passwd",
        "http://",
        "http://user:pw@judge.example.com/v1",
        "https://judge.example.com/v1?key=1",
        "https://judge.example.com/v1#x",
        "https://judge.example.com:99999/v1",
        "https://ju dge/v1",
        "https://[::1/v1",
        "https://" + "x" * 600,
    ],
)
def test_addresses_that_cannot_be_used_are_refused(url: str) -> None:
    with pytest.raises(InvalidInput, match="address") as refused:
        JudgeEndpoint(url, "m")
    assert "pw" not in refused.value.message


@FEW
@given(st.text(max_size=40))
def test_any_address_is_taken_or_refused(url: str) -> None:
    with contextlib.suppress(InvalidInput):
        assert urlsplit(JudgeEndpoint(url, "m").root).scheme in {"http", "https"}


@pytest.mark.parametrize(
    ("url", "root"),
    [
        ("https://judge.example.com/v1/", "https://judge.example.com"),
        ("http://127.0.0.1:9", "http://127.0.0.1:9"),
        ("https://x.example/api/v1", "https://x.example/api"),
    ],
)
def test_an_address_may_end_in_v1(url: str, root: str) -> None:
    endpoint = JudgeEndpoint(url, "m")
    assert endpoint.root == root
    assert JudgeEndpoint(**endpoint.to_params()) == endpoint
    assert set(endpoint.to_params()) == set(asdict(endpoint))


@pytest.mark.parametrize("price", [-1.0, float("nan"), float("inf"), 1e9])
def test_prices_are_prices(price: float) -> None:
    with pytest.raises(InvalidInput, match="prices"):
        JudgeEndpoint("http://127.0.0.1:9", "m", price)


def test_a_key_never_travels_unencrypted() -> None:
    with pytest.raises(InvalidInput, match="unencrypted"):
        Judge(JudgeEndpoint("http://judge.example.com", "m"), KEY)
    Judge(JudgeEndpoint("https://judge.example.com", "m"), KEY)
    Judge(JudgeEndpoint("http://127.0.0.1:9", "m"), KEY)
    Judge(JudgeEndpoint("http://judge.example.com", "m"))


def test_the_cost_is_told_beforehand() -> None:
    cost = judging_cost(
        QuerySet("q", "contains", 16, QUERIES), 10, JudgeEndpoint("http://h", "m", 1.0)
    )
    assert cost.comparisons == 20
    assert cost.usd == pytest.approx(cost.input_tokens / 1e6)
    assert cost.input_tokens > 20 * (170 + 16)
