"""How well each model will answer a query: calibrated, from features alone, in numpy.

Per model a first guess (`core.routing.first_guess`); boosted trees over the facts and all first
guesses make the prediction; a slope and an offset calibrate it. `core.routing.training` makes one
from outcomes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from core.errors import InvalidInput
from core.routing.features import DENSE, Sighting
from core.routing.first_guess import FirstGuess, Floats, Scaling, Singles

Tensor = NDArray[Any]
Part = TypeVar("Part", Scaling, FirstGuess, "Trees")
DEEPEST = 16


@dataclass(frozen=True)
class Trees:
    """Boosted trees of T nodes altogether, laid end to end.

    Attributes:
        roots: Position of each tree's first node.
        feature: T; which input a node looks at.
        threshold: T; inputs up to it go left.
        left, right: T; positions of the next nodes. A leaf is its own next node.
        value: T; what a leaf adds.
    """

    roots: NDArray[np.int32]
    feature: NDArray[np.int32]
    threshold: Floats
    left: NDArray[np.int32]
    right: NDArray[np.int32]
    value: Floats

    def __post_init__(self) -> None:
        size = len(self.feature)
        of_nodes = (self.threshold, self.left, self.right, self.value)
        if any(part.shape != (size,) for part in (self.feature, *of_nodes)):
            raise InvalidInput("The trees' parts differ in size.", "Train the classifier again.")
        whole = (self.roots, self.feature, self.left, self.right)
        if any(part.dtype.kind != "i" for part in whole):
            raise InvalidInput("The trees' parts are no integers.", "Train it again.")
        pointers = np.concatenate([self.roots, self.left, self.right])
        inside = not len(pointers) or (pointers.min() >= 0 and pointers.max() < size)
        if self.roots.ndim != 1 or not inside or not np.isfinite(self.value).all():
            raise InvalidInput("The trees point nowhere.", "Train the classifier again.")

    def sum(self, inputs: Singles) -> float:
        """Return what all trees add up to for one query's inputs."""
        at = self.roots
        for _ in range(DEEPEST):
            below = inputs[self.feature[at]] <= self.threshold[at]
            onward = np.where(below, self.left[at], self.right[at])
            if (onward == at).all():
                break
            at = onward
        return float(self.value[at].sum())


@dataclass(frozen=True)
class Predictor:
    """Predicts every model's score on a query.

    Attributes:
        models: M names.
        scaling: How sightings become inputs of the first guess.
        first: Logits of M models.
        trees: One per model; their inputs are the facts, then all first guesses.
        calibration: M x 2; slope and offset of the logit.
    """

    models: tuple[str, ...]
    scaling: Scaling
    first: FirstGuess
    trees: tuple[Trees, ...]
    calibration: Floats

    def __post_init__(self) -> None:
        count = len(self.models)
        fits = len(self.first.bias) == len(self.trees) == count == len(set(self.models))
        if not count or not fits or self.calibration.shape != (count, 2):
            raise InvalidInput("The predictor does not fit its models.", "Train it again.")
        asked = np.concatenate([its.feature for its in self.trees])
        if len(asked) and not 0 <= asked.min() <= asked.max() < DENSE + count:
            raise InvalidInput("The trees ask for unknown features.", "Train it again.")
        if not np.isfinite(self.calibration).all():
            raise InvalidInput("The calibration is no number.", "Train it again.")

    def scores(self, seen: Sighting) -> Floats:
        """Return the expected score of each model, 0..1."""
        inputs = np.concatenate([seen.facts, self.first.logits(seen, self.scaling)])
        logits = np.array([trees.sum(inputs) for trees in self.trees])
        return probabilities(self.calibration[:, 0] * logits + self.calibration[:, 1])

    def tensors(self) -> dict[str, Tensor]:
        """Return the parts by name, to be stored."""
        parts = _named("scaling.", self.scaling) | _named("first.", self.first)
        for number, trees in enumerate(self.trees):
            parts |= _named(f"trees.{number}.", trees)
        return parts | {"calibration": self.calibration}

    @staticmethod
    def from_tensors(models: Sequence[str], parts: Mapping[str, Tensor]) -> "Predictor":
        """Put together what `tensors` took apart.

        Raises:
            KeyError: A part is missing.
            InvalidInput: The parts do not fit each other.
        """
        return Predictor(
            models=tuple(models),
            scaling=_put_together(Scaling, "scaling.", parts),
            first=_put_together(FirstGuess, "first.", parts),
            trees=tuple(
                _put_together(Trees, f"trees.{number}.", parts) for number in range(len(models))
            ),
            calibration=parts["calibration"],
        )


def _named(prefix: str, whole: Scaling | FirstGuess | Trees) -> dict[str, Tensor]:
    return {f"{prefix}{part.name}": getattr(whole, part.name) for part in fields(whole)}


def _put_together(kind: type[Part], prefix: str, parts: Mapping[str, Tensor]) -> Part:
    return kind(**{part.name: parts[prefix + part.name] for part in fields(kind)})


def probabilities(logits: Floats) -> Floats:
    """Return the probabilities of logits."""
    bounded: Floats = 1 / (1 + np.exp(-np.clip(logits, -30, 30)))
    return bounded
