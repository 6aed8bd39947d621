"""A cascade of the built-in models against either of them alone, on real replicas.

One query class with everything in it, easy, medium and hard questions as in the built-in traffic:
nothing but the small model's own confidence tells them apart. Half of the questions calibrate the
threshold, as a quality job would; the other half is answered by the small model, by the large one
and by the cascade, in turns of some questions each, one request at a time, so that what drifts on
a shared machine meets all three.

Device time is the CPU time of a replica's processes: each has a core to itself, one request is
under way at a time, and other programs on that core make answers later, but hardly longer in CPU
time. Of the cascade, both calls count. The time to the last token is told beside it. The small
model alone tells its log-probabilities too, so that every threshold can be looked at.
"""

import argparse
import asyncio
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import aiohttp
import numpy as np
import psutil

from core.demo import arithmetic
from core.demo.arithmetic import QUERY_CLASSES, Question
from core.demo.first_start import MAX_ANSWER_TOKENS, MAX_NUM_SEQS, MIX
from core.domain.cascade import CascadeEstimate
from core.domain.cascade_calibration import calibrated
from core.domain.deployment import Replica
from core.domain.plan import Route, make_plan
from core.domain.quality import Outcome
from core.entrypoints.bench.cascade_figures import (
    CASCADE,
    LARGE_ALONE,
    SMALL_ALONE,
    Asked,
    Call,
    result_of,
    told_table,
)
from core.entrypoints.bench.replica import LARGE, ReplicaSetup, pinned_to, running_replicas
from core.entrypoints.waiting import say
from core.errors import EngineFailed, EnvironmentFailed, InvalidInput
from core.profiling.cascade import Call as RawCall
from core.profiling.cascade import Cascaded, cascaded
from core.profiling.client import UNSURE, ask, open_session
from core.quality.scorers import numeric
from core.routing.answer_lengths import AcceptedLengths
from core.routing.policy import Decision, Router
from core.serving.command_line import engine_version
from core.settings import Settings

SMALL = LARGE.parent / "small"
ALL = "all"
"""The one query class."""
SEED = 20_261
TURN = 20
"""Questions that one way of answering gets in a row."""
WARM_UP = 10
WITHIN = 0.005
"""How much less than the large model's a threshold's quality may be in the calibration half to be
taken; half of what the bar allows in the other half."""
ENGINE_ARGUMENTS = ("--no-enable-prefix-caching",)  # each question is asked several times


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--questions", type=int, default=800, help="half of them calibrate")


