"""The cheap part of a study: seeds, local search and baselines on the analytic evaluator.

Measured on problems with a known front, optimal seeds and local search reach the front where plain
Bayesian optimisation does not come near it, so no Gaussian process takes part here; it decides
what to measure once plans are measured on replicas (`core.optimize.grey_box`).
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np

from core.domain.plan import PlanScore, ServingPlan
from core.domain.planning import PlanningFacts
from core.domain.study import Origin, Trial
from core.errors import NotReady
from core.estimate.speed import Vector
from core.optimize.baselines import baselines
from core.optimize.decoder import Decoder
from core.optimize.diagnosis import diagnose
from core.optimize.front_arrays import FrontArrays
from core.optimize.local_search import Effort, local_search
from core.optimize.pareto import distinct, non_dominated, objectives
from core.optimize.problem import Problem
from core.optimize.seeds import SeedPlanner, best_quality_shares

MOST_ON_FRONT = 60
MOST_OTHERS = 40

OnProgress = Callable[[float, str], None]


class Search:
    """One problem made ready to search.

    Raises:
        NotReady: No profiled kind of a scored model fits on the fleet.
        Infeasible: No plan keeps every hard limit; says which limit binds and what to change.
    """

    def __init__(self, facts: PlanningFacts) -> None:
        self.problem = problem_of(facts)
        self._best_shares = best_quality_shares(self.problem)
        self._planner = SeedPlanner(self.problem, self._best_shares)
        self._seeds: list[ServingPlan] = []
        anchor = self._anchor()
        self.decoder = Decoder(self.problem, anchor, self._best_shares)

    def _anchor(self) -> ServingPlan:
        anchor = self._planner.first()
        if anchor is None:
            raise diagnose(self.problem, self._planner, self._best_shares)
        return anchor

    @cached_property
    def cost_bound_usd_per_hour(self) -> float | None:
        """A cost in $/h that provably no plan within the hard limits goes below.

        Takes seconds on large fleets. None when nothing could be proved.
        """
        return self._planner.cost_bound_usd_per_hour()

    def run(self, seed: int, effort: Effort, on_progress: OnProgress) -> list[Trial]:
        """Return baselines and the plans found, numbered, those on the front marked."""
        archive = self.archive(seed, effort, on_progress)
        return self._trials(archive)

    def archive(self, seed: int, effort: Effort, on_progress: OnProgress) -> FrontArrays:
        """Return the best plans found, from optimal starting plans by local search."""
        best_lower = self.problem.quality(self._best_shares)[1]
        self._seeds = self._planner.plans(
            best_lower, lambda done: on_progress(0.2 * done, "Computing optimal starting plans")
        )

        def searching(done: float) -> None:
            on_progress(0.2 + 0.8 * done, "Improving plans by local search")

        rng = np.random.default_rng([seed, 0])
        return local_search(self.decoder, self._seeds, rng, effort, searching)

    def _trials(self, archive: FrontArrays) -> list[Trial]:
        picked = archive.picked(archive.spread_out(MOST_ON_FRONT))
        known = dict.fromkeys(picked, Origin.LOCAL_SEARCH)
        feasible = [plan for plan in self._seeds if self.problem.score(plan).feasible]
        known.update(dict.fromkeys(feasible[:MOST_OTHERS], Origin.SEED))
        by_cost = sorted(known, key=lambda p: (self.problem.score(p).cost_usd_per_hour, p.plan_id))
        first = baseline_trials(self.problem)
        old = {trial.plan for trial in first}
        found = [(known[plan], plan) for plan in by_cost if plan not in old]
        later = [
            Trial("", len(first) + i, plan, origin, self.problem.score(plan))
            for i, (origin, plan) in enumerate(found)
        ]
        return mark_front([*first, *later])


def problem_of(facts: PlanningFacts) -> Problem:
    """Compile facts, or say why there is nothing to place.

    Raises:
        NotReady: No profiled kind of a scored model fits on the fleet.
    """
    problem = Problem(facts)
    if not problem.kinds:
        raise NotReady(
            "Nothing can be placed: no profiled model fits on a usable device of the fleet.",
            "Enable devices on the Inventory page, or profile a model on a device type that is "
            "there.",
        )
    return problem


def baseline_trials(problem: Problem) -> list[Trial]:
    """Return the baselines as trials 0 and 1; one trial when both are the same plan."""
    plans = {plan: origin for origin, plan in reversed(baselines(problem))}
    ordered = sorted(plans.items(), key=lambda item: item[1] is not Origin.BASELINE_LARGE)
    return [
        Trial("", number, plan, origin, problem.score(plan))
        for number, (plan, origin) in enumerate(ordered)
    ]


def mark_front(trials: Sequence[Trial]) -> list[Trial]:
    """Mark the trials that no other beats and that differ to a person.

    Latency is the measured one where there is one. Cost and quality are known functions of the
    plan: a live run's few answers say less about quality than the quality measurement does.
    """
    feasible = [i for i, trial in enumerate(trials) if trial.score.feasible]
    values = objectives([best_knowledge(trials[i]) for i in feasible])
    best = np.flatnonzero(non_dominated(values))
    picked = distinct(values[best], MOST_ON_FRONT) if len(best) else []
    front = {feasible[best[i]] for i in picked}
    return [replace(trial, on_front=i in front) for i, trial in enumerate(trials)]


def best_knowledge(trial: Trial) -> PlanScore:
    """Return the prediction with the measured latency put in, where there is one."""
    return replace(trial.predicted, p95_e2e_s=trial.score.p95_e2e_s)


def front_values(trials: Sequence[Trial]) -> Vector:
    """Return n x 3 objectives of the trials on the front."""
    return objectives([best_knowledge(trial) for trial in trials if trial.on_front])
