"""Traces as bytes: the columns one after another, little-endian, compressed with zlib."""

import sys
import zlib
from array import array
from collections.abc import Sequence
from typing import Any

from core.domain.trace import Trace

TYPES = ("d", "q", "q", "q")


def packed(trace: Trace) -> bytes:
    """Return the columns of a trace as bytes."""
    columns = (trace.arrived_at_s, trace.input_tokens, trace.output_tokens, trace.query_class)
    return zlib.compress(b"".join(_little_endian(c).tobytes() for c in columns), 6)


def unpacked(content: bytes, classes: Sequence[str]) -> Trace:
    """Return the trace that `packed` made bytes of."""
    raw = zlib.decompress(content)
    size = len(raw) // len(TYPES)
    parts = [raw[i * size : (i + 1) * size] for i in range(len(TYPES))]
    arrived_at_s, *others = (_column(t, part) for t, part in zip(TYPES, parts, strict=True))
    input_tokens, output_tokens, query_class = others
    return Trace(arrived_at_s, input_tokens, output_tokens, query_class, tuple(classes))


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
