"""Arrival times as files write them: seconds from anything, time since 1970, ISO 8601 moments."""

import math
from array import array
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.errors import InvalidInput

Floats = NDArray[np.float64]

UNITS_S = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
UNIT_WORDS = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}
NUMERIC = (str, int, float)
"""What may hold a number."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SINCE_1970_S = (9e8, 4.2e9)
"""Numbers of this size (1998 to 2103), in any unit, are taken as time since 1970."""
MAX_SPAN_S = 366 * 86400.0
TICK_S = 0.1
"""Clocks that are no coarser are left alone."""
TIED_SHARE = 0.1
UNIT_HINT = "Check the unit: say whether times are seconds or milliseconds, or use ISO 8601."


class ArrivalTimes:
    """Collects the arrival times of a file; the first tells if they are numbers or moments."""

    def __init__(self) -> None:
        self._values = array("d")
        self._read: Callable[[Any], float] | None = None

    def __len__(self) -> int:
        return len(self._values)

    def add(self, value: object) -> None:
        """Append one.

        Raises:
            InvalidInput: It is neither a number nor a moment, or not what the first one was.
        """
        if self._read is None:
            self._read = _moment_s if _is_moment(value) else _number
        try:
            at = self._read(value)
        except (TypeError, ValueError, OverflowError) as error:
            raise InvalidInput(
                f"the arrival time {_shown(value)} cannot be read.",
                "Write all as seconds, or all as ISO 8601 such as 2026-01-31T12:00:00.5Z.",
            ) from error
        if not math.isfinite(at) or (at < 0 and self._read is _number):
            raise InvalidInput(
                f"the arrival time {_shown(value)} is negative or not a number.",
                "Write seconds from the start of the trace.",
            )
        self._values.append(at)

    def seconds(self, unit: str | None, where: Callable[[int], str]) -> tuple[Floats, list[str]]:
        """Return the times in seconds since some moment, in the order of the file, and notes.

        Args:
            unit: A key of `UNITS_S`; None finds it out.
            where: Names the row of the i-th time, for messages.

        Raises:
            InvalidInput: They lie too far apart, or too far in the future, to be right.
        """
        times = np.array(self._values, dtype=np.float64)
        if self._read is _moment_s:
            seconds, note = times, "Arrival times are moments in time."
        else:
            seconds, note = _scaled(times, unit)
        far = np.abs(seconds - np.median(seconds))
        worst = int(far.argmax())
        if far[worst] > MAX_SPAN_S:
            raise InvalidInput(
                f"{where(worst)}: this request arrives {far[worst] / 86400:,.0f} days away from "
                "the middle of the trace.",
                UNIT_HINT,
            )
        if seconds.max() > SINCE_1970_S[1]:
            raise InvalidInput(
                f"{where(int(seconds.argmax()))}: this request arrives after the year 2100.",
                UNIT_HINT,
            )
        return seconds, [note]


def spread_ties(times_s: Floats) -> tuple[Floats, list[str]]:
    """Spread requests that a coarse clock gave the same time over the clock's tick.

    Left alone, such requests would look like bursts that never were. Within a tick they are
    placed at random, as Poisson arrivals are, by a fixed seed.

    Args:
        times_s: n; never falling, the first is 0.

    Returns:
        The times, never falling, the first is 0, and notes.
    """
    millis = np.rint(times_s * 1000).astype(np.int64)
    if len(times_s) < 2 or np.abs(times_s * 1000 - millis).max() > 1e-3:
        return times_s, []
    tick_s = float(np.gcd.reduce(millis)) / 1000
    tied = float(np.mean(np.diff(millis) == 0))
    if tick_s < TICK_S or tied < TIED_SHARE:
        return times_s, []
    spread = np.sort(times_s + np.random.default_rng(0).uniform(0, tick_s, len(times_s)))
    note = f"The clock ticks every {tick_s:g} s; requests of one tick were spread over it."
    return spread - spread[0], [note]


def _scaled(times: Floats, unit: str | None) -> tuple[Floats, str]:
    middle = float(np.median(times))
    epoch = next((u for u, s in UNITS_S.items() if _since_1970(middle * s)), None)
    used = unit or epoch or "s"
    since = " since 1970" if _since_1970(middle * UNITS_S[used]) else ""
    return times * UNITS_S[used], f"Arrival times are {UNIT_WORDS[used]}{since}."


def _since_1970(seconds: float) -> bool:
    return SINCE_1970_S[0] <= seconds <= SINCE_1970_S[1]


def _is_moment(value: object) -> bool:
    try:
        _number(value)
    except (TypeError, ValueError, OverflowError):
        return isinstance(value, str)
    return False


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, NUMERIC):
        raise TypeError
    return float(value)


def _moment_s(value: object) -> float:
    """Return seconds since 1970 of an ISO 8601 moment; UTC where no time zone is given."""
    if not isinstance(value, str):
        raise TypeError
    moment = datetime.fromisoformat(value.strip())
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - EPOCH).total_seconds()


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}..."
