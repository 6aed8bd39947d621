"""Plans as arrays, scored at any speeds of their replicas."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.domain.plan import ServingPlan
from core.estimate.batch import BatchEvaluator
from core.estimate.kernels import score_plans
from core.estimate.speed import Vector
from core.estimate.validity import placement_of
from core.optimize.problem import Problem
from core.optimize.recalibration import used_by_others

STEP = 0.02
STEEPEST = 30.0
"""Slope taken for a plan that a little slowdown overloads."""


@dataclass(frozen=True)
class Rows:
    """P plans.

    Attributes:
        counts: P x R; replicas per kind.
        shares: P x K x O; routing.
        others: P x R; share of a kind's nodes that other replicas use.
        cost: P; $/h.
        quality: P; mean.
    """

    plans: list[ServingPlan]
    counts: NDArray[np.int64]
    shares: Vector
    others: Vector
    cost: Vector
    quality: Vector

    def take(self, chosen: Sequence[int] | NDArray[np.intp]) -> "Rows":
        """Return some of the plans, by their positions."""
        at = np.asarray(chosen, dtype=int)
        return Rows(
            [self.plans[i] for i in at],
            self.counts[at],
            self.shares[at],
            self.others[at],
            self.cost[at],
            self.quality[at],
        )


@dataclass(frozen=True)
class Slopes:
    """P x R each: derivatives by the logarithm of a kind's slowdown.

    Attributes:
        log_p95: Of the logarithm of the P95.
        log_load: Of the logarithm of the load.
    """

    log_p95: Vector
    log_load: Vector


class PlanTable:
    """Turns plans of one problem into arrays, and scores those.

    Args:
        problem: Its kinds and models are the columns.
    """

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self._fleet = BatchEvaluator(problem.evaluator, problem.kinds, problem.options).fleet
        self._known: dict[ServingPlan, tuple[Vector, Vector, Vector]] = {}

    def holds(self, plan: ServingPlan) -> bool:
        """Whether all kinds and routes of a plan are the problem's: a stored one may be of a past
        fleet, or have a cascade that was calibrated anew since.
        """
        known = all(placed.kind in self.problem.index for placed in plan.placement)
        return known and all(self.problem.options.column(r) is not None for r in plan.routing)

    def rows(self, plans: Sequence[ServingPlan]) -> Rows:
        """Return plans as arrays; each must be one that `holds`."""
        problem = self.problem
        found = [self._row(plan) for plan in plans]
        counts = np.array([row[0] for row in found]).reshape(-1, len(problem.kinds))
        shape = (-1, *problem.mean.shape)
        shares = np.array([row[1] for row in found]).reshape(shape)
        others = np.array([row[2] for row in found]).reshape(counts.shape)
        quality = np.einsum("pko,ko,k->p", shares, problem.mean, problem.weights)
        cost = counts @ problem.price
        return Rows(list(plans), counts.astype(np.int64), shares, others, cost, quality)

    def _row(self, plan: ServingPlan) -> tuple[Vector, Vector, Vector]:
        if plan not in self._known:
            problem, placement = self.problem, placement_of(plan)
            counts, others = np.zeros(len(problem.kinds)), np.zeros(len(problem.kinds))
            used = used_by_others(placement, problem.facts.devices_per_node)
            for kind, count in placement.items():
                counts[problem.index[kind]] = count
                others[problem.index[kind]] = used[kind]
            self._known[plan] = (counts, problem.shares(plan), others)
        return self._known[plan]

    def score(self, rows: Rows, log_factors: Vector) -> tuple[Vector, Vector]:
        """Return P logarithms of the P95 in s (infinite where overloaded) and P loads.

        Args:
            log_factors: P x R; logarithm of how much longer replicas of a kind take.
        """
        load, p95_s = np.empty(len(rows.plans)), np.empty(len(rows.plans))
        factors = np.exp(log_factors)[:, :, None, None]
        for p in range(len(load)):
            fleet = self._fleet._replace(e2e_s=self._fleet.e2e_s * factors[p])
            one = slice(p, p + 1)
            score_plans(fleet, rows.counts[one], rows.shares[one], load[one], p95_s[one])
        return np.log(p95_s), load

    def slopes(self, rows: Rows, log_factors: Vector, scores: tuple[Vector, Vector]) -> Slopes:
        """Return how log P95 and log load rise with each kind's log factor, by differences.

        Args:
            scores: What `score` says at the same factors.
        """
        plan, kind = np.nonzero(rows.counts)
        moved = log_factors[plan].copy()
        moved[np.arange(len(plan)), kind] += STEP
        log_p95, load = self.score(rows.take(plan), moved)
        p95_slopes, load_slopes = np.zeros(rows.counts.shape), np.zeros(rows.counts.shape)
        with np.errstate(invalid="ignore"):
            p95_slopes[plan, kind] = (log_p95 - scores[0][plan]) / STEP
            load_slopes[plan, kind] = np.log(load / scores[1][plan]) / STEP
        steepest = np.where(np.isfinite(p95_slopes), p95_slopes, STEEPEST)
        return Slopes(np.clip(steepest, 0, STEEPEST), np.nan_to_num(load_slopes, posinf=1.0))
