"""Features and the classifier: learned, stored safely, refused when damaged."""

import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save

from core.demo.arithmetic import QUERY_CLASSES, questions
from core.errors import InvalidInput, NotReady
from core.routing.classifier import Classifier, train
from core.routing.features import DENSE, FEATURE_VERSION, MOST_CHARS, SIZE, features
from core.routing.reading import read_classifier

FEW = settings(max_examples=50, deadline=None)


def labelled(count: int, seed: int) -> tuple[list[str], list[str]]:
    found = [(q.text, c) for c in QUERY_CLASSES for q in questions(c, count, seed)]
    return [text for text, _ in found], [name for _, name in found]


@pytest.fixture(scope="module")
def trained() -> tuple[Classifier, dict[str, object]]:
    return train(*labelled(60, seed=1), seed=0)


@FEW
@given(st.text(max_size=300))
def test_features_are_finite_and_of_one_size(text: str) -> None:
    vector = features(text)
    assert vector.shape == (SIZE,)
    assert vector.dtype == np.float32
    assert np.isfinite(vector).all()


@pytest.mark.parametrize("text", ["", "\ud800", "²³ ٣٤", "x" * 10**6, "1 " * 10**5])
def test_odd_texts_have_features(text: str) -> None:
    assert np.isfinite(features(text)).all()


def test_numbers_count_by_their_length() -> None:
    assert (features("12 + 47?") == features("98 + 10?")).all()
    assert (features("12 + 47?") != features("12 + 478?")).any()


def test_a_long_text_is_known_by_its_ends() -> None:
    middle = "filler " * MOST_CHARS
    assert (
        features("Sum: " + middle + "9?")[DENSE:] == features("Sum: " + middle + "8?")[DENSE:]
    ).all()
    assert (features("Sum: " + middle + "9?") != features("Sum: " + middle + "!")).any()
    assert (features("Sum: " + middle) != features("Sort: " + middle)).any()


