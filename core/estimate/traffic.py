"""Traces and descriptions of traffic, each made from the other: summaries, samples, replays."""

import math
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from core.domain.profile import Provenance
from core.domain.trace import Trace
from core.domain.workload import ClassTraffic, Workload
from core.errors import InvalidInput

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

BLOCK_GAPS = 500
"""Gaps that share one estimate of burstiness: long enough for it, short against a day."""
FEWEST_BLOCKS = 5
SHORTEST_BLOCK_GAPS = 20
FEWEST_FOR_CORRELATION = 10
EVEN = 1e-3
"""Less burstiness than this is none: the gamma distribution has no numbers for it."""
LONGEST_TOKENS = 10_000_000
"""Where the long tail of a log-normal length is cut."""


@dataclass(frozen=True)
class Requests:
    """n requests as numpy columns; see `Trace`."""

    arrived_at_s: Floats
    input_tokens: Integers
    output_tokens: Integers
    query_class: Integers

    def __len__(self) -> int:
        return len(self.arrived_at_s)

    def taken(self, chosen: NDArray[np.int64] | NDArray[np.bool_]) -> "Requests":
        """Return some of the requests, by position or by a mask."""
        return Requests(
            self.arrived_at_s[chosen],
            self.input_tokens[chosen],
            self.output_tokens[chosen],
            self.query_class[chosen],
        )

    def at(self, arrived_at_s: Floats) -> "Requests":
        """Return the same requests at other times."""
        return Requests(arrived_at_s, self.input_tokens, self.output_tokens, self.query_class)

    def of_class(self, position: int) -> "Requests":
        """Return the same requests, all of one class."""
        everywhere = np.full(len(self), position, dtype=np.int64)
        return Requests(self.arrived_at_s, self.input_tokens, self.output_tokens, everywhere)


def requests_of(trace: Trace) -> Requests:
    """Return the columns of a trace for numpy, without copying them."""
    return Requests(
        np.asarray(trace.arrived_at_s, dtype=np.float64),
        np.asarray(trace.input_tokens, dtype=np.int64),
        np.asarray(trace.output_tokens, dtype=np.int64),
        np.asarray(trace.query_class, dtype=np.int64),
    )


def summarised(
    trace: Trace,
    name: str,
    workload_id: str,
    created_at: datetime,
    *,
    provenance: Provenance = Provenance.IMPORTED,
    source: str = "",
    window_s: float | None = None,
) -> Workload:
    """Describe a trace per class: rates, lengths, and how they hang together.

    Args:
        window_s: Length of the time that was watched, in seconds. None: from the first to the
            last arrival and one mean gap, so that n requests have n gaps.

    Raises:
        InvalidInput: All requests arrive at once, so that their rate is unknown.
    """
    requests = requests_of(trace)
    watched_s = window_s or period_s(trace)
    classes = []
    for position, query_class in sorted(enumerate(trace.classes), key=lambda named: named[1]):
        mine = requests.taken(requests.query_class == position)
        if len(mine):
            rate_rps = len(mine) / watched_s
            lengths = mine.input_tokens, mine.output_tokens
            classes.append(class_traffic(query_class, rate_rps, *lengths))
    return Workload(
        workload_id,
        name,
        tuple(classes),
        provenance,
        created_at,
        burstiness=burstiness(requests.arrived_at_s),
        trace_requests=len(trace),
        trace_span_s=trace.span_s,
        source=source,
    )


def period_s(trace: Trace) -> float:
    """Return after how many seconds a trace may begin again: its span and one mean gap.

    Raises:
        InvalidInput: All requests arrive at once.
    """
    if trace.span_s <= 0:
        raise InvalidInput(
            "All requests of the trace arrive at the same time: their rate is unknown.",
            "Use a trace with at least two different arrival times.",
        )
    return trace.span_s * len(trace) / (len(trace) - 1)


def class_traffic(
    query_class: str, rate_rps: float, input_tokens: Integers, output_tokens: Integers
) -> ClassTraffic:
    """Describe the lengths of n requests of one class, in tokens; n at least 1."""
    return ClassTraffic(
        query_class,
        rate_rps,
        input_tokens_mean=float(input_tokens.mean()),
        output_tokens_mean=float(output_tokens.mean()),
        input_tokens_std=float(input_tokens.std()),
        output_tokens_std=float(output_tokens.std()),
        length_correlation=_log_correlation(input_tokens, output_tokens),
    )


