"""What a study found: the predicted part before measuring, the front after it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from core.domain.planning import PlanningFacts
from core.domain.study import Trial
from core.domain.trace import Trace
from core.errors import Infeasible
from core.optimize.folding import folded
from core.optimize.grey_box import LatencyModel, Slowdowns, predicted_scores
from core.optimize.local_search import Effort
from core.optimize.pareto import non_dominated, objectives, reference_point
from core.optimize.plan_table import PlanTable
from core.optimize.rescoring import rescored
from core.optimize.residual import NOISE_SIGMA
from core.optimize.search import (
    OnProgress,
    Search,
    baseline_trials,
    best_knowledge,
    mark_front,
    problem_of,
)

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
    seed: int = 0,
    effort: Effort | None = None,
    on_progress: OnProgress | None = None,
) -> StudyResult:
    """Find the plans that are predicted to trade cost, P95 latency and quality best.

    Args:
        seed: Same facts and same seed give the same plans.
        effort: Spent on local search; None for the default.
        on_progress: Told the done fraction (0..1) and what is going on; may raise to stop.

    Raises:
        NotReady: Nothing can be placed at all.
    """
    return search(facts, seed, effort or Effort(), on_progress or silent)


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
    return StudyResult(tuple(trials), reference_of(facts, trials), False, _found(trials))


def reference_of(facts: PlanningFacts, trials: Sequence[Trial]) -> Reference:
    """Return a point that every useful plan of a study beats.

    Args:
        trials: At least one of them with a latency; the feasible ones count if there are any.
    """
    able = [trial for trial in trials if trial.score.p95_e2e_s]
    feasible = [trial for trial in able if trial.score.feasible]
    known = objectives([best_knowledge(trial) for trial in feasible or able])
    limits = facts.limits
    front = known[non_dominated(known)]
    return reference_point(front, limits.quality_floor, limits.budget_usd_per_hour)


def silent(_: float, __: str) -> None:
    """Report progress to nobody."""


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
    if not any(t.evaluated for t in trials):
        shown = rescored(facts, trials, trace)
        return StudyResult(tuple(shown), reference, False, _found(shown))
    table = PlanTable(problem_of(facts))
    model = LatencyModel(table, trials, Slowdowns())
    open_ones = [t for t in trials if not t.evaluated and table.holds(t.plan)]
    scores = predicted_scores(model, [t.plan for t in open_ones])
    better = {trial.number: score for trial, score in zip(open_ones, scores, strict=True)}
    final = [replace(t, predicted=better.get(t.number, t.predicted)) for t in trials]
    best = {t.number for t in mark_front(_believed(model, final)) if t.on_front}
    marked = [replace(t, on_front=t.number in best) for t in final]
    final = folded(facts, marked, {}, NOISE_SIGMA)
    return StudyResult(tuple(final), reference, False, _found(final))


def _believed(model: LatencyModel, trials: Sequence[Trial]) -> list[Trial]:
    """Return trials as they count for the front: without those that failed, and measured
    latencies as they are expected to be measured again: what was lucky once is no better.
    """
    kept = [trial for trial in trials if not trial.failure]
    table = model.table
    known = [t for t in kept if t.measured and t.measured.p95_e2e_s and table.holds(t.plan)]
    expected = model.expected(table.rows([t.plan for t in known])).log_p95
    times_s = {t.number: float(np.exp(x)) for t, x in zip(known, expected, strict=True)}
    return [_with_latency(t, times_s[t.number]) if t.number in times_s else t for t in kept]


def _with_latency(trial: Trial, p95_s: float) -> Trial:
    if trial.measured is None or not np.isfinite(p95_s):
        return trial
    return replace(trial, measured=replace(trial.measured, p95_e2e_s=p95_s))


def _found(trials: Sequence[Trial]) -> str:
    front = [trial for trial in trials if trial.on_front]
    if not front:
        return "No plan keeps the limits at the speeds that were measured."
    measured = sum(trial.measured is not None for trial in trials)
    costs = -objectives([trial.predicted for trial in front])[:, 0]
    known = f", {measured} measured on replicas" if measured else ""
    span = f"${costs.min():.4g}" + (f" to ${costs.max():.4g}" if costs.max() > costs.min() else "")
    return f"{len(front)} plans on the front{known}, at {span} per hour."
