"""Which plans to measure next: exact expected hypervolume improvement over a pool of plans."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr

from core.domain.plan import PlanScore, ServingPlan
from core.domain.planning import PlanningFacts
from core.domain.study import Origin, Trial
from core.errors import NotReady
from core.estimate.analytic import FLOOR_TOLERANCE
from core.estimate.speed import Vector
from core.estimate.telemetry import Slowdown
from core.estimate.validity import validate
from core.optimize.failure_odds import failure_odds
from core.optimize.grey_box import Expected, LatencyModel, Slowdowns, predicted_scores
from core.optimize.improvement import expected_improvements
from core.optimize.local_search import Effort
from core.optimize.pareto import non_dominated, reference_point
from core.optimize.plan_table import PlanTable, Rows
from core.optimize.pool import Pool, checkpoint, searched_pool
from core.optimize.residual import Process
from core.optimize.search import problem_of

PLACEMENT_CHANGE = 0.05
"""Share of its expected improvement that a plan loses when it needs other replicas than the newest
measured one: starting them takes a minute."""
PROMISING = 60
"""Plans whose uncertainty is worked out, the best at a rough guess of it."""
PARENTS, NEIGHBOURS = 20, 96
"""The most promising plans, and how many others like them are looked at for each proposal."""
ROUGH_SIGMA = 0.15
LEAST_DEVIATION = 0.03
"""Of the logarithm of a load: what is believed of a plan is never more certain."""
DRAWS = 8
"""Of the believed speeds, in pairs of opposite deviation."""
PROPOSED = (Origin.BAYES, Origin.PAPER)
NEGLIGIBLE = 1e-5
"""Share of the whole volume: where no plan is expected to add more, the best known ones are
measured again."""


@dataclass(frozen=True)
class Basis:
    """What takes long, and is done anew only when the number of evaluations has doubled.

    Attributes:
        evaluations: How many of the first it comes from.
        profiled: n x 3; cost, log latency and quality of the plans that the profiles promised:
            what is believed now to be out of reach may come back.
        process: Hyperparameters of the Gaussian process; None before there is enough to fit.
    """

    evaluations: int
    profiled: Vector
    pool: Pool
    process: Process | None


@dataclass(frozen=True)
class Situation:
    """What is known when a plan is proposed.

    Attributes:
        evaluated: Trials, in order.
        known: Plans that count: measured ones that keep the limits, and those being measured.
        taken: Plans not to be proposed.
        rows, expected: The same as arrays, and what is expected of them.
        front: n x 3; cost, expected log latency (not the noisy one) and quality of `known`.
    """

    model: LatencyModel
    pool: Pool
    evaluated: Sequence[Trial]
    known: list[ServingPlan]
    taken: set[ServingPlan]
    rows: Rows
    expected: Expected
    front: Vector


class Advisor:
    """Proposes plans for one problem; what it keeps between proposals only saves time.

    Args:
        seed: Of the searches for plans.
        effort: Of a whole study's search; those for proposals take a part of it.

    Raises:
        NotReady: Nothing can be placed at all.
    """

    def __init__(self, facts: PlanningFacts, seed: int, effort: Effort) -> None:
        self._effort = effort
        self._limits = facts.limits
        self._seed = seed
        self._table = PlanTable(problem_of(facts))
        self._seen = Slowdowns()
        self._basis = Basis(-1, np.empty((0, 3)), Pool([], None), None)

    def propose(
        self, trials: Sequence[Trial], pending: Sequence[ServingPlan] = ()
    ) -> tuple[ServingPlan, PlanScore]:
        """Return the plan most worth measuring next, and what it is predicted to do.

        Args:
            trials: Of the study; what was evaluated among them is what is known.
            pending: Plans that are being measured: they count as if they had come out as
                predicted.

        Raises:
            NotReady: There is no plan left to propose.
        """
        now = self._situation(trials, pending)
        plan = self._best(now)
        return plan, predicted_scores(now.model, [plan])[0]

    def slowdowns(self, trials: Sequence[Trial]) -> list[Slowdown]:
        """Return by what factor the kinds that were measured take longer than profiled."""
        return LatencyModel(self._table, in_order(trials), self._seen).slowdowns()

    def _situation(self, trials: Sequence[Trial], pending: Sequence[ServingPlan]) -> Situation:
        evaluated = in_order(trials)
        basis = self._basis_of(trials, evaluated)
        model = LatencyModel(self._table, evaluated, self._seen, basis.process)
        good = [t.plan for t in evaluated if t.measured and t.measured.feasible]
        known = [plan for plan in dict.fromkeys([*good, *pending]) if self._table.holds(plan)]
        rows = self._table.rows(known)
        expected = model.expected(rows)
        front = np.column_stack([rows.cost, expected.log_p95, rows.quality])
        taken = {*pending, *(trial.plan for trial in evaluated)}
        return Situation(model, basis.pool, evaluated, known, taken, rows, expected, front)

    def _basis_of(self, trials: Sequence[Trial], evaluated: Sequence[Trial]) -> Basis:
        """Return what the first evaluations give, the same whether later ones are there or not."""
        count = checkpoint(len(evaluated))
        if self._basis.evaluations != count:
            later = {id(trial) for trial in evaluated[count:] if trial.origin in PROPOSED}
            known = dict.fromkeys(trial.plan for trial in trials if id(trial) not in later)
            start = [plan for plan in known if self._runs(plan)]
            if not start:
                raise NotReady(
                    "None of this study's plans runs on the fleet as it is now.",
                    "Start a new study.",
                )
            model = LatencyModel(self._table, evaluated[:count], self._seen)
            rng = np.random.default_rng([self._seed, 1, count])
            pool = searched_pool(self._table, model, start, rng, self._effort)
            self._basis = Basis(count, self._profiled(start), pool, model.process)
        return self._basis

    def _profiled(self, plans: Sequence[ServingPlan]) -> Vector:
        scores = [self._table.problem.score(plan) for plan in plans]
        points = [
            (score.cost_usd_per_hour, np.log(score.p95_e2e_s), score.quality_mean)
            for score in scores
            if score.feasible and score.p95_e2e_s
        ]
        return np.array(points).reshape(-1, 3)

    def _runs(self, plan: ServingPlan) -> bool:
        """Whether a plan keeps all limits but, at the profiles' speeds, that on utilisation."""
        if not self._table.holds(plan) or validate(plan, self._table.problem.facts):
            return False
        score, limits = self._table.problem.score(plan), self._limits
        budget = limits.budget_usd_per_hour or np.inf
        affordable = score.cost_usd_per_hour <= budget * (1 + 1e-9)
        return affordable and score.quality_lower >= limits.quality_floor - FLOOR_TOLERANCE

    def _best(self, now: Situation) -> ServingPlan:
        pool = [plan for plan in now.pool.plans if plan not in now.taken]
        rows, reference = self._promising(now, pool)
        rng = np.random.default_rng([self._seed, 2, len(now.taken)])
        parents = [*rows.plans[:PARENTS], *now.known]
        more = now.pool.around(parents, NEIGHBOURS, rng)
        fresh = [plan for plan in dict.fromkeys(more) if plan not in now.taken]
        rows, reference = self._promising(now, list(dict.fromkeys([*rows.plans, *fresh])))
        if not rows.plans and not now.known:
            raise NotReady("Every plan that was tried failed.", "Look at why, and start anew.")
        worth = self._worth(now, rows, reference)
        if worth.max(initial=0.0) > NEGLIGIBLE * _box(now.front, reference) or not now.known:
            return rows.plans[int(np.argmax(worth))]
        return _least_certain(now)

    def _promising(self, now: Situation, plans: list[ServingPlan]) -> tuple[Rows, Vector]:
        """Return the plans that are best at a rough guess of their uncertainty, best first, and
        the reference point of the hypervolume.
        """
        rows = self._table.rows(plans)
        expected = now.model.expected(rows)
        fits = expected.load <= self._limits.max_utilisation
        reference = self._reference(rows, np.where(fits, expected.log_p95, np.inf), now.front)
        rough = np.full(len(plans), ROUGH_SIGMA)
        candidates = _candidates(rows, expected.log_p95, rough)
        worth = expected_improvements(candidates, now.front, reference)
        worth *= self._odds(expected.load, rough)
        return rows.take(np.argsort(-worth, kind="stable")[:PROMISING]), reference

    def _worth(self, now: Situation, rows: Rows, reference: Vector) -> Vector:
        """Return P expected improvements, less what speaks against a plan.

        The speeds that are believed are drawn, and hold for the candidates and for the front they
        are to improve: a plan much like a measured one is no surprise, however uncertain both are.
        """
        expected = now.model.expected(rows)
        best = non_dominated(now.front * np.array([-1.0, -1.0, 1.0]))
        known = now.rows.take(np.flatnonzero(best))
        known_expected = now.expected.take(np.flatnonzero(best))
        worth, least = np.zeros(len(rows.plans)), np.full(len(rows.plans), LEAST_DEVIATION)
        rng = np.random.default_rng([self._seed, 3, len(now.taken)])
        for effects in now.model.belief.paired_draws(DRAWS, rng):
            log_p95, load = now.model.drawn(rows, expected, effects)
            known_p95, _ = now.model.drawn(known, known_expected, effects)
            front = np.column_stack([known.cost, known_p95, known.quality])
            candidates = _candidates(rows, log_p95, expected.residual_deviation)
            gains = expected_improvements(candidates, front, reference)
            worth += self._odds(load, least) * gains / DRAWS
        worth *= 1 - failure_odds(rows.plans, now.evaluated)
        if now.evaluated:
            running = now.evaluated[-1].plan.placement
            worth *= [1 - PLACEMENT_CHANGE * (p.placement != running) for p in rows.plans]
        return worth

    def _odds(self, load: Vector, deviation: Vector) -> Vector:
        """Return how likely plans keep the limit on utilisation."""
        room = np.log(self._limits.max_utilisation) - np.log(load)
        odds: Vector = ndtr(room / deviation)
        return odds

    def _reference(self, rows: Rows, log_p95: Vector, front: Vector) -> Vector:
        """Return what bounds the hypervolume: (cost, log latency, quality) all good plans beat."""
        points = np.vstack([front, np.column_stack([rows.cost, log_p95, rows.quality])])
        believed = _front_values(points[np.isfinite(points).all(axis=1)])
        best = np.vstack([believed, _front_values(self._basis.profiled)])
        limits = self._limits
        cost, latency_s, shortfall = reference_point(
            best, limits.quality_floor, limits.budget_usd_per_hour
        )
        return np.array([cost, np.log(latency_s), 1 - shortfall])