def test_features_are_the_same_in_every_process() -> None:
    code = (
        "from core.routing.features import features; import hashlib; "
        "print(hashlib.sha256(features('What is 12 plus 9?').tobytes()).hexdigest())"
    )
    run = [sys.executable, "-c", code]
    seen = {
        subprocess.run(
            run, env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert len(seen) == 1


def test_fresh_questions_get_their_class(trained: tuple[Classifier, dict[str, object]]) -> None:
    classifier, facts = trained
    texts, classes = labelled(100, seed=99)
    right = [classifier.classify(t)[0] == c for t, c in zip(texts, classes, strict=True)]
    assert np.mean(right) >= 0.95
    assert not any(classifier.classify(text).is_new for text in texts)
    assert facts["accuracy"] >= 0.9  # type: ignore[operator]
    assert facts["classes"] == sorted(QUERY_CLASSES)
    assert np.sum(facts["confusion"]) == facts["held_out"]  # type: ignore[arg-type]


def test_a_confidence_is_a_probability(trained: tuple[Classifier, dict[str, object]]) -> None:
    for text in labelled(20, seed=5)[0]:
        assert 1 / 3 <= trained[0].classify(text).confidence <= 1


def test_confidence_means_something() -> None:
    """With labels that are wrong now and then, it is about as sure as it is right."""
    rng = np.random.default_rng(0)
    texts = [f"{'add' if i % 2 else 'divide'} {i} things" for i in range(600)]
    classes = [["divide", "add"][i % 2 ^ int(rng.random() < 0.2)] for i in range(600)]
    classifier, facts = train(texts, classes, seed=0)
    mean = np.mean([classifier.classify(f"add {i} things")[1] for i in range(200)])
    assert mean == pytest.approx(0.8, abs=0.12)
    assert facts["accuracy"] == pytest.approx(0.8, abs=0.12)


def test_stored_and_read_it_is_the_same(trained: tuple[Classifier, dict[str, object]]) -> None:
    again = read_classifier(trained[0].to_bytes())
    for text in labelled(20, seed=6)[0]:
        assert again.classify(text) == trained[0].classify(text)


def test_two_classes_work_as_three_do() -> None:
    texts = [f"{i} + {i}?" for i in range(20)] + [f"Tell a story of {i} bears" for i in range(20)]
    classifier, facts = train(texts, ["sum"] * 20 + ["story"] * 20, seed=0)
    assert facts["accuracy"] == 1.0
    again = read_classifier(classifier.to_bytes())
    assert again.classify("77 + 77?")[0] == "sum"
    assert again.classify("Tell a story of 77 bears")[0] == "story"


def test_a_seed_always_trains_the_same() -> None:
    first, second = (train(*labelled(20, seed=1), seed=3) for _ in range(2))
    assert first[1] == second[1]
    for text in labelled(20, seed=7)[0]:
        assert first[0].classify(text) == second[0].classify(text)


def test_repeated_texts_do_not_leak_into_the_test() -> None:
    """Labels are noise: only a text seen in training could be known."""
    rng = np.random.default_rng(1)
    texts = [f"item {rng.integers(10**9)}" for _ in range(100)] * 5
    noise = dict(zip(texts, rng.choice(["a", "b"], 500).tolist(), strict=True))
    _, facts = train(texts, [noise[t] for t in texts], seed=0)
    assert facts["n"] == len(set(texts))
    assert facts["accuracy"] < 0.8


def test_a_class_with_too_few_texts_is_left_out_and_named() -> None:
    texts, classes = labelled(8, seed=1)
    classifier, facts = train([*texts, "Why?"], [*classes, "rare"], seed=0)
    assert facts["left_out"] == ["rare"]
    assert "rare" not in classifier.classes


@pytest.mark.parametrize("classes", [[], ["easy"] * 9, ["easy"] * 9 + ["hard"] * 3])
def test_one_class_cannot_be_told_apart(classes: list[str]) -> None:
    with pytest.raises(NotReady, match="Two query classes") as refused:
        train([f"text {i}" for i in range(len(classes))], classes, seed=0)
    assert refused.value.hint


def content(metadata: dict[str, str] | None, **tensors: np.ndarray) -> bytes:
    stored: bytes = save(tensors, metadata=metadata)
    return stored


def header(**changed: str) -> dict[str, str]:
    facts = json.dumps({"classes": ["a", "b"]})
    return {"kind": "named", "facts": facts, "features": str(FEATURE_VERSION)} | changed


GOOD = header()
OLD = {"classes": json.dumps(["a", "b"]), "features": "1"}
WEIGHTS, BIAS = np.zeros((2, SIZE), dtype=np.float32), np.zeros(2, dtype=np.float32)


@pytest.mark.parametrize(
    "damaged",
    [
        b"",
        b"\x80\x04K\x01.",
        content(None, weights=WEIGHTS, bias=BIAS),
        content(GOOD, weights=WEIGHTS),
        content(GOOD, weights=WEIGHTS[:1], bias=BIAS),
        content(GOOD, weights=WEIGHTS * np.nan, bias=BIAS),
        content(OLD, weights=WEIGHTS, bias=BIAS),
        content(header(kind="other"), weights=WEIGHTS, bias=BIAS),
        content(header(kind="bands"), weights=WEIGHTS, bias=BIAS),
        content(header(facts="{"), weights=WEIGHTS, bias=BIAS),
        content(header(facts="3"), weights=WEIGHTS, bias=BIAS),
        content(header(facts='{"classes": 3}'), weights=WEIGHTS, bias=BIAS),
        content(header(facts='{"classes": ["a", "a"]}'), weights=WEIGHTS, bias=BIAS),
        content(GOOD, **{"weights": WEIGHTS, "bias": BIAS, "novelty.known": BIAS}),
    ],
)
def test_a_damaged_classifier_is_refused(damaged: bytes) -> None:
    with pytest.raises(InvalidInput):
        read_classifier(damaged)


@FEW
@given(st.binary(max_size=100), st.integers(0, 400))
def test_any_bytes_are_refused(noise: bytes, at: int) -> None:
    whole = content(GOOD, weights=WEIGHTS, bias=BIAS)
    for damaged in (noise, whole[:at], whole[:at] + noise):
        with pytest.raises(InvalidInput):
            read_classifier(damaged)


def test_one_of_an_older_version_says_what_to_do() -> None:
    with pytest.raises(InvalidInput, match="older version") as refused:
        read_classifier(content(OLD, weights=WEIGHTS, bias=BIAS))
    assert "Train it again" in refused.value.hint
