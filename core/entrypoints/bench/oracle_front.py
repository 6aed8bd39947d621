"""What perfect knowledge would reach: a long search on the truth, and the best n plans of it."""

from dataclasses import dataclass

import numpy as np

from core.domain.plan import PlanScore, ServingPlan
from core.entrypoints.bench.hidden_truth import World
from core.entrypoints.bench.plan_archive import Archive
from core.estimate import AnalyticEvaluator
from core.optimize.conclusion import silent
from core.optimize.local_search import Effort
from core.optimize.moves import Neighbourhood
from core.optimize.pareto import objectives, reference_point
from core.optimize.search import Search

SEEDING = Effort(evaluations=4000, cpu_seconds=20.0)
ANYWHERE = 0.02


@dataclass(frozen=True)
class TrueFront:
    """The best plans known of one instance, at their true values.

    Attributes:
        scores: Of the plans that none beats.
        published: Of the best plans among those that are valid by the published facts, too.
        reference: Cost in $/h, P95 in s and quality that every plan of use beats.
    """

    scores: tuple[PlanScore, ...]
    published: tuple[PlanScore, ...]
    reference: tuple[float, float, float]


def true_front(world: World, evaluations: int, seed: int = 0) -> TrueFront:
    """Search an instance with its truth as evaluator.

    Plans good at the true speeds are found the usual way; a local search on the full truth,
    contention and bursts included, then improves them.

    Raises:
        Infeasible: At the true speeds no plan keeps the limits.
    """
    search, known = Search(world.true_facts), _Known(world)
    for trial in search.run(seed, SEEDING, silent):
        known.offer(trial.plan)
    rng = np.random.default_rng([seed, 7])
    neighbourhood = Neighbourhood(search.decoder, rng)
    for number in range(evaluations):
        parents = (known.all if number % 2 else known.published).plans
        if not parents or rng.random() < ANYWHERE:
            known.offer(neighbourhood.anywhere()[0])
        elif found := neighbourhood.of(parents[rng.integers(len(parents))]):
            known.offer(found[0])
    return TrueFront(
        tuple(known.all.scores), tuple(known.published.scores), _reference(world, known.all)
    )


class _Known:
    """The best plans of an instance, and the best of those that its catalogue allows."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._catalogue = AnalyticEvaluator(world.facts)
        self.all = Archive()
        self.published = Archive()

    def offer(self, plan: ServingPlan) -> None:
        if not self.all.is_new(plan):
            return
        score = self._world.truth(plan)
        if score.feasible:
            self.all.offer(plan, score)
            if self._catalogue.evaluate(plan).feasible:
                self.published.offer(plan, score)


def _reference(world: World, archive: Archive) -> tuple[float, float, float]:
    limits = world.facts.limits
    cost, latency_s, shortfall = reference_point(
        objectives(archive.scores), limits.quality_floor, limits.budget_usd_per_hour
    )
    return cost, latency_s, 1 - shortfall
