"""What a finished study is worth: its modes beside the baselines, and what stands in its way."""

from collections.abc import Sequence
from dataclasses import dataclass

from core.domain.comparison import Comparison
from core.domain.infeasibility import Infeasibility
from core.domain.offer import objections
from core.domain.planning import PlanningFacts
from core.domain.study import Origin, Trial
from core.domain.trace import Trace
from core.optimize.comparison import Contest
from core.optimize.relaxation import explain
from core.optimize.rescoring import rescored
from core.optimize.search import OnProgress

EVALUATIONS = 1500


@dataclass(frozen=True)
class Assessment:
    """What a study found, judged.

    Attributes:
        trials: Those of the study, the plans of the modes among them, the front marked anew.
        comparisons: Savings mode and performance mode; none when nothing is feasible.
        infeasibility: What would have to change; None when a plan of the front is sure to keep
            every limit.
    """

    trials: tuple[Trial, ...]
    comparisons: tuple[Comparison, ...]
    infeasibility: Infeasibility | None


def assess(
    facts: PlanningFacts,
    trials: Sequence[Trial],
    *,
    infeasible: bool,
    trace: Trace | None = None,
    seed: int = 0,
    on_progress: OnProgress | None = None,
) -> Assessment:
    """Compare the study's best plans with the baselines; explain what is infeasible.

    The wanted latency is compared at 95 % confidence, as plans are offered.

    Args:
        trials: Of a concluded study.
        infeasible: Whether no plan keeps the hard limits.
        trace: The workload's requests; None draws them from its description.
        on_progress: Told the done fraction (0..1) and what is going on; may raise to stop.

    Raises:
        NotReady: Nothing can be placed at all.
    """
    report = on_progress or _silent
    if infeasible:
        why = explain(facts, trace=trace, seed=seed, on_progress=report)
        return Assessment(tuple(trials), (), why)
    comparisons = compared(facts, trace=trace, seed=seed, on_progress=report)
    known = with_modes(facts, trials, comparisons, trace)
    if any(t.on_front and not objections(t.score, facts.limits) for t in known):
        return Assessment(tuple(known), comparisons, None)
    why = explain(facts, latency_counts=True, trace=trace, seed=seed, on_progress=report)
    return Assessment(tuple(known), comparisons, why)


def compared(
    facts: PlanningFacts,
    *,
    trace: Trace | None = None,
    seed: int = 0,
    on_progress: OnProgress | None = None,
) -> tuple[Comparison, ...]:
    """Return savings mode and performance mode for the limits of a problem.

    Raises:
        NotReady: Nothing can be placed at all.
    """
    report = on_progress or _silent
    contest = Contest(facts, seed=seed, trace=trace, evaluations=EVALUATIONS, sure=True)
    report(0.0, "Comparing the cheapest plan with what is done without an optimiser")
    cheapest = contest.cheapest(facts.limits.sla_p95_e2e_s)
    report(0.5, "Comparing the fastest plan with what is done without an optimiser")
    return cheapest, contest.fastest(facts.limits.budget_usd_per_hour)


def with_modes(
    facts: PlanningFacts,
    trials: Sequence[Trial],
    comparisons: Sequence[Comparison],
    trace: Trace | None,
) -> list[Trial]:
    """Return the trials with the plans of the modes among them, so that they can be chosen.

    Nothing changes when the study knows them. Otherwise the front is scored and marked again
    with them; a study that measured plans keeps its own front, and they stand beside it.
    """
    plans = {c.best.plan: c.best.score for c in comparisons if c.best.plan and c.best.meets}
    for trial in trials:
        plans.pop(trial.plan, None)
    fits = not any(trial.measured for trial in trials)
    number = max((trial.number for trial in trials), default=-1) + 1
    new = [
        Trial("", number + i, plan, Origin.LOCAL_SEARCH, score, on_front=fits)
        for i, (plan, score) in enumerate(plans.items())
        if plan and score
    ]
    if not new:
        return list(trials)
    return rescored(facts, [*trials, *new], trace) if fits else [*trials, *new]


def _silent(_: float, __: str) -> None:
    return
