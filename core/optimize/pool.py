"""Plans that may be worth measuring: valid ones, near the front of what replicas may really be.

What is best by the profiles alone is not what is best on replicas that are slower or faster. So
plans are searched at the speeds that are believed, and at some drawn from the belief: what is best
at one of them may turn out best. The search is done anew every time the number of evaluations has
doubled, from the evaluations until then only; so it depends on nothing but the trials.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from core.domain.plan import ServingPlan
from core.domain.planning import PlanningFacts
from core.estimate.speed import Vector
from core.estimate.telemetry import slowed_facts
from core.optimize.decoder import Decoder
from core.optimize.grey_box import LatencyModel
from core.optimize.local_search import Effort, local_search
from core.optimize.moves import Neighbourhood
from core.optimize.pareto import non_dominated
from core.optimize.plan_table import PlanTable, Rows
from core.optimize.problem import Problem
from core.optimize.seeds import SeedPlanner, best_quality_shares

FIRST = 3
DRAWS = 2
FIRST_DRAWS = 5
SHARE, DRAWN_SHARE = 0.1, 0.025
"""Of a study's effort, spent at the believed speeds and at each draw."""
KEPT, DRAWN_KEPT = 300, 60
"""Plans kept of those searches, at most."""
USUAL_SHARING = 0.5
"""Share of a node that others use, for kinds that no known plan has."""
UTILISATION_SLACK = 1.03
"""Plans a little beyond the limit are looked at too: how fast replicas are is not certain."""


@dataclass(frozen=True)
class Pool:
    """Plans, and where more like them come from.

    Attributes:
        decoder: At the believed speeds; None where nothing is valid at those.
    """

    plans: list[ServingPlan]
    decoder: Decoder | None

    def around(
        self, parents: Sequence[ServingPlan], tries: int, rng: np.random.Generator
    ) -> list[ServingPlan]:
        """Return plans that differ a little from given ones and are valid at believed speeds."""
        if self.decoder is None or not parents:
            return []
        problem = self.decoder.problem
        counts = np.array([problem.counts(plan) for plan in parents])
        shares = np.array([problem.shares(plan) for plan in parents])
        found = Neighbourhood(self.decoder, rng).batch(counts, shares, tries)
        return [problem.plan_of(*plan) for plan in zip(*found, strict=True)]


def checkpoint(evaluations: int) -> int:
    """Return how many of the first evaluations the pool is searched from: 0, 3, 6, 12, 24, ..."""
    if evaluations < FIRST:
        return 0
    return int(FIRST * 2 ** int(np.log2(evaluations / FIRST)))


def searched_pool(
    table: PlanTable,
    model: LatencyModel,
    plans: Sequence[ServingPlan],
    rng: np.random.Generator,
    effort: Effort,
) -> Pool:
    """Return plans that are best at the believed speeds or at speeds drawn from the belief.

    Args:
        model: Belief of the time.
        plans: To start from; returned too.
        effort: Of a whole study's search.
    """
    rows, belief = table.rows(plans), model.belief
    draws = belief.draws(DRAWS if belief.informed else FIRST_DRAWS, rng)
    pool, decoders = dict.fromkeys(plans), []
    searches = [(belief.mean, SHARE, KEPT), *((draw, DRAWN_SHARE, DRAWN_KEPT) for draw in draws)]
    for effects, share, kept in searches:
        factors = belief.log_factors(_usual_sharing(rows), effects)
        decoder, seeds = _start(table, rows, factors)
        decoders.append(decoder)
        if decoder is not None:
            found = local_search(decoder, seeds, rng, _part(effort, share), lambda _: None)
            pool.update(dict.fromkeys(found.picked(found.spread_out(kept))))
    return Pool(list(pool), decoders[0])


def _part(effort: Effort, share: float) -> Effort:
    evaluations = max(1, round(effort.evaluations * share))
    return replace(effort, evaluations=evaluations)


def _usual_sharing(rows: Rows) -> Vector:
    """Return 1 x R: which share of a kind's nodes others use in plans that have it."""
    used = rows.counts > 0
    total, plans = (rows.others * used).sum(axis=0), used.sum(axis=0)
    usual: Vector = np.where(plans > 0, total / np.maximum(plans, 1), USUAL_SHARING)
    return usual[None]


def _start(
    table: PlanTable, rows: Rows, factors: Vector
) -> tuple[Decoder | None, list[ServingPlan]]:
    """Return a decoder at given speeds (1 x R log factors), and good plans there."""
    problem = table.problem
    log_factors = dict(zip(problem.kinds, map(float, factors[0]), strict=True))
    there = Problem(_slackened(slowed_facts(problem.facts, log_factors)))
    log_p95, load = table.score(rows, np.repeat(factors, len(rows.plans), axis=0))
    fits = np.flatnonzero(load <= there.facts.limits.max_utilisation)
    values = np.column_stack([-rows.cost, -log_p95, rows.quality])[fits]
    best = [rows.plans[i] for i in fits[non_dominated(values)]]
    shares = best_quality_shares(there)
    planner = SeedPlanner(there, shares)
    anchor = planner.first()
    if anchor is None:
        return None, []
    seeds = planner.plans(there.quality(shares)[1], lambda _: None)
    return Decoder(there, anchor, shares), [*best, *seeds]


def _slackened(facts: PlanningFacts) -> PlanningFacts:
    limit = min(0.99, facts.limits.max_utilisation * UTILISATION_SLACK)
    return replace(facts, limits=replace(facts.limits, max_utilisation=limit))
