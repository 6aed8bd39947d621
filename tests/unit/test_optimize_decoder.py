"""The decoder against an independent validator: every vector gives a valid plan, and every valid
plan is given by some vector."""

import itertools

import numpy as np
import pytest

from core.domain.plan import ReplicaKind, Route, ServingPlan, make_plan
from core.domain.planning import PlanningFacts
from core.errors import Infeasible, NotReady
from core.optimize.local_search import Effort, local_search
from core.optimize.search import Search
from tests.unit.plan_validator import faults
from tests.unit.planning_problems import random_fleet, two_models, with_cascades

FLEETS = 180
CANDIDATES = 100
"""Per fleet that has any valid plan: more than 10,000 in all."""


def searches(first: int, count: int) -> list[Search]:
    """Random fleets on which something can be planned, every other one with cascades."""
    made = []
    for seed in range(first, first + count):
        rng = np.random.default_rng([3, seed])
        facts = random_fleet(rng)
        try:
            made.append(Search(with_cascades(facts, rng) if seed % 2 else facts))
        except (Infeasible, NotReady):
            continue
    return made


def vectors(search: Search, rng: np.random.Generator, count: int) -> list[np.ndarray]:
    """Random ones, mostly; some hostile ones."""
    size = search.decoder.encoding.size
    hostile = [
        np.full(size, np.nan),
        np.full(size, np.inf),
        np.full(size, -np.inf),
        np.zeros(size),
        rng.normal(0, 1e6, size),
        rng.choice([np.nan, -1e300, 1e300, 0.5], size),
    ]
    return hostile + [search.decoder.encoding.random(rng) for _ in range(count - len(hostile))]


def test_ten_thousand_vectors_on_random_fleets_decode_to_valid_plans() -> None:
    rng, seen, distinct = np.random.default_rng(1), 0, set()
    for search in searches(0, FLEETS):
        for vector in vectors(search, rng, CANDIDATES):
            plan = search.decoder.decode(vector)
            assert faults(plan, search.problem.facts) == []
            distinct.add(plan)
            seen += 1
    assert seen >= 10_000
    assert len(distinct) > seen / 5  # not the anchor again and again
    escalating = [plan for plan in distinct if any(r.escalate_to for r in plan.routing)]
    assert len(escalating) > len(distinct) / 10


def test_whatever_a_local_search_keeps_is_valid() -> None:
    checked = 0
    for search in searches(500, 30):
        rng = np.random.default_rng(2)
        archive = local_search(search.decoder, [], rng, Effort(640, 60), lambda _: None)
        for plan in archive.plans:
            assert faults(plan, search.problem.facts) == []
            checked += 1
    assert checked > 300


def every_placement(facts: PlanningFacts) -> list[dict[ReplicaKind, int]]:
    kinds = sorted(facts.profiles)
    most = [sum(facts.devices_per_node[k.sku]) // k.devices for k in kinds]
    return [
        {kind: n for kind, n in zip(kinds, counts, strict=True) if n}
        for counts in itertools.product(*(range(n + 1) for n in most))
    ]


def every_valid_plan(facts: PlanningFacts, shares: tuple[float, ...]) -> list[ServingPlan]:
    """All plans with two models and these shares of the first one, none of them idle."""
    first, second = facts.models
    names = [traffic.query_class for traffic in facts.workload.classes]
    plans = []
    for split in itertools.product(shares, repeat=len(names)):
        pairs = zip(names, split, strict=True)
        routing = {name: {first: share, second: round(1 - share, 6)} for name, share in pairs}
        for placement in every_placement(facts):
            plan = make_plan(placement, routing)
            routed = {route.model for route in plan.routing}
            if routed == set(plan.models) and not faults(plan, facts):
                plans.append(plan)
    return plans


@pytest.mark.parametrize("seed", range(6))
def test_every_valid_plan_of_a_small_problem_is_reached(seed: int) -> None:
    facts = small_fleet(np.random.default_rng([5, seed]))
    plans = every_valid_plan(facts, (0.0, 0.003, 0.25, 0.5, 0.75, 0.999999, 1.0))
    assert len(plans) > 20
    decoder = Search(facts).decoder
    for plan in plans:
        assert decoder.decode(decoder.encoding.write(plan)) == plan


def small_fleet(rng: np.random.Generator) -> PlanningFacts:
    """Two models, few kinds and devices; drawn until something is valid on it."""
    while True:
        facts = random_fleet(rng)
        kinds, devices = len(facts.profiles), sum(map(sum, facts.devices_per_node.values()))
        priced = all(kind.sku in facts.price_usd_per_hour for kind in facts.profiles)
        if len(facts.models) == 2 and kinds <= 4 and devices <= 7 and priced:
            try:
                Search(facts)
            except (Infeasible, NotReady):
                continue
            if len(every_valid_plan(facts, (0.0, 0.5, 1.0))) > 5:
                return facts


@pytest.mark.parametrize("seed", range(4))
def test_every_valid_plan_with_cascades_is_reached(seed: int) -> None:
    rng = np.random.default_rng([6, seed])
    facts = with_cascades(small_fleet(rng), rng)
    while not facts.cascades:
        facts = with_cascades(small_fleet(rng), rng)
    decoder, reached = Search(facts).decoder, 0
    for plan in every_escalating_plan(facts, (0.003, 0.4, 1.0)):
        assert decoder.decode(decoder.encoding.write(plan)) == plan
        reached += 1
    assert reached > 20


def every_escalating_plan(facts: PlanningFacts, shares: tuple[float, ...]) -> list[ServingPlan]:
    """All valid plans that give shares of one class to a cascade and the rest to one model."""
    plans = []
    for cascade, share, rest in itertools.product(facts.cascades, shares, facts.models):
        routing = {t.query_class: {rest: 1.0} for t in facts.workload.classes}
        routing[cascade.query_class] = {rest: round(1 - share, 6)}
        route = Route(cascade.query_class, cascade.model, share, *cascade.key[2:])
        for placement in every_placement(facts):
            plan = make_plan(placement, routing, [route])
            if plan.asked == set(plan.models) and not faults(plan, facts):
                plans.append(plan)
    return plans


def test_encoding_says_what_it_is_asked() -> None:
    search = Search(two_models(devices=4, quality_floor=0.8))
    vector = search.decoder.encoding.write(search.decoder.anchor)
    counts, shares = search.decoder.encoding.read(vector)
    assert search.problem.plan_of(counts, shares) == search.decoder.anchor
