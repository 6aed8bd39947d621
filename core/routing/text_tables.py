"""What the compiled reading of plain texts looks for, made of what regular expressions say."""

import re
import zlib
from collections.abc import Sequence

import numpy as np

from core.routing.structure import ASKED, LONG_WORD, SIGNS
from core.routing.text_kernels import DIGIT, LETTER, OTHER, SPACE, TextTables

ASCII = 128
ASKED_SIZE = 256


def text_tables(symbols: str, most_words: int) -> TextTables:
    """Return the tables.

    Args:
        symbols: Counted one by one.
        most_words: Of more words half is taken from each end.
    """
    signs = [
        (sign.encode(), group, lowered)
        for group, (its, lowered) in enumerate(SIGNS)
        for sign in its
        if sign.isascii()
    ]
    firsts = np.array([sign[0] for sign, _, _ in signs])
    order = np.argsort(firsts, kind="stable")
    codes, groups = _asked()
    return TextTables(
        kind=np.array([_kind(chr(c)) for c in range(ASCII)], dtype=np.uint8),
        symbol=np.array([symbols.find(chr(c)) for c in range(ASCII)], dtype=np.int64),
        symbols=len(symbols),
        signs=np.array(list(b"".join(sign for sign, _, _ in signs)), dtype=np.uint8),
        sign_at=np.cumsum([0, *(len(sign) for sign, _, _ in signs)], dtype=np.int64),
        sign_group=np.array([group for _, group, _ in signs], dtype=np.int64),
        sign_lowered=np.array([lowered for _, _, lowered in signs], dtype=np.uint8),
        by_first=np.searchsorted(firsts[order], np.arange(ASCII + 1)).astype(np.int64),
        sign_order=order.astype(np.int64),
        groups=len(SIGNS),
        crc=np.array(_crc_table(), dtype=np.uint64),
        asked_code=codes,
        asked_group=groups,
        asked=len(ASKED),
        most_words=most_words,
        long_word=LONG_WORD,
    )


def _kind(character: str) -> int:
    if re.match(r"\s", character):
        return SPACE
    if re.match(r"[a-z]", character):
        return LETTER
    return DIGIT if re.match(r"\d", character) else OTHER


def _crc_table() -> Sequence[int]:
    """CRC-32 of the bytes, from the reflected polynomial 0xEDB88320."""
    table = []
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = crc >> 1 ^ (0xEDB88320 if crc & 1 else 0)
        table.append(crc)
    return table


def _asked() -> tuple[
    np.ndarray[tuple[int], np.dtype[np.uint64]], np.ndarray[tuple[int], np.dtype[np.int64]]
]:
    """Return an open hash table of the words that tell what is asked, and their groups."""
    codes, groups = np.zeros(ASKED_SIZE, dtype=np.uint64), np.zeros(ASKED_SIZE, dtype=np.int64)
    for group, words in enumerate(ASKED):
        for word in words:
            code = zlib.crc32(word.encode())
            at = code % ASKED_SIZE
            while codes[at]:
                at = (at + 1) % ASKED_SIZE
            codes[at], groups[at] = code, group
    return codes, groups
