"""Live evaluation: deploy a plan for a job, send its workload, measure."""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import count

import numpy as np

from core.domain.deployment import Replica
from core.domain.plan import PlanScore, ReplicaKind, ServingPlan
from core.domain.planning import PlanningFacts
from core.domain.profile import Provenance
from core.domain.quality import Query, QuerySet
from core.domain.study import KindTelemetry, Measurement
from core.errors import EngineFailed
from core.estimate import AnalyticEvaluator
from core.estimate.telemetry import slowdowns, slowed_evaluator
from core.ports import JobContext
from core.profiling.cascade import Call, Cascaded, cascaded
from core.profiling.client import Answer, ask, open_session
from core.profiling.load import open_loop, poisson_arrivals_s
from core.profiling.statistics import first_error, quantile_bounds, spread
from core.routing.answer_lengths import AcceptedLengths
from core.routing.classifier import QueryClassifier
from core.routing.policy import Router, in_turn, pick_replica

SECONDS = 15.0
FEWEST_REQUESTS = 60
WARM_UP_REQUESTS = 10
MOST_ERRORS = 0.02
Score = Callable[[str, str], float]


class LiveEvaluator:
    """`PlanMeter` on real replicas: arrivals at the workload's rates, routed as in production.

    Args:
        context: Gives replicas; those two plans share keep running.
        facts: The workload and the limits.
        query_set: Queries of every class of the workload.
        score: Scores an answer against its reference.
        classifier: The one the gateway would use; None sends all by the safest class's route,
            as the gateway does.
        seconds: Length of the counted traffic; at least `FEWEST_REQUESTS` are counted.
        seed: Of arrivals and of the draw of queries; the same for every plan, so that plans are
            compared on the same traffic.
    """

    def __init__(
        self,
        context: JobContext,
        facts: PlanningFacts,
        query_set: QuerySet,
        score: Score,
        classifier: QueryClassifier | None,
        seconds: float = SECONDS,
        seed: int = 0,
    ) -> None:
        self._context = context
        self._facts = facts
        self._query_set = query_set
        self._score = score
        self._classifier = classifier
        self._seconds = seconds
        self._seed = seed

    def evaluate(self, plan: ServingPlan) -> Measurement:
        """Measure one plan: its score, and what its replicas did by kind.

        Raises:
            EngineFailed: A replica did not start, or every request failed.
        """
        unplaced = plan.asked - set(plan.models)
        if unplaced:
            raise EngineFailed(
                f"Plan {plan.plan_id} routes to {', '.join(sorted(unplaced))} without a replica.",
                "Only valid plans can be measured.",
            )
        replicas = self._context.replicas({p.kind: p.count for p in plan.placement})
        queries = self._queries()
        arrivals_s = poisson_arrivals_s(self._facts.workload.rate_rps, len(queries), self._seed)
        driven = asyncio.run(self._drive(plan, replicas, queries, arrivals_s))
        counted = driven[WARM_UP_REQUESTS:]
        told = telemetry([call for one in counted for call in one.calls])
        answers = [one.answer for one in counted]
        known = self._known(plan, told)
        return Measurement(self._score_of(known, plan, queries[WARM_UP_REQUESTS:], answers), told)

    def _known(self, plan: ServingPlan, told: Sequence[KindTelemetry]) -> PlanScore:
        """Cost and quality bound are known functions; load is that of replicas as fast as seen."""
        evaluator = AnalyticEvaluator(self._facts)
        seen = {slow.kind: slow.log_factor for slow in slowdowns(evaluator, plan, told)}
        return slowed_evaluator(evaluator, seen).evaluate(plan)

    def _queries(self) -> list[Query]:
        rng = np.random.default_rng(self._seed)
        rate_rps = self._facts.workload.rate_rps
        size = WARM_UP_REQUESTS + max(FEWEST_REQUESTS, int(rate_rps * self._seconds))
        names = [t.query_class for t in self._facts.workload.classes]
        weights = [self._facts.workload.weight(name) for name in names]
        drawn = rng.choice(len(names), size=size, p=weights)
        by_class = {name: self._query_set.of_class(name) for name in names}
        return [by_class[names[i]][int(rng.integers(len(by_class[names[i]])))] for i in drawn]

    async def _drive(
        self,
        plan: ServingPlan,
        replicas: list[Replica],
        queries: Sequence[Query],
        arrivals_s: Sequence[float],
    ) -> list[Cascaded]:
        router = Router(plan, self._classifier, self._facts.models_by_quality)
        outstanding: Counter[str] = Counter()
        turns = count()
        fraction = self._progress_so_far()
        done: dict[int, Cascaded] = {}
        lengths = AcceptedLengths()

        def report(_: float, number: int) -> None:
            text = f"Measuring plan {plan.plan_id}: {number} of {len(queries)} answers"
            self._context.progress(fraction, text)

        async with open_session() as session:

            async def call(
                query: Query, model: str, threshold: float | None, likely_tokens: int | None
            ) -> Call:
                able = [r for r in replicas if r.kind.model == model]
                replica = pick_replica(in_turn(able, next(turns)), outstanding)
                outstanding[replica.replica_id] += 1
                try:
                    answer = await ask(
                        session,
                        replica.base_url,
                        model,
                        query.text,
                        self._query_set.max_tokens,
                        unsure_below=threshold,
                        likely_tokens=likely_tokens,
                    )
                finally:
                    outstanding[replica.replica_id] -= 1
                return replica.kind, answer

            async def ask_one(numbered: tuple[int, Query]) -> Answer:
                number, query = numbered
                decision = router.choose(query.text)
                done[number] = await cascaded(decision, partial(call, query), lengths)
                return done[number].answer

            answers = await open_loop(ask_one, list(enumerate(queries)), arrivals_s, report)
            # Those of the loop count from when they were due.
            return [replace(done[number], answer=its) for number, its in enumerate(answers)]

    def _progress_so_far(self) -> float:
        """What the job last reported: measuring tells what happens, not how much is done."""
        context = self._context
        with context.uow() as work:
            stored = work.jobs.get(context.job.job_id)
        return (stored or context.job).progress

    def _score_of(
        self,
        known: PlanScore,
        plan: ServingPlan,
        queries: Sequence[Query],
        answers: Sequence[Answer],
    ) -> PlanScore:
        """Latency and mean quality are measured."""
        good = [a for a in answers if not a.error and a.ttft_ms is not None]
        if not good:
            raise EngineFailed(
                f"Every request of plan {plan.plan_id} failed: {first_error(answers)}",
                "Look at the replicas' logs on the Deploy page.",
            )
        e2e_ms, ttft_ms = [a.e2e_ms for a in good], [a.ttft_ms for a in good if a.ttft_ms]
        scores = [
            self._score(answer.text, query.reference)
            for query, answer in zip(queries, answers, strict=True)
            if not answer.error
        ]
        latency = spread(e2e_ms)
        low_ms, high_ms = quantile_bounds(e2e_ms, 0.95)
        return replace(
            known,
            provenance=Provenance.MEASURED,
            p50_e2e_s=latency.p50 / 1000,
            p95_e2e_s=latency.p95 / 1000,
            p95_ttft_s=spread(ttft_ms).p95 / 1000,
            p95_e2e_low_s=None if low_ms is None else low_ms / 1000,
            p95_e2e_high_s=None if high_ms is None else high_ms / 1000,
            quality_mean=sum(scores) / len(scores),
            sla_attainment=self._attainment(e2e_ms, len(answers)),
            violations=known.violations + _unserved(len(answers) - len(good), len(answers)),
        )

    def _attainment(self, e2e_ms: Sequence[float], asked: int) -> float | None:
        sla_s = self._facts.limits.sla_p95_e2e_s
        return None if sla_s is None else sum(ms <= sla_s * 1000 for ms in e2e_ms) / asked


def telemetry(served: Sequence[Call]) -> tuple[KindTelemetry, ...]:
    """Return mean times by kind, over whole answers of at least two tokens.

    Args:
        served: Which kind gave which answer.
    """
    times: dict[ReplicaKind, list[tuple[float, float, float]]] = {}
    for kind, answer in served:
        if not answer.error and answer.ttft_ms and answer.tpot_ms:
            times.setdefault(kind, []).append((answer.tpot_ms, answer.ttft_ms, answer.e2e_ms))
    return tuple(
        KindTelemetry(kind, len(of_kind), *(float(ms) / 1000 for ms in np.mean(of_kind, axis=0)))
        for kind, of_kind in sorted(times.items())
    )


def _unserved(failed: int, asked: int) -> tuple[str, ...]:
    if failed <= MOST_ERRORS * asked:
        return ()
    return (f"{failed} of {asked} requests failed when it was measured",)
