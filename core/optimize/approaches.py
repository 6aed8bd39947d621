"""Plans as operators make them without joint optimisation: starting points of each baseline.

Every function returns the plans from which its baseline is searched; what the search may change
is said here and set in `core.optimize.comparison`. The baselines are meant to be strong: each
has every choice that its description leaves open made as well as we can.
"""

from collections.abc import Iterator
from itertools import combinations, count

import numpy as np
from scipy.optimize import linprog

from core.domain.plan import PlacedKind, ReplicaKind, ServingPlan
from core.estimate.quality import error_slope
from core.estimate.speed import Vector
from core.estimate.validity import inventory_faults
from core.optimize.baselines import only
from core.optimize.milp import Goal, Solution
from core.optimize.problem import Problem, round_shares
from core.optimize.quiet import quiet_stdout
from core.optimize.seeds import SeedPlanner

HEADROOMS = (1.0, 0.8, 0.65, 0.5, 0.35, 0.2)
"""Load limits to plan placements for, as fractions of the operator's own."""
ROUTING_HEADROOMS = (1.0, 0.7, 0.45)
MOST_CUTS = 25
QUALITY_MARGIN = 1e-4
ENOUGH = 4
"""Beyond this many times the fewest replicas that sustain the load, more bring nothing."""


def one_model_one_sku(problem: Problem) -> list[ServingPlan]:
    """Everything on one model, on replicas of one kind (device type, TP, PP): nothing is open.

    All kinds of all models that reach the quality floor alone, in every number from the fewest
    that sustain the load to four times as many and eight more, as far as the fleet has them.
    """
    plans = []
    for r, kind in enumerate(problem.kinds):
        shares = only(problem, int(problem.owner[r]))
        if problem.quality(shares)[1] < problem.facts.limits.quality_floor:
            continue
        fewest = _fewest(problem, kind, shares)
        for replicas in range(fewest, ENOUGH * fewest + 9):
            if inventory_faults({kind: replicas}, problem.facts):
                break
            plans.append(problem.plan({kind: replicas}, shares))
    return plans


