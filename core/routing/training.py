"""Learning from outcomes how well each model answers what: makes a `Predictor`.

scikit-learn does it, offline. Nothing that is said of the result was seen in training: every
query is also predicted by models that learned from the other folds, and repeated texts stay
together.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.errors import NotReady
from core.routing.features import DENSE, GRAMS, Sighting
from core.routing.first_guess import FirstGuess, Floats, Scaling, Singles, scaling_of
from core.routing.predictor import Predictor, Trees, probabilities

FOLDS = 4
FEWEST_QUERIES = 20
REGULARISATION = 1.5
"""Of the first guess: scikit-learn's C."""
FACT_SCALE = 0.1
"""A fact one standard deviation off weighs as much as a hundredth of all n-grams."""
MOST_TREES = 200
TREE_STEPS = 25
"""The number of trees is a multiple of this: the one that predicts unseen folds best."""
DEPTH = 3
LEARNING_RATE = 0.04
SUBSAMPLE = 0.5
FEATURE_SHARE = 0.3
FEWEST_PER_LEAF = 30

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Trained:
    """A predictor, and what it is worth.

    Attributes:
        predictor: Trained on everything.
        unseen: n x M; predictions of queries by models that did not see them.
    """

    predictor: Predictor
    unseen: Floats


def train_predictor(
    seen: Sequence[Sighting], scores: Floats, groups: Integers, models: Sequence[str], seed: int
) -> Trained:
    """Learn from n queries.

    Args:
        seen: n sightings.
        scores: n x M from 0 to 1; NaN where a model was not asked.
        groups: n; equal for queries that must not be learned from and tested with.
        models: M names.
        seed: Of folds and trees.

    Raises:
        NotReady: Too few queries, or no model with both good and bad answers.
    """
    _require_enough(scores, groups, models)
    fold = folds(groups, FOLDS, seed)
    scaling = scaling_of(seen)
    facts, rows = np.stack([its.facts for its in seen]), _rows(seen, scaling)
    guesses = _unseen_guesses(rows, scores, fold)
    inputs = np.concatenate([facts, guesses], axis=1)
    boosted = [_boosted(inputs, scores[:, m], fold, seed) for m in range(len(models))]
    calibration = np.array([its.calibration for its in boosted])
    logits = np.array([its.unseen for its in boosted]).T
    predictor = Predictor(
        models=tuple(models),
        scaling=scaling,
        first=_first_guess(rows, scores),
        trees=_laid_end_to_end([its.trees for its in boosted]),
        calibration=calibration,
    )
    return Trained(predictor, probabilities(calibration[:, 0] * logits + calibration[:, 1]))


def folds(groups: Integers, count: int, seed: int) -> Integers:
    """Return a fold number for each row; rows of a group share it, folds have equal groups."""
    distinct, of_row = np.unique(groups, return_inverse=True)
    dealt = np.random.default_rng(seed).permutation(len(distinct)) % count
    chosen: Integers = dealt[of_row]
    return chosen


def _require_enough(scores: Floats, groups: Integers, models: Sequence[str]) -> None:
    for model, its in zip(models, scores.T, strict=True):
        known = ~np.isnan(its)
        distinct = len(np.unique(groups[known]))
        if distinct < FEWEST_QUERIES:
            raise NotReady(
                f"Model {model!r} has {distinct} different scored queries; {FEWEST_QUERIES} are "
                "needed to predict how well it answers.",
                "Score it on a larger query set, on Workload & quality.",
            )


def _rows(seen: Sequence[Sighting], scaling: Scaling) -> Any:
    """Return n x (`DENSE` + `GRAMS`), sparse: what the first guess is learned from."""
    from scipy.sparse import csr_array, hstack

    facts = FACT_SCALE * np.stack([scaling.facts(its) for its in seen])
    weights = np.concatenate([scaling.grams(its) for its in seen])
    columns = np.concatenate([its.grams for its in seen])
    starts = np.cumsum([0, *(len(its.grams) for its in seen)])
    grams = csr_array((weights, columns, starts), shape=(len(seen), GRAMS))
    return hstack([csr_array(facts), grams], format="csr")


def _unseen_guesses(rows: Any, scores: Floats, fold: Integers) -> Singles:
    guesses = np.zeros(scores.shape, dtype=np.float32)
    for number in range(FOLDS):
        own = np.flatnonzero(fold == number)
        others = np.flatnonzero(fold != number)
        for m in range(scores.shape[1]):
            weights, bias = _logistic(rows[others], scores[others, m])
            guesses[own, m] = rows[own] @ weights + bias
    return guesses


def _first_guess(rows: Any, scores: Floats) -> FirstGuess:
    learned = [_logistic(rows, its) for its in scores.T]
    weights = np.stack([weights for weights, _ in learned])
    return FirstGuess(
        of_facts=np.ascontiguousarray(FACT_SCALE * weights[:, :DENSE], dtype=np.float32),
        # safetensors writes a buffer as it lies: a transposed view would come back scrambled.
        of_grams=np.ascontiguousarray(weights[:, DENSE:].T, dtype=np.float32),
        bias=np.array([bias for _, bias in learned], dtype=np.float32),
    )


