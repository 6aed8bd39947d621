"""One run of the demo: fresh queries through the gateway at a fixed mean rate."""

import asyncio
from collections import Counter
from dataclasses import dataclass, field

from core.demo.arithmetic import QueryClass, Question, mixed
from core.demo.first_start import MAX_ANSWER_TOKENS
from core.domain.cost import charges, clip, occupations, usd_per_million
from core.domain.ids import utc_now
from core.domain.planning import PlanningFacts
from core.errors import EngineFailed
from core.ports import UnitOfWorkFactory
from core.profiling.client import Answer, ask, open_session
from core.profiling.load import open_loop, poisson_arrivals_s
from core.profiling.statistics import first_error, spread
from core.quality.scorers import numeric
from core.settings import Settings

WARM_UP_QUERIES = 20
GATEWAY_NOTICES_S = 2.5
"""The gateway looks for the active plan every second."""


@dataclass(frozen=True)
class Measured:
    """What the callers of the gateway saw, and what the devices cost meanwhile.

    Attributes:
        cost_usd_per_hour: Metered device-seconds of the run x price in force, per hour.
        cost_usd_per_million_tokens: The same per million output tokens of the run.
        p50_e2e_s: Median from scheduled arrival to last token.
        p95_e2e_s: 95th percentile of that.
        quality: Share of right answers; an answer that failed is wrong.
        failed: Requests without an answer.
        answered_by: Requests per model, from the decision header.
    """

    cost_usd_per_hour: float
    cost_usd_per_million_tokens: float | None
    p50_e2e_s: float
    p95_e2e_s: float
    quality: float
    failed: int
    answered_by: dict[str, int] = field(default_factory=dict)


def measure(
    uow: UnitOfWorkFactory,
    settings: Settings,
    facts: PlanningFacts,
    queries: int,
    seed: int,
) -> Measured:
    """Send queries through the gateway to the active plan.

    Raises:
        EngineFailed: No request was answered.
    """
    rate_rps = facts.workload.rate_rps
    shares = _shares(facts)
    url = f"http://{settings.host}:{settings.gateway_port}"
    asyncio.run(asyncio.sleep(GATEWAY_NOTICES_S))
    asyncio.run(_send(url, mixed(shares, WARM_UP_QUERIES, seed + 1), rate_rps, seed))
    start = utc_now()
    questions = mixed(shares, queries, seed)
    answers = asyncio.run(_send(url, questions, rate_rps, seed))
    end = utc_now()
    good = [a for a in answers if not a.error]
    if not good:
        raise EngineFailed(f"The gateway answered nothing: {first_error(answers)}")
    with uow() as work:
        held = clip(occupations(work.replicas.by_owner("deployment"), end), start, end)
        cost_usd = sum(c.cost_usd or 0.0 for c in charges(held, work.prices.all()))
    latency = spread([a.e2e_ms / 1000 for a in good])
    return Measured(
        cost_usd_per_hour=cost_usd * 3600 / (end - start).total_seconds(),
        cost_usd_per_million_tokens=usd_per_million(cost_usd, sum(a.output_tokens for a in good)),
        p50_e2e_s=latency.p50,
        p95_e2e_s=latency.p95,
        quality=_quality(questions, answers),
        failed=len(answers) - len(good),
        answered_by=dict(Counter(a.headers.get("x-boute-model", "?") for a in good)),
    )


def _shares(facts: PlanningFacts) -> dict[QueryClass, float]:
    names: tuple[QueryClass, ...] = ("easy", "medium", "hard")
    return {name: facts.workload.weight(name) for name in names}


async def _send(url: str, questions: list[Question], rate_rps: float, seed: int) -> list[Answer]:
    async with open_session() as session:

        async def ask_one(question: Question) -> Answer:
            return await ask(session, url, "auto", question.text, MAX_ANSWER_TOKENS)

        # What the estimator predicts for: random arrivals at a fixed mean rate.
        arrivals_s = poisson_arrivals_s(rate_rps, len(questions), seed)
        return await open_loop(ask_one, questions, arrivals_s, lambda *_: None)


def _quality(questions: list[Question], answers: list[Answer]) -> float:
    scores = [
        0.0 if answer.error else numeric(answer.text, question.answer)
        for question, answer in zip(questions, answers, strict=True)
    ]
    return sum(scores) / len(scores)