def most_that_fit(problem: Problem, kind: ReplicaKind, budget: float | None) -> int:
    """Return how many replicas of a kind fit on the empty fleet and in a budget ($/h)."""
    nodes = problem.facts.devices_per_node[kind.sku]
    room = sum(node // kind.tp for node in nodes) // kind.pp
    price = problem.price[problem.index[kind]]
    return room if budget is None else min(room, int(budget / price * (1 + 1e-9)))


def _fewest(problem: Problem, kind: ReplicaKind, shares: Vector) -> int:
    load = problem.score(problem.plan({kind: 1}, shares)).utilisation
    return max(1, int(np.ceil(load / problem.facts.limits.max_utilisation - 1e-9)))


def routing_only(problem: Problem, planner: SeedPlanner) -> list[ServingPlan]:
    """Uniform placements, made without regard to routing; routing is open.

    Every model gets equally many replicas, or equally much money, on its kind that gives capacity
    most cheaply or on its fastest, of all device types or of one, in every size that fits on the
    fleet; or equally many replicas on one device type after the other, until the fleet is full.
    The search then finds the best routing of each, cascades included. Replicas that it leaves idle
    are given back.
    """
    limits = problem.facts.limits
    plans = []
    for placement in uniform_placements(problem):
        placed = tuple(PlacedKind(kind, count) for kind, count in sorted(placement.items()))
        for headroom in ROUTING_HEADROOMS:
            load = headroom * limits.max_utilisation
            goal = Goal(limits.quality_floor, load, None, "time", placement=placed)
            if found := planner.solve(goal):
                plans.append(problem.plan(found.counts, found.shares))
    return plans


def uniform_placements(problem: Problem) -> list[dict[ReplicaKind, int]]:
    """Return every placement that treats all models alike and fits, without repetition."""
    found: dict[tuple[tuple[ReplicaKind, int], ...], None] = {}
    for kinds in _one_kind_each(problem):
        prices = [problem.facts.cost_usd_per_hour({kind: 1}) for kind in kinds]
        for equal_money in (False, True):
            for size in _sizes():
                counts = [
                    max(1, round(size * max(prices) / price)) if equal_money else size
                    for price in prices
                ]
                placement = dict(zip(kinds, counts, strict=True))
                if inventory_faults(placement, problem.facts):
                    break
                found[tuple(sorted(placement.items()))] = None
    for placement in _one_type_after_the_other(problem):
        found[tuple(sorted(placement.items()))] = None
    return [dict(placement) for placement in found]


def _one_type_after_the_other(problem: Problem) -> Iterator[dict[ReplicaKind, int]]:
    """Equally many replicas of all models on a device type until no more fit, then on the next;
    types by the price of their capacity."""
    full: dict[ReplicaKind, int] = {}
    for kinds in _by_price(problem):
        grown = full
        for size in count(1):
            placement = {**full, **dict.fromkeys(kinds, size)}
            if inventory_faults(placement, problem.facts):
                break
            yield placement
            grown = placement
        full = grown


def _by_price(problem: Problem) -> list[tuple[ReplicaKind, ...]]:
    """Each model's cheapest capacity, per device type that has all models; cheapest type first."""
    ranked = [problem.cheapest_first(m) for m in range(len(problem.models))]
    groups = []
    for sku in sorted({kind.sku for kind in problem.kinds}):
        of_models = [[kind for kind in kinds if kind.sku == sku] for kinds in ranked]
        if all(of_models):
            groups.append(tuple(kinds[0] for kinds in of_models))
    price = problem.capacity_price
    return sorted(groups, key=lambda kinds: sum(float(price[problem.index[k]]) for k in kinds))


def _one_kind_each(problem: Problem) -> list[tuple[ReplicaKind, ...]]:
    """One kind per model, of all device types and of each one that has all models.

    It is the kind that gives capacity most cheaply for every model, the fastest one for every
    model, or the fastest one for a single model.
    """
    ranked = [problem.cheapest_first(m) for m in range(len(problem.models))]
    groups = [ranked]
    for sku in sorted({kind.sku for kind in problem.kinds}):
        groups.append([[kind for kind in kinds if kind.sku == sku] for kinds in ranked])
    choices = [
        choice for group in groups if all(group) for choice in _cheap_or_fast(problem, group)
    ]
    return list(dict.fromkeys(choices))


def _cheap_or_fast(
    problem: Problem, kinds: list[list[ReplicaKind]]
) -> Iterator[tuple[ReplicaKind, ...]]:
    """Yield choices of one kind per model; `kinds` stand by rising price of capacity."""
    cheap = tuple(of_model[0] for of_model in kinds)
    fast = tuple(min(of_model, key=lambda k: _mean_alone_s(problem, k)) for of_model in kinds)
    yield from (cheap, fast)
    for m, kind in enumerate(fast):
        yield (*cheap[:m], kind, *cheap[m + 1 :])


def _mean_alone_s(problem: Problem, kind: ReplicaKind) -> float:
    return float(problem.weights @ problem.evaluator.speeds[kind].e2e_s[0])


def _sizes() -> Iterator[int]:
    """1, 2, 3, ... 24, then in steps of about a seventh."""
    size = 1
    while True:
        yield size
        size += max(1, size // 7 if size >= 24 else 1)


def placement_only(problem: Problem, planner: SeedPlanner) -> list[ServingPlan]:
    """Routing by a fixed rule that does not look at queries; placement is open.

    Each query goes to a model at random, with the same shares in every class: all to one model
    that reaches the floor, or to two, as much to the cheaper one as the floor allows. Every such
    split gets the best placements; the best of all counts.
    """
    return _placements(problem, planner, blind_splits(problem))


def blind_splits(problem: Problem) -> list[Vector]:
    """Return routings K x O that are the same for every class and reach the floor."""
    cost = _capacity_cost(problem).sum(axis=0)[: len(problem.models)]
    by_cost = [int(m) for m in np.argsort(cost)]
    splits = [only(problem, m) for m in by_cost]
    reaching = [s for s in splits if _reaches(problem, s)]
    for cheap, dear in combinations(range(len(by_cost)), 2):
        mixed = _most_cheap(problem, splits[cheap], splits[dear])
        if mixed is not None:
            reaching.append(mixed)
    return reaching


def _most_cheap(problem: Problem, cheap: Vector, dear: Vector) -> Vector | None:
    """The mixture with the most of the cheaper routing that reaches the floor; the bound is
    concave along it."""
    if _reaches(problem, cheap):
        return None  # nothing else is needed
    grid = np.linspace(0, 1, 101)
    bounds = [problem.quality((1 - s) * cheap + s * dear)[1] for s in grid]
    enough = [i for i, bound in enumerate(bounds) if bound >= problem.facts.limits.quality_floor]
    if not enough:
        return None
    low, high = grid[max(enough[0] - 1, 0)], grid[enough[0]]
    for _ in range(20):
        middle = (low + high) / 2
        reached = _reaches(problem, (1 - middle) * cheap + middle * dear)
        low, high = (low, middle) if reached else (middle, high)
    mixed: Vector = (1 - high) * cheap + high * dear
    return mixed


def _reaches(problem: Problem, shares: Vector) -> bool:
    """Whether the routing reaches the floor as a plan has it, rounded."""
    return problem.quality(round_shares(shares))[1] >= problem.facts.limits.quality_floor


def routing_then_placement(problem: Problem, planner: SeedPlanner) -> list[ServingPlan]:
    """The best routing first, the best placement for it second; placement stays open.

    Routing, cascades included, is optimised per class for the quality floor, by the price of each
    model's work on its cheapest device type; and once more by the time an answer takes. Both get
    the best placements; the better one counts. Only what routing cannot know is missing: what the
    fleet has.
    """
    return _placements(problem, planner, good_routings(problem))


def good_routings(problem: Problem) -> list[Vector]:
    """Return the routings K x O of least priced work and of least service time at the floor."""
    by_time = problem.weights[:, None] * problem.alone_s
    floor = problem.facts.limits.quality_floor
    found = [least_routing(problem, cost, floor) for cost in (_capacity_cost(problem), by_time)]
    return [shares for shares in found if shares is not None]


def least_routing(problem: Problem, cost: Vector, floor: float) -> Vector | None:
    """Return the routing of least cost whose quality bound reaches a floor; None without one.

    A linear program with tangent cuts for the concave bound (see `core.optimize.milp`).

    Args:
        cost: K x O; what it costs to send all of a class to an option.
    """
    k, o = cost.shape
    there = (problem.options.stands_for == np.arange(o)).ravel()
    gain = problem.weights[:, None] * problem.mean
    one_each = np.kron(np.eye(k), np.ones(o))
    cuts = [gain]
    for _ in range(MOST_CUTS):
        with quiet_stdout():
            found = linprog(
                cost.ravel() / max(float(cost.max()), 1e-12),
                A_ub=-np.array([cut.ravel() for cut in cuts]),
                b_ub=np.full(len(cuts), -(floor + QUALITY_MARGIN)),
                A_eq=one_each,
                b_eq=np.ones(k),
                bounds=np.column_stack([np.zeros(k * o), there]),
            )
        if found.x is None:
            return None
        shares: Vector = found.x.reshape(k, o)
        if problem.quality(shares)[1] >= floor:
            return shares
        cuts.append(gain - error_slope(shares, problem.gap, len(problem.models)))
    return None


def _placements(
    problem: Problem, planner: SeedPlanner, routings: list[Vector]
) -> list[ServingPlan]:
    """Return the cheapest placement of each routing for each headroom."""
    plans: dict[ServingPlan, None] = {}
    for shares in routings:
        for headroom in HEADROOMS:
            if found := placed(problem, planner, shares, headroom):
                plans[problem.plan(found.counts, shares)] = None
    return list(plans)


def placed(
    problem: Problem, planner: SeedPlanner, shares: Vector, headroom: float
) -> Solution | None:
    """Return the cheapest placement that carries a routing with load to spare."""
    load = headroom * problem.facts.limits.max_utilisation
    return planner.solve(Goal(0.0, load, None, "cost", routing=as_rows(shares)))


def as_rows(shares: Vector) -> tuple[tuple[float, ...], ...]:
    """Return a routing K x O as a `Goal` takes it."""
    return tuple(tuple(map(float, row)) for row in shares)


def _capacity_cost(problem: Problem) -> Vector:
    """K x O; $/h of the capacity that all of a class takes on the models' cheapest kinds."""
    cheapest = [
        problem.capacity_price[problem.index[problem.cheapest_first(m)[0]]]
        for m in range(len(problem.models))
    ]
    return problem.per_option(problem.rates[:, None] * problem.work_s * np.array(cheapest))
