"""Use cases of judging: have a model compare answers with their references."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from core.domain.job import Job, JobKind
from core.domain.judge import JudgeEndpoint
from core.domain.quality import Query, QuerySet
from core.errors import InvalidInput
from core.ports import UnitOfWorkFactory
from core.services.jobs import new_job
from core.services.quality import asking

CHARS_PER_TOKEN = 4
PROMPT_TOKENS = 170
"""What a judge is asked, without question and answers."""
VERDICT_TOKENS = 60
"""What a judge usually says."""
ORDERS = 2


@dataclass(frozen=True, slots=True)
class JudgingCost:
    """What judging will about cost.

    Attributes:
        comparisons: Calls to the judge.
        input_tokens: Its prompts, guessed from the texts' lengths.
        output_tokens: Its words, guessed.
        usd: Of these tokens at the judge's prices; the model's own answers are not in it.
    """

    comparisons: int
    input_tokens: int
    output_tokens: int
    usd: float


def request_judging(
    uow: UnitOfWorkFactory,
    model: str,
    sku: str,
    endpoint: JudgeEndpoint,
    now: datetime,
    *,
    query_set: str,
    tp: int = 1,
    per_class: int = 100,
) -> Job:
    """Enqueue: the model answers the query set, the judge compares with the references.

    Raises:
        InvalidInput: The model does not fit, or `per_class` is below 1.
        NotFound: No such model, device type or query set.
    """
    if per_class < 1:
        raise InvalidInput("Judge at least one query per class.", "100 is a good start.")
    with uow() as work:
        asked = asking(work, model, sku, tp, query_set, per_class)
        params = {**asked, "judge": endpoint.to_params()}
        title = f"Judge {model} on {query_set} by {endpoint.model}"
        job = new_job(JobKind.JUDGE, title, params, now)
        work.jobs.add(job)
        work.commit()
    return job


def judging_cost(query_set: QuerySet, per_class: int, endpoint: JudgeEndpoint) -> JudgingCost:
    """Return what judging will about cost, as far as it is known before a word is said.

    Answers are taken to be as long as they may be; four characters are taken for a token.
    """
    asked = [q for name in query_set.classes for q in query_set.of_class(name)[:per_class]]
    comparisons = ORDERS * len(asked)
    own = ORDERS * (_tokens(asked) + len(asked) * (PROMPT_TOKENS + query_set.max_tokens))
    words = comparisons * VERDICT_TOKENS
    usd = (own * endpoint.input_usd_per_million + words * endpoint.output_usd_per_million) / 1e6
    return JudgingCost(comparisons, own, words, usd)


def _tokens(queries: Iterable[Query]) -> int:
    return sum((len(q.text) + len(q.reference)) // CHARS_PER_TOKEN for q in queries)