def run(parsed: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    """Start both replicas, calibrate, answer.

    Raises:
        InvalidInput: There are too few questions.
        EnvironmentFailed: There are fewer than two CPU cores.
        EngineFailed: A replica did not start, a request failed, or no cascade is worth having.
    """
    if parsed.questions < 4 * TURN:
        raise InvalidInput(f"At least {4 * TURN} questions are needed.")
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise EnvironmentFailed("This benchmark needs two CPU cores.", "One per replica.")
    calibrating, others = halves(parsed.questions)
    setups = [
        ReplicaSetup(path, core, max_num_seqs=MAX_NUM_SEQS, extra_arguments=ENGINE_ARGUMENTS)
        for path, core in ((SMALL, cores[0]), (LARGE, cores[1]))
    ]
    with running_replicas(setups, settings) as replicas, pinned_to(cores[0]):
        by_model = {replica.kind.model: replica for replica in replicas}
        say(f"calibrating on {len(calibrating)} questions")
        outcomes = asyncio.run(scored(by_model, calibrating))
        offered = calibrated(ALL, outcomes)
        chosen = choose(offered, outcomes)
        say(f"answering {len(others)} others")
        asked = asyncio.run(answered(by_model, chosen, others))
    return {"engine": engine_version(), "mix": MIX} | result_of(outcomes, offered, chosen, asked)


def told(found: dict[str, Any]) -> str:
    """Return what `run` returned, for people."""
    return told_table(found)


def halves(number: int) -> tuple[list[Question], list[Question]]:
    """Draw different held-out questions of the built-in traffic's mix, as many in each half."""
    rng = np.random.default_rng(SEED)
    parts: tuple[list[Question], list[Question]] = ([], [])
    for name in QUERY_CLASSES:
        each = round(MIX[name] * number / 2)
        drawn = list({q.text: q for q in arithmetic.questions(name, 8 * each, SEED)}.values())
        for place, question in enumerate(drawn[: 2 * each]):
            parts[place % 2].append(question)
    first, second = ([part[place] for place in rng.permutation(len(part))] for part in parts)
    return first, second


def choose(offered: Sequence[CascadeEstimate], outcomes: Sequence[Outcome]) -> CascadeEstimate:
    """Return the cascade that escalates fewest and is as good as the large model, or the best.

    Raises:
        EngineFailed: None is offered.
    """
    if not offered:
        raise EngineFailed(
            "No cascade is worth having: the small model's confidence tells nothing."
        )
    large = float(np.mean([o.score for o in outcomes if o.model == offered[0].escalate_to]))
    good = [cascade for cascade in offered if cascade.mean >= large - WITHIN]
    return good[0] if good else max(offered, key=lambda cascade: cascade.mean)


async def scored(replicas: Mapping[str, Replica], questions: Sequence[Question]) -> list[Outcome]:
    """Have each model answer every question and score it, as a quality job does."""
    outcomes = []
    async with open_session() as session:
        for model in replicas:
            for question in questions:
                _, answer = await _call(session, replicas[model], question, logprobs=True)
                outcomes.append(
                    Outcome(
                        query=question.text,
                        query_class=ALL,
                        model=model,
                        score=numeric(answer.text, question.answer),
                        output_tokens=answer.output_tokens,
                        job_id="",
                        confidence=answer.confidence,
                    )
                )
    return outcomes


async def answered(
    replicas: Mapping[str, Replica], chosen: CascadeEstimate, questions: Sequence[Question]
) -> list[Asked]:
    """Have every question answered in each of the three ways, in turns.

    Args:
        replicas: Per model.
    """
    kinds = {replica.kind: 1 for replica in replicas.values()}
    route = Route(ALL, chosen.model, 1.0, chosen.escalate_to, chosen.threshold)
    router = Router(make_plan(kinds, {}, [route]), None, (chosen.escalate_to, chosen.model))
    ways: dict[str, Callable[[str], Decision]] = {
        SMALL_ALONE: lambda _: Decision(ALL, chosen.model, 1.0),
        LARGE_ALONE: lambda _: Decision(ALL, chosen.escalate_to, 1.0),
        CASCADE: router.choose,
    }
    seen: list[Asked] = []
    lengths = AcceptedLengths()
    async with open_session() as session:

        async def one(way: str, question: Question) -> Cascaded:
            async def call(model: str, threshold: float | None, likely: int | None) -> RawCall:
                return await _call(
                    session,
                    replicas[model],
                    question,
                    logprobs=way == SMALL_ALONE,
                    unsure_below=threshold,
                    likely_tokens=likely,
                )

            return await cascaded(ways[way](question.text), call, lengths)

        for question in questions[:WARM_UP]:
            for way in ways:
                await one(way, question)
        for way, turn in turns(list(ways), questions):
            before_s = cpu_s(replicas.values())
            came = [await one(way, question) for question in turn]
            spent_s = cpu_s(replicas.values()) - before_s
            seen += [
                Asked(
                    way,
                    question.text,
                    question.query_class,
                    _calls(its, question),
                    spent_s / len(turn),
                )
                for question, its in zip(turn, came, strict=True)
            ]
    return seen


def turns(
    ways: Sequence[str], questions: Sequence[Question]
) -> Iterator[tuple[str, Sequence[Question]]]:
    """Yield some questions for each way, in an order that is drawn anew every time."""
    rng = np.random.default_rng(SEED)
    for start in range(0, len(questions), TURN):
        for place in rng.permutation(len(ways)):
            yield ways[place], questions[start : start + TURN]


def _calls(came: Cascaded, question: Question) -> tuple[Call, ...]:
    return tuple(
        Call(
            model=kind.model,
            score=numeric(answer.text, question.answer),
            seconds=answer.e2e_ms / 1000,
            confidence=answer.confidence,
        )
        for kind, answer in came.calls
    )


async def _call(
    session: aiohttp.ClientSession,
    replica: Replica,
    question: Question,
    *,
    logprobs: bool = False,
    unsure_below: float | None = None,
    likely_tokens: int | None = None,
) -> RawCall:
    answer = await ask(
        session,
        replica.base_url,
        replica.kind.model,
        question.text,
        MAX_ANSWER_TOKENS,
        logprobs=logprobs,
        unsure_below=unsure_below,
        likely_tokens=likely_tokens,
    )
    if answer.error not in ("", UNSURE):
        raise EngineFailed(f"A request failed: {answer.error}", f"Look at {replica.log_path}.")
    return replica.kind, answer


def cpu_s(replicas: Iterable[Replica]) -> float:
    """Return the CPU time of all processes of the replicas so far."""
    total_s = 0.0
    for replica in replicas:
        leader = psutil.Process(replica.pid)
        for process in (leader, *leader.children(recursive=True)):
            spent = process.cpu_times()
            total_s += spent.user + spent.system
    return total_s
