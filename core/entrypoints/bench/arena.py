"""What every method of the optimiser's benchmark starts from, and how it is played.

All methods get the same valid plans to begin with, the same decoder from vectors to valid plans,
and the same noise for the same plan. Where a method needs the reference point of the hypervolume,
it is told the very one that it is judged by.
"""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol

import numpy as np

from core.domain.plan import PlanScore, ServingPlan
from core.domain.planning import PlanningFacts
from core.domain.study import Measurement, Trial
from core.entrypoints.bench.hidden_truth import World, hastened, noise_rng
from core.entrypoints.bench.volume import best_subset, gains, true_values
from core.errors import EnvironmentFailed
from core.estimate.speed import Vector
from core.optimize.decoder import Decoder
from core.optimize.pareto import objectives, reference_point
from core.optimize.search import Search
from core.optimize.study import Study

LOWEST_LOGIT = -7.0
FAILED_LATENCY = 2.0
"""A plan that could not keep up counts as this many times the reference latency."""
SPREAD = 40
"""Catalogue plans that are ordered by what they add; NSGA-II begins with them."""

Reference = tuple[float, float, float]


class Method(Protocol):
    """Proposes plans and learns from their measurements, the common first ones included."""

    def ask(self) -> ServingPlan:
        """Return a valid plan to measure."""

    def tell(self, plan: ServingPlan, measured: Measurement) -> None:
        """Take the measurement of a plan; plans that it did not ask for come first."""


class Arena:
    """One instance as methods see it.

    Args:
        facts: Published facts.
        reference: Cost in $/h, P95 in s and quality that bound the hypervolume.
        warm: Plans that are measured for every method before it may propose.
        seed: Of everything random.
        optimism: By how much faster than catalogued the decoder takes replicas to be, as a
            logarithm: above 0 it lets plans through that the catalogue says cannot keep up.

    Attributes:
        catalogue: What BOute's search predicts to be worth looking at.
        spread: Plans of the predicted front, those that add most predicted volume first.
        decoder: From vectors to valid plans.
        box: The unit cube that stands for plans.
    """

    def __init__(
        self,
        facts: PlanningFacts,
        reference: Reference,
        warm: int,
        seed: int,
        optimism: float = 0.0,
    ) -> None:
        self.facts = facts
        self.reference = reference
        self.seed = seed
        self.decoder = Search(hastened(facts, -optimism) if optimism else facts).decoder
        study = Study(facts, seed=seed)
        study.front()
        self.catalogue: list[Trial] = study.trials
        self.spread = _spread(facts, self.catalogue)
        self.warm = self.spread[:warm]
        self.box = Box(self.decoder)

    def rng(self, stream: int) -> np.random.Generator:
        """Return a stream of random numbers of this instance."""
        return np.random.default_rng([self.seed, stream])

    def gain(self, score: PlanScore) -> Vector:
        """Return 3 values to maximise, 0 at the reference: cost saved as a fraction of it,
        logarithm of how many times faster, quality gained.
        """
        cost, latency_s, quality = self.reference
        p95_s = score.p95_e2e_s if score.feasible else None
        return np.array(
            [
                1 - score.cost_usd_per_hour / cost,
                -np.log(FAILED_LATENCY) if p95_s is None else np.log(latency_s / p95_s),
                score.quality_mean - quality,
            ]
        )


def _spread(facts: PlanningFacts, trials: list[Trial]) -> list[ServingPlan]:
    front = [trial for trial in trials if trial.on_front]
    scores = [trial.predicted for trial in front]
    limits = facts.limits
    cost, latency_s, shortfall = reference_point(
        objectives(scores), limits.quality_floor, limits.budget_usd_per_hour
    )
    order = best_subset(
        gains(true_values(scores), (cost, latency_s, 1 - shortfall)), SPREAD, swaps=False
    )
    return [front[i].plan for i in order]


class Box:
    """The unit cube of d numbers, stretched over the decoder's vectors."""

    def __init__(self, decoder: Decoder) -> None:
        self.decoder = decoder
        encoding = decoder.encoding
        counts = np.array(encoding.most, dtype=float)
        logits = encoding.size - len(counts)
        self._low = np.concatenate([np.full(len(counts), -0.5), np.full(logits, LOWEST_LOGIT)])
        high = np.concatenate([counts + 0.5, np.zeros(logits)])
        self._width = high - self._low
        self.size = int(encoding.size)

    def plan(self, unit: Vector) -> ServingPlan:
        """Return the valid plan that a point of the cube stands for."""
        return self.decoder.decode(self._low + np.clip(unit, 0, 1) * self._width)

    def unit(self, plan: ServingPlan) -> Vector:
        """Return a point of the cube that stands for a plan."""
        inside: Vector = np.clip(
            (self.decoder.encoding.write(plan) - self._low) / self._width, 0.0, 1.0
        )
        return inside


@dataclass(frozen=True)
class Run:
    """What one method did on one instance.

    Attributes:
        plans: Evaluated, in order, the common first ones included.
        proposal_cpu_s: Of each proposal: processor time to learn from the last measurement and
            to choose the next plan.
    """

    plans: list[ServingPlan]
    proposal_cpu_s: list[float]


def play(
    world: World,
    arena: Arena,
    method: Callable[[Arena], Method],
    evaluations: int,
    on_evaluation: Callable[[int], None],
) -> Run:
    """Measure the common first plans, then what the method asks for."""
    player, counts, plans, times = method(arena), Counter[ServingPlan](), [], []

    def measure(plan: ServingPlan) -> Measurement:
        counts[plan] += 1
        plans.append(plan)
        return world.measure(plan, noise_rng(world.seed, plan, counts[plan]))

    for plan in arena.warm[:evaluations]:
        player.tell(plan, measure(plan))
    while len(plans) < evaluations:
        on_evaluation(len(plans))
        began_s = time.process_time()
        plan = player.ask()
        asked_s = time.process_time() - began_s
        measured = measure(plan)
        began_s = time.process_time()
        player.tell(plan, measured)
        times.append(asked_s + time.process_time() - began_s)
    return Run(plans, times)


def tool(name: str) -> Any:
    """Import a package that only this benchmark needs.

    Raises:
        EnvironmentFailed: It is not installed.
    """
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        raise EnvironmentFailed(
            f"The package {error.name} is not installed.",
            "Install what BOute is compared with: pip install 'boute[bench]', or leave it out "
            "with --methods.",
        ) from error
