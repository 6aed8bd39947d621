"""Outcomes by query and model: what a predictor learns from."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.domain.quality import Outcome


@dataclass(frozen=True)
class OutcomeTable:
    """n different texts and M models.

    Attributes:
        texts: n.
        models: M names, sorted.
        scores: n x M; mean score, NaN where a model was not asked.
        groups: n; equal for texts that differ in case and white space only.
    """

    texts: tuple[str, ...]
    models: tuple[str, ...]
    scores: NDArray[np.float64]
    groups: NDArray[np.int64]


def table_of(outcomes: Sequence[Outcome]) -> OutcomeTable:
    """Return the table of outcomes; `outcomes` is not empty. Repeated answers are averaged."""
    row_of = {text: row for row, text in enumerate(dict.fromkeys(o.query for o in outcomes))}
    models = tuple(sorted({o.model for o in outcomes}))
    column_of = {model: column for column, model in enumerate(models)}
    total, count = np.zeros((2, len(row_of), len(models)))
    for outcome in outcomes:
        at = row_of[outcome.query], column_of[outcome.model]
        total[at] += outcome.score
        count[at] += 1
    scores = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
    plain = [" ".join(text.lower().split()) for text in row_of]
    number = {text: n for n, text in enumerate(dict.fromkeys(plain))}
    groups = np.array([number[text] for text in plain], dtype=np.int64)
    return OutcomeTable(tuple(row_of), models, scores, groups)


def of_one_metric(outcomes: Sequence[Outcome]) -> tuple[list[Outcome], list[str]]:
    """Return the outcomes of the metric that most have, and the other metrics' names.

    A BLEU of .3 and one right answer in three are not alike. Outcomes of unknown metric stay.
    """
    counts = Counter(outcome.metric for outcome in outcomes if outcome.metric)
    if not counts:
        return list(outcomes), []
    most = min(counts, key=lambda metric: (-counts[metric], metric))
    kept = [outcome for outcome in outcomes if outcome.metric in ("", most)]
    return kept, sorted(set(counts) - {most})


def distinct_answers(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Return one outcome per query and model: of repeated ones the newest.

    Args:
        outcomes: The oldest first.
    """
    return list({(its.query, its.model): its for its in outcomes}.values())
