"""Features of a query, from its text and conversation; the same in training and at the gateway."""

import math
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from core.routing.structure import STRUCTURE, structure

FEATURE_VERSION = 2
GRAMS = 2**16
"""Buckets that word n-grams are hashed into."""
HASHED = 512
"""Coarser buckets, where a small dense vector is wanted: enough for a handful of classes."""
MOST_CHARS = 2_000
MOST_WORDS = 300
"""Of longer texts half is taken from each end: they tell enough, and the gateway stays fast."""
KNOWN_WORDS = 2**18
"""Into how many codes `Sighting.words` tells words apart."""

Piece = TypeVar("Piece", str, list[str])
_WORD = re.compile(r"[a-z]+|\d+|[^\sa-z\d]")
_SYMBOLS = "+-*/=?.,:;()[]{}"
COUNTED = 8 + len(_SYMBOLS)
DENSE = COUNTED + STRUCTURE
SIZE = DENSE + HASHED
# Odd 64-bit constants (of splitmix64) that spread the codes of neighbouring words.
_FIRST, _SECOND = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9)
_SHIFT = np.uint64(64 - GRAMS.bit_length() + 1)


@dataclass(frozen=True, slots=True)
class Sighting:
    """What is seen of one query.

    Attributes:
        facts: `DENSE` numbers of order 1.
        grams: Distinct buckets below `GRAMS` of its word 1- to 3-grams.
        counts: How often each occurs, as log(1 + n).
        words: Codes below `KNOWN_WORDS` of its distinct words.
    """

    facts: NDArray[np.float32]
    grams: NDArray[np.intp]
    counts: NDArray[np.float32]
    words: NDArray[np.intp]

    @property
    def vector(self) -> NDArray[np.float32]:
        """`SIZE` numbers: the facts, then the n-grams in `HASHED` buckets."""
        hashed = np.bincount(self.grams % HASHED, weights=self.counts, minlength=HASHED)
        return np.concatenate([self.facts, hashed], dtype=np.float32)


def features(text: str, earlier: Sequence[str] = ()) -> NDArray[np.float32]:
    """Return a small dense vector of `SIZE` numbers; see `Sighting.vector`."""
    return sighting(text, earlier).vector


def sighting(text: str, earlier: Sequence[str] = ()) -> Sighting:
    """Look at one query.

    In n-grams a number stands for its length: `12` and `47` are alike, `12` and `123` are not.

    Args:
        text: What is asked.
        earlier: Messages of the conversation before it.
    """
    part = _ends(text, MOST_CHARS)
    lowered = part.lower()
    found = _WORD.findall(lowered)
    kept = _ends(found, MOST_WORDS)
    facts = _counted(lowered, found, len(text)) + structure(part, kept, earlier)
    codes = np.array([_code(word) for word in kept], dtype=np.uint64)
    grams, counts = np.unique(_buckets(codes), return_counts=True)
    return Sighting(
        facts=np.array(facts, dtype=np.float32),
        grams=grams,
        counts=np.log1p(counts).astype(np.float32),
        words=np.unique((codes % np.uint64(KNOWN_WORDS)).astype(np.intp)),
    )


@lru_cache(maxsize=2**16)
def _code(word: str) -> int:
    """CRC-32, because it is the same in every process; Python's own hash is salted."""
    shown = f"#{len(word)}" if word.isdigit() else word
    return zlib.crc32(shown.encode(errors="replace"))


def _counted(lowered: str, words: Sequence[str], length: int) -> list[float]:
    digits = [len(word) for word in words if word.isdigit()]
    facts = [
        math.log1p(length) / 5,
        math.log1p(lowered.count(" ")) / 4,
        math.log1p(lowered.count("\n")) / 3,
        math.log1p(len(digits)),
        math.log1p(sum(digits)),
        max(digits, default=0) / 4,
        sum(digits) / max(1, len(digits)) / 4,
        sum(map(len, words)) / max(1, len(lowered)),
    ]
    return facts + [math.log1p(lowered.count(symbol)) for symbol in _SYMBOLS]


def _buckets(codes: NDArray[np.uint64]) -> NDArray[np.intp]:
    """Return the bucket of every 1-, 2- and 3-gram; products wrap around, as hashes do."""
    single = codes * _FIRST
    pairs = (single[:-1] ^ (codes[1:] + _SECOND)) * _SECOND
    triples = (pairs[:-1] ^ (codes[2:] + _FIRST)) * _FIRST
    mixed = np.concatenate([single, pairs, triples])
    buckets: NDArray[np.intp] = (mixed >> _SHIFT).astype(np.intp)
    return buckets


def _ends(of: Piece, most: int) -> Piece:
    if len(of) <= most:
        return of
    return of[: most // 2] + of[-(most // 2) :]
