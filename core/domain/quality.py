"""Quality: scored answers and intervals on their mean."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from core.domain.intervals import score_interval
from core.domain.profile import Provenance


@dataclass(frozen=True, slots=True)
class Query:
    """One query of a query set.

    Attributes:
        text: What is sent as the user's message.
        query_class: Class it belongs to.
        reference: The right answer, as the set's scorer reads it.
    """

    text: str
    query_class: str
    reference: str


@dataclass(frozen=True, slots=True)
class QuerySet:
    """Queries with reference answers: what quality and load are measured with.

    Attributes:
        name: Unique name.
        scorer: Name of the scorer in `core.quality.scorers`.
        max_tokens: Longest answer asked for.
        queries: In a fixed order; classes interleaved.
    """

    name: str
    scorer: str
    max_tokens: int
    queries: tuple[Query, ...]

    @property
    def classes(self) -> tuple[str, ...]:
        """Query classes, sorted."""
        return tuple(sorted({q.query_class for q in self.queries}))

    def of_class(self, query_class: str) -> tuple[Query, ...]:
        """Queries of one class, in order."""
        return tuple(q for q in self.queries if q.query_class == query_class)


@dataclass(frozen=True, slots=True)
class Outcome:
    """One scored answer.

    Attributes:
        query: Text of the query.
        query_class: Class the query set says it belongs to.
        model: Model that answered.
        score: 0..1; 1 is right.
        output_tokens: Length of the answer.
        job_id: Job that measured it.
        confidence: Mean token log-probability of the answer (natural logarithm, at most 0); None
            when the engine did not tell.
        metric: What the score is, such as "numeric" or "rouge_l"; empty when unknown.
    """

    query: str
    query_class: str
    model: str
    score: float
    output_tokens: int
    job_id: str
    confidence: float | None = None
    metric: str = ""


@dataclass(frozen=True, slots=True)
class QualityEstimate:
    """Mean score of a model on a class, with its 95 % interval.

    Attributes:
        n: Number of scored answers.
        mean: Mean score.
        lower: Lower bound of the interval.
        upper: Upper bound of the interval.
        output_tokens_mean: Mean answer length; 0 when unknown.
        metric: What the scores are; floors are in it. Empty when unknown.
        provenance: Measured here, or imported.
    """

    model: str
    query_class: str
    n: int
    mean: float
    lower: float
    upper: float
    output_tokens_mean: float
    measured_at: datetime
    metric: str = ""
    provenance: Provenance = Provenance.MEASURED


def estimate_of(
    outcomes: Sequence[Outcome],
    model: str,
    query_class: str,
    measured_at: datetime,
    provenance: Provenance = Provenance.MEASURED,
) -> QualityEstimate:
    """Return the mean score with its 95 % interval; see `core.domain.intervals.score_interval`.

    Args:
        outcomes: Not empty, of one metric, each query once: repeated ones would make the
            interval narrower than what is known.
    """
    scores = [outcome.score for outcome in outcomes]
    lengths = [its.output_tokens for its in outcomes if its.output_tokens]
    lower, upper = score_interval(scores)
    return QualityEstimate(
        model=model,
        query_class=query_class,
        n=len(scores),
        mean=sum(scores) / len(scores),
        lower=lower,
        upper=upper,
        output_tokens_mean=sum(lengths) / len(lengths) if lengths else 0.0,
        measured_at=measured_at,
        metric=outcomes[0].metric,
        provenance=provenance,
    )
