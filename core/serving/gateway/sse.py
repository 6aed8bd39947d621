"""Reads token counts out of a stream of server-sent events while it passes through."""

import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens as the engine counted them; None when it did not say."""

    input_tokens: int | None = None
    output_tokens: int | None = None


def usage_of(answer: Any) -> Usage | None:
    """Return the usage of a completion object, or of one event of a stream, if it has one."""
    usage = answer.get("usage") if isinstance(answer, dict) else None
    if not isinstance(usage, dict):
        return None
    return Usage(_count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens")))


def usage_of_body(content: bytes) -> Usage | None:
    """Return the usage of a whole JSON answer, if it has one."""
    try:
        return usage_of(json.loads(content))
    except (ValueError, RecursionError):
        return None


class UsageFilter:
    """Passes a stream on, remembers its usage, and drops the usage event nobody asked for.

    Args:
        strip: Drop the event that holds nothing but usage.

    Attributes:
        usage: Tokens as the engine counted them, once it said so.
        events: Events so far: about one per token.
    """

    def __init__(self, *, strip: bool) -> None:
        self.usage = Usage()
        self.events = 0
        self._strip = strip
        self._rest = b""
        self._skip_blank = False

    def feed(self, chunk: bytes) -> bytes:
        """Take bytes from the engine and return what goes to the caller now.

        Only an unfinished line is held back: an event is never delayed by the next one.
        """
        self.events += chunk.count(b"data:")
        if not self._rest and not self._skip_blank and self._is_plain(chunk):
            return chunk
        lines = (self._rest + chunk).splitlines(keepends=True)
        self._rest = lines.pop() if lines and not lines[-1].endswith(b"\n") else b""
        return b"".join(line for line in lines if self._keep(line))

    def end(self) -> bytes:
        """Return what was held back when the engine closed the stream."""
        rest, self._rest = self._rest, b""
        return rest if rest and self._keep(rest) else b""

    @staticmethod
    def _is_plain(chunk: bytes) -> bool:
        return chunk.endswith(b"\n") and b'"usage"' not in chunk

    def _keep(self, line: bytes) -> bool:
        if self._skip_blank and not line.strip():
            self._skip_blank = False
            return False
        self._skip_blank = False
        if not line.startswith(b"data:") or b'"usage"' not in line:
            return True
        return not self._is_extra_usage(line)

    def _is_extra_usage(self, line: bytes) -> bool:
        """Note the usage of an event; whether the event is to be dropped."""
        try:
            event = json.loads(line.removeprefix(b"data:"))
        except (ValueError, RecursionError):
            return False
        usage = usage_of(event)
        if usage is None:
            return False
        self.usage = usage
        self._skip_blank = self._strip and not event.get("choices")
        return self._skip_blank


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and 0 <= value < 2**31 else None
