"""One imported measurement: gaps filled by stated rules, contradictions refused.

Tools and tables report different subsets of time to first token (TTFT), time per output token
(TPOT) and end-to-end time (E2E). Two of the three give the third:

    E2E = TTFT + TPOT x (output tokens - 1)
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

from core.domain.profile import LoadLevel, Spread
from core.errors import InvalidInput

Z95, Z99 = 1.6448536269514722, 2.3263478740408408
"""Quantiles of the standard normal distribution."""
ASSUMED_REQUESTS = 100
MAX_CONCURRENCY = 100_000
E2E_FACTOR = 3.0
THROUGHPUT_FACTOR = 2.0 + 1e-6
TPOT_OVER_TTFT = 10.0
LEAST_MS = 1e-6
LEAST_RPS = 1e-9


@dataclass(frozen=True, slots=True)
class Partial:
    """What is known of a distribution; ms. None where it is not."""

    mean: float | None = None
    p50: float | None = None
    p95: float | None = None
    p99: float | None = None

    @property
    def known(self) -> bool:
        """Whether it has a centre."""
        return self.mean is not None or self.p50 is not None


NOTHING = Partial()


@dataclass(frozen=True, slots=True)
class Measured:
    """What a file says about one load.

    Attributes:
        where: The place in the file, to begin messages with ("Row 5").
        concurrency: Requests kept in flight; None when they arrived at a rate.
        rate_rps: Arrivals per second; None of a closed loop.
        requests: Finished requests; None when the file does not say.
        requests_per_s: Finished requests per second; None when the file does not say.
        whole: Whether the load was held over the whole window, so that throughput must not be
            far below concurrency / E2E. Tools that begin and end with an idle replica are not.
    """

    where: str
    input_tokens: float
    output_tokens: float
    ttft_ms: Partial = NOTHING
    tpot_ms: Partial = NOTHING
    e2e_ms: Partial = NOTHING
    concurrency: int | None = None
    rate_rps: float | None = None
    requests: int | None = None
    errors: int = 0
    requests_per_s: float | None = None
    memory_bytes: int = 0
    whole: bool = False


def load_level(measured: Measured, notes: list[str]) -> LoadLevel:
    """Return a complete load level; what was filled in is added to the notes.

    Raises:
        InvalidInput: Too little is known, or the numbers contradict each other.
    """
    _check_load(measured)
    ttft, tpot, e2e = _three_times(measured, notes)
    _check_times(measured, ttft, tpot, e2e)
    rate = measured.requests_per_s
    if rate is None:
        rate = _rate(measured, e2e)
    in_flight = rate * e2e.mean / 1000
    _check_throughput(measured, rate, in_flight, notes)
    requests = measured.requests
    if requests is None:
        requests = ASSUMED_REQUESTS
        notes.append(
            f"The number of requests is not given; {ASSUMED_REQUESTS} per level are assumed."
        )
    return LoadLevel(
        concurrency=measured.concurrency or max(1, round(in_flight)),
        requests=requests,
        errors=measured.errors,
        duration_s=requests / rate,
        ttft_ms=ttft,
        tpot_ms=tpot,
        e2e_ms=e2e,
        input_tokens_mean=measured.input_tokens,
        output_tokens_mean=measured.output_tokens,
        memory_bytes=measured.memory_bytes,
        rate_rps=measured.rate_rps,
    )


def _check_load(measured: Measured) -> None:
    if measured.requests == 0 or measured.requests_per_s == 0:
        raise InvalidInput(
            f"{measured.where}: no request succeeded.",
            "Leave this load out, or repeat the measurement.",
        )
    if measured.output_tokens < 1:
        raise InvalidInput(
            f"{measured.where}: answers of {measured.output_tokens:g} tokens are no answers.",
            "The mean answer length in tokens is needed, at least 1.",
        )
    if measured.concurrency is not None and not 1 <= measured.concurrency <= MAX_CONCURRENCY:
        raise InvalidInput(
            f"{measured.where}: {measured.concurrency} requests in flight cannot be.",
            f"Concurrency is a whole number from 1 to {MAX_CONCURRENCY}.",
        )


def _three_times(measured: Measured, notes: list[str]) -> tuple[Spread, Spread, Spread]:
    """Fill in the percentiles, then the one time that may be missing."""
    times = {"TTFT": measured.ttft_ms, "TPOT": measured.tpot_ms, "E2E": measured.e2e_ms}
    known = {name: partial for name, partial in times.items() if partial.known}
    _note_percentiles(known, notes)
    given = {name: spread(p, name, measured.where, notes) for name, p in known.items()}
    if len(given) < 2:
        raise InvalidInput(
            f"{measured.where}: {' and '.join(given) or 'no time'} alone is not enough.",
            "Two of TTFT, TPOT and E2E are needed; with streaming on, tools measure all three.",
        )
    further = max(measured.output_tokens - 1, 0.0)
    match given.get("TTFT"), given.get("TPOT"), given.get("E2E"):
        case Spread() as ttft, Spread() as tpot, None:
            notes.append(
                "E2E is not given: it is TTFT + TPOT x (output tokens - 1), percentile by "
                "percentile."
            )
            return ttft, tpot, _sum(ttft, tpot, further)
        case Spread() as ttft, None, Spread() as e2e:
            notes.append("TPOT is not given: it is (E2E - TTFT) / (output tokens - 1), averaged.")
            decoding_ms = _difference(measured, e2e.mean, ttft.mean)
            return ttft, _flat(decoding_ms / further if further > 0 else 0.0), e2e
        case None, Spread() as tpot, Spread() as e2e:
            notes.append("TTFT is not given: it is E2E - TPOT x (output tokens - 1), averaged.")
            return _flat(_difference(measured, e2e.mean, tpot.mean * further)), tpot, e2e
    return given["TTFT"], given["TPOT"], given["E2E"]


def _note_percentiles(known: Mapping[str, Partial], notes: list[str]) -> None:
    none = [name for name, p in known.items() if p.p95 is None and p.p99 is None]
    if none:
        notes.append(
            f"{', '.join(none)}: no 95th or 99th percentile is given; each request counts as "
            "average."
        )
    for number, one, other in (("95th", "p95", "p99"), ("99th", "p99", "p95")):
        names = [
            name
            for name, p in known.items()
            if getattr(p, one) is None and getattr(p, other) is not None
        ]
        if names:
            notes.append(
                f"{', '.join(names)}: the {number} percentile is that of a log-normal "
                "distribution through the ones given."
            )


def _flat(value: float) -> Spread:
    return Spread(value, value, value, value)


def _sum(ttft: Spread, tpot: Spread, further: float) -> Spread:
    return Spread(
        ttft.mean + tpot.mean * further,
        ttft.p50 + tpot.p50 * further,
        ttft.p95 + tpot.p95 * further,
        ttft.p99 + tpot.p99 * further,
    )


def _difference(measured: Measured, whole: float, part: float) -> float:
    if part > whole:
        raise InvalidInput(
            f"{measured.where}: {part:g} ms of a part exceed the {whole:g} ms of the whole.",
            "E2E is TTFT + TPOT x (output tokens - 1). Are seconds and milliseconds mixed up?",
        )
    return whole - part


def spread(partial: Partial, name: str, where: str, notes: list[str]) -> Spread:
    """Return mean and percentiles; missing ones lie on a log-normal through the known ones.

    Raises:
        InvalidInput: Percentiles fall, or a time is zero where it cannot be.
    """
    given = [(n, v) for n in ("p50", "p95", "p99") if (v := getattr(partial, n)) is not None]
    for (low, smaller), (high, larger) in pairwise(given):
        if smaller > larger:
            raise InvalidInput(
                f"{where}: {name} {low} = {smaller:g} ms is above {high} = {larger:g} ms.",
                "Percentiles never fall. Are two columns swapped?",
            )
    mean = partial.mean
    if mean is None:
        mean = partial.p50 or 0.0
        notes.append(f"The mean of {name} is not given; the median is taken for it.")
    p95, p99 = partial.p95, partial.p99
    ceiling = next((v for v in (p95, p99) if v is not None), mean)
    p50 = partial.p50 if partial.p50 is not None else min(mean, ceiling)
    p95, p99 = _tail(p50, mean, p95, p99)
    return Spread(mean, p50, p95, p99)


def _tail(p50: float, mean: float, p95: float | None, p99: float | None) -> tuple[float, float]:
    centre = max(p50, LEAST_MS)
    match p95, p99:
        case None, None:
            return max(p50, mean), max(p50, mean)
        case None, float():
            return max(p50, centre * (max(p99, centre) / centre) ** (Z95 / Z99)), p99
        case float(), None:
            return p95, max(p95, centre * (max(p95, centre) / centre) ** (Z99 / Z95))
    return p95 or 0.0, p99 or 0.0


def _check_times(measured: Measured, ttft: Spread, tpot: Spread, e2e: Spread) -> None:
    where, further = measured.where, max(measured.output_tokens - 1, 0.0)
    if ttft.mean <= 0 or e2e.mean <= 0 or (tpot.mean <= 0 and further > 0):
        raise InvalidInput(
            f"{where}: TTFT {ttft.mean:g} ms, TPOT {tpot.mean:g} ms, E2E {e2e.mean:g} ms: "
            "a time of zero was not measured.",
            "Leave the field empty where a time is unknown, and measure with streaming on.",
        )
    if e2e.mean < ttft.mean * (1 - 1e-9):
        raise InvalidInput(
            f"{where}: E2E {e2e.mean:g} ms ends before the first token at {ttft.mean:g} ms.",
            "Are seconds and milliseconds mixed up? The unit is in the column's name.",
        )
    if further > 0 and tpot.mean > TPOT_OVER_TTFT * ttft.mean:
        raise InvalidInput(
            f"{where}: TPOT {tpot.mean:g} ms is {tpot.mean / ttft.mean:.0f} times "
            f"TTFT {ttft.mean:g} ms.",
            "The first token takes at least about one step. Are seconds and milliseconds mixed "
            "up, or is TPOT the time of all tokens?",
        )
    composed = ttft.mean + tpot.mean * further
    if not composed / E2E_FACTOR <= e2e.mean <= composed * E2E_FACTOR:
        raise InvalidInput(
            f"{where}: E2E {e2e.mean:g} ms is far from TTFT + TPOT x (output tokens - 1) "
            f"= {composed:g} ms.",
            "Are seconds and milliseconds mixed up, or is the answer length another one?",
        )


def _rate(measured: Measured, e2e: Spread) -> float:
    if measured.rate_rps is not None:
        return measured.rate_rps
    if measured.concurrency is None:
        raise InvalidInput(
            f"{measured.where}: neither concurrency nor rate is known.",
            "Say how many requests were in flight, or how many arrived per second.",
        )
    return measured.concurrency / (e2e.mean / 1000)


def _check_throughput(measured: Measured, rate: float, in_flight: float, notes: list[str]) -> None:
    """Refuse what contradicts Little's law, in flight = throughput x E2E."""
    if rate < LEAST_RPS or (measured.concurrency is None and in_flight > MAX_CONCURRENCY):
        raise InvalidInput(
            f"{measured.where}: {rate:g} requests/s with {in_flight:.3g} in flight cannot be.",
            "Leave the load out, or repeat the measurement.",
        )
    if measured.rate_rps is not None:
        if rate > THROUGHPUT_FACTOR * measured.rate_rps:
            raise InvalidInput(
                f"{measured.where}: {rate:g} requests/s were answered but only "
                f"{measured.rate_rps:g} arrived.",
                "Requests per second are meant, for one replica.",
            )
        return
    held = measured.concurrency
    if held is None:
        return
    if in_flight > THROUGHPUT_FACTOR * held or (
        measured.whole and in_flight < held / THROUGHPUT_FACTOR
    ):
        raise InvalidInput(
            f"{measured.where}: {rate:g} requests/s x E2E make {in_flight:.3g} requests in "
            f"flight; {held} were kept.",
            "Concurrency, throughput and E2E must be of one replica. throughput_tok_s counts "
            "output tokens only; with prompts included it is throughput_total_tok_s.",
        )
    if in_flight < held / THROUGHPUT_FACTOR:
        notes.append(
            f"{measured.where}: on average only {in_flight:.3g} of {held} requests were in "
            "flight; longer runs hold the load."
        )
