"""When a plan that requests have just been switched to is taken back by itself."""

from dataclasses import dataclass

from core.domain.intervals import wilson

PERCENTILE = 0.95


@dataclass(frozen=True, slots=True)
class Guard:
    """What a new plan has to keep in its first minutes.

    Attributes:
        minutes: For how long it is watched, from the switch on.
        max_error_rate: Share (0..1) of requests that may fail.
        max_p95_e2e_s: 95th percentile of the end-to-end time; None does not watch it.
    """

    minutes: float = 5.0
    max_error_rate: float = 0.05
    max_p95_e2e_s: float | None = None


@dataclass(frozen=True, slots=True)
class Answered:
    """How requests by a plan fared.

    Attributes:
        whole: Answered in full.
        failed: Ended with a server error, or broke off.
        slow: Of the whole ones, those that took longer than was asked about.
    """

    whole: int
    failed: int
    slow: int


def breach(guard: Guard, answered: Answered) -> str:
    """Return in words what a plan does not keep; empty while that is not certain.

    A share counts as too large when even the lower end of its 95 % interval is: a single failure
    among a few requests is no reason to switch again. The 95th percentile is above a time exactly
    if more than 5 % took longer.
    """
    total = answered.whole + answered.failed
    if total and wilson(answered.failed / total, total)[0] > guard.max_error_rate:
        allowed = f"{100 * guard.max_error_rate:.0f} %"
        return f"{answered.failed} of {total} requests failed (more than {allowed})."
    late = answered.whole and wilson(answered.slow / answered.whole, answered.whole)[0]
    if guard.max_p95_e2e_s is not None and late > 1 - PERCENTILE:
        return (
            f"{answered.slow} of {answered.whole} answers took longer than "
            f"{guard.max_p95_e2e_s:.2g} s, so the 95th percentile is above it."
        )
    return ""
