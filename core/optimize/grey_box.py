"""What a study knows about latency: recalibrated replicas, and a Gaussian process for the rest.

Three layers, each learning what the one below leaves over:

1. the analytic evaluator: queues, batches, routing, from the profiles;
2. how much slower than profiled each kind of replica is (`core.optimize.recalibration`), from
   telemetry, or from the P95s alone where replicas report nothing;
3. a Gaussian process on log(measured P95 / recalibrated P95) (BoTorch's `SingleTaskGP`): bursts,
   stragglers, whatever the queueing model does not hold.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from core.domain.plan import PlanScore, ReplicaKind, ServingPlan
from core.domain.study import KindTelemetry, Trial
from core.estimate.speed import Z95, Vector
from core.estimate.telemetry import Slowdown, slowdowns, slowed_evaluator
from core.optimize.plan_table import PlanTable, Rows
from core.optimize.recalibration import Belief, Effects, Observed
from core.optimize.residual import Process, Residual, fitted_process, residual_of

P95_SIGMA = 0.15
"""Of log P95 measured over that of a perfectly calibrated estimator: noise and what it lacks."""
OVERLOAD_SIGMA = 0.05
BARELY = 0.95
"""Load of a plan that kept up where it was not expected to."""
NEARLY_FULL = 0.8
RELINEARISED = 4
OVERLOADED = float(np.log(4.0))
"""A plan that could not keep up when measured counts as four times slower than predicted."""


@dataclass(frozen=True)
class Prediction:
    """P plans, as far as they are known.

    Attributes:
        log_p95: Expected logarithm of the P95 in s; infinite where replicas cannot keep up.
        deviation: Standard deviation of it.
        load: Expected load of the busiest pool.
        load_deviation: Standard deviation of the load's logarithm.
    """

    log_p95: Vector
    deviation: Vector
    load: Vector
    load_deviation: Vector


@dataclass(frozen=True)
class Expected:
    """P plans, expectations only: quick to have.

    Attributes:
        recalibrated: Logarithm of the P95 in s by recalibrated estimates alone; infinite where
            replicas cannot keep up.
        load: Of the busiest pool.
        residual: What the process adds to that logarithm.
        residual_deviation: Standard deviation of what it adds.
    """

    recalibrated: Vector
    load: Vector
    residual: Vector
    residual_deviation: Vector

    @property
    def log_p95(self) -> Vector:
        """Logarithm of the P95 in s by all layers."""
        total: Vector = self.recalibrated + self.residual
        return total

    def take(self, chosen: NDArray[np.intp]) -> "Expected":
        """Return some of the plans, by their positions."""
        return Expected(
            self.recalibrated[chosen],
            self.load[chosen],
            self.residual[chosen],
            self.residual_deviation[chosen],
        )


class LatencyModel:
    """Learnt from the trials of a study that were measured.

    Args:
        table: Of the study's problem.
        trials: Those without a measurement are ignored.
        seen: What each plan's telemetry says, kept between models; see `Slowdowns`.
        process: Hyperparameters of layer 3; None to fit them.
    """

    def __init__(
        self,
        table: PlanTable,
        trials: Sequence[Trial],
        seen: "Slowdowns",
        process: Process | None = None,
    ) -> None:
        self.table = table
        self._measured = [t for t in trials if t.measured and table.holds(t.plan)]
        self._rows = table.rows([trial.plan for trial in self._measured])
        self._seen = seen
        # Without telemetry, what is slow without being busy is told apart by one common stretch.
        self._stretched = any(not trial.telemetry for trial in self._measured)
        self.effects = Effects(table.problem.kinds)
        self.belief = self._recalibrate()
        self._process = process

    @cached_property
    def process(self) -> Process | None:
        """Hyperparameters of layer 3; None before there is enough to fit."""
        return self._process or fitted_process(*self._left_over)

    @cached_property
    def _residual(self) -> Residual:
        return residual_of(*self._left_over, self.process)

    def expected(self, rows: Rows) -> Expected:
        """Return what is expected of plans, by all three layers."""
        log_p95, load = self._recalibrated(rows)
        mean, spread = self._residual.of(self._features(rows, log_p95, load))
        return Expected(log_p95, load, mean, spread)

    def drawn(self, rows: Rows, expected: Expected, effects: Vector) -> tuple[Vector, Vector]:
        """Return P expected logarithms of the P95 and P loads, were these the effects (D)."""
        log_p95, load = self.table.score(rows, self.belief.log_factors(rows.others, effects))
        return log_p95 + self._stretched * effects[-1] + expected.residual, load

    def predict(self, rows: Rows) -> Prediction:
        """Return what is expected of plans, and how far it may be off."""
        expected = self.expected(rows)
        factors = self.belief.log_factors(rows.others)
        slopes = self.table.slopes(rows, factors, (expected.recalibrated, expected.load))
        of_p95 = self.belief.combined(slopes.log_p95, rows.others)
        of_p95[:, -1] = float(self._stretched)
        of_load = self.belief.combined(slopes.log_load, rows.others)
        return Prediction(
            log_p95=expected.log_p95,
            deviation=np.hypot(expected.residual_deviation, self.belief.deviations(of_p95)),
            load=expected.load,
            load_deviation=self.belief.deviations(of_load),
        )

    def _recalibrated(self, rows: Rows) -> tuple[Vector, Vector]:
        log_p95, load = self.table.score(rows, self.belief.log_factors(rows.others))
        return log_p95 + self._stretched * self.belief.mean[-1], load

    def _features(self, rows: Rows, log_p95: Vector, load: Vector) -> Vector:
        """Return P x (2 + M): what the rest may depend on, each about 0..1."""
        traffic = self.table.problem.options.calls_of(rows.shares).mean(axis=1)
        busy = np.minimum(load, 1.5)
        return np.column_stack([np.where(np.isfinite(log_p95), log_p95, 0.0), busy, traffic])

    def slowdowns(self) -> list[Slowdown]:
        """Return by what factor the kinds that were measured take longer than profiled.

        As in the measured plans on average: what a node is shared with slows replicas, too.
        """
        counts = self._rows.counts > 0
        found = []
        for r in np.flatnonzero(counts.any(axis=0)):
            others = np.zeros((1, len(counts[0])))
            others[0, r] = self._rows.others[counts[:, r], r].mean()
            slope = np.zeros_like(others)
            slope[0, r] = 1.0
            log_factor = float(self.belief.log_factors(others)[0, r])
            deviation = float(self.belief.deviations(self.belief.combined(slope, others))[0])
            found.append(Slowdown(self.effects.kinds[r], log_factor, deviation))
        return found

    def log_factors(self, plan: ServingPlan) -> dict[ReplicaKind, float]:
        """Return the logarithm of the slowdown of each kind of a plan."""
        rows = self.table.rows([plan])
        factors = self.belief.log_factors(rows.others)[0]
        return {p.kind: float(factors[self.effects.index[p.kind]]) for p in plan.placement}

    def _recalibrate(self) -> Belief:
        told = [
            Observed(self._row(p, s.kind), s.log_factor, s.deviation)
            for p, trial in enumerate(self._measured)
            for s in self._seen.of(self.table, trial)
        ]
        belief = Belief(self.effects, told)
        silent = [p for p, trial in enumerate(self._measured) if not trial.telemetry]
        surprises: set[int] = set()
        for _ in range(RELINEARISED if silent else 0):
            belief = Belief(self.effects, told + self._from_latency(belief, silent, surprises))
        return belief

    def _row(self, p: int, kind: ReplicaKind) -> Vector:
        return self.effects.row(kind, self._rows.others[p, self.effects.index[kind]])

    def _from_latency(
        self, belief: Belief, silent: Sequence[int], surprises: set[int]
    ) -> list[Observed]:
        """Linearise what trials without telemetry say, around what is believed now.

        Args:
            surprises: Positions of plans that kept up, or did not, against what was believed;
                grows. What was expected anyway teaches nothing; a surprise stays one.
        """
        rows = self._rows.take(silent)
        factors = belief.log_factors(rows.others)
        log_p95, load = self.table.score(rows, factors)
        slopes = self.table.slopes(rows, factors, (log_p95, load))
        of_p95 = belief.combined(slopes.log_p95, rows.others)
        of_load = belief.combined(slopes.log_load, rows.others)
        of_p95[:, -1] = 1.0
        found = []
        for i, p in enumerate(silent):
            p95_s = _p95_s(self._measured[p])
            if p95_s is not None and np.isfinite(log_p95[i]):
                off = np.log(p95_s) - log_p95[i] - belief.mean[-1]
                row, sigma = of_p95[i], P95_SIGMA
            elif p not in surprises and (p95_s is None) == (load[i] >= 1):
                continue
            else:
                surprises.add(p)
                aim = BARELY if p95_s is not None else 1 / BARELY
                off, row, sigma = np.log(aim / load[i]), of_load[i], OVERLOAD_SIGMA
            found.append(Observed(row, float(off + row @ belief.mean), sigma))
        return found

    @cached_property
    def _left_over(self) -> tuple[Vector, Vector]:
        """Return features and log ratios of the measured plans that were expected to keep up.

        One that nearly filled its replicas and did not keep up is told apart by its load alone.
        """
        log_p95, load = self._recalibrated(self._rows)
        features = self._features(self._rows, log_p95, load)
        kept_up = np.array([_p95_s(trial) is not None for trial in self._measured], dtype=bool)
        known = np.flatnonzero(np.isfinite(log_p95) & (kept_up | (load < NEARLY_FULL)))
        p95_s = [_p95_s(self._measured[p]) for p in known]
        ratios = [
            OVERLOADED if time_s is None else np.log(time_s) - log_p95[p]
            for p, time_s in zip(known, p95_s, strict=True)
        ]
        return features[known], np.array(ratios, dtype=float)


def _p95_s(trial: Trial) -> float | None:
    """Return the measured P95; None for a plan that could not keep up."""
    return trial.measured.p95_e2e_s if trial.measured else None


def predicted_scores(model: LatencyModel, plans: Sequence[ServingPlan]) -> list[PlanScore]:
    """Return how plans are expected to do, with a 90 % interval on the P95."""
    rows = model.table.rows(plans)
    expected = model.predict(rows)
    return [
        _score(model, plan, float(expected.log_p95[p]), float(expected.deviation[p]))
        for p, plan in enumerate(plans)
    ]


def _score(model: LatencyModel, plan: ServingPlan, log_p95: float, deviation: float) -> PlanScore:
    evaluator = slowed_evaluator(model.table.problem.evaluator, model.log_factors(plan))
    score = evaluator.evaluate(plan)
    if score.p95_e2e_s is None or not np.isfinite(log_p95):
        return score
    score = evaluator.evaluate(plan, float(np.exp(log_p95)) / score.p95_e2e_s)
    either_way = float(np.exp(Z95 * deviation))
    p95_s = float(np.exp(log_p95))
    return replace(score, p95_e2e_low_s=p95_s / either_way, p95_e2e_high_s=p95_s * either_way)


class Slowdowns:
    """What telemetry says of each trial, worked out once."""

    def __init__(self) -> None:
        self._known: dict[tuple[ServingPlan, tuple[KindTelemetry, ...]], list[Slowdown]] = {}

    def of(self, table: PlanTable, trial: Trial) -> list[Slowdown]:
        """Return one entry per kind that reported; none without telemetry."""
        key = (trial.plan, trial.telemetry)
        if key not in self._known:
            evaluator = table.problem.evaluator
            self._known[key] = slowdowns(evaluator, trial.plan, trial.telemetry)
        return self._known[key]
