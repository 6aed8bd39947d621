"""Columns of numbers as bytes: one after another, little-endian, compressed with zlib."""

import sys
import zlib
from array import array
from collections.abc import Sequence
from typing import Any


def packed(columns: Sequence["array[Any]"]) -> bytes:
    """Return columns of equal length, of 8-byte numbers each, as bytes."""
    return zlib.compress(b"".join(_little_endian(c).tobytes() for c in columns), 6)


def unpacked(content: bytes, types: str) -> list["array[Any]"]:
    """Return the columns that `packed` made bytes of.

    Args:
        types: One type code of `array` per column, such as "ddqq".
    """
    raw = zlib.decompress(content)
    size = len(raw) // len(types)
    return [_column(kind, raw[i * size : (i + 1) * size]) for i, kind in enumerate(types)]


def _column(kind: str, content: bytes) -> "array[Any]":
    column: array[Any] = array(kind)
    column.frombytes(content)
    return _little_endian(column)


def _little_endian(column: "array[Any]") -> "array[Any]":
    """Swap bytes on big-endian machines only; its own inverse."""
    if sys.byteorder == "little":
        return column
    swapped = column[:]
    swapped.byteswap()
    return swapped
