"""`boute simulate SCENARIO.yaml`: play a plan's requests through its replicas."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from core.domain.plan import PlanScore, ServingPlan
from core.entrypoints.scenario import (
    describe_plan,
    describe_profiles,
    opened,
    profiles_in_words,
)
from core.entrypoints.waiting import say
from core.errors import InvalidInput, NotFound
from core.estimate.simulated import SimulatedEvaluator
from core.estimate.summary import ClassSummary, KindSummary, class_summaries, kind_summaries
from core.scenario.facts import Problem
from core.scenario.plans import plan_of
from core.scenario.reading import load_plan

MOST_REQUESTS = 1_000_000
MOST_SEEDS = 100


def simulate(
    path: Path,
    plan_name: str | None,
    overrides: dict[str, float | None],
    *,
    requests: int,
    seeds: int,
    search_seed: int,
    as_json: bool,
) -> int:
    """Print what a plan's requests would see; return 2 when the plan cannot serve them.

    Args:
        plan_name: File with a plan, or the id of a plan that `boute plan` finds with
            `search_seed`; None for the plan in the scenario.
        overrides: Limits instead of the file's, by name.
        requests: Per seed.
        seeds: Independent runs.

    Raises:
        InvalidInput: The scenario cannot be used, or has no plan.
        NotFound: No plan of the front has this id.
    """
    if not (10 <= requests <= MOST_REQUESTS and 1 <= seeds <= MOST_SEEDS):
        raise InvalidInput(
            f"Requests must be from 10 to {MOST_REQUESTS}, seeds from 1 to {MOST_SEEDS}.",
            "5000 requests and 5 seeds are a good start.",
        )
    problem = opened(path, overrides)
    plan = _plan(problem, plan_name, search_seed)
    evaluator = SimulatedEvaluator(
        problem.facts, trace=problem.trace, requests=requests, seeds=range(1, seeds + 1)
    )
    score = evaluator.evaluate(plan)
    classes, kinds = _summaries(evaluator, plan, score)
    if as_json:
        print(json.dumps(_described(problem, plan, score, classes, kinds), indent=2))
    else:
        print(_told(problem, score, classes, kinds))
    return 2 if score.p95_e2e_s is None else 0


def _plan(problem: Problem, name: str | None, search_seed: int) -> ServingPlan:
    if name is not None:
        return (
            plan_of(load_plan(Path(name)))
            if Path(name).exists()
            else _of_front(problem, name, search_seed)
        )
    if problem.plan is None:
        raise InvalidInput(
            "The scenario has no plan.",
            "Add a `plan` section, or choose one of the front: --plan PLAN_ID from `boute plan`.",
        )
    return problem.plan


def _of_front(problem: Problem, plan_id: str, seed: int) -> ServingPlan:
    """Search again: the same scenario and seed give the same front."""
    from core.optimize import optimise

    say("Searching for plans")
    front = optimise(problem.facts, seed=seed).front
    found = next((t.plan for t in front if t.plan.plan_id == plan_id), None)
    if found is None:
        known = ", ".join(trial.plan.plan_id for trial in front) or "none"
        raise NotFound(
            f"{plan_id!r} is neither a file nor a plan of the front.",
            f"Plans of the front: {known}.",
        )
    return found


def _summaries(
    evaluator: SimulatedEvaluator, plan: ServingPlan, score: PlanScore
) -> tuple[list[ClassSummary], list[KindSummary]]:
    if score.p95_e2e_s is None:
        return [], []
    runs, facts = evaluator.runs(plan), evaluator.facts
    names = [traffic.query_class for traffic in facts.workload.classes]
    classes = class_summaries(runs, names, facts.limits.sla_p95_e2e_s)
    return classes, kind_summaries(evaluator, plan, runs)


def _described(
    problem: Problem,
    plan: ServingPlan,
    score: PlanScore,
    classes: list[ClassSummary],
    kinds: list[KindSummary],
) -> dict[str, Any]:
    return {
        "workload": problem.facts.workload.name,
        "plan_id": plan.plan_id,
        "plan": describe_plan(plan),
        "feasible": score.feasible,
        "score": asdict(score),
        "classes": [asdict(summary) for summary in classes],
        "kinds": [asdict(summary) for summary in kinds],
        "profiles": describe_profiles(problem.facts),
        "notes": list(problem.notes),
    }


def _told(
    problem: Problem, score: PlanScore, classes: list[ClassSummary], kinds: list[KindSummary]
) -> str:
    lines = [f"! {reason}" for reason in score.violations]
    lines += ["Predicted from these profiles:", profiles_in_words(problem.facts), ""]
    lines.append(
        f"${score.cost_usd_per_hour:.4f}/h, ${score.cost_usd_per_million_tokens:.4f} per million "
        f"output tokens; quality {score.quality_mean:.3f}, at least {score.quality_lower:.3f}"
    )
    lines += _interval(score) + _class_rows(classes) + _kind_rows(kinds)
    return "\n".join(lines)


def _interval(score: PlanScore) -> list[str]:
    if score.p95_e2e_low_s is None:
        return []
    sure = f"P95 end to end {score.p95_e2e_s:.3f} s; with 90 % confidence "
    if score.p95_e2e_high_s is None:
        return [
            f"{sure}at least {score.p95_e2e_low_s:.3f} s, and no upper end: were the replicas as "
            "slow as they may be, the plan could not keep up"
        ]
    return [f"{sure}between {score.p95_e2e_low_s:.3f} and {score.p95_e2e_high_s:.3f} s"]


def _class_rows(classes: list[ClassSummary]) -> list[str]:
    if not classes:
        return []
    head = "".join(f"  {f'{what} P50/P95/P99 s':>24}" for what in ("TTFT", "TPOT", "E2E"))
    return ["", f"{'class':16}  {'requests':>8}{head}  {'on time':>7}", *map(_class_row, classes)]


def _class_row(summary: ClassSummary) -> str:
    times = (summary.ttft_s, summary.tpot_s, summary.e2e_s)
    on_time = "-" if summary.sla_attainment is None else f"{summary.sla_attainment:.1%}"
    return (
        f"{summary.query_class:16}  {summary.requests:8d}"
        + "".join(f"  {_percentiles(values):>24}" for values in times)
        + f"  {on_time:>7}"
    )


def _percentiles(values: Mapping[str, float | None]) -> str:
    return " / ".join("-" if v is None else f"{v:.3f}" for v in values.values())


def _kind_rows(kinds: list[KindSummary]) -> list[str]:
    rows = [
        f"{summary.replicas:8d}  {summary.utilisation:11.1%}  {summary.requests_share:8.1%}  "
        f"{summary.preempted_share:9.1%}  {summary.kind.label}"
        for summary in kinds
    ]
    head = f"{'replicas':>8}  {'utilisation':>11}  {'answered':>8}  {'preempted':>9}  kind"
    return ["", head, *rows] if rows else []
