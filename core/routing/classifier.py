"""The query classifier: multinomial logistic regression over `features`, stored as safetensors.

scikit-learn trains it; using it needs numpy only.
"""

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from core.errors import InvalidInput, NotReady
from core.routing.features import FEATURE_VERSION, SIZE, features

HELD_OUT_SHARE = 0.25
REGULARISATION = 1.0
FEWEST_PER_CLASS = 4
"""Distinct texts a class needs to be learned: three to learn from, one to test with."""


class Classifier:
    """Assigns a query class to a text.

    Args:
        classes: Names, in the order of the rows of `weights`.
        weights: classes x `SIZE`.
        bias: One per class.
    """

    def __init__(
        self, classes: Sequence[str], weights: NDArray[np.float32], bias: NDArray[np.float32]
    ) -> None:
        if weights.shape != (len(classes), SIZE) or bias.shape != (len(classes),):
            raise InvalidInput(
                "The classifier does not fit this version of BOute.", "Train it again."
            )
        if not classes or len(set(classes)) < len(classes):
            raise InvalidInput("The classifier's classes are none, or not distinct.")
        if not (np.isfinite(weights).all() and np.isfinite(bias).all()):
            raise InvalidInput("The classifier's weights are not numbers.", "Train it again.")
        self.classes = tuple(classes)
        # safetensors writes a buffer as it lies: a transposed view would come back scrambled.
        self._weights = np.ascontiguousarray(weights)
        self._bias = bias

    def classify(self, text: str) -> tuple[str, float]:
        """Return the most probable class and its probability."""
        scores = self._weights @ features(text) + self._bias
        odds = np.exp(scores - scores.max())
        best = int(odds.argmax())
        return self.classes[best], float(odds[best] / odds.sum())

    def to_bytes(self) -> bytes:
        """Return it in the safetensors format."""
        metadata = {"classes": json.dumps(self.classes), "features": str(FEATURE_VERSION)}
        content: bytes = save({"weights": self._weights, "bias": self._bias}, metadata=metadata)
        return content

    @staticmethod
    def from_bytes(content: bytes) -> "Classifier":
        """Read what `to_bytes` wrote.

        Raises:
            InvalidInput: It is something else, or of another version.
        """
        try:
            tensors = load(content)
            metadata = _metadata(content)
            classes = [str(name) for name in json.loads(metadata["classes"])]
            weights, bias = (tensors[key].astype(np.float32) for key in ("weights", "bias"))
            if metadata["features"] != str(FEATURE_VERSION):
                raise InvalidInput("The classifier uses other features.", "Train it again.")
            return Classifier(classes, weights, bias)
        except (SafetensorError, ValueError, KeyError, TypeError) as error:
            raise InvalidInput("The stored classifier is damaged.", "Train it again.") from error


def train(
    texts: Sequence[str], classes: Sequence[str], seed: int
) -> tuple[Classifier, dict[str, Any]]:
    """Train on labelled texts; accuracy is measured on texts held out.

    A repeated text counts once (its last label), or it would be learned and tested with.

    Returns:
        The classifier, trained on everything, and facts: `n`, `classes`, `accuracy` and
        `confusion` (true x predicted counts) of one trained without the held-out quarter,
        `left_out` (classes with too few texts).

    Raises:
        NotReady: Fewer than two classes have enough texts.
    """
    from sklearn.model_selection import train_test_split

    labelled, left_out = _enough(dict(zip(texts, classes, strict=True)))
    x = np.stack([features(text) for text in labelled])
    y = np.asarray(list(labelled.values()))
    x_train, x_test, y_train, y_test = train_test_split(
        x, y, test_size=HELD_OUT_SHARE, random_state=seed, stratify=y
    )
    predicted = _fit(x_train, y_train, seed).predict(x_test)
    model = _fit(x, y, seed)
    names = [str(name) for name in model.classes_]
    facts = {
        "n": len(labelled),
        "classes": names,
        "left_out": left_out,
        "accuracy": float((predicted == y_test).mean()),
        "held_out": len(y_test),
        "confusion": [
            [int(((y_test == true) & (predicted == said)).sum()) for said in names]
            for true in names
        ],
    }
    weights, bias = _rows(model)
    return Classifier(names, weights, bias), facts


def _enough(labelled: dict[str, str]) -> tuple[dict[str, str], list[str]]:
    """Return the texts of classes that can be learned, and the names of those that cannot."""
    counts = Counter(labelled.values())
    left_out = sorted(name for name, count in counts.items() if count < FEWEST_PER_CLASS)
    if len(counts) - len(left_out) < 2:
        found = ", ".join(f"{count} of {name!r}" for name, count in sorted(counts.items()))
        raise NotReady(
            f"Two query classes with {FEWEST_PER_CLASS} different texts each are needed to train "
            f"a classifier; there are {found or 'none'}.",
            "Score a model on a query set of several classes first, on Workload & quality.",
        )
    return {text: name for text, name in labelled.items() if name not in left_out}, left_out


def _fit(x: NDArray[np.float32], y: NDArray[Any], seed: int) -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=REGULARISATION, max_iter=1000, random_state=seed).fit(x, y)


def _rows(model: Any) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """scikit-learn keeps one row for two classes: write the first class's zeros out."""
    weights, bias = model.coef_.astype(np.float32), model.intercept_.astype(np.float32)
    if len(model.classes_) == 2:
        weights = np.concatenate([np.zeros_like(weights), weights])
        bias = np.concatenate([np.zeros_like(bias), bias])
    return weights, bias


def _metadata(content: bytes) -> dict[str, str]:
    """Read the header's metadata; safetensors offers that for files only, the format is plain."""
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    return dict(header["__metadata__"])
