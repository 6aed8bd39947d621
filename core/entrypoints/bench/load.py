"""BOute's load generator against GuideLLM's, both on one replica at the same time.

Each keeps the same number of requests in flight, of the same lengths. Turns, one tool after the
other, would compare the machine with itself: its speed changes by more than the bar from one
minute to the next. At the same time, every change meets both. BOute's loop begins before
GuideLLM's and ends after it; of both, the answers that ended in GuideLLM's counted window count.

GuideLLM needs some milliseconds between an answer and the next request. That is load it does not
offer, and it moves arrivals within the engine's steps: a request that is sent at once comes just
after a step began and waits for nearly all of it. So BOute pauses here too, about as long, for
random times: constant ones would keep step with the engine. How long both really paused is
printed.
"""

import argparse
import asyncio
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from core.domain.deployment import Replica
from core.entrypoints.bench import guidellm
from core.entrypoints.bench.guidellm import Seen
from core.entrypoints.bench.load_figures import (
    BAR,
    Round,
    Rounds,
    boute_figures,
    compare,
    counted_in,
    guidellm_figures,
    total_s,
)
from core.entrypoints.bench.replica import LARGE, ReplicaSetup, pinned_to, running_replica
from core.entrypoints.bench.validation import ALPHABET, Request
from core.entrypoints.waiting import say
from core.errors import EngineFailed, EnvironmentFailed, InvalidInput
from core.profiling.client import Answer, ask, open_session
from core.profiling.load import closed_until
from core.serving.command_line import engine_version
from core.settings import Settings

CONCURRENCIES = (1, 4)
"""Requests that each tool keeps in flight."""
PROMPT_CHARACTERS = 31
ANSWER_TOKENS = range(8, 41, 4)
"""Lengths of answers. Answers of nearly one length would keep step with each other, so that the
requests a tool starts together meet in the same engine steps to the end."""
NUMBER_OF_REQUESTS = 2040
WARM_UP_S = 5.0
PAUSE_S = 0.008
"""Mean pause of BOute's loop. GuideLLM's was 4 to 8 ms against a server that sleeps; both become
longer by what a client waits for the CPU."""
DRAIN_S = 10.0
# Repeated texts must not become quicker because they are repeated.
ENGINE_ARGUMENTS = ("--no-enable-prefix-caching",)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument(
        "--guidellm", type=Path, required=True, help="the guidellm program, in its own environment"
    )
    parser.add_argument("--rounds", type=int, default=5, help="per number of requests in flight")
    parser.add_argument("--seconds", type=float, default=45.0, help="counted, per round")


