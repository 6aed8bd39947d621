"""Predictions against real vLLM: profile replicas, predict workloads they never saw, measure them.

Every replica has a CPU core of its own. The load generator is on the core of the second replica,
which rests while only the first one is measured. Where both answer, the second one gives up part
of its core to the load: each is profiled where it is, and predicted by its own profile. Rounds
interleave profile loads and validation workloads, so that what drifts on a shared machine meets
both. A prediction averages over the speeds that the profile saw its replica vary by, as
`core.estimate.simulated` does.
"""

import argparse
import asyncio
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from time import monotonic
from typing import Any

import numpy as np
from scipy.special import ndtri

from core.domain.deployment import Replica
from core.domain.observation import Observations
from core.domain.profile import EngineLimits, StepFit, StepTime
from core.entrypoints.bench.accuracy import (
    STATISTICS,
    CaseResult,
    Statistics,
    measured_statistics,
    predicted_statistics,
    summary,
    worst,
)
from core.entrypoints.bench.replica import LARGE, ReplicaSetup, pinned_to, running_replicas
from core.entrypoints.bench.validation import (
    CASES,
    PROBE,
    PROFILED,
    Case,
    Lengths,
    arrivals_s,
    drive,
    requests_of,
)
from core.entrypoints.waiting import say
from core.errors import EngineFailed, EnvironmentFailed
from core.estimate.replay import replay
from core.estimate.simulator import Arrivals, EngineSpec, simulate
from core.profiling.engine_report import engine_limits
from core.profiling.fit import fit_step, goodness
from core.profiling.levels import LONG_PROMPTS, Load, LoadKind
from core.profiling.measuring import measure, observed
from core.profiling.questions import Question
from core.profiling.statistics import first_error
from core.profiling.stopping import StopRule
from core.serving.command_line import engine_version
from core.settings import Settings

MAX_NUM_SEQS = 8
SEED = 20_261
SECONDS_PER_CASE = 8.0
FEWEST_REQUESTS = 30
REQUESTS_TO_SATURATE = 400
PROFILE_LOADS = (
    (PROBE, Load(LoadKind.PROBE, 2, probe=LONG_PROMPTS)),
    *((PROFILED, Load(LoadKind.CLOSED, held)) for held in (1, 2, 4, MAX_NUM_SEQS)),
)
SECONDS_PER_LOAD = 7.0
OPEN_LOAD = 0.7
QUESTIONS = 400
SPEEDS = 9
"""Equally likely speeds that a prediction is the mean over."""


@dataclass(frozen=True)
class _ProfileLoad:
    """One load of the profile of one replica.

    Attributes:
        replica: Its position.
    """

    replica: int
    lengths: Lengths
    load: Load


@dataclass
class _Seen:
    """What was measured so far.

    Attributes:
        profile: Per replica and round, the answers of its profile loads.
        cases: Per workload and round, its answers.
        profile_seconds: How long the first replica's profile loads took.
    """

    profile: tuple[list[list[Observations]], ...] = ([], [])
    cases: dict[Case, list[Observations]] = field(default_factory=dict)
    profile_seconds: float = 0.0

    def fitted(self, limits: EngineLimits) -> list[tuple[StepTime, StepFit]]:
        """Return per replica the step-time model of all its loads, and how well it does."""
        return [
            fit_step([load for loads in rounds for load in loads], limits)
            for rounds in self.profile
        ]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--rounds", type=int, default=3, help="times each workload is measured")
    parser.add_argument(
        "--seconds", type=float, default=SECONDS_PER_CASE, help="of arrivals, per workload"
    )


