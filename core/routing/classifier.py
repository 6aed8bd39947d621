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

from core.errors import InvalidInput
from core.routing.features import FEATURE_VERSION, SIZE, features

HELD_OUT_SHARE = 0.25
REGULARISATION = 1.0


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
        self.classes = tuple(classes)
        self._weights = weights
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
        # safetensors writes the buffer as it lies: a transposed view would come back scrambled.
        tensors = {
            "weights": np.ascontiguousarray(self._weights),
            "bias": np.ascontiguousarray(self._bias),
        }
        content: bytes = save(tensors, metadata=metadata)
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
            if metadata["features"] != str(FEATURE_VERSION):
                raise InvalidInput("The classifier uses other features.", "Train it again.")
            return Classifier(classes, tensors["weights"], tensors["bias"])
        except (SafetensorError, ValueError, KeyError, TypeError) as error:
            raise InvalidInput("The stored classifier is damaged.", "Train it again.") from error


def train(
    texts: Sequence[str], classes: Sequence[str], seed: int
) -> tuple[Classifier, dict[str, Any]]:
    """Train on distinct labelled texts; accuracy is measured on texts held out.

    Returns:
        The classifier, trained on everything, and facts: `n`, `classes`, `accuracy` and
        `confusion` (true x predicted counts) of one trained without the held-out quarter.
    """
    from sklearn.model_selection import train_test_split

    x = np.stack([features(text) for text in texts])
    y = np.asarray(classes)
    stratify = y if min(Counter(classes).values()) >= 4 else None
    x_train, x_test, y_train, y_test = train_test_split(
        x, y, test_size=HELD_OUT_SHARE, random_state=seed, stratify=stratify
    )
    predicted = _fit(x_train, y_train, seed).predict(x_test)
    model = _fit(x, y, seed)
    names = [str(name) for name in model.classes_]
    facts = {
        "n": len(texts),
        "classes": names,
        "accuracy": float((predicted == y_test).mean()),
        "held_out": len(y_test),
        "confusion": [
            [int(((y_test == true) & (predicted == said)).sum()) for said in names]
            for true in names
        ],
    }
    weights, bias = _rows(model)
    return Classifier(names, weights, bias), facts


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
