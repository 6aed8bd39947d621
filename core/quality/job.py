"""The quality job: one replica, one durable step per query class."""

import asyncio
from collections.abc import Sequence
from statistics import fmean
from typing import Any

from core.domain.deployment import Replica
from core.domain.ids import utc_now
from core.domain.job import Job
from core.domain.quality import Outcome, QualityEstimate, Query, QuerySet, estimate_of
from core.errors import EngineFailed, NotFound
from core.ports import JobContext
from core.profiling.client import Answer, ask, open_session
from core.profiling.job import query_set_of, replica_kind
from core.profiling.statistics import first_error
from core.quality.scorers import scorer
from core.services.cascades import recalibrate

CONCURRENCY = 8
START_SHARE = 0.3
MOST_FAILED = 0.1
"""Failed answers are left out; with more of them, those left are no fair sample."""


class QualityJob:
    """Body of `JobKind.QUALITY`; parameters in `JobKind`, and the `classes` of the query set."""

    def steps(self, job: Job) -> list[str]:
        """Start, one step per query class, finish."""
        return ["start", *(f"class:{c}" for c in job.params["classes"]), "finish"]

    def run(self, step: str, context: JobContext) -> dict[str, Any]:
        """Do one step."""
        if step == "start":
            return started(context)
        if step == "finish":
            return self._finish(context)
        return self._score_class(step.removeprefix("class:"), context)

    def _score_class(self, query_class: str, context: JobContext) -> dict[str, Any]:
        [replica] = context.replicas({replica_kind(context.job.params): 1})
        query_set = query_set_of(context)
        queries = sample_of(query_set, query_class, context.job.params["per_class"])
        answers = asyncio.run(_ask_all(queries, query_set, replica, query_class, context))
        failed = [answer for answer in answers if answer.error]
        require_few_failures(failed, len(answers), query_class)
        estimate = _store(query_set, queries, answers, query_class, context)
        known = {"class": query_class, "mean": estimate.mean, "n": estimate.n}
        return {**known, "failed": len(failed)}

    def _finish(self, context: JobContext) -> dict[str, Any]:
        with context.uow() as work:
            outcomes = work.outcomes.by_job(context.job.job_id)
        scores: dict[str, list[float]] = {c: [] for c in context.job.params["classes"]}
        for outcome in outcomes:
            scores[outcome.query_class].append(outcome.score)
        return {"n": len(outcomes), "mean": {c: fmean(s) for c, s in scores.items() if s}}


def started(context: JobContext) -> dict[str, Any]:
    """Do the first step of a job that asks one replica: start it."""
    context.progress(0.01, "Asking for a replica")
    context.replicas({replica_kind(context.job.params): 1})
    context.progress(START_SHARE, "Replica is ready")
    return {}


def share_done(classes: Sequence[str], query_class: str, done: int, queries: int) -> float:
    """Return how far such a job is (0..1), `done` of a class's queries being answered."""
    share = (classes.index(query_class) + done / queries) / len(classes)
    return START_SHARE + (0.99 - START_SHARE) * share


def require_few_failures(failed: Sequence[Answer], queries: int, query_class: str) -> None:
    """Check that enough of a class's queries were answered.

    Raises:
        EngineFailed: Too many were not.
    """
    if len(failed) > MOST_FAILED * queries:
        raise EngineFailed(
            f"{len(failed)} of {queries} answers of class {query_class!r} failed: "
            f"{first_error(failed)}",
            "The mean of the others would mislead. The replica's log tells why; mend it, then "
            "retry.",
        )


def sample_of(query_set: QuerySet, query_class: str, most: int) -> list[Query]:
    """Return the first distinct queries of a class: a repeated one would tell nothing new.

    Raises:
        NotFound: The query set has changed and has none of the class any more.
    """
    distinct = {query.text: query for query in query_set.of_class(query_class)}
    if not distinct:
        raise NotFound(
            f"The query set {query_set.name!r} has no queries of class {query_class!r} any more.",
            "Start a new measurement.",
        )
    return list(distinct.values())[:most]


async def _ask_all(
    queries: Sequence[Query],
    query_set: QuerySet,
    replica: Replica,
    query_class: str,
    context: JobContext,
) -> list[Answer]:
    gate, classes = asyncio.Semaphore(CONCURRENCY), context.job.params["classes"]
    done = 0
    async with open_session() as session:

        async def one(query: Query) -> Answer:
            nonlocal done
            async with gate:
                answer = await ask(
                    session,
                    replica.base_url,
                    replica.kind.model,
                    query.text,
                    query_set.max_tokens,
                    logprobs=True,
                )
            done += 1
            if done % CONCURRENCY == 0:
                await asyncio.to_thread(
                    context.progress,
                    share_done(classes, query_class, done, len(queries)),
                    f"Class {query_class}: {done} of {len(queries)} answers",
                )
            return answer

        return await asyncio.gather(*(one(query) for query in queries))


def _store(
    query_set: QuerySet,
    queries: Sequence[Query],
    answers: Sequence[Answer],
    query_class: str,
    context: JobContext,
) -> QualityEstimate:
    """Store outcomes and what follows from them; an answer that failed was not measured."""
    job, score = context.job, scorer(query_set.scorer)
    model = job.params["model"]
    outcomes = [
        Outcome(
            query=query.text,
            query_class=query_class,
            model=model,
            score=score(answer.text, query.reference),
            output_tokens=answer.output_tokens,
            job_id=job.job_id,
            confidence=answer.confidence,
            metric=query_set.scorer,
        )
        for query, answer in zip(queries, answers, strict=True)
        if not answer.error
    ]
    estimate = estimate_of(outcomes, model, query_class, utc_now())
    with context.uow() as work:
        work.outcomes.remove_job(job.job_id, query_class)
        work.outcomes.add(outcomes)
        work.outcomes.save_estimate(estimate)
        recalibrate(work, [query_class])
        work.commit()
    return estimate
