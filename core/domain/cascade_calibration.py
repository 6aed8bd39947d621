"""Thresholds of cascades and what they do, from outcomes of two models on the same queries."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import permutations
from statistics import fmean

from core.domain.cascade import CascadeEstimate
from core.domain.intervals import score_interval
from core.domain.quality import Outcome

ESCALATED = (0.1, 0.2, 0.3, 0.4, 0.5, 0.7)
"""Shares of the queries that go on, from which thresholds are made before any score is seen."""
FEWEST = 30
"""Queries that both models must have answered."""
MISS = 0.05 / len(ESCALATED)
"""Bonferroni: all the thresholds' intervals hold together with 95 %, so one of them may be chosen
for what its interval says."""


@dataclass(frozen=True, slots=True)
class Pair:
    """One query that both models answered.

    Attributes:
        confidence: Mean token log-probability of the small model's answer.
        small: Score of that answer, 0..1.
        large: Score of the large model's.
    """

    confidence: float
    small: float
    large: float


def pairs_of(outcomes: Iterable[Outcome], small: str, large: str) -> list[Pair]:
    """Return the queries that both models answered, the small one with a confidence.

    Scores are paired with those of the same metric only. Of repeated answers of a model to a
    query, the newest counts; `outcomes` has the oldest first.
    """
    answers: dict[str, dict[tuple[str, str], Outcome]] = {small: {}, large: {}}
    for outcome in outcomes:
        if outcome.model in answers:
            answers[outcome.model][outcome.query, outcome.metric] = outcome
    return [
        Pair(first.confidence, first.score, answers[large][query].score)
        for query, first in answers[small].items()
        if first.confidence is not None and query in answers[large]
    ]


def calibrated(query_class: str, outcomes: Sequence[Outcome]) -> list[CascadeEstimate]:
    """Return the cascades worth having for a class, of any two models in its outcomes.

    Args:
        outcomes: Of this class, the oldest first.
    """
    models = sorted({outcome.model for outcome in outcomes})
    return [
        estimate
        for small, large in permutations(models, 2)
        for estimate in cascades_of(query_class, small, large, pairs_of(outcomes, small, large))
    ]


def cascades_of(
    query_class: str, small: str, large: str, pairs: Sequence[Pair]
) -> list[CascadeEstimate]:
    """Return the cascades from one model to a better one that are worth having.

    Thresholds lie at fixed quantiles of the confidence, whatever the scores are. Intervals are on
    the mean of the scores that the cascade would have got, query by query: Wilson's where answers
    are right or wrong, by betting where they are graded. A cascade is left out unless it scores
    better than one that escalates fewer, and better than a draw by lot that sends as many to the
    large model, which costs no first answers for them.
    """
    if len(pairs) < FEWEST:
        return []
    alone, all_large = fmean(p.small for p in pairs), fmean(p.large for p in pairs)
    if all_large <= alone:
        return []
    kept: list[CascadeEstimate] = []
    for threshold in thresholds([p.confidence for p in pairs]):
        made = _estimate(query_class, (small, large), threshold, pairs)
        by_lot = alone + made.escalated * (all_large - alone)
        if made.mean > max(by_lot, kept[-1].mean if kept else alone):
            kept.append(made)
    return kept


def thresholds(confidences: Sequence[float]) -> list[float]:
    """Return thresholds below which about the shares `ESCALATED` of the confidences lie.

    Equal confidences go on together: so more may go on than wanted, never fewer.
    """
    ranked = sorted(confidences)
    found = set()
    for share in ESCALATED:
        last = max(0, round(share * len(ranked)) - 1)
        higher = next((value for value in ranked[last:] if value > ranked[last]), None)
        if higher is not None:
            found.add((ranked[last] + higher) / 2)
    return sorted(found)


def _estimate(
    query_class: str, models: tuple[str, str], threshold: float, pairs: Sequence[Pair]
) -> CascadeEstimate:
    given = [p.large if p.confidence < threshold else p.small for p in pairs]
    lower, upper = score_interval(given, MISS)
    return CascadeEstimate(
        query_class=query_class,
        model=models[0],
        escalate_to=models[1],
        threshold=threshold,
        escalated=sum(p.confidence < threshold for p in pairs) / len(pairs),
        n=len(pairs),
        mean=fmean(given),
        lower=lower,
        upper=upper,
    )
