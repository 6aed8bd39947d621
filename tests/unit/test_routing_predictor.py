"""Predicted scores: learned, calibrated, the same when stored, refused when damaged."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load, save

from core.errors import InvalidInput, NotReady
from core.routing.band_classifier import BandClassifier
from core.routing.bands import Bands, bands_of
from core.routing.features import sighting
from core.routing.measures import auc, calibration_error
from core.routing.novelty import novelty_of
from core.routing.reading import read_classifier
from core.routing.stored import unpacked
from core.routing.training import (
    Trained,
    _fit_trees,
    _laid_end_to_end,
    folds,
    train_predictor,
)
from tests.unit.routing_formula import sums_of
from tests.unit.routing_world import MODELS, World, world

FEW = settings(max_examples=30, deadline=None)
KNOWN, FRESH = world(400, seed=1), world(400, seed=2)


@pytest.fixture(scope="module")
def trained() -> Trained:
    return train_predictor(KNOWN.seen, KNOWN.scores, KNOWN.groups, MODELS, seed=0)


@pytest.fixture(scope="module")
def stored(trained: Trained) -> bytes:
    return classifier(trained).to_bytes()


def classifier(trained: Trained) -> BandClassifier:
    chars = np.array([len(text) for text in KNOWN.texts])
    bands = bands_of(trained.unseen, KNOWN.scores, chars, folds(KNOWN.groups, 5, 1))
    return BandClassifier(trained.predictor, bands, novelty_of(KNOWN.seen, 0))


def predicted(trained: Trained, of: World) -> np.ndarray:
    return np.array([trained.predictor.scores(seen) for seen in of.seen])


def test_predictions_come_close_to_the_true_chances(trained: Trained) -> None:
    scores = predicted(trained, FRESH)
    assert np.abs(scores - FRESH.true).mean() < 0.08
    for m in range(len(MODELS)):
        assert auc(scores[:, m], FRESH.scores[:, m] > 0) > 0.7
        assert calibration_error(scores[:, m], FRESH.scores[:, m], 5) < 0.08


def test_unseen_predictions_are_no_better_than_those_of_fresh_queries(trained: Trained) -> None:
    """Were they made by a model that knows the query, they would be."""
    noise = np.random.default_rng(5).integers(0, 2, KNOWN.scores.shape).astype(float)
    blind = train_predictor(KNOWN.seen, noise, KNOWN.groups, MODELS, seed=0)
    for m in range(len(MODELS)):
        assert abs(auc(blind.unseen[:, m], noise[:, m] > 0) - 0.5) < 0.1
    error = np.abs(trained.unseen - KNOWN.true).mean()
    assert error == pytest.approx(np.abs(predicted(trained, FRESH) - FRESH.true).mean(), abs=0.03)


def test_trees_add_up_to_what_scikit_learn_says() -> None:
    dice = np.random.default_rng(0)
    inputs = dice.normal(size=(200, 9)).astype(np.float32)
    right = (inputs[:, 0] * inputs[:, 3] > 0).astype(float)
    models = [_fit_trees(inputs, score, 30, seed=1) for score in (right, 1 - right * 0.5)]
    trees = _laid_end_to_end([[its.tree_ for its in m.estimators_[:, 0]] for m in models])
    expected = np.stack([model.decision_function(inputs) for model in models], axis=1)
    assert np.array([sums_of(trees, row, 2) for row in inputs]) == pytest.approx(expected)


def test_repeated_wordings_stay_in_one_fold() -> None:
    groups = np.random.default_rng(0).integers(0, 40, 200)
    fold = folds(groups, 4, seed=1)
    assert all(len(set(fold[groups == group])) == 1 for group in set(groups))
    assert set(fold) == {0, 1, 2, 3}


def test_partly_right_answers_gaps_and_certainty_are_learned_from() -> None:
    scores = np.where(KNOWN.true > 0.5, 0.7, 0.4)
    scores[:, 0] = 1.0
    scores[::3, 0] = np.nan
    scores[::5, 1] = np.nan
    learned = train_predictor(KNOWN.seen, scores, KNOWN.groups, MODELS, seed=0)
    always, partly = predicted(learned, FRESH).T
    assert (always > 0.98).all()
    assert np.abs(partly - np.where(FRESH.true[:, 1] > 0.5, 0.7, 0.4)).mean() < 0.06


def test_too_few_queries_are_not_learned_from() -> None:
    few = world(19, seed=1)
    with pytest.raises(NotReady, match="'large' has 19 different scored queries"):
        train_predictor(few.seen, few.scores, few.groups, MODELS, seed=0)


def test_bands_are_in_order_of_the_real_gain(trained: Trained) -> None:
    its = classifier(trained)
    assert len(its.classes) > 1
    assert {its.classify(text).confidence for text in FRESH.texts[:9]} == {1.0}
    gain = FRESH.true[:, 0] - FRESH.true[:, 1]
    band = [its.classes.index(its.classify(text).query_class) for text in FRESH.texts]
    assert np.corrcoef(band, gain)[0, 1] > 0.7


def test_many_bands_are_not_chosen_without_queries_to_fill_them() -> None:
    gain = np.linspace(0, 1, 120)
    scores = np.stack([gain, np.zeros(120)], axis=1)
    chosen = bands_of(scores, scores, np.full(120, 10), np.arange(120) % 5)
    assert 1 <= len(chosen.names) <= 2


def test_long_queries_get_classes_of_their_own_where_lengths_differ() -> None:
    dice = np.random.default_rng(0)
    scores = dice.random((1000, 2))
    chars = np.exp(dice.normal(5, 1.5, 1000)).astype(int)
    chosen = bands_of(scores, scores, chars, np.arange(1000) % 5)
    assert {name.split(", ")[1] for name in chosen.names} == {"short", "long"}
    assert len(set(chosen.positions(scores, chars))) == len(chosen.names)


@FEW
@given(st.lists(st.floats(-1, 1), max_size=5), st.floats(-1, 1), st.integers(0, 5000))
def test_a_position_counts_the_edges_below(edges: list[float], gain: float, chars: int) -> None:
    bands = Bands(0, 1, np.unique(edges), np.array([100.0]))
    scores = np.array([0.0, gain])
    band, part = sum(edge <= gain for edge in set(edges)), int(chars >= 100)
    assert int(bands.positions(scores, chars)) == 2 * band + part


def test_stored_and_read_it_is_the_same(trained: Trained, stored: bytes) -> None:
    first, again = classifier(trained), read_classifier(stored)
    for text in (*FRESH.texts[:50], "", "Что это?", "\ud800"):
        assert again.classify(text) == first.classify(text)


def test_odd_queries_and_conversations_are_classified(stored: bytes) -> None:
    its = read_classifier(stored)
    for text in ("", "x" * 10**5, "A. 1\nB. 2\n" * 300, "\x00", "²³ ٣٤"):
        assert its.classify(text, earlier=("Hello.", "x" * 10**5)).query_class in its.classes


@FEW
@given(
    st.sampled_from(
        [
            "trees.left",
            "trees.feature",
            "scaling.rarity",
            "calibration",
            "gain_edges",
            "novelty.known",
            "first.of_grams",
            "trees.roots",
        ]
    ),
    st.sampled_from(["gone", "short", "float", "huge", "nan"]),
)
def test_a_damaged_part_is_refused_or_harmless(stored: bytes, name: str, how: str) -> None:
    content, parts = unpacked(stored), load(stored)
    whole = parts.pop(name)
    if how == "short":
        parts[name] = whole[:-1].copy()
    elif how == "float":
        parts[name] = whole.astype(np.float16)
    elif how in ("huge", "nan"):
        parts[name] = whole.copy()
        parts[name].flat[0] = np.nan if how == "nan" and whole.dtype.kind == "f" else 120
    header = {"kind": content.kind, "facts": json.dumps(content.facts), "features": "2"}
    try:
        read = read_classifier(save(parts, metadata=header))
    except InvalidInput:
        return
    assert read.classify("Please add the river.").query_class in read.classes


def test_what_is_unlike_training_is_new_and_what_is_like_it_is_not() -> None:
    novelty = novelty_of(KNOWN.seen, 0)
    assert np.mean([novelty.is_new(seen) for seen in FRESH.seen]) <= 0.02
    strange = (
        "Напиши письмо коллеге, пожалуйста.",
        "{" * 800,
        "kubectl get pods -n prod",
        "🙂" * 9,
    )
    assert all(novelty.is_new(sighting(text)) for text in strange)
