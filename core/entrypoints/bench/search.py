"""How fast and how well the search finds plans on estimates alone, without measuring any.

Small problems are compared with looking at every plan, large ones with a proven bound on cost, and
the plans of large ones are simulated request by request.
"""

import argparse
import os
import time
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import numpy as np

from core.domain.plan import ServingPlan
from core.domain.planning import PlanningFacts
from core.entrypoints.bench.exhaustive import exhaustive_front
from core.entrypoints.bench.fleets import fleet_problem
from core.entrypoints.bench.small_fleets import small_fleet
from core.estimate.simulated import SimulatedEvaluator
from core.optimize.front_arrays import FrontArrays
from core.optimize.local_search import Effort
from core.optimize.pareto import hypervolume, reference_point
from core.optimize.problem import Problem
from core.optimize.search import Search
from core.settings import Settings

GRID = 10
REQUESTS_PER_REPLICA = 100
LEAST_REQUESTS = 5000
SEEDS = (1, 2, 3)
CLOSE = 0.15
EFFORTS = (250, 500, 1000, 2000, 4000, 8000)
"""Plans tried, to find out after how long the search has what the bar asks for."""
BARS = {
    "first_feasible_s": 1.0,
    "medium_s": 30.0,
    "large_s": 300.0,
    "gap": 0.01,
    "hypervolume": 0.99,
    "time_ratio": 0.01,
}
Answer = TypeVar("Answer")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add how many problems of each size."""
    parser.add_argument("--first-seed", type=int, default=0, help="of all problems")
    parser.add_argument("--small", type=int, default=5, help="problems solved exhaustively too")
    parser.add_argument("--medium", type=int, default=3, help="4 models, 4 SKUs, 64 GPUs")
    parser.add_argument("--large", type=int, default=2, help="10 models, 8 SKUs, 500 GPUs")


def run(parsed: argparse.Namespace, _: Settings) -> dict[str, Any]:
    """Search problems of three sizes."""
    _compile()
    first = parsed.first_seed
    small = [_small(seed) for seed in range(first, first + parsed.small)]
    medium = [_fleet(seed, 4, 4, 64) for seed in range(first, first + parsed.medium)]
    large = [_fleet(seed, 10, 8, 500) for seed in range(first, first + parsed.large)]
    return {
        "bars": BARS,
        "machine": {"cores": os.cpu_count(), "load": os.getloadavg()[0]},
        "small": small,
        "medium": medium,
        "large": large,
    }


def _compile() -> None:
    """Load compiled code from the disk, or compile it: not a search's time."""
    facts = small_fleet(0)
    Search(facts).archive(0, Effort(64), lambda _, __: None)
    exhaustive_front(Problem(facts), 1)


def _small(seed: int) -> dict[str, Any]:
    facts = small_fleet(seed)
    problem = Problem(facts)
    known, exhaustive_s = _timed(lambda: exhaustive_front(problem, GRID))
    archive, search_s = _timed(lambda: Search(facts).archive(seed, Effort(), lambda _, __: None))
    reference = reference_point(known.values, facts.limits.quality_floor, None)
    best = hypervolume(known.values, reference)
    shown = archive.values[archive.spread_out()]
    enough_s = _until_close(facts, seed, reference, BARS["hypervolume"] * best) or search_s
    return {
        "seed": seed,
        "plans": known.plans,
        "exhaustive_s": exhaustive_s,
        "search_s": search_s,
        "enough_s": enough_s,
        "time_ratio": enough_s / exhaustive_s,
        "hypervolume": hypervolume(archive.values, reference) / best,
        "hypervolume_shown": hypervolume(shown, reference) / best,
        "shown": len(shown),
    }


def _until_close(
    facts: PlanningFacts, seed: int, reference: tuple[float, float, float], wanted: float
) -> float | None:
    """Return the seconds of the shortest search that reaches a hypervolume, set-up included."""
    for effort in map(Effort, EFFORTS):
        search = partial(_archive, facts, seed, effort)
        archive, search_s = _timed(search)
        if hypervolume(archive.values, reference) >= wanted:
            return search_s
    return None


def _archive(facts: PlanningFacts, seed: int, effort: Effort) -> FrontArrays:
    return Search(facts).archive(seed, effort, lambda _, __: None)


