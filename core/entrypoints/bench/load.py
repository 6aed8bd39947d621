"""BOute's load generator against GuideLLM's: the same requests to one replica, turn by turn.

GuideLLM needs some milliseconds between an answer and the next request. That is load it does not
offer, and it moves arrivals within the engine's steps: a request that is sent at once comes just
after a step began and waits for nearly all of it. BOute's loop therefore pauses as long as
GuideLLM's own report says that it did; both then offer the same load.
"""

import argparse
import asyncio
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, median
from tempfile import TemporaryDirectory
from typing import Any

from core.domain.deployment import Replica
from core.entrypoints.bench import guidellm
from core.entrypoints.bench.guidellm import Reading
from core.entrypoints.bench.replica import LARGE, ReplicaSetup, pinned_to, running_replica
from core.entrypoints.bench.validation import Lengths, Request, requests_of
from core.entrypoints.waiting import say
from core.errors import EngineFailed, EnvironmentFailed, InvalidInput
from core.profiling.client import Answer, ask, open_session
from core.profiling.load import closed_loop
from core.profiling.statistics import first_error, load_level
from core.serving.command_line import engine_version
from core.settings import Settings

BAR = 0.05
"""How far apart the two tools may be, as a fraction of GuideLLM's figure."""
METRICS = ("requests_per_s", "output_tokens_per_s", "ttft_ms", "tpot_ms")
CONCURRENCIES = (1, 4)
# Answers of one length would keep step with each other: all in flight would begin and end
# together, and the throughput of a window would jump by as many requests as are in flight.
LENGTHS = Lengths("load", (((63, 63), (44, 52)),))
SAME_LENGTH = 0.05
"""How far the mean answers of two turns may differ: each turn counts other requests."""
NUMBER_OF_REQUESTS = 2000
WARM_UP_S = 1.0
SEED = 11
# Both tools send the same texts: whoever comes second must not find them in the cache.
ENGINE_ARGUMENTS = ("--no-enable-prefix-caching",)

Readings = dict[int, list[Reading]]
"""Per concurrency, one reading per round."""


@dataclass(frozen=True, slots=True)
class Row:
    """One figure of both tools: medians over rounds.

    Attributes:
        boute: BOute's figure; `metric` names the unit.
        guidellm: GuideLLM's.
        ratio: BOute's / GuideLLM's.
        boute_spread: (greatest - least) / median over BOute's own rounds.
        guidellm_spread: The same of GuideLLM's.
    """

    concurrency: int
    metric: str
    boute: float
    guidellm: float
    ratio: float
    boute_spread: float
    guidellm_spread: float

    @property
    def within(self) -> bool:
        """Whether the tools agree."""
        return abs(self.ratio - 1) <= BAR


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument(
        "--guidellm", type=Path, required=True, help="the guidellm program, in its own environment"
    )
    parser.add_argument("--rounds", type=int, default=6, help="turns of each tool")
    parser.add_argument("--seconds", type=float, default=16.0, help="counted, per turn and level")