def in_order(trials: Sequence[Trial]) -> list[Trial]:
    """Return the trials that were tried on replicas, in the order in which they were."""
    return sorted(
        (trial for trial in trials if trial.evaluated),
        key=lambda trial: (-1 if trial.evaluation is None else trial.evaluation, trial.number),
    )


def _candidates(rows: Rows, log_p95: Vector, deviation: Vector) -> Vector:
    return np.column_stack([rows.cost, rows.quality, log_p95, deviation])


def _front_values(points: Vector) -> Vector:
    """Return those of n x 3 (cost, log latency, quality) that none beats, as objectives."""
    values = np.column_stack([-points[:, 0], -np.exp(points[:, 1]), points[:, 2]])
    best: Vector = values[non_dominated(values)]
    return best


def _box(front: Vector, reference: Vector) -> float:
    """Return the volume between the reference and the best known value of each objective."""
    if not len(front):
        return 0.0
    sides = [reference[0] - front[:, 0], reference[1] - front[:, 1], front[:, 2] - reference[2]]
    return float(np.prod([side.max() for side in sides]))


def _least_certain(now: Situation) -> ServingPlan:
    """Return the known plan that was measured least often, of these the least certain one.

    So a tiny problem, measured completely, is measured again rather than left alone.
    """
    times = np.array([sum(t.plan == plan for t in now.evaluated) for plan in now.known])
    deviation = now.model.predict(now.rows).deviation
    return now.known[int(np.lexsort((-deviation, times))[0])]
