"""Compiled classification against the plain formulas, on any text."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.demo.arithmetic import QUERY_CLASSES, questions
from core.routing import kernels, text_kernels
from core.routing.band_classifier import BandClassifier
from core.routing.bands import Bands
from core.routing.classifier import Classifier, train
from core.routing.features import KNOWN_WORDS, MOST_CHARS, _read_any, look, sighting
from core.routing.novelty import Novelty, novelty_of
from core.routing.predictor import Predictor
from core.routing.reading import read_classifier
from core.routing.training import train_predictor
from core.routing.warm import warm
from tests.unit import routing_formula as plain
from tests.unit.routing_world import MODELS, world

FEW = settings(max_examples=150, deadline=None)
KNOWN = world(300, seed=1)
BANDS = Bands(1, 0, np.array([0.1, 0.3]), np.array([80.0]))
WORDS = st.sampled_from(
    ["river", "add", "Prove", "12", "47", "?", "a)", "\n", "while", "²³", "река"]
)
TEXTS = st.text(max_size=200) | st.lists(WORDS, max_size=400).map(" ".join)


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return train_predictor(KNOWN.seen, KNOWN.scores, KNOWN.groups, MODELS, seed=0).predictor


@pytest.fixture(scope="module")
def novelty() -> Novelty:
    return novelty_of(KNOWN.seen, 0)


@pytest.fixture(scope="module")
def named() -> Classifier:
    asked = [(q.text, c) for c in QUERY_CLASSES for q in questions(c, 40, 1)]
    return train([text for text, _ in asked], [name for _, name in asked], seed=0)[0]


@FEW
@given(TEXTS)
def test_grams_and_words_are_those_counted_one_by_one(text: str) -> None:
    seen, codes = sighting(text), look(text).codes.tolist()
    counted = plain.counts_of(codes)
    assert dict(zip(seen.grams.tolist(), seen.counts.tolist(), strict=True)) == counted
    assert len(seen.grams) == len(counted)
    assert sorted(seen.words.tolist()) == sorted({code % KNOWN_WORDS for code in codes})


@FEW
@given(TEXTS, st.lists(st.text(max_size=30), max_size=3))
def test_bands_are_those_of_the_formula(
    predictor: Predictor, novelty: Novelty, text: str, earlier: list[str]
) -> None:
    its = look(text, earlier)
    facts, codes = its.facts.tolist(), its.codes.tolist()
    expected = plain.scores_of(predictor, facts, plain.counts_of(codes))
    found = predictor.scores(sighting(text, earlier))
    assert found.tolist() == pytest.approx(expected, rel=0, abs=1e-12)
    said = BandClassifier(predictor, BANDS, novelty).classify(text, earlier)
    assert said.query_class == BANDS.names[plain.position_of(BANDS, found.tolist(), len(text))]
    assert said.is_new == plain.is_new(novelty, facts, codes)


@FEW
@given(TEXTS)
def test_given_classes_are_those_of_the_formula(named: Classifier, text: str) -> None:
    its = look(text)
    counts = plain.counts_of(its.codes.tolist())
    expected = plain.probabilities_of(named._weights, named._bias, its.facts.tolist(), counts)
    said = named.classify(text)
    assert said.confidence == pytest.approx(max(expected), rel=0, abs=1e-12)
    assert named.classes.index(said.query_class) == int(np.argmax(expected))
    assert named._novelty is not None
    assert said.is_new == plain.is_new(named._novelty, its.facts.tolist(), its.codes.tolist())


@FEW
@given(st.lists(st.floats(0, 1), min_size=2, max_size=2), st.integers(0, 200))
def test_a_band_is_where_numpy_finds_it(scores: list[float], chars: int) -> None:
    for bands in (BANDS, Bands(0, 0, BANDS.gain_edges, BANDS.length_edges)):
        found = kernels.band_at(np.array(scores), chars, bands.tables)
        assert found == plain.position_of(bands, scores, chars)
        assert found == int(bands.positions(np.array(scores), chars))


def test_trees_that_go_round_in_circles_end(predictor: Predictor) -> None:
    tables = predictor.tables
    round_and_round = tables._replace(
        left=tables.right[::-1].copy(), right=tables.left[::-1].copy()
    )
    inputs = np.zeros(len(tables.mean) + 2, dtype=np.float32)
    assert np.isfinite(kernels.tree_sums(inputs, 2, round_and_round)).all()


def test_what_was_read_is_compiled_already(predictor: Predictor, novelty: Novelty) -> None:
    """No query waits for the compiler: no further form of the function is made for one."""
    stored = BandClassifier(predictor, BANDS, novelty).to_bytes()
    its = read_classifier(stored)
    warm()
    its.classify("Please add the river. " * 50, earlier=("Hello.",))
    its.classify("²³ ٣٤ река")
    for function in (kernels.classify_band, text_kernels.read_plain):
        assert len(function.signatures) == 1  # type: ignore[attr-defined]


LINES = st.sampled_from(
    [
        "A. one",
        "(b) two 2",
        "3) x",
        "(12) red",
        "123. no",
        "  C: up\r",
        "D.  \x1cx",
        "E. \t",
        "F.",
        "if what",
        "__",
        "````",
        "!  ",
        "Which is NOT true?",
        "x_i = __ ^ 2",
        "```py",
        "return (x)",
        "(i) (II) Statement 1",
        "a\x0bb",
        "G) \x1f",
        "\t(h: yes",
        "((a. b",
        "Calculate 47 + 1234567890 (1).",
        "()()",
        ". . ",
        "explanation explain",
    ]
)
PLAIN = st.one_of(
    st.text(st.characters(max_codepoint=127), min_size=1, max_size=300),
    st.lists(LINES, min_size=1, max_size=30).map("\n".join),
    st.lists(LINES, min_size=1, max_size=90).map(" ".join),
)


@settings(max_examples=600, deadline=None)
@given(PLAIN, st.lists(st.text(max_size=9), max_size=3))
def test_a_plain_text_is_read_as_regular_expressions_read_it(
    text: str, earlier: list[str]
) -> None:
    found = look(text, earlier)
    part = text if len(text) <= MOST_CHARS else text[: MOST_CHARS // 2] + text[-MOST_CHARS // 2 :]
    slow = _read_any(text, part, earlier)
    assert found.codes.tolist() == slow.codes.tolist()
    assert found.facts.tolist() == pytest.approx(slow.facts.tolist(), rel=1e-6, abs=1e-7)
