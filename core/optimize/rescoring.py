"""The plans worth showing, scored once more with the best estimator there is for each.

On fresh seeds: on requests that no search has seen. A plan that is the best of many on the same
requests owes part of that to these requests; on others it shows what it is.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

from core.domain.plan import PlanScore, ServingPlan
from core.domain.planning import PlanningFacts
from core.domain.study import Origin, Trial
from core.domain.trace import Trace
from core.estimate import AnalyticEvaluator
from core.estimate.flows import goes_in_circles
from core.estimate.simulated import SimulatedEvaluator, p95_of
from core.estimate.uncertainty import Intervals
from core.optimize.folding import folded
from core.optimize.search import mark_front

REQUESTS = 3000
"""Per seed; five seeds of these tell a P95 to about two percent below 90 % load."""
FRESH_SEEDS = (101, 102, 103, 104, 105)
"""Of the requests that plans are shown with; no search uses them."""
BASELINES = (Origin.BASELINE_LARGE, Origin.BASELINE_SMALL)


class Rescorer:
    """Scores plans with the best estimator there is for each, on fresh requests.

    A plan whose kinds all have a step-time model is simulated request by request; another keeps
    its analytic latency and is given an interval, and so does one whose models pass queries on to
    each other in a circle, which the simulator cannot play.

    Args:
        facts: The problem; scores say which of its limits a plan breaks.
        trace: The workload's requests; None draws them from its description.
        requests: Per seed.
        seeds: One independent run each; the same for every plan.
    """

    def __init__(
        self,
        facts: PlanningFacts,
        trace: Trace | None = None,
        *,
        requests: int = REQUESTS,
        seeds: Sequence[int] = FRESH_SEEDS,
    ) -> None:
        self._facts = facts
        self._trace, self._requests, self._seeds = trace, requests, seeds
        self._analytic, self._intervals = AnalyticEvaluator(facts), Intervals(facts)

    @cached_property
    def _simulator(self) -> SimulatedEvaluator:
        """Made when a plan needs it: drawing the requests takes as long as scoring some plans."""
        return SimulatedEvaluator(
            self._facts, trace=self._trace, requests=self._requests, seeds=self._seeds
        )

    def score(self, plan: ServingPlan) -> PlanScore:
        """Return a plan's score with an interval on its P95."""
        return self.score_and_runs(plan)[0]

    def score_and_runs(self, plan: ServingPlan) -> tuple[PlanScore, list[float | None]]:
        """Return a plan's score, and its P95 in s of each seed; none where it was not simulated.

        Runs of the same seed meet the same requests: between plans they are pairs.
        """
        facts, known = self._facts, self._analytic.evaluate(plan)
        if known.p95_e2e_s is None:
            return known, []
        unknown = any(facts.profiles[p.kind].step is None for p in plan.placement)
        if unknown or goes_in_circles(plan):
            return self._intervals.on(plan, known), []
        runs = self._simulator.runs(plan)
        return self._simulator.evaluate(plan, runs), [p95_of(run) for run in runs]


def rescored(
    facts: PlanningFacts, trials: Sequence[Trial], trace: Trace | None = None
) -> list[Trial]:
    """Return the trials; those on the front and the baselines with latency and interval anew.

    The front is then marked again among the plans that were on it: what the search took for
    better may be worse. Plans of the new front that another one equals or beats but for noise are
    folded under it.

    Args:
        trace: The workload's requests; None draws them from its description.
    """
    rescorer = Rescorer(facts, trace)
    again, runs = {}, {}
    for trial in trials:
        if trial.on_front or trial.origin in BASELINES:
            score, runs[trial.number] = rescorer.score_and_runs(trial.plan)
            again[trial.number] = replace(trial, predicted=score)
    marked = {
        trial.number: trial.on_front
        for trial in mark_front([again[t.number] for t in trials if t.on_front])
    }
    kept = marked if any(marked.values()) else {t.number: t.on_front for t in trials}
    shown = [replace(again.get(t.number, t), on_front=kept.get(t.number, False)) for t in trials]
    return folded(facts, shown, {number: p95_s for number, p95_s in runs.items() if p95_s})