def run(parsed: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    """Start one replica and let both tools measure it together.

    Raises:
        InvalidInput: There is no GuideLLM, or nothing to count.
        EnvironmentFailed: There is no second CPU core for the load.
        EngineFailed: The replica did not start, a tool failed, or they sent different requests.
    """
    guidellm.require(parsed.guidellm)
    if parsed.rounds < 1 or not parsed.seconds > 0:
        raise InvalidInput("There must be at least one round of some seconds.")
    server_core, load_core = _two_cores()
    setup = ReplicaSetup(LARGE, server_core, extra_arguments=ENGINE_ARGUMENTS)
    rounds: dict[int, list[Round]] = {concurrency: [] for concurrency in CONCURRENCIES}
    with running_replica(setup, settings) as replica, pinned_to(load_core):
        for number in range(1, parsed.rounds + 1):
            for concurrency in CONCURRENCIES:
                say(f"round {number} of {parsed.rounds}, {concurrency} in flight of each tool")
                made, version = one_round(replica, parsed.guidellm, concurrency, parsed.seconds)
                rounds[concurrency].append(made)
    return result(rounds, version)


def one_round(
    replica: Replica, program: Path, concurrency: int, seconds: float
) -> tuple[Round, str]:
    """Let both tools load one replica at the same time.

    Args:
        program: GuideLLM.
        concurrency: Requests that each keeps in flight.
        seconds: Counted.

    Returns:
        What both saw, and GuideLLM's version.

    Raises:
        EngineFailed: A tool failed, or saw no answer.
    """
    task = guidellm.Task(
        base_url=replica.base_url,
        model=replica.kind.model,
        tokenizer=LARGE,
        prompts=[(one.text, one.output_tokens) for one in requests_of(NUMBER_OF_REQUESTS, 1)],
        concurrency=concurrency,
        warm_up_s=WARM_UP_S,
        seconds=seconds,
    )
    with (
        TemporaryDirectory(prefix="boute-guidellm-") as folder,
        guidellm.running(program, task, Path(folder)) as other,
    ):
        ours = asyncio.run(
            _closed(replica, requests_of(NUMBER_OF_REQUESTS, 2), concurrency, other)
        )
        report = other.report()
    made = Round(report.window_s, ours, report.seen)
    for tool, seen in (("BOute", ours), ("GuideLLM", report.seen)):
        if not counted_in(seen, made.window_s):
            raise EngineFailed(f"{tool} saw no answer that counts.", "Give it more seconds.")
    return made, report.version


def requests_of(number: int, seed: int) -> list[Request]:
    """Draw requests of random text, answers as from a shuffled deck of the lengths.

    So each window has nearly the same mean length, and none of the throughputs' difference is
    luck with lengths.
    """
    rng = np.random.default_rng(seed)

    def lengths() -> Iterator[int]:
        while True:
            yield from (int(tokens) for tokens in rng.permutation(list(ANSWER_TOKENS)))

    return [
        Request("".join(rng.choice(list(ALPHABET), size=PROMPT_CHARACTERS)), tokens)
        for _, tokens in zip(range(number), lengths(), strict=False)
    ]


def result(rounds: Rounds, version: str) -> dict[str, Any]:
    """Return what the benchmark prints.

    Args:
        version: GuideLLM's.

    Raises:
        EngineFailed: The tools did not send requests of the same lengths.
    """
    rows = compare(rounds)
    return {
        "engine": engine_version(),
        "guidellm": version,
        "model": LARGE.name,
        "bar": BAR,
        "within": all(row.within for row in rows),
        "rows": [asdict(row) | {"within": row.within} for row in rows],
        "tools": [
            {
                "concurrency": concurrency,
                "seconds": total_s(one.window_s for one in made),
                **{
                    tool: asdict(seen) | {"pause_ms": 1000 * seen.pause_s(concurrency)}
                    for tool, seen in (
                        ("boute", boute_figures(made)),
                        ("guidellm", guidellm_figures(made)),
                    )
                },
            }
            for concurrency, made in sorted(rounds.items())
        ],
    }


def told(found: dict[str, Any]) -> str:
    """Return what `result` returned as a table."""
    lines = [
        f"{found['model']} on {found['engine']}: BOute and guidellm {found['guidellm']} at the "
        "same time, all rounds together",
        f"{'in flight':>9} {'figure':<20}{'BOute':>10}{'GuideLLM':>10}{'ratio':>8}  of the rounds",
    ]
    for row in found["rows"]:
        of_rounds = " ".join(f"{ratio:.3f}" for ratio in row["round_ratios"])
        lines.append(
            f"{row['concurrency']:>9} {row['metric']:<20}{row['boute']:>10.3f}"
            f"{row['guidellm']:>10.3f}{row['ratio']:>8.3f}  {of_rounds}"
            + ("" if row["within"] else "  beyond")
        )
    lines += [
        f"{both['concurrency']} in flight of each tool: {both['boute']['requests']} and "
        f"{both['guidellm']['requests']} answers in {both['seconds']:.0f} s, mean pause after an "
        f"answer {both['boute']['pause_ms']:.1f} and {both['guidellm']['pause_ms']:.1f} ms"
        for both in found["tools"]
    ]
    verdict = "all within" if found["within"] else "not all within"
    return "\n".join([*lines, f"{verdict} {found['bar']:.0%}"])


async def _closed(
    replica: Replica,
    requests: Sequence[Request],
    concurrency: int,
    other: guidellm.Running,
) -> tuple[Seen, ...]:
    """BOute's closed loop, for as long as the other tool is at work."""
    rng = np.random.default_rng(concurrency)
    seen: list[Seen] = []
    async with open_session() as session:

        async def ask_one(request: Request) -> Answer:
            url, model = replica.base_url, replica.kind.model
            await asyncio.sleep(rng.exponential(PAUSE_S))
            answer = await ask(
                session, url, model, request.text, request.output_tokens, exact=True
            )
            seen.append(_seen(answer, time.time()))
            return answer

        await closed_until(ask_one, requests, concurrency, lambda *_: other.over(), DRAIN_S)
    return tuple(seen)


def _seen(answer: Answer, ended_at_s: float) -> Seen:
    if answer.error or answer.ttft_ms is None or answer.tpot_ms is None:
        why = answer.error or "an answer had fewer tokens than it was asked to have"
        raise EngineFailed(f"BOute's requests failed: {why}", "Look at the replica's log.")
    return Seen(
        ended_at_s=ended_at_s,
        e2e_ms=answer.e2e_ms,
        ttft_ms=answer.ttft_ms,
        tpot_ms=answer.tpot_ms,
        input_tokens=answer.input_tokens,
        output_tokens=answer.output_tokens,
    )


def _two_cores() -> tuple[int, int]:
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise EnvironmentFailed(
            "The server and the load need a CPU core each, and there is one.",
            "Run it on a machine with two.",
        )
    return cores[0], cores[1]
