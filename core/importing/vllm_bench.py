"""Results of `vllm bench serve --save-result`, one JSON document per run.

Written for vLLM 0.32; `--append-result` and `--save-detailed` are understood.
`--metadata gpu=... tp=... pp=...` says what the file otherwise does not.
"""

from collections.abc import Sequence
from datetime import UTC, datetime

from core.domain.profile import LoadLevel
from core.errors import InvalidInput
from core.importing.profile_assembly import Draft, Given, kind_of
from core.importing.profile_json import Node
from core.importing.profile_levels import Measured, Partial, load_level

ENGINE = "vllm bench serve"


def recognises(document: Node) -> bool:
    """Whether a document has the marks of this tool."""
    return document.has("request_rate", "completed", "duration", "total_input_tokens")


def read(document: Node, given: Given, notes: list[str]) -> list[Draft]:
    """Return the load level of one run.

    Raises:
        InvalidInput: A figure is missing or impossible.
    """
    _refuse_ramps(document)
    kind = kind_of(
        given,
        document.where,
        notes,
        model=document.get("model_id").text(),
        gpu=document.get("gpu").text(),
        tp=_ranks(document.get("tp")),
        pp=_ranks(document.get("pp")),
    )
    level = _level(document, notes)
    return [Draft(document.where, document.file_name, kind, level, _date(document, given.now))]


def _refuse_ramps(document: Node) -> None:
    if document.get("ramp_up_strategy").value is not None:
        raise InvalidInput(
            f"{document.where}: the request rate was ramped up during the run.",
            "A level is one load: run without --ramp-up-strategy.",
        )


def _level(document: Node, notes: list[str]) -> LoadLevel:
    completed = document.get("completed").positive()
    duration_s = document.get("duration").positive()
    held, rate_rps = _load(document)
    if rate_rps is not None and document.get("burstiness").optional_number() not in {None, 1.0}:
        notes.append("Arrivals were not Poisson (burstiness is not 1).")
    if held is None and rate_rps is None:
        notes.append(
            "All requests were sent at once: the mean number in flight counts as concurrency."
        )
    return load_level(
        Measured(
            where=document.where,
            input_tokens=document.get("total_input_tokens").number() / completed,
            output_tokens=document.get("total_output_tokens").number() / completed,
            ttft_ms=_times(document, "ttft"),
            tpot_ms=_times(document, "tpot"),
            e2e_ms=_e2e(document, int(completed)),
            concurrency=held if rate_rps is None else None,
            rate_rps=rate_rps,
            requests=int(completed),
            errors=_errors(document, completed),
            requests_per_s=completed / duration_s,
        ),
        notes,
    )


def _load(document: Node) -> tuple[int | None, float | None]:
    """Return requests in flight and arrivals per second; "inf" is as fast as possible."""
    rate = document.get("request_rate")
    rate_rps = None if rate.value == "inf" else rate.optional_number()
    held = document.get("max_concurrency").optional_number()
    return (None if held is None else int(held)), rate_rps


def _times(document: Node, metric: str) -> Partial:
    return Partial(
        mean=document.get(f"mean_{metric}_ms").optional_number(),
        p50=document.get(f"median_{metric}_ms").optional_number(),
        p95=document.get(f"p95_{metric}_ms").optional_number(),
        p99=document.get(f"p99_{metric}_ms").optional_number(),
    )


def _e2e(document: Node, completed: int) -> Partial:
    """From the statistics, or else from single requests: seconds, 0 of failed ones."""
    known = _times(document, "e2el")
    if known.known:
        return known
    times_s = [item.number() for item in document.get("latencies").items()]
    times_ms = sorted(1000 * seconds for seconds in times_s if seconds > 0)
    if not times_ms or len(times_ms) != completed:
        return known
    return Partial(sum(times_ms) / len(times_ms), *(_rank(times_ms, q) for q in (0.5, 0.95, 0.99)))


def _rank(rising: Sequence[float], quantile: float) -> float:
    """Percentile by linear interpolation between the nearest ranks, as numpy does."""
    at = quantile * (len(rising) - 1)
    low = int(at)
    high = min(low + 1, len(rising) - 1)
    return rising[low] + (at - low) * (rising[high] - rising[low])


def _errors(document: Node, completed: float) -> int:
    failed = document.get("failed").optional_number()
    if failed is None:
        sent = document.get("num_prompts").optional_number() or completed
        failed = max(0.0, sent - completed)
    return int(failed)


def _ranks(node: Node) -> int | None:
    """Metadata is text: `tp=2` becomes "2"."""
    text = node.text()
    if text and not (text.isascii() and text.isdigit()):
        raise InvalidInput(f"{node.where} is {text[:40]!r}.", "Ranks are whole numbers from 1.")
    number = float(text[:9]) if text else node.optional_number()
    return None if number is None else int(number)


def _date(document: Node, now: datetime) -> datetime:
    """`20260131-235959`, without a time zone: taken as UTC, never later than now."""
    try:
        at = datetime.strptime(document.get("date").text(), "%Y%m%d-%H%M%S")
    except ValueError:
        return now
    return min(at.replace(tzinfo=UTC), now)
