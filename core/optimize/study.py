"""A study as a conversation: ask which plan to measure, tell what came out, read the front."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import isfinite

from core.domain.plan import PlanScore, ServingPlan
from core.domain.planning import PlanningFacts
from core.domain.study import KindTelemetry, Measurement, Method, Origin, Trial
from core.errors import Conflict, EngineFailed, Infeasible, InvalidInput
from core.estimate.telemetry import Slowdown
from core.optimize.conclusion import StudyResult, conclude, reference_of, search, silent
from core.optimize.local_search import Effort
from core.optimize.proposals import Advisor, in_order
from core.optimize.search import OnProgress

SEARCH_SHARE = 0.25
MOST_FAILURES_IN_A_ROW = 3

Evaluate = Callable[[ServingPlan], Measurement | PlanScore]


@dataclass(frozen=True)
class Proposal:
    """A plan worth measuring.

    Attributes:
        number: That its trial has, or will have.
        predicted: What the study expects of it, corrected by all it was told so far.
    """

    number: int
    plan: ServingPlan
    predicted: PlanScore


class Study:
    """A search for the plans that trade cost, P95 latency and quality best.

    Ask for plans, measure them in any way (on replicas, in a simulator, by a formula of your own)
    and tell the result. What is proposed depends on the facts, the seed, the effort and the
    trials only: a study made again from stored `trials` goes on with the same proposals.

    Cost and quality are known functions of a plan; latency is learnt. Units are those of
    `PlanScore`: seconds, $/h, quality 0..1.

    Args:
        facts: The problem: traffic, limits, profiles, quality, prices and the fleet.
        seed: Of all that is random; 0 or above.
        trials: Of an earlier study of the same facts, to go on with; none to begin.
        effort: Spent on predicted plans before the first proposal; None for the default.
        method: How plans to measure are chosen; the paper's method is there for comparison.
    """

    def __init__(
        self,
        facts: PlanningFacts,
        *,
        seed: int = 0,
        trials: Sequence[Trial] = (),
        effort: Effort | None = None,
        method: Method = Method.GREY_BOX,
    ) -> None:
        self._method = method
        self._facts = facts
        self._seed = seed
        self._effort = effort or Effort()
        self._trials = sorted(trials, key=lambda trial: trial.number)
        self._pending: list[Proposal] = []
        self._advisor: Advisor | None = None

    @property
    def trials(self) -> list[Trial]:
        """Every plan looked at, by number; those that the search found come first."""
        return list(self._trials)

    def ask(self, n: int = 1) -> list[Proposal]:
        """Return the n plans most worth measuring next, to be measured at once or in turn.

        Plans asked for and not yet told count as being measured: they are not proposed again,
        and what they will likely bring is taken into account.

        Raises:
            NotReady: Nothing can be placed at all.
            Infeasible: No plan keeps the hard limits; says which one binds and what to change.
        """
        self._require_searched()
        for _ in range(n):
            self._pending.append(self._next())
        return self._pending[-n:] if n else []

    def tell(self, proposal: Proposal, result: Measurement | PlanScore) -> None:
        """Record what measuring a proposed plan gave.

        Args:
            result: A score, or a score with what the replicas did by kind: that lets the study
                correct its estimates much sooner. A plan that could not keep up has a score
                without latency.

        Raises:
            InvalidInput: A time is not finite and above zero.
            Conflict: This trial has its result already.
        """
        measurement = result if isinstance(result, Measurement) else Measurement(result)
        _require_times(measurement)
        self._record(proposal, measurement.score, measurement.telemetry)

    def fail(self, proposal: Proposal, reason: str) -> None:
        """Record that a proposed plan could not be measured: a replica did not start, say.

        It is not proposed again, and plans that need the same replicas become less likely.

        Raises:
            Conflict: This trial has its result already.
        """
        self._record(proposal, failure=reason or "It failed.")

    def slowdowns(self) -> list[Slowdown]:
        """Return by what factor replicas take longer than profiled, per kind that was measured.

        Raises:
            NotReady: Nothing can be placed at all.
        """
        return self._advice().slowdowns(self._trials)

    def front(self) -> list[Trial]:
        """Return the best plans by all that is known so far, cheapest first.

        Raises:
            NotReady: Nothing can be placed at all.
            Infeasible: No plan keeps the hard limits.
        """
        return sorted(self.result().front, key=lambda trial: trial.predicted.cost_usd_per_hour)

    def result(self) -> StudyResult:
        """Return every trial with the best prediction there is, those on the front marked.

        Raises:
            NotReady: Nothing can be placed at all.
            Infeasible: No plan keeps the hard limits.
        """
        self._require_searched()
        return conclude(self._facts, self._trials, reference_of(self._facts, self._trials))

    def run(
        self,
        evaluate: Evaluate,
        evaluations: int,
        on_progress: OnProgress | None = None,
    ) -> StudyResult:
        """Measure plans one after another until there are this many, and conclude.

        Args:
            evaluate: Measures a plan. It may raise `EngineFailed`: the trial is recorded as
                failed and the study goes on, unless three in a row fail.
            evaluations: Plans to have been tried on replicas at the end, those of an earlier
                study included; 0 for predictions only.
            on_progress: Told the done fraction (0..1) and what is going on; may raise to stop.

        Raises:
            NotReady: Nothing can be placed at all.
            EngineFailed: Three evaluations in a row failed.
        """
        report = on_progress or silent
        share = SEARCH_SHARE if evaluations else 1.0
        found = self._search(lambda done, text: report(share * done, text))
        if found and found.infeasible:
            return found
        for number in range(count_evaluated(self._trials), evaluations):
            text = f"Measuring plan {number + 1} of {evaluations}"
            report(live_fraction(number, evaluations), text)
            self.measure(evaluate)
        return self.result()

    def measure(self, evaluate: Evaluate) -> Trial:
        """Ask for one plan, measure it, and record what came out, a failure included.

        Raises:
            EngineFailed: This evaluation failed, and so did the two before it.
        """
        (proposal,) = self.ask()
        try:
            self.tell(proposal, evaluate(proposal.plan))
        except EngineFailed as error:
            self.fail(proposal, str(error))
            if self.given_up:
                raise
        return in_order(self._trials)[-1]

    @property
    def given_up(self) -> bool:
        """Whether the three newest evaluations failed: then something else is wrong."""
        last = in_order(self._trials)[-MOST_FAILURES_IN_A_ROW:]
        return len(last) == MOST_FAILURES_IN_A_ROW and all(trial.failure for trial in last)

    def _search(self, on_progress: OnProgress) -> StudyResult | None:
        """Do the predicted part, unless it was done; return what it found."""
        if self._trials:
            return None
        found = search(self._facts, self._seed, self._effort, on_progress)
        if not found.infeasible:
            self._trials = list(found.trials)
        return found

    def _require_searched(self) -> None:
        found = self._search(silent)
        if found and found.infeasible:
            raise Infeasible(found.message)

    def _advice(self) -> Advisor:
        self._advisor = self._advisor or Advisor(self._facts, self._seed, self._effort)
        return self._advisor

    def _next(self) -> Proposal:
        plan, predicted = self._by_paper() if self._method is Method.PAPER else self._by_model()
        known = {t.plan: t.number for t in self._trials if not t.evaluated}
        numbers = [t.number for t in self._trials] + [p.number for p in self._pending]
        return Proposal(known.get(plan, max(numbers) + 1), plan, predicted)

    def _by_model(self) -> tuple[ServingPlan, PlanScore]:
        pending = [proposal.plan for proposal in self._pending]
        return self._advice().propose(self._trials, pending)

    def _by_paper(self) -> tuple[ServingPlan, PlanScore]:
        from core.optimize.paper import PaperStudy  # It needs `Proposal`.

        paper = PaperStudy(self._facts, seed=self._seed, trials=in_order(self._trials))
        newest = paper.ask(len(self._pending) + 1)[-1]
        return newest.plan, newest.predicted

    def _record(
        self,
        proposal: Proposal,
        measured: PlanScore | None = None,
        telemetry: tuple[KindTelemetry, ...] = (),
        failure: str = "",
    ) -> None:
        old = next((t for t in self._trials if t.number == proposal.number), None)
        if old is not None and (old.evaluated or old.plan != proposal.plan):
            raise Conflict(f"Trial {proposal.number} of this study has its result already.")
        origin = Origin.PAPER if self._method is Method.PAPER else Origin.BAYES
        trial = old or Trial("", proposal.number, proposal.plan, origin, proposal.predicted)
        told = replace(
            trial,
            predicted=proposal.predicted,
            measured=measured,
            telemetry=telemetry,
            failure=failure,
            evaluation=count_evaluated(self._trials),
        )
        others = [t for t in self._trials if t is not old]
        self._trials = sorted([*others, told], key=lambda t: t.number)
        self._pending = [p for p in self._pending if p.number != proposal.number]


def live_fraction(number: int, evaluations: int) -> float:
    """Done fraction of a study when its evaluation `number` (from 0) begins."""
    return SEARCH_SHARE + (1 - SEARCH_SHARE) * number / max(evaluations, 1)


def count_evaluated(trials: Sequence[Trial]) -> int:
    """Count the trials that were tried on replicas."""
    return sum(trial.evaluated for trial in trials)


def _require_times(measurement: Measurement) -> None:
    score = measurement.score
    times = [("p50_e2e_s", score.p50_e2e_s), ("p95_e2e_s", score.p95_e2e_s)]
    for kind in measurement.telemetry:
        of_kind = (kind.tpot_mean_s, kind.ttft_mean_s, kind.e2e_mean_s)
        times += [(f"A mean time of {kind.kind.label}", time_s) for time_s in of_kind]
    for name, time_s in times:
        if time_s is not None and not (time_s > 0 and isfinite(time_s)):
            raise InvalidInput(
                f"{name} must be finite and above 0, not {time_s}.",
                "Tell a plan that could not keep up with None for its latencies.",
            )
