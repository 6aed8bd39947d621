"""Joint routing and placement against what operators do without it: Llama 3.1 8B and 70B.

Everything stands on published data: predicted speeds, measured right and wrong answers, a recorded
trace, price lists (`headline_data` says where they are published). Each setting is a rate, a
fleet, a quality floor and a wanted P95 latency. Asked are

* savings: the least cost at that floor and latency;
* performance: the least P95, and the most throughput, at that floor for the money that one model
  on one GPU type costs in the setting (its fastest plan where none of its plans is fast enough).

Every approach gets the same limits, search effort, simulator and fresh requests.
"""

import argparse
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from core.domain.comparison import Approach, Comparison, Contender
from core.domain.planning import PlanningFacts
from core.domain.trace import Trace
from core.entrypoints.bench.headline_promise import promises
from core.entrypoints.bench.headline_quality import Bands
from core.entrypoints.bench.headline_settings import (
    FLEETS,
    Published,
    Setting,
    by_problem,
    settings,
)
from core.entrypoints.bench.headline_speeds import LARGE, SMALL
from core.entrypoints.bench.headline_tables import averages, text
from core.entrypoints.waiting import say
from core.optimize.comparison import EVALUATIONS, Contest
from core.settings import Settings


@dataclass(frozen=True)
class _Case:
    """Settings that differ in the wanted latency only, and all that answering them takes."""

    settings: Sequence[Setting]
    sla_s: Sequence[float]
    facts: PlanningFacts
    trace: Trace
    bands: Bands
    seed: int
    evaluations: int


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add where the data is, and how much to do."""
    parser.add_argument("--data", type=Path, required=True, help="folder with the published files")
    parser.add_argument("--settings", type=int, default=27, help="how many of the 81 settings")
    parser.add_argument(
        "--evaluations",
        type=int,
        default=EVALUATIONS,
        help="plans tried per question and approach",
    )
    parser.add_argument(
        "--workers", type=int, default=os.cpu_count() or 1, help="settings at the same time"
    )
    parser.add_argument("--seed", type=int, default=1)


def run(parsed: argparse.Namespace, _: Settings) -> dict[str, Any]:
    """Ask every approach in every setting.

    Raises:
        NotFound: A file is not in the folder.
    """
    say("Reading the data and training the classifier of questions")
    published = Published(parsed.data, parsed.seed)
    chosen = settings(parsed.settings)
    cases = [_case(published, group, parsed) for group in by_problem(chosen)]
    found: list[dict[str, Any]] = []
    for answers in _in_parallel(cases, parsed.workers):
        for answer in answers:
            found.append(answer)
            say(f"{len(found)} of {len(chosen)}: {answer['name']}")
    return {
        "seed": parsed.seed,
        "data": _described(published),
        "promises": promises(published, chosen[0]),
        "settings": found,
        "averages": averages(found),
    }


def told(result: dict[str, Any]) -> str:
    """Return the tables of the result as text."""
    return text(result)


def _case(published: Published, group: Sequence[Setting], parsed: argparse.Namespace) -> _Case:
    return _Case(
        settings=group,
        sla_s=[published.sla_s(setting) for setting in group],
        facts=published.facts(group[0]),
        trace=published.trace,
        bands=published.bands,
        seed=parsed.seed,
        evaluations=parsed.evaluations,
    )


def _in_parallel(cases: Sequence[_Case], workers: int) -> Iterator[list[dict[str, Any]]]:
    if workers <= 1:
        yield from map(_answers, cases)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        yield from pool.map(_answers, cases)


def _answers(case: _Case) -> list[dict[str, Any]]:
    contest = Contest(case.facts, seed=case.seed, trace=case.trace, evaluations=case.evaluations)
    return [
        _answer(contest, setting, sla_s, case)
        for setting, sla_s in zip(case.settings, case.sla_s, strict=True)
    ]


def _answer(contest: Contest, setting: Setting, sla_s: float, case: _Case) -> dict[str, Any]:
    savings = contest.cheapest(sla_s)
    budget = _spent_on_one_model(savings)
    asked = {"savings": savings}
    if budget is not None:
        asked["latency"] = contest.fastest(budget)
        asked["throughput"] = contest.most_throughput(budget)
    return {
        "name": setting.name,
        **asdict(setting),
        "rate_rps": case.facts.workload.rate_rps,
        "quality_floor": savings.quality_floor,
        "sla_p95_s": savings.sla_p95_e2e_s,
        "budget_usd_per_hour": budget,
        **{aim: _comparison(comparison, case.bands) for aim, comparison in asked.items()},
    }


def _spent_on_one_model(savings: Comparison) -> float | None:
    """Return what one model on one GPU type costs in $/h; None when the fleet cannot carry it."""
    for contender in savings.baselines:
        if contender.approach is Approach.ONE_MODEL_ONE_SKU and contender.score is not None:
            return contender.score.cost_usd_per_hour
    return None


def _comparison(comparison: Comparison, bands: Bands) -> dict[str, Any]:
    return {
        contender.approach.name.lower(): {
            **_contender(contender, bands),
            "value": comparison.value(contender),
            "gain": None if contender is comparison.best else comparison.gain(contender),
        }
        for contender in comparison.contenders
    }


def _contender(contender: Contender, bands: Bands) -> dict[str, Any]:
    plan, score = contender.plan, contender.score
    known: dict[str, Any] = {"meets": contender.meets, "note": contender.note}
    if plan is None or score is None:
        return known
    realised, error = bands.realised(plan)
    return known | {
        "plan": [f"{placed.count} x {placed.kind.label}" for placed in plan.placement],
        "large_share": sum(plan.shares(name).get(LARGE, 0.0) for name in bands.names)
        / len(bands.names),
        "cost_usd_per_hour": score.cost_usd_per_hour,
        "p95_s": score.p95_e2e_s,
        "p95_interval_s": [score.p95_e2e_low_s, score.p95_e2e_high_s],
        "utilisation": score.utilisation,
        "throughput_rps": contender.throughput_rps,
        "quality_lower": float(score.quality_lower),
        "quality_realised": realised,
        "quality_realised_error": error,
    }


def _described(published: Published) -> dict[str, Any]:
    """Return what the problem is made of, for the reader to judge."""
    bands = published.bands
    return {
        "quality_alone": {model: published.alone(model) for model in (SMALL, LARGE)},
        "classifier_auc": bands.auc,
        "bands": [
            {"name": name, "questions": int(count), "small": small, "large": large}
            for name, (count, small, large) in zip(bands.names, bands.known.tolist(), strict=True)
        ],
        "traffic_questions": len(bands.traffic_class),
        "trace_rate_rps": published.trace_rate_rps,
        "trace_burstiness": published.workload.burstiness,
        "fleets": {
            name: [
                asdict(rented) | {"usd_per_gpu_hour": published.price_usd_per_hour(rented)}
                for rented in fleet
            ]
            for name, fleet in FLEETS.items()
        },
        "speeds": [
            {
                "kind": kind.label,
                "rows": speed.rows,
                "median_error": speed.median_error,
                "p90_error": speed.p90_error,
            }
            for kind, speed in published.speeds.items()
        ],
    }
