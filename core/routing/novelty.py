"""Whether a query is unlike everything that was learned from.

Two signs: the share of its words that training never saw, and how far its facts (lengths, symbols,
structure) lie from the usual. Each is compared with what is usual among training's own queries,
judged by the other half of them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.errors import InvalidInput
from core.routing.features import DENSE, KNOWN_WORDS, Sighting
from core.routing.kernels import NoveltyTables, novelty_signs, table

PREFIX = "novelty."
USUAL = 0.995
"""Quantile of training's own queries that counts as usual."""
MARGIN = 1.25
FEWEST_UNKNOWN = 0.4
LEAST_DISTANCE = 4.0
"""However uniform training was: up to these a query is not called unlike it."""
NARROWEST = 0.05
"""Least spread of a fact: without it, one that hardly varied would make everything unusual."""

Singles = NDArray[np.float32]


@dataclass(frozen=True)
class Novelty:
    """Tells whether a query is unlike training.

    Attributes:
        known: `KNOWN_WORDS` / 8 bytes; a bit per word that was seen.
        middle, spread: `DENSE`; of each fact.
        limits: 2; largest usual share of unknown words, and largest usual distance.
    """

    known: NDArray[np.uint8]
    middle: Singles
    spread: Singles
    limits: NDArray[np.float64]

    def __post_init__(self) -> None:
        shapes = (self.known.shape, self.middle.shape, self.spread.shape, self.limits.shape)
        right = shapes == ((KNOWN_WORDS // 8,), (DENSE,), (DENSE,), (2,))
        if not right or self.known.dtype != np.uint8 or not (self.spread > 0).all():
            raise InvalidInput("What the classifier knows is damaged.", "Train it again.")

    def signs(self, seen: Sighting) -> NDArray[np.float64]:
        """Return the share of unknown words, and the distance in root mean square spreads."""
        return np.array(novelty_signs(seen.facts, seen.words, self.tables))

    @cached_property
    def tables(self) -> NoveltyTables:
        """Everything as compiled code takes it."""
        return NoveltyTables(
            known=table(self.known, np.uint8),
            middle=table(self.middle, np.float32),
            spread=table(self.spread, np.float32),
            limits=table(self.limits, np.float64),
        )

    def is_new(self, seen: Sighting) -> bool:
        """Whether the query is unlike training."""
        return bool((self.signs(seen) > self.limits).any())

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Return the parts by name, to be stored."""
        return {PREFIX + part.name: getattr(self, part.name) for part in fields(self)}

    @staticmethod
    def from_tensors(parts: Mapping[str, NDArray[Any]]) -> "Novelty | None":
        """Put together what `tensors` took apart; None when nothing of it was stored.

        Raises:
            KeyError: A part is missing.
            InvalidInput: The parts do not fit each other.
        """
        if not any(name.startswith(PREFIX) for name in parts):
            return None
        return Novelty(**{part.name: parts[PREFIX + part.name] for part in fields(Novelty)})


def novelty_of(sightings: Sequence[Sighting], seed: int) -> Novelty:
    """Learn what is usual.

    Args:
        sightings: At least two.
        seed: Of the halves.
    """
    shuffled = np.random.default_rng(seed).permutation(len(sightings))
    halves = [[sightings[i] for i in half] for half in np.array_split(shuffled, 2)]
    judged = [
        _from(judge, np.zeros(2)).signs(its)
        for judge, judged in (halves, halves[::-1])
        for its in judged
    ]
    usual = MARGIN * np.quantile(judged, USUAL, axis=0)
    return _from(sightings, np.maximum(usual, (FEWEST_UNKNOWN, LEAST_DISTANCE)))


def _from(sightings: Sequence[Sighting], limits: NDArray[np.float64]) -> Novelty:
    seen = np.zeros(KNOWN_WORDS, dtype=np.uint8)
    seen[np.concatenate([its.words for its in sightings])] = 1
    facts = np.stack([its.facts for its in sightings])
    return Novelty(
        known=np.packbits(seen, bitorder="little"),
        middle=facts.mean(axis=0),
        spread=np.maximum(facts.std(axis=0), NARROWEST).astype(np.float32),
        limits=limits,
    )


NOTHING_IS_NEW = Novelty(
    known=np.zeros(KNOWN_WORDS // 8, dtype=np.uint8),
    middle=np.zeros(DENSE, dtype=np.float32),
    spread=np.ones(DENSE, dtype=np.float32),
    limits=np.array([np.inf, np.inf]),
)
"""Of a classifier that was never told what is usual."""
