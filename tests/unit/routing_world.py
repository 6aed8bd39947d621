"""Made-up queries whose outcomes are known in truth: what routing is tested with."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.domain.quality import Outcome
from core.routing.features import Sighting, sighting

MODELS = ("large", "small")
PLACES = ("river", "market", "library", "station", "garden", "harbour", "museum", "bridge")
TRUE = {"add": (0.9, 0.85), "derive": (0.8, 0.25), "prove": (0.3, 0.2)}
"""Chance that the large and the small model are right, by the verb of the query."""


@dataclass(frozen=True)
class World:
    """n queries.

    Attributes:
        texts: n.
        true: n x 2; the models' chances of being right.
        scores: n x 2; whether they were.
    """

    texts: list[str]
    true: NDArray[np.float64]
    scores: NDArray[np.float64]

    @property
    def seen(self) -> list[Sighting]:
        """What is seen of each query."""
        return [sighting(text) for text in self.texts]

    @property
    def groups(self) -> NDArray[np.int64]:
        """Every query by itself."""
        return np.arange(len(self.texts))

    def outcomes(self) -> list[Outcome]:
        """The scores as outcomes of one job."""
        return [
            Outcome(text, "any", model, float(score), 10, "job")
            for text, its in zip(self.texts, self.scores, strict=True)
            for model, score in zip(MODELS, its, strict=True)
        ]


def world(count: int, seed: int) -> World:
    """Draw queries of three kinds in equal shares, and answers to them."""
    dice = np.random.default_rng(seed)
    verbs = dice.choice(list(TRUE), count)
    texts = [
        f"Please {verb} the {dice.choice(PLACES)} of item {number} near the {dice.choice(PLACES)}."
        for number, verb in enumerate(verbs)
    ]
    true = np.array([TRUE[verb] for verb in verbs])
    return World(texts, true, (dice.random(true.shape) < true).astype(float))
