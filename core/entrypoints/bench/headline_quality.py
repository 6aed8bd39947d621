"""Query classes from the text of MMLU-Pro questions, and how well each model answers them.

A classifier predicts from a question's text, by the gateway's own features, whether the small
model answers right; bands of that prediction are the query classes. No question is ever judged by
its own outcome:

* A third of the questions is *traffic*: neither classifier nor estimates ever see its outcomes.
  It says in the end what quality a plan really has.
* The others are *known*: each is put into a band by a classifier of the other four fifths of
  them, and the bands' outcomes make the estimates that plans are made with.

Questions with the same text stay together, whatever their options.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.domain.intervals import wilson
from core.domain.plan import ServingPlan
from core.domain.quality import QualityEstimate
from core.entrypoints.bench.headline_data import QUESTIONS, columns_of
from core.entrypoints.bench.headline_speeds import LARGE, SMALL
from core.estimate.speed import Vector
from core.routing.features import features

BANDS = 6
FOLDS = 5
TRAFFIC_SHARE = 1 / 3
REGULARISATION = 0.01
MODELS = (SMALL, LARGE)
NOW = datetime(2026, 1, 1, tzinfo=UTC)

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Questions:
    """n questions.

    Attributes:
        rows: n x features of question and options as a model is asked.
        groups: n; equal for equal questions.
        right: n x 2; 1 where the small, the large model answers right, else 0.
    """

    rows: NDArray[np.float32]
    groups: Integers
    right: Vector

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True)
class Bands:
    """Query classes of questions, what is estimated of them, and what turns out.

    Attributes:
        names: K query classes, the hardest for the small model first.
        estimates: Per (model, class), of known questions only.
        auc: How well the prediction ranks unseen questions: the chance that one which the small
            model answers right is ranked above one which it does not.
        known: K x 3; known questions, and the shares that the small and the large model answer.
        traffic: n; positions of the traffic questions.
        traffic_class: n; positions of their bands in `names`.
        traffic_right: n x 2; their outcomes.
    """

    names: tuple[str, ...]
    estimates: Mapping[tuple[str, str], QualityEstimate]
    auc: float
    known: Vector
    traffic: Integers
    traffic_class: Integers
    traffic_right: Vector

    def realised(self, plan: ServingPlan) -> tuple[float, float]:
        """Return the quality of a plan on the traffic questions, and its standard error."""
        shares = np.array([[plan.shares(n).get(m, 0.0) for m in MODELS] for n in self.names])
        scores = np.sum(shares[self.traffic_class] * self.traffic_right, axis=1)
        return float(scores.mean()), float(scores.std(ddof=1) / np.sqrt(len(scores)))


def questions_in(folder: Path) -> Questions:
    """Read questions and outcomes.

    Raises:
        NotFound: The file is not in the folder.
    """
    outcomes = [f"correct__llama-3.1-{size}-instruct" for size in ("8b", "70b")]
    asked, options, *right = columns_of(
        folder / QUESTIONS, ["question", "options_json", *outcomes]
    )
    texts = ("\n".join((q, *json.loads(o))) for q, o in zip(asked, options, strict=True))
    rows = np.stack([features(text) for text in texts])
    _, groups = np.unique(np.array(asked, dtype=object), return_inverse=True)
    return Questions(rows, groups, np.array(right, dtype=float).T)


def bands_of(questions: Questions, seed: int) -> Bands:
    """Split the questions into known and traffic, and both into bands."""
    rows = questions.rows
    fold = _folds(questions.groups, seed)
    traffic, known = np.flatnonzero(fold < 0), np.flatnonzero(fold >= 0)
    small = questions.right[:, 0]
    guessed = out_of_fold(rows[known], small[known], fold[known])
    unseen = _fitted(rows[known], small[known]).predict_proba(rows[traffic])[:, 1]
    edges = np.quantile(guessed, np.arange(1, BANDS) / BANDS)
    names = tuple(f"band {k + 1} of {BANDS}" for k in range(BANDS))
    of_known = _counted(np.searchsorted(edges, guessed), questions.right[known])
    return Bands(
        names=names,
        estimates=_estimates(names, of_known),
        auc=_auc(unseen, small[traffic]),
        known=of_known,
        traffic=traffic,
        traffic_class=np.searchsorted(edges, unseen),
        traffic_right=questions.right[traffic],
    )


def _folds(groups: Integers, seed: int) -> Integers:
    """Return n fold numbers, equal for equal questions; -1 is traffic."""
    dice = np.random.default_rng(seed)
    distinct = int(groups.max()) + 1
    fold = dice.integers(0, FOLDS, distinct)
    fold[dice.random(distinct) < TRAFFIC_SHARE] = -1
    chosen: Integers = fold[groups]
    return chosen


def out_of_fold(rows: NDArray[np.float32], right: Vector, fold: Integers) -> Vector:
    """Return n chances that the small model is right, by classifiers that saw no such fold.

    Args:
        rows: n x features.
        right: n; 1 or 0.
        fold: n; 0 to `FOLDS` - 1.
    """
    guessed = np.zeros(len(rows))
    for number in range(FOLDS):
        own = fold == number
        guessed[own] = _fitted(rows[~own], right[~own]).predict_proba(rows[own])[:, 1]
    return guessed


def _fitted(rows: NDArray[np.float32], right: Vector) -> Any:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import MaxAbsScaler

    model = make_pipeline(MaxAbsScaler(), LogisticRegression(C=REGULARISATION, max_iter=1000))
    return model.fit(rows, right)


def _auc(guessed: Vector, right: Vector) -> float:
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(right, guessed))


def _counted(classes: Integers, right: Vector) -> Vector:
    """Return K x 3: questions per band, and the models' mean scores."""
    of_band = [right[classes == k] for k in range(BANDS)]
    return np.array([(len(own), *own.mean(axis=0)) for own in of_band])


def _estimates(names: Sequence[str], known: Vector) -> dict[tuple[str, str], QualityEstimate]:
    found = {}
    for name, (count, *means) in zip(names, known, strict=True):
        for model, mean in zip(MODELS, means, strict=True):
            low, high = wilson(mean, int(count))
            estimate = QualityEstimate(model, name, int(count), mean, low, high, 0.0, NOW)
            found[model, name] = estimate
    return found
