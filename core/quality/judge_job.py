"""The judging job: a model answers a query set, a judge compares with the references."""

import asyncio
from collections.abc import Sequence
from typing import Any

from core.domain.check import Judgement, report_of
from core.domain.ids import utc_now
from core.domain.job import Job
from core.domain.judge import JudgeEndpoint
from core.domain.quality import Outcome, Query, estimate_of
from core.ports import JobContext
from core.profiling.client import Answer, ask, open_session
from core.profiling.job import query_set_of, replica_kind
from core.quality.job import require_few_failures, sample_of, share_done, started
from core.quality.judge import PAUSE_S, Judge
from core.services.cascades import recalibrate

METRIC = "judge"
BATCH = 8
"""Answers judged together; what was judged is stored after each batch."""

Asked = tuple[Query, Answer]


class JudgeJob:
    """Body of `JobKind.JUDGE`; parameters in `JobKind`.

    A job that was interrupted goes on behind the last batch that was stored.

    Args:
        key: Of the judge; empty for none.
        pause_s: First pause before a failed call to the judge is tried again.
    """

    def __init__(self, key: str = "", pause_s: float = PAUSE_S) -> None:
        self._key = key
        self._pause_s = pause_s

    def steps(self, job: Job) -> list[str]:
        """Start, one step per query class, finish."""
        return ["start", *(f"class:{c}" for c in job.params["classes"]), "finish"]

    def run(self, step: str, context: JobContext) -> dict[str, Any]:
        """Do one step.

        Raises:
            EngineFailed: The model or the judge does not answer.
        """
        if step == "start":
            return started(context)
        if step == "finish":
            return _finished(context)
        return asyncio.run(self._judge_class(step.removeprefix("class:"), context))

    async def _judge_class(self, query_class: str, context: JobContext) -> dict[str, Any]:
        params = context.job.params
        [replica] = context.replicas({replica_kind(params): 1})
        query_set = query_set_of(context)
        queries = sample_of(query_set, query_class, params["per_class"])
        known = {its.query for its in _judgements(context)}
        waiting = [query for query in queries if query.text not in known]
        failed: list[Answer] = []
        judge = Judge(JudgeEndpoint(**params["judge"]), self._key, self._pause_s)
        async with judge, open_session() as session:
            for start in range(0, len(waiting), BATCH):
                batch = waiting[start : start + BATCH]
                asked = await asyncio.gather(
                    *(
                        ask(
                            session,
                            replica.base_url,
                            params["model"],
                            q.text,
                            query_set.max_tokens,
                        )
                        for q in batch
                    )
                )
                failed += [answer for answer in asked if answer.error]
                require_few_failures(failed, len(queries), query_class)
                good = [(q, a) for q, a in zip(batch, asked, strict=True) if not a.error]
                await _judged(judge, good, query_class, context)
                done = len(queries) - len(waiting) + start + len(batch)
                await asyncio.to_thread(_report, context, query_class, done, len(queries))
        return _estimated(query_class, context, len(failed))


async def _judged(
    judge: Judge, asked: Sequence[Asked], query_class: str, context: JobContext
) -> None:
    """Have a batch judged, and store it."""
    said = await judge.compare_all([(q.text, a.text, q.reference) for q, a in asked])
    job_id, model = context.job.job_id, context.job.params["model"]
    judgements = [
        Judgement(
            job_id,
            query.text,
            query_class,
            model,
            its.first,
            its.second,
            its.input_tokens,
            its.output_tokens,
        )
        for (query, _), its in zip(asked, said, strict=True)
    ]
    outcomes = [
        Outcome(
            query=query.text,
            query_class=query_class,
            model=model,
            score=its.score,
            output_tokens=answer.output_tokens,
            job_id=job_id,
            metric=METRIC,
        )
        for (query, answer), its in zip(asked, judgements, strict=True)
    ]
    with context.uow() as work:
        work.outcomes.add(outcomes)
        work.checks.add_judgements(judgements)
        work.commit()


def _report(context: JobContext, query_class: str, done: int, queries: int) -> None:
    """Say how far it is, what the judge has cost, and how often it agrees with itself."""
    params = context.job.params
    report = report_of(_judgements(context))
    cost = _cost_in_words(report.cost_usd(*_prices(params)), report.input_tokens)
    context.progress(
        share_done(params["classes"], query_class, done, queries),
        f"Class {query_class}: {done} of {queries} judged; {cost}; both orders agree on "
        f"{report.agreement:.0%}",
    )


def _cost_in_words(cost_usd: float, tokens: int) -> str:
    return f"${cost_usd:.4f} so far" if cost_usd else f"{tokens:,} prompt tokens so far"


def _prices(params: dict[str, Any]) -> tuple[float, float]:
    judge = params["judge"]
    return judge["input_usd_per_million"], judge["output_usd_per_million"]


def _estimated(query_class: str, context: JobContext, failed: int) -> dict[str, Any]:
    with context.uow() as work:
        outcomes = [
            its
            for its in work.outcomes.by_job(context.job.job_id)
            if its.query_class == query_class
        ]
        model = context.job.params["model"]
        estimate = estimate_of(outcomes, model, query_class, utc_now())
        work.outcomes.save_estimate(estimate)
        recalibrate(work, [query_class])
        work.commit()
    return {"class": query_class, "mean": estimate.mean, "n": estimate.n, "failed": failed}


def _finished(context: JobContext) -> dict[str, Any]:
    report = report_of(_judgements(context))
    return {
        "n": report.n,
        "agreement": report.agreement,
        "agreement_lower": report.agreement_lower,
        "agreement_upper": report.agreement_upper,
        "first_shown": report.first_shown,
        "unreadable": report.unreadable,
        "input_tokens": report.input_tokens,
        "output_tokens": report.output_tokens,
        "cost_usd": report.cost_usd(*_prices(context.job.params)),
    }


def _judgements(context: JobContext) -> list[Judgement]:
    with context.uow() as work:
        return work.checks.judgements(context.job.job_id)
