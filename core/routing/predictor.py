"""How well each model will answer a query: calibrated, from features alone.

Per model a first guess (`core.routing.first_guess`); boosted trees over the facts and all first
guesses make the prediction; a slope and an offset calibrate it. `core.routing.training` makes one
from outcomes, `core.routing.kernels` computes it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from core.errors import InvalidInput
from core.routing.features import DENSE, Sighting
from core.routing.first_guess import FirstGuess, Floats, Scaling
from core.routing.kernels import STEEPEST, PredictorTables, predicted_scores, table

Tensor = NDArray[Any]
Part = TypeVar("Part", Scaling, FirstGuess, "Trees")


@dataclass(frozen=True)
class Trees:
    """Boosted trees of all models, laid end to end: R trees, T nodes.

    Attributes:
        owner: R; position of the model that a tree is for.
        roots: R; position of each tree's first node.
        feature: T; which input a node looks at.
        threshold: T; inputs up to it go left.
        left, right: T; positions of the next nodes. A leaf is its own next node.
        value: T; what a leaf adds.
    """

    owner: NDArray[np.int32]
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
        whole = (self.owner, self.roots, self.feature, self.left, self.right)
        if any(part.dtype.kind != "i" for part in whole):
            raise InvalidInput("The trees' parts are no integers.", "Train it again.")
        pointers = np.concatenate([self.roots, self.left, self.right])
        inside = not len(pointers) or (pointers.min() >= 0 and pointers.max() < size)
        paired = self.roots.ndim == 1 and self.owner.shape == self.roots.shape
        if not paired or not inside or not np.isfinite(self.value).all():
            raise InvalidInput("The trees point nowhere.", "Train the classifier again.")


@dataclass(frozen=True)
class Predictor:
    """Predicts every model's score on a query.

    Attributes:
        models: M names.
        scaling: How sightings become inputs of the first guess.
        first: Logits of M models.
        trees: Of all models; their inputs are the facts, then all first guesses.
        calibration: M x 2; slope and offset of the logit.
    """

    models: tuple[str, ...]
    scaling: Scaling
    first: FirstGuess
    trees: Trees
    calibration: Floats

    def __post_init__(self) -> None:
        count = len(self.models)
        fits = len(self.first.bias) == count == len(set(self.models))
        if not count or not fits or self.calibration.shape != (count, 2):
            raise InvalidInput("The predictor does not fit its models.", "Train it again.")
        if not _below(self.trees.feature, DENSE + count) or not _below(self.trees.owner, count):
            raise InvalidInput("The trees ask for what there is not.", "Train it again.")
        if not np.isfinite(self.calibration).all():
            raise InvalidInput("The calibration is no number.", "Train it again.")

    def scores(self, seen: Sighting) -> Floats:
        """Return the expected score of each model, 0..1."""
        return predicted_scores(seen.facts, seen.grams, seen.counts, self.tables)

    @cached_property
    def tables(self) -> PredictorTables:
        """Everything as compiled code takes it."""
        trees = self.trees
        return PredictorTables(
            mean=table(self.scaling.mean, np.float32),
            spread=table(self.scaling.spread, np.float32),
            rarity=table(self.scaling.rarity, np.float32),
            of_facts=table(self.first.of_facts, np.float32),
            of_grams=table(self.first.of_grams, np.float32),
            bias=table(self.first.bias, np.float32),
            owner=table(trees.owner, np.int32),
            roots=table(trees.roots, np.int32),
            feature=table(trees.feature, np.int32),
            threshold=table(trees.threshold, np.float64),
            left=table(trees.left, np.int32),
            right=table(trees.right, np.int32),
            value=table(trees.value, np.float64),
            calibration=table(self.calibration, np.float64),
        )

    def tensors(self) -> dict[str, Tensor]:
        """Return the parts by name, to be stored."""
        parts = _named("scaling.", self.scaling) | _named("first.", self.first)
        return parts | _named("trees.", self.trees) | {"calibration": self.calibration}

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
            trees=_put_together(Trees, "trees.", parts),
            calibration=parts["calibration"],
        )


def _below(positions: NDArray[np.int32], count: int) -> bool:
    return not len(positions) or bool(positions.min() >= 0 and positions.max() < count)


def _named(prefix: str, whole: Scaling | FirstGuess | Trees) -> dict[str, Tensor]:
    return {f"{prefix}{part.name}": getattr(whole, part.name) for part in fields(whole)}


def _put_together(kind: type[Part], prefix: str, parts: Mapping[str, Tensor]) -> Part:
    return kind(**{part.name: parts[prefix + part.name] for part in fields(kind)})


def probabilities(logits: Floats) -> Floats:
    """Return the probabilities of logits."""
    bounded: Floats = 1 / (1 + np.exp(-np.clip(logits, -STEEPEST, STEEPEST)))
    return bounded