def run(parsed: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    """Start one replica and let both tools measure it in turn.

    Raises:
        InvalidInput: There is no GuideLLM, or nothing to count.
        EnvironmentFailed: There is no second CPU core for the load.
        EngineFailed: The replica did not start, a tool failed, or they sent different requests.
    """
    guidellm.require(parsed.guidellm)
    if parsed.rounds < 1 or not parsed.seconds > 0:
        raise InvalidInput("There must be at least one round of some seconds.")
    server_core, load_core = _two_cores()
    requests = requests_of(LENGTHS, NUMBER_OF_REQUESTS, SEED, round_number=0)
    setup = ReplicaSetup(LARGE, server_core, extra_arguments=ENGINE_ARGUMENTS)
    with running_replica(setup, settings) as replica, pinned_to(load_core):
        say("warming up")
        boute_reading(replica, requests, max(CONCURRENCIES), parsed.seconds / 2)
        ours, theirs, version = _in_turns(replica, requests, parsed)
    return result(ours, theirs, version, parsed.seconds)


def result(ours: Readings, theirs: Readings, version: str, seconds: float) -> dict[str, Any]:
    """Return what the benchmark prints.

    Args:
        version: GuideLLM's.
        seconds: Length of each counted window.

    Raises:
        EngineFailed: The tools did not send requests of the same lengths.
    """
    rows = compare(ours, theirs)
    return {
        "engine": engine_version(),
        "guidellm": version,
        "model": LARGE.name,
        "rounds": min(len(readings) for readings in ours.values()),
        "seconds": seconds,
        "bar": BAR,
        "within": all(row.within for row in rows),
        "rows": [asdict(row) | {"within": row.within} for row in rows],
        "in_flight": {
            str(c): {
                "boute": median(reading.in_flight for reading in ours[c]),
                "guidellm": median(reading.in_flight for reading in theirs[c]),
                "pause_ms": 1000 * median(reading.pause_s(c) for reading in theirs[c]),
            }
            for c in ours
        },
        "readings": {"boute": _told_readings(ours), "guidellm": _told_readings(theirs)},
    }


def told(found: dict[str, Any]) -> str:
    """Return what `result` returned as a table."""
    lines = [
        f"{found['model']} on {found['engine']}: BOute against guidellm {found['guidellm']}, "
        f"medians of {found['rounds']} rounds of {found['seconds']:g} s",
        f"{'in flight':>9} {'figure':<20}{'BOute':>10}{'GuideLLM':>10}{'ratio':>8}{'spread':>16}",
    ]
    for row in found["rows"]:
        spreads = f"{row['boute_spread']:.1%} / {row['guidellm_spread']:.1%}"
        lines.append(
            f"{row['concurrency']:>9} {row['metric']:<20}{row['boute']:>10.3f}"
            f"{row['guidellm']:>10.3f}{row['ratio']:>8.3f}{spreads:>16}"
            + ("" if row["within"] else "  beyond")
        )
    lines += [
        f"in flight on average, of {c}: BOute {kept['boute']:.2f}, GuideLLM "
        f"{kept['guidellm']:.2f}; pause after an answer {kept['pause_ms']:.1f} ms"
        for c, kept in found["in_flight"].items()
    ]
    verdict = "all within" if found["within"] else "not all within"
    return "\n".join([*lines, f"{verdict} {found['bar']:.0%}"])


def boute_reading(
    replica: Replica,
    requests: Sequence[Request],
    concurrency: int,
    seconds: float,
    pause_s: float = 0.0,
) -> Reading:
    """Measure with BOute's closed loop.

    Args:
        pause_s: Between an answer and the next request in its place.

    Raises:
        EngineFailed: A request failed, or none ended in time.
    """
    return asyncio.run(_closed(replica, requests, concurrency, seconds, pause_s))


def compare(ours: Readings, theirs: Readings) -> list[Row]:
    """Return a row for every concurrency and metric.

    Raises:
        EngineFailed: The tools did not send requests of the same lengths.
    """
    for concurrency in ours:
        _require_same_lengths(ours[concurrency], theirs[concurrency])
    return [
        _row(concurrency, metric, ours[concurrency], theirs[concurrency])
        for concurrency in sorted(ours)
        for metric in METRICS
    ]


async def _closed(
    replica: Replica,
    requests: Sequence[Request],
    concurrency: int,
    seconds: float,
    pause_s: float,
) -> Reading:
    async with open_session() as session:

        async def ask_one(request: Request) -> Answer:
            url, model = replica.base_url, replica.kind.model
            return await ask(session, url, model, request.text, request.output_tokens, exact=True)

        window = await closed_loop(
            ask_one, requests, concurrency, WARM_UP_S, seconds, lambda *_: None, pause_s
        )
    level = load_level(concurrency, window, memory_bytes=0)
    if level is None or level.errors:
        why = first_error(window.answers) or f"no answer ended within {seconds:g} s"
        raise EngineFailed(f"BOute's requests failed: {why}", "Look at the replica's log.")
    return Reading(
        requests=level.requests,
        requests_per_s=level.requests_per_s,
        output_tokens_per_s=level.output_tokens_per_s,
        ttft_ms=level.ttft_ms.p50,
        tpot_ms=level.tpot_ms.p50,
        in_flight=level.requests_per_s * level.e2e_ms.mean / 1000,  # Little's law
        input_tokens=level.input_tokens_mean,
        output_tokens=level.output_tokens_mean,
    )


def _in_turns(
    replica: Replica, requests: Sequence[Request], parsed: argparse.Namespace
) -> tuple[Readings, Readings, str]:
    """One turn of GuideLLM, one of BOute, and again: what drifts meanwhile meets both."""
    task = guidellm.Task(
        base_url=replica.base_url,
        model=replica.kind.model,
        tokenizer=LARGE,
        prompts=[(request.text, request.output_tokens) for request in requests],
        concurrencies=CONCURRENCIES,
        warm_up_s=WARM_UP_S,
        seconds=parsed.seconds,
    )
    ours: Readings = {c: [] for c in CONCURRENCIES}
    theirs: Readings = {c: [] for c in CONCURRENCIES}
    for number in range(1, parsed.rounds + 1):
        say(f"round {number} of {parsed.rounds}")
        with TemporaryDirectory(prefix="boute-guidellm-") as folder:
            report = guidellm.measure(parsed.guidellm, task, Path(folder))
        for concurrency, reading in report.by_concurrency.items():
            theirs[concurrency].append(reading)
            pause_s = reading.pause_s(concurrency)
            ours[concurrency].append(
                boute_reading(replica, requests, concurrency, parsed.seconds, pause_s)
            )
    return ours, theirs, report.version


def _two_cores() -> tuple[int, int]:
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise EnvironmentFailed(
            "The server and the load need a CPU core each, and there is one.",
            "Run it on a machine with two.",
        )
    return cores[0], cores[1]


def _require_same_lengths(ours: Sequence[Reading], theirs: Sequence[Reading]) -> None:
    own, other = _mean_lengths(ours), _mean_lengths(theirs)
    if abs(own[0] - other[0]) > 0.01 or abs(own[1] / other[1] - 1) > SAME_LENGTH:
        raise EngineFailed(
            "The tools' requests differ: BOute's have {:.2f} prompt and {:.2f} answer tokens, "
            "GuideLLM's {:.2f} and {:.2f}.".format(*own, *other),
            "Only figures of the same requests can be compared; use more rounds or seconds.",
        )


def _mean_lengths(readings: Sequence[Reading]) -> tuple[float, float]:
    return fmean(r.input_tokens for r in readings), fmean(r.output_tokens for r in readings)


def _row(concurrency: int, metric: str, ours: Sequence[Reading], theirs: Sequence[Reading]) -> Row:
    own, other = ([getattr(r, metric) for r in readings] for readings in (ours, theirs))
    return Row(
        concurrency=concurrency,
        metric=metric,
        boute=median(own),
        guidellm=median(other),
        ratio=median(own) / median(other),
        boute_spread=_spread(own),
        guidellm_spread=_spread(other),
    )


def _spread(values: Sequence[float]) -> float:
    return (max(values) - min(values)) / median(values)


def _told_readings(readings: Readings) -> dict[str, list[dict[str, Any]]]:
    return {str(c): [asdict(reading) for reading in found] for c, found in readings.items()}
