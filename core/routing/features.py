"""Features of a query, from its text and conversation; the same in training and at the gateway."""

import math
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from core.routing.kernels import GRAM_BITS, WORD_BITS, grams_of, words_of
from core.routing.structure import STRUCTURE, structure
from core.routing.text_kernels import read_plain
from core.routing.text_tables import text_tables

FEATURE_VERSION = 2
GRAMS = 2**GRAM_BITS
"""Buckets that word n-grams are hashed into."""
HASHED = 512
"""Coarser buckets, where a small dense vector is wanted: enough for a handful of classes."""
MOST_CHARS = 2_000
MOST_WORDS = 300
"""Of longer texts half is taken from each end: they tell enough, and the gateway stays fast."""
KNOWN_WORDS = 2**WORD_BITS
"""Into how many codes `Sighting.words` tells words apart."""

Piece = TypeVar("Piece", str, list[str])
_WORD = re.compile(r"[a-z]+|\d+|[^\sa-z\d]")
_SYMBOLS = "+-*/=?.,:;()[]{}"
COUNTED = 8 + len(_SYMBOLS)
DENSE = COUNTED + STRUCTURE
SIZE = DENSE + HASHED
_TABLES = text_tables(_SYMBOLS, MOST_WORDS)
MOST_CODES = 2**16
"""Codes of words that are kept; all are forgotten when there are more."""


@dataclass(frozen=True, slots=True)
class Look:
    """What is read off a query's text, before anything is counted.

    Attributes:
        facts: `DENSE` numbers of order 1.
        codes: Codes of its words, in order.
    """

    facts: NDArray[np.float32]
    codes: NDArray[np.uint64]


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
    grams: NDArray[np.int64]
    counts: NDArray[np.float32]
    words: NDArray[np.int64]

    @property
    def vector(self) -> NDArray[np.float32]:
        """`SIZE` numbers: the facts, then the n-grams in `HASHED` buckets."""
        hashed = np.bincount(self.grams % HASHED, weights=self.counts, minlength=HASHED)
        return np.concatenate([self.facts, hashed], dtype=np.float32)


def features(text: str, earlier: Sequence[str] = ()) -> NDArray[np.float32]:
    """Return a small dense vector of `SIZE` numbers; see `Sighting.vector`."""
    return sighting(text, earlier).vector


def sighting(text: str, earlier: Sequence[str] = ()) -> Sighting:
    """Look at one query and count what is in it; see `look`."""
    its = look(text, earlier)
    grams, counts = grams_of(its.codes)
    return Sighting(facts=its.facts, grams=grams, counts=counts, words=words_of(its.codes))


def look(text: str, earlier: Sequence[str] = ()) -> Look:
    """Look at one query.

    In n-grams a number stands for its length: `12` and `47` are alike, `12` and `123` are not.

    Args:
        text: What is asked.
        earlier: Messages of the conversation before it.
    """
    part = _ends(text, MOST_CHARS)
    if part.isascii() and part:
        raw = np.frombuffer(part.encode(), dtype=np.uint8)
        chars = len(text), len(earlier), sum(map(len, earlier))
        return Look(*read_plain(raw, *chars, _TABLES))
    return _read_any(text, part, earlier)


def _read_any(text: str, part: str, earlier: Sequence[str]) -> Look:
    """Read a text of whatever characters; the compiled reading of plain ones says the same."""
    lowered = part.lower()
    found = _WORD.findall(lowered)
    kept = _ends(found, MOST_WORDS)
    facts = _counted(lowered, found, len(text)) + structure(part, kept, earlier)
    return Look(
        facts=np.array(facts, dtype=np.float32),
        codes=np.array(list(map(_CODES.__getitem__, kept)), dtype=np.uint64),
    )


class _Codes(dict[str, int]):
    """Codes of words: CRC-32, the same in every process; Python's own hash is salted."""

    def __missing__(self, word: str) -> int:
        if len(self) >= MOST_CODES:
            self.clear()
        shown = f"#{len(word)}" if word.isdigit() else word
        code = self[word] = zlib.crc32(shown.encode(errors="replace"))
        return code


_CODES = _Codes()


def _counted(lowered: str, words: Sequence[str], length: int) -> list[float]:
    digits = list(map(len, filter(str.isdigit, words)))
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


def _ends(of: Piece, most: int) -> Piece:
    if len(of) <= most:
        return of
    return of[: most // 2] + of[-(most // 2) :]
