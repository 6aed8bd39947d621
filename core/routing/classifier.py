"""The classifier of given classes: multinomial logistic regression over `features`.

scikit-learn trains it, `core.routing.kernels` computes it. `core.routing.band_classifier` is the
other one: its classes are bands of predictions.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from core.errors import InvalidInput, NotReady
from core.routing.features import SIZE, look, sighting
from core.routing.kernels import NamedTables, classify_named, table
from core.routing.novelty import NOTHING_IS_NEW, Novelty, novelty_of
from core.routing.stored import Content, packed

HELD_OUT_SHARE = 0.25
REGULARISATION = 1.0
FEWEST_PER_CLASS = 4
"""Distinct texts a class needs to be learned: three to learn from, one to test with."""


KIND = "named"


class Classified(NamedTuple):
    """What a classifier says of a query.

    Attributes:
        query_class: Its class.
        confidence: Probability of that class.
        is_new: Whether the query is unlike everything that was learned from, so that its class
            says little.
    """

    query_class: str
    confidence: float
    is_new: bool


class QueryClassifier(Protocol):
    """Assigns a query class to a text."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Every class it may assign."""

    def classify(self, text: str, earlier: Sequence[str] = ()) -> Classified:
        """Return the class of a query.

        Args:
            text: What is asked.
            earlier: Messages of the conversation before it.
        """

    def to_bytes(self) -> bytes:
        """Return it in the safetensors format."""


class Classifier:
    """Assigns one of given classes.

    Args:
        classes: Names, in the order of the rows of `weights`.
        weights: classes x `SIZE`.
        bias: One per class.
        novelty: Tells what is unlike training; None calls nothing new.
    """

    def __init__(
        self,
        classes: Sequence[str],
        weights: NDArray[np.float32],
        bias: NDArray[np.float32],
        novelty: Novelty | None = None,
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
        self._novelty = novelty
        named = NamedTables(table(weights, np.float32), table(bias, np.float32))
        self._tables = (named, (novelty or NOTHING_IS_NEW).tables)

    def classify(self, text: str, earlier: Sequence[str] = ()) -> Classified:
        """Return the most probable class and its probability."""
        seen = look(text, earlier)
        best, probability, is_new = classify_named(seen.facts, seen.codes, *self._tables)
        return Classified(self.classes[best], probability, is_new)

    def to_bytes(self) -> bytes:
        """Return it in the safetensors format."""
        parts: dict[str, NDArray[Any]] = {"weights": self._weights, "bias": self._bias}
        if self._novelty is not None:
            parts |= self._novelty.tensors()
        return packed(KIND, {"classes": self.classes}, parts)

    @staticmethod
    def from_content(content: Content) -> "Classifier":
        """Put together what `to_bytes` took apart.

        Raises:
            KeyError, ValueError, TypeError: It is damaged.
            InvalidInput: Its parts do not fit each other.
        """
        parts = content.parts
        classes = [str(name) for name in content.facts["classes"]]
        weights, bias = (parts[name].astype(np.float32) for name in ("weights", "bias"))
        return Classifier(classes, weights, bias, Novelty.from_tensors(parts))


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
    seen = [sighting(text) for text in labelled]
    x = np.stack([its.vector for its in seen])
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
    return Classifier(names, weights, bias, novelty_of(seen, seed)), facts


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