def run(parsed: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    """Start two replicas, measure, predict, compare.

    Raises:
        EnvironmentFailed: There are fewer than two CPU cores.
        EngineFailed: A replica did not start, or requests failed.
    """
    began_s = monotonic()
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise EnvironmentFailed("This benchmark needs two CPU cores.", "It measures on both.")
    setups = [
        ReplicaSetup(LARGE, core, max_num_seqs=MAX_NUM_SEQS) for core in (cores[1], cores[0])
    ]
    with running_replicas(setups, settings) as replicas, pinned_to(cores[0]):
        limits = asyncio.run(engine_limits(replicas[0].base_url, MAX_NUM_SEQS))
        say("warming up")
        for replica in replicas:
            for lengths, load in PROFILE_LOADS[-2:]:
                _load(replica, lengths, load, -1)
        seen, rates = _rounds(replicas, limits, parsed.rounds, parsed.seconds)
    return _result(seen, rates, limits) | {"seconds": monotonic() - began_s}


def _rounds(
    replicas: Sequence[Replica], limits: EngineLimits, rounds: int, seconds: float
) -> tuple[_Seen, dict[Case, float]]:
    """Profile once to choose the rates, then rounds of profile loads and workloads, shuffled."""
    seen = _Seen()
    say("profile loads, to choose the rates")
    first = [[_load(replica, *load, 0) for load in PROFILE_LOADS] for replica in replicas]
    steps = [fit_step(loads, limits)[0] for loads in first]
    rates = {
        case: case.load
        * sum(_saturation_rps(case.lengths, step, limits) for step in steps[: case.replicas])
        for case in CASES
    }
    open_rps = OPEN_LOAD * _saturation_rps(PROFILED, steps[0], limits)
    loads = [*PROFILE_LOADS, (PROFILED, Load(LoadKind.OPEN, rate_rps=open_rps))]
    items = [_ProfileLoad(number, *load) for number in range(len(replicas)) for load in loads]
    for number in range(1, rounds + 1):
        for profile in seen.profile:
            profile.append([])
        _round(replicas, seen, items, rates, (number, rounds), seconds)
    return seen, rates


def _round(
    replicas: Sequence[Replica],
    seen: _Seen,
    loads: Sequence[_ProfileLoad],
    rates: dict[Case, float],
    number: tuple[int, int],
    seconds: float,
) -> None:
    mixed: list[Case | _ProfileLoad] = [*loads, *CASES]
    for position in np.random.default_rng([SEED, number[0]]).permutation(len(mixed)):
        item, began_s = mixed[position], monotonic()
        if isinstance(item, Case):
            say(f"round {number[0]} of {number[1]}: {item.name}, {rates[item]:.2f} requests/s")
            count = max(FEWEST_REQUESTS, round(rates[item] * seconds))
            answers = _measure(replicas, item, rates[item], count, number[0])
            seen.cases.setdefault(item, []).append(answers)
        else:
            answers = _load(replicas[item.replica], item.lengths, item.load, number[0])
            seen.profile[item.replica][-1].append(answers)
            seen.profile_seconds += (monotonic() - began_s) * (item.replica == 0)


def _load(replica: Replica, lengths: Lengths, load: Load, number: int) -> Observations:
    """Run one load as a profile job does."""
    rule = StopRule(usual_s=SECONDS_PER_LOAD, most_s=2 * SECONDS_PER_LOAD)
    questions = _questions(lengths, number)
    return measure(load, questions, rule, lambda: replica, lambda *_: None).observations()


def _questions(lengths: Lengths, number: int) -> list[Question]:
    drawn = requests_of(lengths, QUESTIONS, SEED + number, 1000)
    return [Question(request.text, request.output_tokens, exact=True) for request in drawn]


def _measure(
    replicas: Sequence[Replica], case: Case, rate_rps: float, count: int, number: int
) -> Observations:
    requests = requests_of(case.lengths, count, _seed(case), number)
    times_s = arrivals_s(rate_rps, count, case.burstiness, _seed(case) + 1).tolist()
    sent = asyncio.run(drive(replicas[: case.replicas], requests, times_s))
    failed = first_error([one.answer for one in sent])
    if failed:
        raise EngineFailed(f"A request of {case.name!r} failed: {failed}")
    return observed(sent)


def _seed(case: Case) -> int:
    return SEED + 100 * (1 + CASES.index(case))


def _saturation_rps(lengths: Lengths, step: StepTime, limits: EngineLimits) -> float:
    """Requests per second of one replica that never waits for any: all are there at once."""
    requests = requests_of(lengths, REQUESTS_TO_SATURATE, SEED, 0)
    none = np.zeros(len(requests), dtype=np.int64)
    arrivals = Arrivals(
        np.zeros(len(requests)),
        np.array([len(r.text) for r in requests], dtype=np.int64),
        np.array([r.output_tokens for r in requests], dtype=np.int64),
        none,
        none,
    )
    ends_s = simulate([EngineSpec(0, 1, step, limits)], arrivals).e2e_s
    return len(requests) / float(ends_s.max())


def _result(seen: _Seen, rates: dict[Case, float], limits: EngineLimits) -> dict[str, Any]:
    fitted = seen.fitted(limits)
    cases = [
        CaseResult(
            case.name,
            [measured_statistics(answers) for answers in rounds],
            # The very arrivals of the case, and its lengths as the engine counted them.
            _predicted(rounds[0], fitted[: case.replicas], limits),
        )
        for case, rounds in seen.cases.items()
    ]
    cases.sort(key=lambda c: [case.name for case in CASES].index(c.name))
    return {
        "engine": engine_version(),
        "model": LARGE.name,
        "rounds": len(seen.profile[0]),
        "requests_per_workload": [len(rounds[0]) for rounds in seen.cases.values()],
        "profile_seconds": seen.profile_seconds,
        "engine_limits": asdict(limits),
        "profiles": [
            _told_profile(rounds, limits, *fit)
            for rounds, fit in zip(seen.profile, fitted, strict=True)
        ],
        "summary": summary(cases),
        "met": all(bool(row["met"]) for row in summary(cases).values()),
        "worst": worst(cases),
        "workloads": [
            c.told() | {"rate_rps": next(r for k, r in rates.items() if k.name == c.name)}
            for c in cases
        ],
    }


def _predicted(
    seen: Observations, fitted: Sequence[tuple[StepTime, StepFit]], limits: EngineLimits
) -> Statistics:
    """Return the mean of the statistics over equally likely speeds, the same for all replicas."""
    found = []
    for sigmas in ndtri((np.arange(SPEEDS) + 0.5) / SPEEDS):
        replicas = [
            EngineSpec(0, 1, step.slowed(float(np.exp(sigmas * fit.speed_variation))), limits)
            for step, fit in fitted
        ]
        found.append(predicted_statistics(replay(seen, replicas)))
    return {name: float(np.mean([one[name] for one in found])) for name in STATISTICS}


def _told_profile(
    rounds: Sequence[Sequence[Observations]], limits: EngineLimits, step: StepTime, fit: StepFit
) -> dict[str, Any]:
    """What one replica's profile is, and how fast the replica was in each round."""
    return {
        "step": asdict(step),
        "fit": asdict(fit),
        "slower_than_fit_by_round": [_slowness(loads, step, limits) for loads in rounds],
        "error_by_round": [goodness(loads, limits, step).e2e_median_error for loads in rounds],
    }


def _slowness(loads: Sequence[Observations], step: StepTime, limits: EngineLimits) -> float:
    """Measured over fitted decoding and prefill time of a round's profile loads, less one."""
    own, _ = fit_step(loads, limits)
    return _one_request_s(own) / _one_request_s(step) - 1


def _one_request_s(step: StepTime) -> float:
    """Seconds of engine time of a typical profiled request with half of the batch in use."""
    held, prompt, answer = MAX_NUM_SEQS / 2, 80, 50
    decode_s = step.fixed_s + held * step.per_sequence_s
    return prompt * step.per_prefill_token_s + step.per_request_s + answer * decode_s / held


def told(found: dict[str, Any]) -> str:
    """Return the result as tables."""
    varied = " and ".join(f"{p['fit']['speed_variation']:.0%}" for p in found["profiles"])
    lines = [
        f"{found['model']} on {found['engine']}, {found['rounds']} rounds, "
        f"{min(found['requests_per_workload'])} to {max(found['requests_per_workload'])} "
        f"requests per workload, {found['seconds']:.0f} s; between profile loads the replicas' "
        f"speed varied by {varied} (one standard deviation)",
        f"{'workload':<42}" + "".join(f"{s:>22}" for s in STATISTICS),
    ]
    for case in found["workloads"]:
        cells = "".join(_cell(case, statistic) for statistic in STATISTICS)
        lines.append(f"{case['workload']:<42}{cells}")
    lines.append("measured s, error of the prediction / repeatability of the measurement")
    for statistic, row in found["summary"].items():
        met = "met" if row["met"] else "missed"
        lines.append(
            f"{statistic:<12} median error {row['median_absolute_error']:.1%}, "
            f"repeatability {row['repeatability']:.1%}, bar {row['bar']:.0%}: {met}"
        )
    return "\n".join(lines)


def _cell(case: dict[str, Any], statistic: str) -> str:
    measured, error = case["measured"][statistic], case["error"][statistic]
    return f"{measured:>8.3f} {error:>+6.1%}/{case['repeatability'][statistic]:>5.1%}"
