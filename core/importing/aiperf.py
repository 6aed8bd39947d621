"""`profile_export_aiperf.json` of NVIDIA AIPerf, one JSON document per run.

Written for schema 1.4 (AIPerf 0.13) and read from 1.0 on: 1.0 describes the load under
`input_config.loadgen`, later ones under `input_config.phases`.
"""

from datetime import UTC, datetime

from core.domain.profile import LoadLevel
from core.errors import InvalidInput
from core.importing.profile_assembly import Draft, Given, kind_of
from core.importing.profile_json import Node
from core.importing.profile_levels import Measured, Partial, load_level

ENGINE = "AIPerf"
TO_MS = {"ns": 1e-6, "us": 1e-3, "ms": 1.0, "sec": 1e3, "s": 1e3, "seconds": 1e3}


def recognises(document: Node) -> bool:
    """Whether a document has the marks of this tool."""
    return document.get("request_latency").has("unit") and document.has("input_config")


def read(document: Node, given: Given, notes: list[str]) -> list[Draft]:
    """Return the load level of one run.

    Raises:
        InvalidInput: The run is incomplete, or a figure is missing or impossible.
    """
    if document.get("was_cancelled").value is True or document.get("is_complete").value is False:
        raise InvalidInput(
            f"{document.where}: the run was not completed.", "Repeat it, and let it end."
        )
    kind = kind_of(given, document.where, notes, model=_model(document))
    level = _level(document, notes)
    return [Draft(document.where, document.file_name, kind, level, _date(document, given.now))]


def _model(document: Node) -> str:
    config = document.get("input_config")
    names = [item.get("name").text() for item in config.get("models", "items").items()]
    names += [item.text() for item in config.get("endpoint", "model_names").items()]
    known = list(dict.fromkeys(filter(None, names)))
    if len(known) > 1:
        raise InvalidInput(
            f"{document.where}: {len(known)} models were asked in turn.",
            "A profile is of one model: run AIPerf once per model.",
        )
    return known[0] if known else ""


def _level(document: Node, notes: list[str]) -> LoadLevel:
    held, rate_rps = _load(document.get("input_config"), notes)
    return load_level(
        Measured(
            where=document.where,
            input_tokens=document.get("input_sequence_length", "avg").number(),
            output_tokens=document.get("output_sequence_length", "avg").number(),
            ttft_ms=_times(document.get("time_to_first_token")),
            # Per request (E2E - TTFT) / (tokens - 1): what is called TPOT here.
            tpot_ms=_times(document.get("inter_token_latency")),
            e2e_ms=_times(document.get("request_latency")),
            concurrency=held if rate_rps is None else None,
            rate_rps=rate_rps,
            requests=int(document.get("request_count", "avg").positive()),
            errors=int(document.get("error_request_count", "avg").optional_number() or 0),
            requests_per_s=document.get("request_throughput", "avg").positive(),
        ),
        notes,
    )


def _load(config: Node, notes: list[str]) -> tuple[int | None, float | None]:
    """Return requests in flight and arrivals per second of the profiling phase."""
    phases = [phase for phase in config.get("phases").items() if _counted(phase)]
    load = phases[0] if phases else config.get("loadgen")
    if len(phases) > 1:
        raise InvalidInput(
            f"{config.get('phases').where}: several phases were measured as one.",
            "A level is one load: run AIPerf with one profiling phase.",
        )
    if load.get("rate_series").value or load.get("rate_ramp").value:
        raise InvalidInput(
            f"{load.where}: the request rate changed during the run.",
            "A level is one load: run AIPerf at one rate.",
        )
    pattern = load.get("type").text() or load.get("arrival_pattern").text()
    rate = load.get("rate") if phases else load.get("request_rate")
    rate_rps = rate.optional_number()
    if rate_rps is not None and pattern.lower() not in {"", "poisson"}:
        notes.append(f"Arrivals were {pattern}, not Poisson.")
    held = load.get("concurrency").optional_number()
    return (None if held is None else int(held)), rate_rps


def _counted(phase: Node) -> bool:
    return (phase.get("kind").text() or phase.get("name").text()) != "warmup"


def _times(metric: Node) -> Partial:
    if metric.value is None:
        return Partial()
    unit = metric.get("unit").text()
    if unit not in TO_MS:
        raise InvalidInput(
            f"{metric.get('unit').where} is {unit[:40]!r}, a unit that is not understood.",
            f"Times are in one of: {', '.join(TO_MS)}.",
        )

    def ms(name: str) -> float | None:
        value = metric.get(name).optional_number()
        return None if value is None else value * TO_MS[unit]

    return Partial(ms("avg"), ms("p50"), ms("p95"), ms("p99"))


def _date(document: Node, now: datetime) -> datetime:
    """ISO 8601, without a time zone taken as UTC; never later than now."""
    try:
        at = datetime.fromisoformat(document.get("start_time").text())
    except ValueError:
        return now
    return min(at if at.tzinfo else at.replace(tzinfo=UTC), now)
