"""`boute plan SCENARIO.yaml`: search for plans without a database, then simulate the front."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from core.domain.plan import PlanScore
from core.domain.study import Trial
from core.entrypoints.scenario import (
    describe_plan,
    describe_profiles,
    opened,
    profiles_in_words,
)
from core.entrypoints.waiting import say
from core.estimate.simulated import SimulatedEvaluator
from core.optimize.pareto import non_dominated, objectives
from core.optimize.study import StudyResult, optimise
from core.scenario.facts import Problem

REQUESTS = 3000
SEEDS = (1, 2, 3)


@dataclass(frozen=True)
class Candidate:
    """A plan of the front with both predictions.

    Attributes:
        simulated: What the simulator makes of it.
        holds: Whether it is still feasible and on the front by the simulated scores.
    """

    trial: Trial
    simulated: PlanScore
    holds: bool


def plan(path: Path, overrides: dict[str, float | None], seed: int, *, as_json: bool) -> int:
    """Print the front of a scenario; return 2 when no plan meets its hard limits.

    Args:
        overrides: Limits instead of the file's, by name.
        seed: Makes the search repeatable.

    Raises:
        InvalidInput: The scenario cannot be used.
        NotReady: Nothing can be placed at all.
    """
    problem = opened(path, overrides)
    result = optimise(problem.facts, seed=seed)
    candidates = [] if result.infeasible else simulated_front(problem, result)
    if as_json:
        print(json.dumps(_described(problem, result, candidates), indent=2))
    else:
        print(_told(problem, result, candidates))
    return 2 if result.infeasible else 0


def simulated_front(problem: Problem, result: StudyResult) -> list[Candidate]:
    """Score a front again with the simulator, cheapest plan first."""
    front = sorted(result.front, key=lambda trial: trial.predicted.cost_usd_per_hour)
    say(f"Simulating {len(front)} plans of the front")
    evaluator = SimulatedEvaluator(
        problem.facts, trace=problem.trace, requests=REQUESTS, seeds=SEEDS
    )
    scores = [evaluator.evaluate(trial.plan) for trial in front]
    best = non_dominated(objectives(scores))
    return [
        Candidate(trial, score, bool(holds) and score.feasible)
        for trial, score, holds in zip(front, scores, best, strict=True)
    ]


def _described(
    problem: Problem, result: StudyResult, candidates: list[Candidate]
) -> dict[str, Any]:
    return {
        "workload": problem.facts.workload.name,
        "state": "infeasible" if result.infeasible else "done",
        "message": result.message,
        "limits": asdict(problem.facts.limits),
        "profiles": describe_profiles(problem.facts),
        "notes": list(problem.notes),
        "front": [
            {
                "plan_id": candidate.trial.plan.plan_id,
                "origin": candidate.trial.origin.value,
                "plan": describe_plan(candidate.trial.plan),
                "predicted": asdict(candidate.trial.predicted),
                "simulated": asdict(candidate.simulated),
                "holds": candidate.holds,
            }
            for candidate in candidates
        ],
    }


def _told(problem: Problem, result: StudyResult, candidates: list[Candidate]) -> str:
    lines = [result.message, "Predicted from these profiles:", profiles_in_words(problem.facts)]
    if candidates:
        lines += [
            "",
            f"{'plan':12}  {'$/h':>9}  {'P95 s':>8}  {'simulated P95 s (90 %)':>27}  "
            f"{'quality':>7}  {'>=':>5}  runs",
            *map(_row, candidates),
        ]
    if not all(candidate.holds for candidate in candidates):
        lines.append("* infeasible, or beaten by another plan, once simulated")
    return "\n".join(lines)


def _row(candidate: Candidate) -> str:
    score, placement = candidate.trial.predicted, candidate.trial.plan.placement
    placed = ", ".join(f"{p.count} x {p.kind.label}" for p in placement)
    return (
        f"{candidate.trial.plan.plan_id:12}  {score.cost_usd_per_hour:9.4f}  "
        f"{_seconds(score.p95_e2e_s):>8}  {_interval(candidate.simulated):>27}  "
        f"{score.quality_mean:7.3f}  {score.quality_lower:5.3f}  {placed}"
        f"{'' if candidate.holds else ' *'}"
    )


def _interval(score: PlanScore) -> str:
    if score.p95_e2e_s is None:
        return "cannot keep up"
    low, high = score.p95_e2e_low_s, score.p95_e2e_high_s
    around = f" ({_seconds(low)} to {_seconds(high)})" if low is not None else ""
    return _seconds(score.p95_e2e_s) + around.replace("to -", "or more")


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
