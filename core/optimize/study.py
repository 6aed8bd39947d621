"""A study from facts to a front: search cheaply, measure what is worth it, correct, conclude."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from core.domain.plan import PlanScore, ServingPlan
from core.domain.planning import PlanningFacts
from core.domain.study import Origin, Trial
from core.domain.trace import Trace
from core.errors import Infeasible
from core.optimize.grey_box import LatencyCorrection, choose, corrected
from core.optimize.local_search import Effort
from core.optimize.moves import Neighbourhood
from core.optimize.pareto import objectives, reference_point
from core.optimize.rescoring import rescored
from core.optimize.search import (
    OnProgress,
    Search,
    baseline_trials,
    front_values,
    mark_front,
    problem_of,
)
from core.ports import PlanEvaluator

POOL_MUTATIONS = 150
SEARCH_SHARE = 0.25
Reference = tuple[float, float, float]


@dataclass(frozen=True)
class StudyResult:
    """What a study found.

    Attributes:
        trials: By number; baselines first.
        reference: Hypervolume reference (cost $/h, latency s, quality shortfall); None without
            any plan.
        infeasible: Whether no plan keeps the hard limits; then `trials` has baselines only.
        message: Why it is infeasible and what to change, or what was found.
    """

    trials: tuple[Trial, ...]
    reference: Reference | None
    infeasible: bool
    message: str

    @property
    def front(self) -> tuple[Trial, ...]:
        """The trials on the Pareto front."""
        return tuple(trial for trial in self.trials if trial.on_front)


def optimise(
    facts: PlanningFacts,
    *,
    live: PlanEvaluator | None = None,
    live_evaluations: int = 0,
    seed: int = 0,
    effort: Effort | None = None,
    on_progress: OnProgress | None = None,
) -> StudyResult:
    """Find the plans that trade cost, P95 latency and quality best.

    Without live evaluations the front is predicted: optimal seeds and local search. With them,
    grey-box Bayesian optimisation picks plans for `live` to measure.

    Args:
        live: Measures a plan on real replicas; None for estimates only.
        live_evaluations: Plans to measure, at most.
        seed: Same facts, same seed and same measurements give the same plans.
        on_progress: Told the done fraction (0..1) and what is going on; may raise to stop.

    Raises:
        NotReady: Nothing can be placed at all.
    """
    steps = live_evaluations if live else 0

    def tell(fraction: float, message: str) -> None:
        if on_progress:
            on_progress(fraction, message)

    def searching(fraction: float, message: str) -> None:
        tell(fraction * (SEARCH_SHARE if steps else 1.0), message)

    found = search(facts, seed, effort or Effort(), searching)
    if found.infeasible or found.reference is None or live is None:
        return found
    trials: Sequence[Trial] = found.trials
    for number in range(steps):
        tell(live_fraction(number, steps), f"Measuring plan {number + 1} of {steps}")
        trials = measure_next(facts, trials, found.reference, seed, number, live.evaluate)
    return conclude(facts, trials, found.reference)


def live_fraction(number: int, steps: int) -> float:
    """Done fraction of a study when its live evaluation `number` (from 0) begins."""
    return SEARCH_SHARE + (1 - SEARCH_SHARE) * number / max(steps, 1)


def search(
    facts: PlanningFacts, seed: int, effort: Effort, on_progress: OnProgress
) -> StudyResult:
    """Do the predicted part of a study.

    Raises:
        NotReady: Nothing can be placed at all.
    """
    try:
        trials = Search(facts).run(seed, effort, on_progress)
    except Infeasible as error:
        baselines = tuple(baseline_trials(problem_of(facts)))
        return StudyResult(baselines, None, True, str(error))
    return StudyResult(tuple(trials), _reference(facts, trials), False, _found(trials))


def measure_next(
    facts: PlanningFacts,
    trials: Sequence[Trial],
    reference: Reference,
    seed: int,
    number: int,
    measure: Callable[[ServingPlan], PlanScore],
) -> list[Trial]:
    """Choose the plan most worth measuring, measure it, and return the trials with the result.

    The choice depends on the trials, the seed and the number only, so that a study that was
    interrupted here goes on with the same plan.

    Args:
        number: Of the live evaluation, from 0.
    """
    plan, prediction = propose(facts, trials, reference, seed, number)
    measured = measure(plan)
    known = next((t for t in trials if t.plan == plan), None)
    if known is None:
        new = Trial("", len(trials), plan, Origin.BAYES, prediction, measured)
        return [*trials, new]
    update = replace(known, predicted=prediction, measured=measured)
    return [update if t is known else t for t in trials]


def propose(
    facts: PlanningFacts, trials: Sequence[Trial], reference: Reference, seed: int, number: int
) -> tuple[ServingPlan, PlanScore]:
    """Return the plan most worth measuring next, and what it is predicted to do."""
    made = Search(facts)
    rng = np.random.default_rng([seed, 1, number])
    neighbourhood = Neighbourhood(made.decoder, rng)
    measured = {t.plan for t in trials if t.measured}
    front = [t.plan for t in trials if t.on_front]
    pool = {t.plan: None for t in trials if t.predicted.feasible}
    for _ in range(POOL_MUTATIONS):
        found = neighbourhood.of(front[rng.integers(len(front))])
        if found:
            pool[found[0]] = None
    unknown = [plan for plan in pool if plan not in measured]
    # A tiny problem may have been measured completely: then the best known plan is checked again.
    return choose(made.problem, trials, unknown or front, reference)


def conclude(
    facts: PlanningFacts,
    trials: Sequence[Trial],
    reference: Reference,
    trace: Trace | None = None,
) -> StudyResult:
    """Give every plan worth showing the best prediction there is, and mark the final front.

    Where plans were measured, what was not measured is corrected by what was; where none was,
    the front is simulated.

    Args:
        trace: The workload's requests; None draws them from its description.
    """
    if not any(t.measured for t in trials):
        shown = rescored(facts, trials, trace)
        return StudyResult(tuple(shown), reference, False, _found(shown))
    problem = problem_of(facts)
    open_ones = [t for t in trials if t.measured is None and t.predicted.p95_e2e_s is not None]
    scores = [problem.score(t.plan) for t in open_ones]
    learnt = LatencyCorrection(problem, trials).of([t.plan for t in open_ones], scores)
    better = {
        trial.number: corrected(problem, trial.plan, float(ratio), float(deviation))
        for trial, ratio, deviation in zip(open_ones, learnt.mean, learnt.deviation, strict=True)
    }
    final = mark_front([replace(t, predicted=better.get(t.number, t.predicted)) for t in trials])
    return StudyResult(tuple(final), reference, False, _found(final))


def _reference(facts: PlanningFacts, trials: Sequence[Trial]) -> Reference:
    limits = facts.limits
    return reference_point(front_values(trials), limits.quality_floor, limits.budget_usd_per_hour)


def _found(trials: Sequence[Trial]) -> str:
    front = [trial for trial in trials if trial.on_front]
    measured = sum(trial.measured is not None for trial in trials)
    costs = -objectives([trial.predicted for trial in front])[:, 0]
    known = f", {measured} measured on replicas" if measured else ""
    span = f"${costs.min():.4g}" + (f" to ${costs.max():.4g}" if costs.max() > costs.min() else "")
    return f"{len(front)} plans on the front{known}, at {span} per hour."
