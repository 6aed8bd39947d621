"""Features of a query, from its text and length alone; the same in training and at the gateway."""

import math
import re
import zlib
from collections import Counter
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

FEATURE_VERSION = 1
HASHED = 512
MOST_CHARS = 2_000
MOST_WORDS = 256
"""Of longer texts half is taken from each end: they tell enough, and the gateway stays fast."""

Piece = TypeVar("Piece", str, list[str])
_WORD = re.compile(r"[a-z]+|\d+|[^\sa-z\d]")
_SYMBOLS = "+-*/=?.,:;()[]{}"
DENSE = 8 + len(_SYMBOLS)
SIZE = DENSE + HASHED


def features(text: str) -> NDArray[np.float32]:
    """Return a vector of `SIZE` numbers of order 1.

    Dense facts (lengths, numbers, symbols) come first, then hashed word 1- to 3-grams in which a
    number stands for its length: `12` and `47` are alike, `12` and `123` are not.
    """
    lowered = _ends(text, MOST_CHARS).lower()
    found = _WORD.findall(lowered)
    vector = np.zeros(SIZE, dtype=np.float32)
    vector[:DENSE] = _dense(lowered, found, len(text))
    words = [f"#{len(w)}" if w.isdigit() else w for w in _ends(found, MOST_WORDS)]
    # CRC-32, because it is the same in every process; Python's own hash is salted.
    for gram, count in _grams(words).items():
        vector[DENSE + zlib.crc32(gram.encode(errors="replace")) % HASHED] += math.log1p(count)
    return vector


def _dense(lowered: str, words: Sequence[str], length: int) -> list[float]:
    digits = [len(word) for word in words if word.isdigit()]
    counts = Counter(lowered)
    facts = [
        math.log1p(length) / 5,
        math.log1p(counts[" "]) / 4,
        math.log1p(counts["\n"]) / 3,
        math.log1p(len(digits)),
        math.log1p(sum(digits)),
        max(digits, default=0) / 4,
        sum(digits) / max(1, len(digits)) / 4,
        sum(map(len, words)) / max(1, len(lowered)),
    ]
    return facts + [math.log1p(counts[symbol]) for symbol in _SYMBOLS]


def _grams(words: Sequence[str]) -> Counter[str]:
    grams: Counter[str] = Counter(words)
    for size in (2, 3):
        grams.update(" ".join(words[i : i + size]) for i in range(len(words) - size + 1))
    return grams


def _ends(of: Piece, most: int) -> Piece:
    if len(of) <= most:
        return of
    return of[: most // 2] + of[-(most // 2) :]
