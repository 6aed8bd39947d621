"""Pareto local search: small changes to good plans, scored by the analytic evaluator."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from core.domain.plan import PlanScore, ServingPlan
from core.estimate.speed import Vector
from core.optimize.decoder import Decoder
from core.optimize.moves import Neighbourhood
from core.optimize.pareto import objectives

LATENCY_SLACK = 1.003
QUALITY_SLACK = 5e-4
PATIENCE = 1500
RANDOM_RESTART = 0.02
REPORT_EVERY = 200


@dataclass(frozen=True)
class Effort:
    """When to stop: whichever comes first.

    The evaluation limit binds on any usual machine, so that a seed gives the same front again;
    the limit on processor time is there for very large fleets.
    """

    evaluations: int = 5000
    cpu_seconds: float = 15.0


class Archive:
    """Plans that none beats by more than a small slack; bounded in size by that slack."""

    def __init__(self) -> None:
        self.plans: list[ServingPlan] = []
        self.scores: list[PlanScore] = []
        self._values = np.empty((0, 3))
        self._seen: set[ServingPlan] = set()

    def is_new(self, plan: ServingPlan) -> bool:
        """Whether a plan was not offered before; remembers it."""
        known = plan in self._seen
        self._seen.add(plan)
        return not known

    def offer(self, plan: ServingPlan, score: PlanScore) -> bool:
        """Add a feasible plan unless one in the archive is as good; drop what it beats."""
        value = objectives([score])[0]
        slack = np.array([value[0], value[1] * LATENCY_SLACK, value[2] - QUALITY_SLACK])
        if np.any(np.all(self._values >= slack, axis=1) & self._no_worse_cost(value)):
            return False
        beaten = np.all(self._values <= value, axis=1)
        kept = np.flatnonzero(~beaten)
        self.plans = [self.plans[i] for i in kept] + [plan]
        self.scores = [self.scores[i] for i in kept] + [score]
        self._values = np.vstack([self._values[kept], value])
        return True

    def _no_worse_cost(self, value: Vector) -> Vector:
        same: Vector = self._values[:, 0] >= value[0]
        return same


def local_search(
    decoder: Decoder,
    seeds: Sequence[ServingPlan],
    rng: np.random.Generator,
    effort: Effort,
    on_progress: Callable[[float], None],
) -> Archive:
    """Search from seeds until the effort is spent or nothing was found for a long time.

    Returns:
        The archive of the best plans; every one keeps all hard limits.
    """
    archive = Archive()
    for plan in seeds:
        score = decoder.problem.score(plan)
        if archive.is_new(plan) and score.feasible:
            archive.offer(plan, score)
    neighbourhood = Neighbourhood(decoder, rng)
    began, fruitless = time.process_time(), 0
    for number in range(effort.evaluations):
        fruitless = 0 if _try_one(neighbourhood, archive, rng) else fruitless + 1
        if number % REPORT_EVERY == 0:
            on_progress(number / effort.evaluations)
            if time.process_time() - began > effort.cpu_seconds:
                break
        if fruitless > PATIENCE:
            break
    return archive


def _try_one(neighbourhood: Neighbourhood, archive: Archive, rng: np.random.Generator) -> bool:
    if not archive.plans or rng.random() < RANDOM_RESTART:
        found: tuple[ServingPlan, PlanScore] | None = neighbourhood.anywhere()
    else:
        found = neighbourhood.of(archive.plans[rng.integers(len(archive.plans))])
    return found is not None and archive.is_new(found[0]) and archive.offer(*found)
