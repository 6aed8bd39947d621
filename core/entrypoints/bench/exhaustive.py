"""The best front there is on a small problem, by looking at every plan; slow and obvious."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from core.domain.plan import ReplicaKind
from core.estimate.packing import groups_per_sku, packs
from core.estimate.speed import Vector
from core.optimize.compiling import Integers
from core.optimize.pareto import non_dominated
from core.optimize.problem import Problem, round_shares

PRUNE_AT = 4000


@dataclass(frozen=True)
class ExhaustiveFront:
    """What looking at every plan found.

    Attributes:
        values: n x 3; objectives of the plans that no other beats, as `core.optimize.pareto` has
            them.
        plans: Plans that were scored.
    """

    values: Vector
    plans: int


def exhaustive_front(problem: Problem, grid: int) -> ExhaustiveFront:
    """Score every placement that fits with every routing on a grid.

    Placements that leave a routed model without replicas, or replicas without traffic, are left
    out: the first do not work, the second are never better.

    Args:
        problem: A small one: the number of plans is the product of both choices.
        grid: Parts that a class is split into: 10 for shares in steps of 0.1.
    """
    placements = every_placement(problem)
    present = np.zeros((len(placements), len(problem.models)), dtype=bool)
    for r, m in enumerate(problem.owner):
        present[:, m] |= placements[:, r] > 0
    front, plans = np.empty((0, 3)), 0
    for shares in every_routing(problem, grid):
        suited = placements[np.all(present == (shares.max(axis=0) > 0), axis=1)]
        if problem.quality(shares)[1] < problem.bounds.floor or not len(suited):
            continue
        plans += len(suited)
        front = np.vstack([front, _best_with(problem, suited, shares)])
        if len(front) > PRUNE_AT:
            front = front[non_dominated(front)]
    return ExhaustiveFront(front[non_dominated(front)], plans)


def every_placement(problem: Problem) -> Integers:
    """Return P x R; every placement that fits on the nodes and into the budget."""
    by_sku = [
        _every_on(problem, [k for k in problem.kinds if k.sku == sku])
        for sku in sorted({kind.sku for kind in problem.kinds})
    ]
    rows = [sum(parts) for parts in itertools.product(*by_sku)]
    placements = np.array(rows, dtype=np.int64).reshape(-1, len(problem.kinds))
    affordable = placements @ problem.price <= problem.bounds.budget_usd_per_hour * (1 + 1e-9)
    chosen: Integers = placements[affordable]
    return chosen


def _every_on(problem: Problem, kinds: list[ReplicaKind]) -> list[Integers]:
    """Every placement on one device type."""
    nodes = problem.facts.devices_per_node[kinds[0].sku]
    found = []
    for counts in itertools.product(*(range(problem.most_replicas(k) + 1) for k in kinds)):
        placement = dict(zip(kinds, counts, strict=True))
        if packs(groups_per_sku(placement).get(kinds[0].sku, {}), nodes):
            row = np.zeros(len(problem.kinds), dtype=np.int64)
            row[[problem.index[kind] for kind in kinds]] = counts
            found.append(row)
    return found


def every_routing(problem: Problem, grid: int) -> Iterator[Vector]:
    """Yield K x M; every routing whose shares are multiples of 1 / grid."""
    models = len(problem.models)
    splits = [
        np.diff([0, *bars, grid]) / grid
        for bars in itertools.combinations_with_replacement(range(grid + 1), models - 1)
    ]
    for rows in itertools.product(splits, repeat=len(problem.classes)):
        yield round_shares(np.array(rows))


def _best_with(problem: Problem, placements: Integers, shares: Vector) -> Vector:
    """Return n x 3; what no other placement beats under one routing: quality is the same."""
    routing = np.broadcast_to(shares, (len(placements), *shares.shape))
    scores = problem.batch.score(placements, routing)
    valid = (scores.load <= problem.bounds.utilisation + 1e-9) & np.isfinite(scores.p95_e2e_s)
    values = np.stack([-scores.cost_usd_per_hour, -scores.p95_e2e_s, scores.quality_mean], axis=1)[
        valid
    ]
    values = values[np.lexsort((-values[:, 1], -values[:, 0]))]
    fastest = np.maximum.accumulate(values[:, 1])
    new = np.append(True, fastest[1:] > fastest[:-1]) if len(values) else np.empty(0, dtype=bool)
    best: Vector = values[new]
    return best
