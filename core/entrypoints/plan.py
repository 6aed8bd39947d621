"""`boute plan SCENARIO.yaml`: search for plans without a database, then simulate the front."""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from core.domain.infeasibility import Infeasibility
from core.domain.offer import objections
from core.domain.plan import PlanScore
from core.domain.study import Trial
from core.entrypoints.plan_words import infeasibility_in_words, interval_in_words, seconds
from core.entrypoints.scenario import (
    describe_plan,
    describe_profiles,
    opened,
    profiles_in_words,
)
from core.entrypoints.waiting import say
from core.estimate.simulated import SimulatedEvaluator, p95_of
from core.optimize.conclusion import StudyResult, optimise
from core.optimize.folding import folded
from core.optimize.pareto import non_dominated, objectives
from core.optimize.relaxation import explain
from core.optimize.rescoring import FRESH_SEEDS, REQUESTS
from core.scenario.facts import Problem


@dataclass(frozen=True)
class Candidate:
    """A plan of the front with both predictions.

    Attributes:
        simulated: What the simulator makes of it.
        holds: Whether it is still feasible and on the front by the simulated scores.
        objections: Why it is not offered for deployment; empty when it is.
        alike: Id of the plan that this one is folded under; None when it stands by itself.
    """

    trial: Trial
    simulated: PlanScore
    holds: bool
    objections: tuple[str, ...]
    alike: str | None


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
    why = infeasible_because(problem, seed, result, candidates)
    if as_json:
        print(json.dumps(_described(problem, result, candidates, why), indent=2))
    else:
        print(_told(problem, result, candidates, why))
    return 2 if result.infeasible else 0


def infeasible_because(
    problem: Problem, seed: int, result: StudyResult, candidates: list[Candidate]
) -> Infeasibility | None:
    """Return what would have to change; None when some plan is offered."""
    if any(not candidate.objections for candidate in candidates):
        return None
    say("No plan is sure to keep all limits: looking for the smallest changes")
    return explain(
        problem.facts,
        latency_counts=not result.infeasible,
        trace=problem.trace,
        seed=seed,
        on_progress=lambda _, text: say(text),
    )


def simulated_front(problem: Problem, result: StudyResult) -> list[Candidate]:
    """Score a front again with the simulator, cheapest plan first."""
    front = sorted(result.front, key=lambda trial: trial.predicted.cost_usd_per_hour)
    say(f"Simulating {len(front)} plans of the front")
    evaluator = SimulatedEvaluator(
        problem.facts, trace=problem.trace, requests=REQUESTS, seeds=FRESH_SEEDS
    )
    runs = [evaluator.runs(trial.plan) for trial in front]
    scores = [evaluator.evaluate(t.plan, r) for t, r in zip(front, runs, strict=True)]
    p95_s = {
        trial.number: [p95_of(run) for run in of_plan]
        for trial, of_plan in zip(front, runs, strict=True)
    }
    best = non_dominated(objectives(scores))
    holds = [bool(b) and score.feasible for b, score in zip(best, scores, strict=True)]
    known = [
        replace(trial, predicted=score, on_front=held)
        for trial, score, held in zip(front, scores, holds, strict=True)
    ]
    ids = {trial.number: trial.plan.plan_id for trial in front}
    shown = folded(problem.facts, known, p95_s)
    return [
        Candidate(
            trial,
            after.predicted,
            after.on_front,
            objections(after.predicted, problem.facts.limits),
            None if after.alike is None else ids[after.alike],
        )
        for trial, after in zip(front, shown, strict=True)
    ]


def _described(
    problem: Problem,
    result: StudyResult,
    candidates: list[Candidate],
    why: Infeasibility | None,
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
                "offered": candidate.holds and not candidate.objections,
                "objections": list(candidate.objections),
                "alike": candidate.alike,
            }
            for candidate in candidates
        ],
        "infeasibility": describe_infeasibility(why) if why else None,
    }


def describe_infeasibility(why: Infeasibility) -> dict[str, Any]:
    """Return what would have to change as JSON-ready values."""
    return {
        "latency_counts": why.latency_counts,
        "binding": [relaxation.constraint.value for relaxation in why.binding],
        "relaxations": [
            {
                "limit": relaxation.constraint.value,
                "sku": relaxation.sku,
                "now": relaxation.now,
                "needed": relaxation.needed,
                "plan": describe_plan(relaxation.plan) if relaxation.plan else None,
                "score": asdict(relaxation.score) if relaxation.score else None,
            }
            for relaxation in why.relaxations
        ],
        "nearest": {
            "plan": describe_plan(why.nearest.plan),
            "score": asdict(why.nearest.score),
            "violation": why.nearest.violation,
        }
        if why.nearest
        else None,
    }


def _told(
    problem: Problem,
    result: StudyResult,
    candidates: list[Candidate],
    why: Infeasibility | None,
) -> str:
    lines = [result.message, "Predicted from these profiles:", profiles_in_words(problem.facts)]
    shown = [candidate for candidate in candidates if candidate.alike is None]
    if shown:
        lines += [
            "",
            f"{'plan':12}  {'$/h':>9}  {'P95 s':>8}  {'simulated P95 s (90 %)':>27}  "
            f"{'quality':>7}  {'>=':>5}  runs",
            *(_row(candidate, candidates) for candidate in shown),
        ]
    if not all(candidate.holds for candidate in shown):
        lines.append("* infeasible, or beaten by another plan, once simulated")
    if any(candidate.holds and candidate.objections for candidate in shown):
        lines.append("! not offered: not sure to keep the wanted latency (95 % confidence)")
    return "\n".join([*lines, *(infeasibility_in_words(why) if why else [])])


def _row(candidate: Candidate, candidates: list[Candidate]) -> str:
    score, its_plan = candidate.trial.predicted, candidate.trial.plan
    placed = ", ".join(f"{p.count} x {p.kind.label}" for p in its_plan.placement)
    mark = " *" if not candidate.holds else " !" if candidate.objections else ""
    alike = sum(other.alike == its_plan.plan_id for other in candidates)
    return (
        f"{its_plan.plan_id:12}  {score.cost_usd_per_hour:9.4f}  "
        f"{seconds(score.p95_e2e_s):>8}  {interval_in_words(candidate.simulated):>27}  "
        f"{score.quality_mean:7.3f}  {score.quality_lower:5.3f}  {placed}{mark}"
        f"{f'  (+{alike} alike)' if alike else ''}"
    )