def burstiness(arrived_at_s: Floats) -> float:
    """Return the coefficient of variation of the gaps between arrivals: 1 is Poisson.

    It is the median over blocks of some 500 gaps; of a short trace, over five shorter ones. Over
    a whole trace the coefficient would also measure how the rate changes from night to day, and
    one long pause would decide it.

    Args:
        arrived_at_s: n; never falling.

    Returns:
        0 for evenly spaced arrivals; 1 when there are too few gaps to tell.
    """
    gaps = np.diff(arrived_at_s)
    short = min(FEWEST_BLOCKS, len(gaps) // SHORTEST_BLOCK_GAPS)
    blocks = np.array_split(gaps, max(1, short, len(gaps) // BLOCK_GAPS))
    known = [float(b.std(ddof=1) / b.mean()) for b in blocks if len(b) > 1 and b.mean() > 0]
    return float(np.median(known)) if known else 1.0


def window(trace: Trace, start_s: float, end_s: float) -> Trace:
    """Return the requests with start <= arrival < end; times count from `start_s`.

    Raises:
        InvalidInput: No request arrives then.
    """
    requests = requests_of(trace)
    times = requests.arrived_at_s
    inside = requests.taken((times >= start_s) & (times < end_s))
    if not len(inside):
        raise InvalidInput(
            f"No request arrives between {start_s:g} s and {end_s:g} s.",
            f"The trace has requests from {times[0]:g} s to {times[-1]:g} s.",
        )
    return _trace(inside.at(inside.arrived_at_s - start_s), trace.classes)


def scaled(trace: Trace, rate_factor: float) -> Trace:
    """Return the same requests arriving `rate_factor` times as fast.

    Raises:
        InvalidInput: The factor is not above zero.
    """
    require_factor(rate_factor)
    requests = requests_of(trace)
    return _trace(requests.at(requests.arrived_at_s / rate_factor), trace.classes)


def require_factor(rate_factor: float) -> None:
    """Refuse a factor on arrival rates that is not above zero.

    Raises:
        InvalidInput: It is not.
    """
    if not (rate_factor > 0 and math.isfinite(rate_factor)):
        raise InvalidInput(f"A rate cannot be multiplied by {rate_factor}.", "2 doubles it.")


def replayed(trace: Trace, requests: int) -> Trace:
    """Return the first n requests of a trace that begins again whenever it ends.

    Args:
        requests: n, at least 1.

    Raises:
        InvalidInput: All requests of the trace arrive at once, and more of them are wanted.
    """
    positions = np.arange(requests)
    once = requests_of(trace)
    rounds, place = np.divmod(positions, len(trace))
    repeated = once.taken(place)
    if rounds[-1]:
        repeated = repeated.at(repeated.arrived_at_s + rounds * period_s(trace))
    return _trace(repeated, trace.classes)


def generated(workload: Workload, requests: int, seed: int) -> Trace:
    """Draw requests from a description.

    Gaps are gamma distributed with the workload's burstiness as coefficient of variation, each
    arrival belongs to a class with the probability of its share, and the lengths of a class are
    jointly log-normal: their logarithms have the class's correlation. Lengths are rounded, and
    at least 1.

    Args:
        requests: n, at least 1.
        seed: The same seed gives the same requests.

    Returns:
        n requests; classes are the workload's, in its order.
    """
    dice = np.random.default_rng(seed)
    times = _renewals(workload.burstiness, workload.rate_rps, requests, dice)
    rates = np.array([traffic.rate_rps for traffic in workload.classes])
    classes = dice.choice(len(rates), size=requests, p=rates / rates.sum())
    lengths = np.ones((2, requests), dtype=np.int64)
    for position, traffic in enumerate(workload.classes):
        mine = classes == position
        lengths[:, mine] = _lengths(traffic, int(mine.sum()), dice)
    return _trace(Requests(times, lengths[0], lengths[1], classes), _names(workload))


def arrivals_for(workload: Workload, trace: Trace | None, requests: int, seed: int) -> Trace:
    """Return requests to simulate a workload with.

    With a trace each of its classes is replayed at the workload's rate for that class: pairs of
    lengths stay together, and the pattern of arrivals is stretched or compressed. Replays begin
    at the same random place of the trace, so that another seed meets another part of it, and go
    on from its beginning when it ends. Classes that the trace does not have, and workloads
    without a trace, are drawn from their description (`generated`).

    Args:
        trace: The workload's trace; classes that the workload does not have are left out.
        requests: n, at least 1.
        seed: The same seed gives the same requests.

    Returns:
        n requests, the first at 0; classes are the workload's, in its order.

    Raises:
        InvalidInput: All requests of the trace arrive at once.
    """
    streams = _replays(workload, trace, requests, seed) if trace else []
    replayed_classes = {position for position, _ in streams}
    described = tuple(
        replace(traffic, rate_rps=0.0) if position in replayed_classes else traffic
        for position, traffic in enumerate(workload.classes)
    )
    drawn = []
    if any(traffic.rate_rps for traffic in described):
        drawn = [requests_of(generated(replace(workload, classes=described), requests, seed))]
    # Every stream has as many requests as are wanted, so that none ends before the last of them.
    merged = _merged([*(stream for _, stream in streams), *drawn])
    first = merged.taken(np.arange(requests))
    return _trace(first.at(first.arrived_at_s - first.arrived_at_s[0]), _names(workload))


def _replays(
    workload: Workload, trace: Trace, requests: int, seed: int
) -> list[tuple[int, Requests]]:
    """Return n requests of each class of a workload that its trace has, by class position."""
    whole, period = requests_of(trace), period_s(trace)
    start_s = np.random.default_rng(seed).uniform(0, period)
    streams = []
    for position, traffic in enumerate(workload.classes):
        if traffic.rate_rps > 0 and traffic.query_class in trace.classes:
            named = trace.classes.index(traffic.query_class)
            mine = whole.taken(whole.query_class == named)
            if len(mine):
                rate_factor = traffic.rate_rps * period / len(mine)
                stream = _from(mine, start_s, period, requests)
                times = stream.arrived_at_s / rate_factor
                streams.append((position, stream.at(times).of_class(position)))
    return streams


def _from(once: Requests, start_s: float, period: float, requests: int) -> Requests:
    """Return n requests of a stream that repeats, from a moment on; times count from there."""
    first = int(np.searchsorted(once.arrived_at_s, start_s))
    rounds, place = np.divmod(first + np.arange(requests), len(once))
    repeated = once.taken(place)
    return repeated.at(repeated.arrived_at_s + rounds * period - start_s)


def _merged(streams: Sequence[Requests]) -> Requests:
    """Return the requests of several streams in order of arrival."""
    together = Requests(
        np.concatenate([stream.arrived_at_s for stream in streams]),
        np.concatenate([stream.input_tokens for stream in streams]),
        np.concatenate([stream.output_tokens for stream in streams]),
        np.concatenate([stream.query_class for stream in streams]),
    )
    return together.taken(np.argsort(together.arrived_at_s, kind="stable"))


def _renewals(cv: float, rate_rps: float, requests: int, dice: np.random.Generator) -> Floats:
    """Return n arrivals, the first at 0, with independent gamma gaps."""
    if cv > EVEN:
        gaps = dice.gamma(1 / cv**2, cv**2 / rate_rps, size=requests)
    else:
        gaps = np.full(requests, 1 / rate_rps)
    times: Floats = np.cumsum(gaps) - gaps[0]
    return times


def _lengths(traffic: ClassTraffic, requests: int, dice: np.random.Generator) -> Integers:
    """Return 2 x n jointly log-normal lengths: prompts, answers."""
    rho = traffic.length_correlation
    prompt, other = dice.standard_normal((2, requests))
    answer = rho * prompt + math.sqrt(1 - rho**2) * other
    return np.stack(
        [
            _log_normal(traffic.input_tokens_mean, traffic.input_tokens_std, prompt),
            _log_normal(traffic.output_tokens_mean, traffic.output_tokens_std, answer),
        ]
    )


def _log_normal(mean: float, std: float, normal: Floats) -> Integers:
    """Return log-normal tokens with this mean and deviation from standard normal numbers.

    With s2 = ln(1 + (std / mean)^2) the logarithm has mean ln(mean) - s2 / 2 and variance s2.
    """
    s2 = math.log1p((std / mean) ** 2) if mean > 0 else 0.0
    tokens = mean * np.exp(math.sqrt(s2) * normal - s2 / 2)
    return np.clip(np.rint(tokens), 1, LONGEST_TOKENS).astype(np.int64)


def _log_correlation(first: Integers, second: Integers) -> float:
    if len(first) < FEWEST_FOR_CORRELATION or not (np.ptp(first) and np.ptp(second)):
        return 0.0
    return float(np.corrcoef(np.log(first), np.log(second))[0, 1])


def _names(workload: Workload) -> tuple[str, ...]:
    return tuple(traffic.query_class for traffic in workload.classes)


def _trace(requests: Requests, classes: tuple[str, ...]) -> Trace:
    return Trace(
        array("d", requests.arrived_at_s.tobytes()),
        array("q", requests.input_tokens.tobytes()),
        array("q", requests.output_tokens.tobytes()),
        array("q", requests.query_class.tobytes()),
        classes,
    )
