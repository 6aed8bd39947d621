"""JSON reports of GuideLLM (`guidellm benchmark`), one load level per benchmark.

Written for 0.8 (report version 2) and read from 0.3 on: 0.3 keeps the strategy in `args` and the
model in `worker`, later ones both in `config`.
"""

from core.domain.profile import LoadLevel
from core.errors import InvalidInput
from core.importing.profile_assembly import Draft, Given, kind_of, moment
from core.importing.profile_json import Node
from core.importing.profile_levels import Measured, Partial, load_level

ENGINE = "GuideLLM"


def recognises(document: Node) -> bool:
    """Whether a document has the marks of this tool."""
    benchmarks = document.get("benchmarks").items()
    return any(b.has("metrics") and b.get("metrics").has("request_latency") for b in benchmarks)


def read(document: Node, given: Given, notes: list[str]) -> list[Draft]:
    """Return the load level of each benchmark of a report.

    Raises:
        InvalidInput: A figure is missing or impossible.
    """
    drafts = []
    for benchmark in document.get("benchmarks").items():
        kind = kind_of(given, benchmark.where, notes, model=_model(document, benchmark))
        at = moment(benchmark.get("start_time").optional_number(), given.now)
        level = _level(benchmark, notes)
        drafts.append(Draft(benchmark.where, document.file_name, kind, level, at))
    return drafts


def _model(document: Node, benchmark: Node) -> str:
    places = (
        benchmark.get("config", "backend", "model"),
        benchmark.get("worker", "backend_model"),
        document.get("config", "spec", "backend", "model"),
        document.get("args", "model"),
    )
    return next((found for place in places if (found := place.text())), "")


def _level(benchmark: Node, notes: list[str]) -> LoadLevel:
    metrics = benchmark.get("metrics")
    held, rate_rps = _load(benchmark, notes)
    totals = metrics.get("request_totals")
    totals = totals if totals.value else benchmark.get("request_totals")
    return load_level(
        Measured(
            where=benchmark.where,
            input_tokens=_successful(metrics, "prompt_token_count").get("mean").number(),
            output_tokens=_successful(metrics, "output_token_count").get("mean").number(),
            ttft_ms=_times(metrics, "time_to_first_token_ms"),
            # Its "time per output token" counts the first token in; this one does not.
            tpot_ms=_times(metrics, "inter_token_latency_ms"),
            e2e_ms=_times(metrics, "request_latency", 1000.0),
            concurrency=held,
            rate_rps=rate_rps,
            requests=int(totals.get("successful").positive()),
            errors=int(totals.get("errored").optional_number() or 0),
            requests_per_s=_successful(metrics, "requests_per_second").get("mean").positive(),
        ),
        notes,
    )


def _load(benchmark: Node, notes: list[str]) -> tuple[int | None, float | None]:
    """Return requests in flight, or arrivals per second; neither for `throughput`."""
    strategy = benchmark.get("config", "strategy")
    strategy = strategy if strategy.value else benchmark.get("args", "strategy")
    match kind := strategy.get("type_").text():
        case "synchronous":
            return 1, None
        case "concurrent":
            return int(strategy.get("streams").positive()), None
        case "poisson":
            return None, strategy.get("rate").positive()
        case "constant":
            notes.append("Arrivals were evenly spaced, not Poisson: queues were shorter.")
            return None, strategy.get("rate").positive()
        case "throughput":
            notes.append(
                "All requests were sent at once: the mean number in flight counts as concurrency."
            )
            return None, None
    raise InvalidInput(
        f"{strategy.get('type_').where} is {kind[:40]!r}, a strategy that is not understood.",
        "Use synchronous, concurrent, poisson, constant or throughput.",
    )


def _successful(metrics: Node, name: str) -> Node:
    return metrics.get(name, "successful")


def _times(metrics: Node, name: str, to_ms: float = 1.0) -> Partial:
    node = _successful(metrics, name)
    if not node.get("count").optional_number():
        return Partial()

    def ms(*keys: str) -> float | None:
        value = node.get(*keys).optional_number()
        return None if value is None else value * to_ms

    return Partial(ms("mean"), ms("median"), ms("percentiles", "p95"), ms("percentiles", "p99"))
