"""`boute plan SCENARIO.yaml --mode ...`: one best plan, beside the baselines."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from core.domain.comparison import Aim, Comparison
from core.domain.infeasibility import Infeasibility
from core.entrypoints.plan import describe_infeasibility
from core.entrypoints.plan_words import comparison_in_words, infeasibility_in_words
from core.entrypoints.scenario import describe_plan, describe_profiles, opened, profiles_in_words
from core.entrypoints.waiting import say
from core.optimize.comparison import Contest
from core.optimize.relaxation import explain
from core.scenario.facts import Problem

MODES = {
    "savings": Aim.SAVINGS,
    "performance": Aim.LATENCY,
    "throughput": Aim.THROUGHPUT,
}


def plan_for(
    path: Path, overrides: dict[str, float | None], mode: str, seed: int, *, as_json: bool
) -> int:
    """Print the best plan of a mode and the baselines; return 2 when no plan meets the limits.

    Args:
        overrides: Limits instead of the file's, by name.
        mode: A key of `MODES`.
        seed: Makes the search repeatable.

    Raises:
        InvalidInput: The scenario cannot be used.
        NotReady: Nothing can be placed at all.
    """
    problem = opened(path, overrides)
    comparison = _compared(problem, MODES[mode], seed)
    why = None if comparison.best.meets else _why(problem, comparison, seed)
    if as_json:
        print(json.dumps(_described(problem, mode, comparison, why), indent=2))
    else:
        lines = ["Predicted from these profiles:", profiles_in_words(problem.facts), ""]
        lines += [comparison_in_words(comparison), *(infeasibility_in_words(why) if why else [])]
        print("\n".join(lines))
    return 0 if comparison.best.meets else 2


def _compared(problem: Problem, aim: Aim, seed: int) -> Comparison:
    limits = problem.facts.limits
    say(f"Looking for {aim.value}, jointly and as each baseline does")
    contest = Contest(problem.facts, seed=seed, trace=problem.trace, sure=True)
    if aim is Aim.SAVINGS:
        return contest.cheapest(limits.sla_p95_e2e_s)
    if aim is Aim.LATENCY:
        return contest.fastest(limits.budget_usd_per_hour)
    return contest.most_throughput(limits.budget_usd_per_hour)


def _why(problem: Problem, comparison: Comparison, seed: int) -> Infeasibility:
    """What would have to change; the wanted latency counts where a plan misses nothing else."""
    score = comparison.best.score
    late = score is not None and score.feasible
    say("Looking for the smallest changes that have a plan")
    return explain(
        problem.facts,
        latency_counts=late,
        trace=problem.trace,
        seed=seed,
        on_progress=lambda _, text: say(text),
    )


def _described(
    problem: Problem, mode: str, comparison: Comparison, why: Infeasibility | None
) -> dict[str, Any]:
    return {
        "workload": problem.facts.workload.name,
        "mode": mode,
        "aim": comparison.aim.value,
        "limits": asdict(problem.facts.limits),
        "confidence": 0.95 if comparison.sure else None,
        "profiles": describe_profiles(problem.facts),
        "notes": list(problem.notes),
        "contenders": [
            {
                "approach": contender.approach.value,
                "plan_id": contender.plan.plan_id if contender.plan else None,
                "plan": describe_plan(contender.plan) if contender.plan else None,
                "score": asdict(contender.score) if contender.score else None,
                "throughput_rps": contender.throughput_rps,
                "meets": contender.meets,
                "note": contender.note,
                "gain": comparison.gain(contender) if contender is not comparison.best else None,
            }
            for contender in comparison.contenders
        ],
        "infeasibility": describe_infeasibility(why) if why else None,
    }