def _fleet(seed: int, models: int, skus: int, devices: int) -> dict[str, Any]:
    facts = fleet_problem(seed, models, skus, devices)
    search, first_s = _timed(lambda: Search(facts))
    archive, search_s = _timed(lambda: search.archive(seed, Effort(), lambda _, __: None))
    bound, bound_s = _timed(lambda: search.cost_bound_usd_per_hour)
    cheapest = float(-archive.values[:, 0].max())
    plans = archive.picked(archive.spread_out())
    simulated, simulated_s = _timed(lambda: _simulated(facts, search, plans))
    return {
        "seed": seed,
        "kinds": len(search.problem.kinds),
        "rate_rps": facts.workload.rate_rps,
        "first_feasible_s": first_s,
        "total_s": first_s + search_s + bound_s + simulated_s,
        "parts_s": {"search": search_s, "bound": bound_s, "simulation": simulated_s},
        "front": len(plans),
        "cheapest_usd_per_hour": cheapest,
        "bound_usd_per_hour": bound,
        "gap": None if bound is None else cheapest / bound - 1,
        "simulated": simulated,
    }


def _simulated(facts: PlanningFacts, search: Search, plans: list[ServingPlan]) -> dict[str, float]:
    """Play requests through the plans; how their P95 compares with what the search believed."""
    replicas = max(sum(p.count for p in plan.placement) for plan in plans)
    requests = max(LEAST_REQUESTS, REQUESTS_PER_REPLICA * replicas)
    evaluator = SimulatedEvaluator(facts, requests=requests, seeds=SEEDS)
    played = [(plan, evaluator.evaluate(plan)) for plan in plans]
    ratios = np.array(
        [
            score.p95_e2e_s / (search.problem.score(plan).p95_e2e_s or np.inf)
            for plan, score in played
            if score.feasible and score.p95_e2e_s is not None
        ]
    )
    return {
        "requests": float(requests * len(SEEDS)),
        "keep_up": len(ratios) / len(plans),
        "close": float(np.mean(np.abs(ratios - 1) <= CLOSE)),
        "median_ratio": float(np.median(ratios)),
    }


def _timed(call: Callable[[], Answer]) -> tuple[Answer, float]:
    began_s = time.perf_counter()
    answer = call()
    return answer, time.perf_counter() - began_s


def told(result: dict[str, Any]) -> str:
    """Return the figures as tables, with the bars and whether they are met."""
    lines = ["small: 2 models, 3 SKUs, 18 GPUs, against every plan with shares in tenths", ""]
    lines.append(
        "| seed | plans | all of them s | search s | until .99 s | share of the time "
        "| hypervolume | as shown |"
    )
    lines.append("|---|---|---|---|---|---|---|---|")
    lines += [
        f"| {row['seed']} | {row['plans']:,} | {row['exhaustive_s']:.1f} | {row['search_s']:.2f} "
        f"| {row['enough_s']:.2f} | {row['time_ratio']:.4f} | {row['hypervolume']:.4f} "
        f"| {row['hypervolume_shown']:.4f} ({row['shown']} plans) |"
        for row in result["small"]
    ]
    lines += _fleet_table("medium: 4 models, 4 SKUs, 64 GPUs", result["medium"])
    lines += _fleet_table("large: 10 models, 8 SKUs, 500 GPUs", result["large"])
    return "\n".join([*lines, "", *_verdicts(result)])


def _fleet_table(title: str, rows: list[dict[str, Any]]) -> list[str]:
    lines = ["", title, ""]
    lines.append(
        "| seed | kinds | first plan s | all s | plans | cheapest $/h | proven bound | gap "
        "| keep up simulated | within 15 % | simulated / predicted P95 |"
    )
    lines.append("|---|---|---|---|---|---|---|---|---|---|---|")
    return lines + [
        f"| {row['seed']} | {row['kinds']} | {row['first_feasible_s']:.2f} "
        f"| {row['total_s']:.1f} | {row['front']} | {row['cheapest_usd_per_hour']:.2f} "
        f"| {row['bound_usd_per_hour']:.2f} | {row['gap']:.2%} "
        f"| {row['simulated']['keep_up']:.0%} | {row['simulated']['close']:.0%} "
        f"| {row['simulated']['median_ratio']:.2f} |"
        for row in rows
    ]


def _verdicts(result: dict[str, Any]) -> list[str]:
    """One line per bar: the worst problem counts."""
    small, medium, large = (result[size] for size in ("small", "medium", "large"))
    worst = {
        "first_feasible_s": max((row["first_feasible_s"] for row in medium + large), default=0),
        "medium_s": max((row["total_s"] for row in medium), default=0),
        "large_s": max((row["total_s"] for row in large), default=0),
        "gap": max((row["gap"] for row in large), default=0),
        "time_ratio": max((row["time_ratio"] for row in small), default=0),
    }
    lines = [
        f"{name}: {value:.4g} at most, wanted {BARS[name]}: {_met(value <= BARS[name])}"
        for name, value in worst.items()
    ]
    least = min((row["hypervolume"] for row in small), default=1)
    verdict = _met(least >= BARS["hypervolume"])
    return [*lines, f"hypervolume: {least:.4f} at least, wanted {BARS['hypervolume']}: {verdict}"]


def _met(holds: bool) -> str:
    return "met" if holds else "missed"
