"""What two load generators saw of one replica at the same time, and how far apart that is."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median

from core.entrypoints.bench.guidellm import Seen
from core.errors import EngineFailed

BAR = 0.05
"""How far apart the two tools may be, as a fraction of GuideLLM's figure."""
METRICS = ("requests_per_s", "output_tokens_per_s", "ttft_ms", "tpot_ms")
SAME_LENGTH = 0.05
"""How far the mean answers of the tools may differ: a window cuts other requests of each."""

Window = tuple[float, float]
"""Begin and end, seconds since the epoch."""


@dataclass(frozen=True, slots=True)
class Round:
    """All that both tools saw while they were at work together.

    Attributes:
        window_s: What counts of it.
    """

    window_s: Window
    boute: tuple[Seen, ...]
    guidellm: tuple[Seen, ...]


Rounds = Mapping[int, Sequence[Round]]
"""Per number of requests that each tool keeps in flight."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What one tool saw of one replica at one concurrency.

    Attributes:
        requests: Answers that ended in the windows.
        requests_per_s: Those per second of the windows.
        output_tokens_per_s: Their tokens per second of the windows.
        ttft_ms: Median time to first token.
        tpot_ms: Median over requests of the mean time per output token after the first.
        in_flight: Mean number of requests under way; less than asked for, because each tool
            pauses between one answer and the next request.
        input_tokens: Mean prompt length as the engine counted it.
        output_tokens: Mean answer length as the engine counted it.
    """

    requests: int
    requests_per_s: float
    output_tokens_per_s: float
    ttft_ms: float
    tpot_ms: float
    in_flight: float
    input_tokens: float
    output_tokens: float

    def pause_s(self, concurrency: int) -> float:
        """Mean time without a request in each of the places, per request (Little's law)."""
        return max(0.0, concurrency - self.in_flight) / self.requests_per_s


@dataclass(frozen=True, slots=True)
class Row:
    """One figure of both tools, over all rounds.

    Attributes:
        boute: BOute's figure; `metric` names the unit.
        guidellm: GuideLLM's.
        ratio: BOute's / GuideLLM's.
        round_ratios: The same of each round by itself.
    """

    concurrency: int
    metric: str
    boute: float
    guidellm: float
    ratio: float
    round_ratios: tuple[float, ...]

    @property
    def within(self) -> bool:
        """Whether the tools agree."""
        return abs(self.ratio - 1) <= BAR


def compare(rounds: Rounds) -> list[Row]:
    """Return a row for every concurrency and metric.

    Raises:
        EngineFailed: The tools did not send requests of the same lengths.
    """
    for made in rounds.values():
        _require_same_lengths(boute_figures(made), guidellm_figures(made))
    return [
        _row(concurrency, metric, made)
        for concurrency, made in sorted(rounds.items())
        for metric in METRICS
    ]


def figures(seen: Sequence[tuple[Window, Sequence[Seen]]]) -> Figures:
    """Return what a tool's answers say.

    Args:
        seen: Windows that do not overlap, and all that the tool saw meanwhile, at least one
            answer of which ended in one of them.
    """
    counted = [one for window_s, answers in seen for one in counted_in(answers, window_s)]
    under_way_s = sum(one.under_way_s(window_s) for window_s, answers in seen for one in answers)
    seconds = total_s(window_s for window_s, _ in seen)
    return Figures(
        requests=len(counted),
        requests_per_s=len(counted) / seconds,
        output_tokens_per_s=sum(one.output_tokens for one in counted) / seconds,
        ttft_ms=median(one.ttft_ms for one in counted),
        tpot_ms=median(one.tpot_ms for one in counted),
        in_flight=under_way_s / seconds,
        input_tokens=fmean(one.input_tokens for one in counted),
        output_tokens=fmean(one.output_tokens for one in counted),
    )


def counted_in(seen: Sequence[Seen], window_s: Window) -> list[Seen]:
    """Return the answers that ended in a window.

    Some began before it, just as others that began in it end after it: so many answers per
    second of the window are the throughput, without bias.
    """
    return [one for one in seen if window_s[0] <= one.ended_at_s < window_s[1]]


def total_s(windows_s: Iterable[Window]) -> float:
    """Return how long windows are together."""
    return sum(ended_s - began_s for began_s, ended_s in windows_s)


def boute_figures(rounds: Sequence[Round]) -> Figures:
    """Return what BOute saw in all these rounds."""
    return figures([(one.window_s, one.boute) for one in rounds])


def guidellm_figures(rounds: Sequence[Round]) -> Figures:
    """Return what GuideLLM saw in all these rounds."""
    return figures([(one.window_s, one.guidellm) for one in rounds])


def _require_same_lengths(own: Figures, other: Figures) -> None:
    if (
        abs(own.input_tokens - other.input_tokens) > 0.01
        or abs(own.output_tokens / other.output_tokens - 1) > SAME_LENGTH
    ):
        raise EngineFailed(
            f"The tools' requests differ: BOute's have {own.input_tokens:.2f} prompt and "
            f"{own.output_tokens:.2f} answer tokens, GuideLLM's {other.input_tokens:.2f} and "
            f"{other.output_tokens:.2f}.",
            "Only figures of the same requests can be compared; use more rounds or seconds.",
        )


def _row(concurrency: int, metric: str, rounds: Sequence[Round]) -> Row:
    def of_both(some: Sequence[Round]) -> tuple[float, float]:
        return getattr(boute_figures(some), metric), getattr(guidellm_figures(some), metric)

    def ratio(some: Sequence[Round]) -> float:
        own, other = of_both(some)
        return own / other

    return Row(
        concurrency, metric, *of_both(rounds), ratio(rounds), tuple(ratio([r]) for r in rounds)
    )
