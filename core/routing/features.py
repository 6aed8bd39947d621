"""Features of a query, from its text and length alone; the same in training and at the gateway."""

import math
import re
import zlib
from collections import Counter

import numpy as np
from numpy.typing import NDArray

FEATURE_VERSION = 1
HASHED = 512
MAX_CHARS = 4_000
"""Longer texts are cut: their start tells enough, and the gateway must stay fast."""

_WORD = re.compile(r"[a-z]+|\d+|[^\sa-z\d]")
_NUMBER = re.compile(r"\d+")
_SYMBOLS = "+-*/=?.,:;()[]{}"
DENSE = 8 + len(_SYMBOLS)
SIZE = DENSE + HASHED


def features(text: str) -> NDArray[np.float32]:
    """Return a vector of `SIZE` numbers of order 1.

    Dense facts (lengths, numbers, symbols) come first, then hashed word 1- to 3-grams in which a
    number stands for its length: `12` and `47` are alike, `12` and `123` are not.
    """
    lowered = text[:MAX_CHARS].lower()
    vector = np.zeros(SIZE, dtype=np.float32)
    vector[:DENSE] = _dense(lowered, len(text))
    words = [f"#{len(w)}" if w.isdigit() else w for w in _WORD.findall(lowered)]
    for gram, count in _grams(words).items():
        vector[DENSE + zlib.crc32(gram.encode()) % HASHED] += math.log1p(count)
    return vector


def _dense(lowered: str, length: int) -> list[float]:
    numbers = _NUMBER.findall(lowered)
    digits = [len(number) for number in numbers]
    counts = Counter(lowered)
    facts = [
        math.log1p(length) / 5,
        math.log1p(lowered.count(" ")) / 4,
        math.log1p(lowered.count("\n")) / 3,
        math.log1p(len(numbers)),
        math.log1p(sum(digits)),
        max(digits, default=0) / 4,
        sum(digits) / max(1, len(digits)) / 4,
        sum(map(len, _WORD.findall(lowered))) / max(1, len(lowered)),
    ]
    return facts + [math.log1p(counts[symbol]) for symbol in _SYMBOLS]


def _grams(words: list[str]) -> Counter[str]:
    grams: Counter[str] = Counter(words)
    for size in (2, 3):
        grams.update(" ".join(words[i : i + size]) for i in range(len(words) - size + 1))
    return grams
