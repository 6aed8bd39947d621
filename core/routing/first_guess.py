"""A first guess at every model's score: logistic regression over facts and weighted n-grams.

n-grams count by how often they occur in the query and how rare they are (TF-IDF); their weights
have length 1, so that a long text is not a certain one.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.errors import InvalidInput
from core.routing.features import DENSE, GRAMS, Sighting
from core.routing.kernels import FURTHEST

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
FLATTEST = 1e-6
FEWEST_TEXTS = 2
"""An n-gram that fewer texts have says nothing about others."""


@dataclass(frozen=True)
class Scaling:
    """How sightings become inputs; learned from texts alone.

    Attributes:
        mean, spread: `DENSE`; of each fact.
        rarity: `GRAMS`; inverse document frequency, 0 where it was hardly ever seen.
    """

    mean: Singles
    spread: Singles
    rarity: Singles

    def __post_init__(self) -> None:
        shapes = (self.mean.shape, self.spread.shape, self.rarity.shape)
        parts = (self.mean, self.spread, self.rarity)
        if shapes != ((DENSE,), (DENSE,), (GRAMS,)) or not all(
            np.isfinite(part).all() for part in parts
        ):
            raise InvalidInput("The classifier's scaling is damaged.", "Train it again.")

    def facts(self, seen: Sighting) -> Singles:
        """Return `DENSE` facts in standard deviations, bounded."""
        deviations = (seen.facts - self.mean) / self.spread
        bounded: Singles = np.clip(deviations, -FURTHEST, FURTHEST)
        return bounded

    def grams(self, seen: Sighting) -> Singles:
        """Return the weight of each of the query's n-grams; their squares add up to 1."""
        weights = seen.counts * self.rarity[seen.grams]
        length = float(np.sqrt(weights @ weights))
        scaled: Singles = weights / np.float32(length or 1)
        return scaled


@dataclass(frozen=True)
class FirstGuess:
    """Logits of M models: bias + of_facts @ facts + grams @ of_grams, both as scaled.

    Attributes:
        of_facts: M x `DENSE`.
        of_grams: `GRAMS` x M.
        bias: M.
    """

    of_facts: Singles
    of_grams: Singles
    bias: Singles

    def __post_init__(self) -> None:
        count = len(self.bias)
        shapes = (self.of_facts.shape, self.of_grams.shape, self.bias.shape)
        parts = (self.of_facts, self.of_grams, self.bias)
        if shapes != ((count, DENSE), (GRAMS, count), (count,)) or not all(
            np.isfinite(part).all() for part in parts
        ):
            raise InvalidInput("The classifier's weights are damaged.", "Train it again.")


def scaling_of(sightings: Sequence[Sighting]) -> Scaling:
    """Learn from the texts how facts spread and how rare n-grams are."""
    facts = np.stack([seen.facts for seen in sightings])
    spread = facts.std(axis=0)
    texts = np.bincount(np.concatenate([s.grams for s in sightings]), minlength=GRAMS)
    rarity = np.log((1 + len(sightings)) / np.maximum(texts, 1))
    rarity[texts < FEWEST_TEXTS] = 0
    # A fact that never varied is no evidence when it does.
    return Scaling(
        mean=facts.mean(axis=0),
        spread=np.where(spread > FLATTEST, spread, np.float32(1 / FLATTEST)),
        rarity=rarity.astype(np.float32),
    )