def _logistic(rows: Any, score: Floats) -> tuple[Floats, float]:
    """Return weights and bias of a logistic regression."""
    from sklearn.linear_model import LogisticRegression

    chosen, right, weight = _weighted(score)
    if len(set(right)) < 2:
        return np.zeros(rows.shape[1]), _logit(float(np.nanmean(score)))
    model = LogisticRegression(C=REGULARISATION, max_iter=300, tol=1e-3)
    model.fit(rows[chosen], right, weight)
    return model.coef_[0], float(model.intercept_[0])


def _weighted(score: Floats) -> tuple[Integers, Integers, Floats]:
    """Return rows, labels and weights: an answer that is 0.7 right is right with weight 0.7."""
    known = np.flatnonzero(~np.isnan(score))
    rows = np.concatenate([known, known])
    right = np.repeat([1, 0], len(known))
    weight = np.concatenate([score[known], 1 - score[known]])
    kept = weight > 0
    return rows[kept], right[kept], weight[kept]


@dataclass(frozen=True)
class _Boosted:
    """scikit-learn's trees of one model, its n logits for unseen folds, their slope and offset."""

    trees: Sequence[Any]
    unseen: Floats
    calibration: tuple[float, float]


def _boosted(inputs: Singles, score: Floats, fold: Integers, seed: int) -> _Boosted:
    known = ~np.isnan(score)
    if np.nanmin(score) == np.nanmax(score):
        always = _logit(float(np.nanmean(score)))
        return _Boosted([], np.zeros(len(score)), (0.0, always))
    staged = _unseen_stages(inputs, score, fold, seed)
    losses = [_log_loss(stage[known], score[known]) for stage in staged]
    best = int(np.argmin(losses))
    model = _fit_trees(inputs, score, (best + 1) * TREE_STEPS, seed)
    calibration = _calibrated(staged[best][known], score[known])
    return _Boosted([its.tree_ for its in model.estimators_[:, 0]], staged[best], calibration)


def _unseen_stages(inputs: Singles, score: Floats, fold: Integers, seed: int) -> Floats:
    """Return stages x n logits, each by trees that did not see the query's fold."""
    staged = np.zeros((MOST_TREES // TREE_STEPS, len(score)))
    for number in range(FOLDS):
        own = fold == number
        model = _fit_trees(inputs[~own], score[~own], MOST_TREES, seed)
        stages = list(model.staged_decision_function(inputs[own]))[TREE_STEPS - 1 :: TREE_STEPS]
        staged[:, own] = np.array(stages)[:, :, 0]
    return staged


def _fit_trees(inputs: Singles, score: Floats, count: int, seed: int) -> Any:
    from sklearn.ensemble import GradientBoostingClassifier

    rows, right, weight = _weighted(score)
    model = GradientBoostingClassifier(
        init="zero",
        n_estimators=count,
        learning_rate=LEARNING_RATE,
        max_depth=DEPTH,
        subsample=SUBSAMPLE,
        max_features=FEATURE_SHARE,
        min_samples_leaf=FEWEST_PER_LEAF,
        random_state=seed,
    )
    return model.fit(inputs[rows], right, weight)


def _laid_end_to_end(of_models: Sequence[Sequence[Any]]) -> Trees:
    """Take scikit-learn's trees over; a leaf becomes its own next node."""
    parts: dict[str, list[NDArray[Any]]] = {part.name: [np.zeros(0)] for part in fields(Trees)}
    offset = 0
    for owner, tree in ((m, tree) for m, trees in enumerate(of_models) for tree in trees):
        here, leaf = np.arange(tree.node_count), tree.children_left < 0
        parts["owner"].append(np.array([owner]))
        parts["roots"].append(np.array([offset]))
        parts["feature"].append(np.where(leaf, 0, tree.feature))
        parts["threshold"].append(np.where(leaf, 0.0, tree.threshold))
        parts["left"].append(offset + np.where(leaf, here, tree.children_left))
        parts["right"].append(offset + np.where(leaf, here, tree.children_right))
        parts["value"].append(LEARNING_RATE * tree.value[:, 0, 0])
        offset += tree.node_count
    laid = {name: np.concatenate(its) for name, its in parts.items()}
    real = ("threshold", "value")
    return Trees(**{k: v if k in real else v.astype(np.int32) for k, v in laid.items()})


def _log_loss(logits: Floats, score: Floats) -> float:
    return float(np.mean(np.logaddexp(0, logits) - score * logits))


def _calibrated(logits: Floats, score: Floats) -> tuple[float, float]:
    """Return slope and offset of the logit that fit the scores best (Platt 1999)."""
    from sklearn.linear_model import LogisticRegression

    rows, right, weight = _weighted(score)
    model = LogisticRegression(C=1e3).fit(logits[rows, None], right, weight)
    return float(model.coef_[0, 0]), float(model.intercept_[0])


def _logit(share: float) -> float:
    bounded = min(max(share, 0.01), 0.99)
    return float(np.log(bounded / (1 - bounded)))
