"""What counts of a running load, and when it has been watched long enough. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from core.profiling.load import Sent, Window
from core.profiling.statistics import relative_half_width

WARM_UP_SHARE = 0.25
"""Of an open-loop level's usual length: arrivals meet a server that still fills up."""
FEWEST_TO_TELL = 8
"""Answers below which a level goes on beyond its usual length."""
LONGER = 4.0
"""So many times its usual length a level takes at most."""
HOPELESS = 8
"""Failures without a single answer that end a load."""


@dataclass(frozen=True, slots=True)
class StopRule:
    """When a level has enough requests.

    It ends when the confidence interval is narrow enough, or at its usual length, which is
    stretched while there are hardly any answers. Looking again and again until an interval is
    narrow makes it somewhat too narrow; the least number of answers keeps that small.

    Attributes:
        usual_s: Counted seconds after which a level ends unless it has hardly any answers.
        most_s: Seconds after which it ends whatever was seen, warm-up included.
        shortest_s: Least counted seconds.
        fewest: Least number of counted answers.
        half_width: Aim for half the 95 % interval of the mean end-to-end time and of the
            throughput, as a fraction of them.
    """

    usual_s: float
    most_s: float
    shortest_s: float = 2.0
    fewest: int = 30
    half_width: float = 0.05


@dataclass(frozen=True, slots=True)
class Counted:
    """The part of a load that counts.

    Attributes:
        sent: Answers in order of completion; failed ones too.
        duration_s: Length of the counted window.
        closed: Whether the load keeps a number in flight, so that it has a throughput of its own.
        settled: Whether the warm-up is left out; else everything since the start counts, because
            nothing ended after it: a few slow answers say more than none.
    """

    sent: tuple[Sent, ...]
    duration_s: float
    closed: bool
    settled: bool = True

    @property
    def window(self) -> Window:
        """The answers alone."""
        return Window(tuple(one.answer for one in self.sent), self.duration_s)

    @property
    def half_width(self) -> float | None:
        """Half the 95 % interval of the mean end-to-end time or the throughput, the wider one.

        Throughput is one over the mean time between completions, hence as sure as that.
        """
        good = [one for one in self.sent if one.good]
        latency = relative_half_width([one.answer.e2e_ms for one in good])
        if latency is None or not self.closed:
            return latency
        ends = sorted(one.ended_at_s for one in good)
        gaps = [later - earlier for earlier, later in pairwise(ends)]
        throughput = relative_half_width(gaps)
        return None if throughput is None else max(latency, throughput)


def counted_closed(sent: Sequence[Sent], concurrency: int, until_s: float) -> Counted:
    """Return what ended after every slot had answered once on average, and before `until_s`.

    By then the requests no longer move in step as they began.
    """
    ends = sorted(one.ended_at_s for one in sent if one.good)
    warm_up_s = ends[concurrency - 1] if len(ends) >= concurrency else until_s
    inside = tuple(one for one in sent if warm_up_s < one.ended_at_s <= until_s)
    if any(one.good for one in inside):
        return Counted(inside, until_s - warm_up_s, closed=True)
    last_s = max([until_s, *(one.ended_at_s for one in sent)])
    return Counted(tuple(sent), last_s, closed=True, settled=False)


def counted_open(sent: Sequence[Sent], warm_up_s: float, until_s: float) -> Counted:
    """Return the answers to what arrived after the warm-up and before `until_s`."""
    inside = tuple(one for one in sent if warm_up_s < one.sent_at_s <= until_s)
    if any(one.good for one in inside):
        return Counted(inside, max(until_s - warm_up_s, 1e-9), closed=False)
    return Counted(tuple(sent), max(until_s, 1e-9), closed=False, settled=False)


def hopeless(sent: Sequence[Sent]) -> bool:
    """Whether a load met nothing but failures, and enough of them."""
    return len(sent) >= HOPELESS and not any(one.good for one in sent)


def enough(rule: StopRule, counted: Counted, elapsed_s: float) -> bool:
    """Whether a load may end.

    Args:
        elapsed_s: Since its start, warm-up included.
    """
    if elapsed_s >= rule.most_s or hopeless(counted.sent):
        return True
    good = sum(one.good for one in counted.sent)
    if not counted.settled:
        return False
    if counted.duration_s >= rule.usual_s:
        return good >= FEWEST_TO_TELL
    if counted.duration_s < rule.shortest_s or good < rule.fewest:
        return False
    half_width = counted.half_width
    return half_width is not None and half_width <= rule.half_width
