"""The plans worth showing, scored once more with the best estimator there is for each."""

from collections.abc import Sequence
from dataclasses import replace

from core.domain.plan import PlanScore, ServingPlan
from core.domain.planning import PlanningFacts
from core.domain.study import Origin, Trial
from core.domain.trace import Trace
from core.estimate.simulated import SimulatedEvaluator
from core.estimate.uncertainty import with_interval
from core.optimize.search import mark_front

REQUESTS = 3000
"""Per seed; five seeds of these tell a P95 to about two percent below 90 % load."""
BASELINES = (Origin.BASELINE_LARGE, Origin.BASELINE_SMALL)


def rescored(
    facts: PlanningFacts, trials: Sequence[Trial], trace: Trace | None = None
) -> list[Trial]:
    """Return the trials; those on the front and the baselines with latency and interval anew.

    A plan whose kinds all have a step-time model is simulated request by request; another keeps
    its analytic latency and is given an interval. The front is then marked again among the plans
    that were on it: what the search took for better may be worse.

    Args:
        trace: The workload's requests; None draws them from its description.
    """
    evaluator = SimulatedEvaluator(facts, trace=trace, requests=REQUESTS)
    again = {
        trial.number: replace(trial, predicted=_score(evaluator, trial.plan, trial.predicted))
        for trial in trials
        if trial.on_front or trial.origin in BASELINES
    }
    marked = {
        trial.number: trial.on_front
        for trial in mark_front([again[t.number] for t in trials if t.on_front])
    }
    kept = marked if any(marked.values()) else {t.number: t.on_front for t in trials}
    return [replace(again.get(t.number, t), on_front=kept.get(t.number, False)) for t in trials]


def _score(evaluator: SimulatedEvaluator, plan: ServingPlan, known: PlanScore) -> PlanScore:
    facts = evaluator.facts
    if known.p95_e2e_s is None:
        return known
    if all(facts.profiles[p.kind].step is not None for p in plan.placement):
        return evaluator.evaluate(plan)
    return with_interval(facts, plan, known)
