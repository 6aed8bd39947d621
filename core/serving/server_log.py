"""Reading the end of a server's log, and finding in it why the server failed."""

import re
from pathlib import Path

# Enough for a few hundred lines with tracebacks.
TAIL_BYTES = 200_000
CAUSE_CHARS = 600

_PREFIX = re.compile(
    r"^(\(\w+[^)]*pid=\d+\) ?)?((ERROR|WARNING|INFO|DEBUG) \d\d-\d\d \d\d:\d\d:\d\d \[[^]]*\] ?)?"
)
_ERROR = re.compile(r"^(?P<kind>[A-Za-z_][\w.]*(Error|Exception|Exit|Interrupt)): ?(?P<text>.*)")
# These only say that something else went wrong.
_CONSEQUENCES = (
    "Engine core initialization failed",
    "WorkerProc initialization failed",
    "Engine core proc",
    "EngineCore encountered",
    "See root cause above",
    "cancelled",
)
# What the interpreter says while leaving is not why it left.
_NOISE = re.compile(
    r"leaked (semaphore|shared_memory)|warnings\.warn\(|nanobind|^ - (leaked|\.\.\.) "
)


def tail(path: Path, lines: int) -> str:
    """Return the last lines of a log without noise; empty when there is no log."""
    try:
        with path.open("rb") as log:
            log.seek(max(0, path.stat().st_size - TAIL_BYTES))
            text = log.read().decode("utf-8", errors="replace")
    except OSError:
        return ""
    kept = [line.rstrip() for line in text.splitlines()]
    kept = [line for line in kept if line and not _NOISE.search(line)]
    return "\n".join(kept[-lines:])


def cause(text: str) -> str:
    """Return the error that explains a failed start, in one line; empty when none is found.

    vLLM's processes each print a traceback; the first error is the cause, those that follow
    only report that another process failed.
    """
    lines = [_PREFIX.sub("", line) for line in text.splitlines()]
    found = [number for number, line in enumerate(lines) if _ERROR.match(line)]
    causes = [n for n in found if not any(c in lines[n] for c in _CONSEQUENCES)]
    first = next(iter(causes or found), None)
    if first is None:
        return ""
    # A validation error says what it is about in the lines that follow.
    last = first + (3 if "validation error" in lines[first] else 1)
    return " ".join(line.strip() for line in lines[first:last])[:CAUSE_CHARS]
