"""Pareto local search: small changes to good plans, scored by the analytic evaluator.

Works on batches of plans as arrays: changed, repaired, scored and sorted by compiled code.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from core.domain.plan import ServingPlan
from core.optimize.decoder import Decoder
from core.optimize.front_arrays import FrontArrays
from core.optimize.moves import Neighbourhood
from core.optimize.problem import Problem

BATCH = 64
REPORT_EVERY = 16
PATIENCE = 6000


@dataclass(frozen=True)
class Effort:
    """When to stop: whichever comes first.

    The evaluation limit binds on any usual machine, so that a seed gives the same front again;
    the limit on processor time is there for very large fleets.
    """

    evaluations: int = 40_000
    cpu_seconds: float = 60.0


def local_search(
    decoder: Decoder,
    seeds: Sequence[ServingPlan],
    rng: np.random.Generator,
    effort: Effort,
    on_progress: Callable[[float], None],
) -> FrontArrays:
    """Search from seeds until the effort is spent or nothing was found for a long time.

    Returns:
        The archive of the best plans; every one keeps all hard limits.
    """
    problem = decoder.problem
    archive = FrontArrays(problem)
    _offer_plans(archive, problem, [*seeds, decoder.anchor])
    neighbourhood = Neighbourhood(decoder, rng)
    began, spent, fruitless = time.process_time(), 0, 0
    while spent < effort.evaluations and fruitless < PATIENCE:
        if spent % (REPORT_EVERY * BATCH) == 0:
            on_progress(spent / effort.evaluations)
        counts, shares = neighbourhood.batch(archive.counts, archive.shares, BATCH)
        taken = archive.offer(counts, shares, problem.batch.score(counts, shares))
        spent += BATCH
        fruitless = 0 if taken.any() else fruitless + BATCH
        if time.process_time() - began > effort.cpu_seconds:
            break
    return archive


def _offer_plans(archive: FrontArrays, problem: Problem, plans: Sequence[ServingPlan]) -> None:
    feasible = [plan for plan in dict.fromkeys(plans) if problem.score(plan).feasible]
    counts = np.array([problem.counts(plan) for plan in feasible])
    shares = np.array([problem.shares(plan) for plan in feasible])
    archive.offer(counts, shares, problem.batch.score(counts, shares))
