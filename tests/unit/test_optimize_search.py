"""Seeds, decoder, local search and diagnosis against exhaustive enumeration."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.domain.plan import ServingPlan
from core.domain.study import Limits, Origin
from core.errors import Infeasible, NotReady
from core.estimate import AnalyticEvaluator, validate
from core.optimize import optimise
from core.optimize.decoder import Decoder
from core.optimize.encoding import Encoding
from core.optimize.local_search import Effort
from core.optimize.milp import Goal
from core.optimize.pareto import hypervolume, non_dominated, objectives
from core.optimize.problem import Problem
from core.optimize.search import Search
from core.optimize.seeds import SeedPlanner, best_quality_shares
from tests.unit.planning_problems import random_problem, two_models

# gpytorch compiles its kernels with a function that newer versions of torch discourage.
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script:DeprecationWarning")

QUICK = Effort(evaluations=1000, cpu_seconds=20)


def every_plan(problem: Problem, share_step: float) -> list[ServingPlan]:
    """All placements that may fit, with all routings on a grid of two models' shares."""
    most = Encoding(problem).most
    nodes = problem.facts.devices_per_node
    counts = [
        chosen
        for chosen in itertools.product(*(range(int(n) + 1) for n in most))
        if all(
            sum(n * k.devices for k, n in zip(problem.kinds, chosen, strict=True) if k.sku == sku)
            <= sum(nodes[sku])
            for sku in nodes
        )
    ]
    grid = np.arange(0, 1 + 1e-9, share_step)
    plans: dict[ServingPlan, None] = {}
    for routing in itertools.product(grid, repeat=len(problem.classes)):
        shares = np.array([[s, 1 - s] for s in routing])
        for chosen in counts:
            placement = {k: n for k, n in zip(problem.kinds, chosen, strict=True) if n}
            plans[problem.plan(placement, shares)] = None
    return list(plans)


def feasible(problem: Problem, plans: list[ServingPlan]) -> list[ServingPlan]:
    return [plan for plan in plans if problem.score(plan).feasible]


@pytest.mark.parametrize("seed", range(4))
def test_anchor_costs_no_more_than_any_enumerated_plan(seed: int) -> None:
    rng = np.random.default_rng(seed)
    facts = random_problem(rng, nodes=1, limits=Limits(quality_floor=0.5))
    problem = Problem(facts)
    anchor = SeedPlanner(problem).anchor()
    known = feasible(problem, every_plan(problem, 0.25))
    if anchor is None:
        assert not known
        return
    found = problem.score(anchor)
    assert found.feasible
    cheapest = min(problem.score(plan).cost_usd_per_hour for plan in known)
    assert found.cost_usd_per_hour <= cheapest * (1 + 1e-6)


@pytest.mark.parametrize("seed", range(2))
def test_front_has_98_percent_of_the_exhaustive_hypervolume(seed: int) -> None:
    rng = np.random.default_rng([7, seed])
    facts = random_problem(rng, nodes=1, limits=Limits(quality_floor=0.4))
    result = optimise(facts, effort=QUICK, seed=seed)
    problem = Problem(facts)
    best = objectives([problem.score(p) for p in feasible(problem, every_plan(problem, 0.1))])
    mine = objectives([trial.predicted for trial in result.front])
    reference = result.reference
    assert reference is not None
    assert hypervolume(mine, reference) >= 0.98 * hypervolume(best, reference)


def test_same_seed_same_front() -> None:
    facts = two_models(quality_floor=0.85)
    one, two = (optimise(facts, effort=QUICK, seed=3) for _ in range(2))
    assert one == two
    assert all(trial.predicted.feasible for trial in one.front)


def test_cuts_make_the_quality_bound_exact() -> None:
    """A floor just below the best bound is reached, one just above is not."""
    problem = Problem(two_models(devices=6))
    best = problem.quality(best_quality_shares(problem))[1]
    planner = SeedPlanner(problem)
    for below in (0.001, 0.01, 0.05):
        found = planner.solve(Goal(best - below, 0.9))
        assert found is not None
        assert problem.quality(found.shares)[1] >= best - below - 1e-6
    assert planner.solve(Goal(best + 0.005, 0.9)) is None


def test_milp_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    SeedPlanner(Problem(two_models())).anchor()
    assert capfd.readouterr().out == ""


fleets = st.fixed_dictionaries(
    {
        "models": st.integers(1, 3),
        "skus": st.integers(1, 3),
        "classes": st.integers(1, 3),
        "nodes": st.integers(1, 3),
        "node_size": st.integers(1, 5),
        "tps": st.sampled_from([(1,), (1, 2), (2, 3), (1, 2, 4)]),
    }
)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), fleet=fleets, floor=st.floats(0, 0.9), budget=st.booleans())
def test_any_vector_decodes_to_a_valid_plan(
    seed: int, fleet: dict[str, object], floor: float, budget: bool
) -> None:
    rng = np.random.default_rng(seed)
    limits = Limits(floor, float(rng.uniform(1, 20)) if budget else None)
    facts = random_problem(rng, **fleet, limits=limits)
    try:
        decoder: Decoder = Search(facts).decoder
    except (Infeasible, NotReady):
        return  # what these say is tested below
    evaluator = AnalyticEvaluator(facts)
    size = decoder.encoding.size
    vectors = [decoder.encoding.random(rng) for _ in range(4)]
    vectors += [rng.normal(0, 1e6, size), np.full(size, np.nan), np.full(size, -np.inf)]
    for vector in vectors:
        plan = decoder.decode(vector)
        assert validate(plan, facts) == ()
        assert evaluator.evaluate(plan).feasible


def test_a_valid_plan_survives_encoding_and_decoding() -> None:
    facts = two_models(devices=4, quality_floor=0.8)
    search = Search(facts)
    for trial in optimise(facts, effort=Effort(300, 20)).front:
        again = search.decoder.decode(search.decoder.encoding.write(trial.plan))
        assert again.placement == trial.plan.placement
        shares = search.problem.shares
        assert np.allclose(shares(again), shares(trial.plan), atol=0.005)


def slow_front(values: np.ndarray) -> set[tuple[float, ...]]:
    return {tuple(a) for a in values if not any(np.all(b >= a) and np.any(b > a) for b in values)}


def test_front_agrees_with_the_definition() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        values = rng.integers(0, 6, size=(rng.integers(1, 40), 3)).astype(float)
        keep = non_dominated(values)
        assert {tuple(row) for row in values[keep]} == slow_front(values)
        assert len({tuple(row) for row in values[keep]}) == keep.sum()


def test_baselines_are_one_model_with_the_fewest_replicas() -> None:
    result = optimise(two_models(devices=2, load=4.0, quality_floor=0.5), effort=QUICK)
    large, small = result.trials[:2]
    assert large.origin is Origin.BASELINE_LARGE
    assert large.plan.models == ("large",)
    assert large.plan.devices == 5
    assert any("Needs 5 x cpu-core, the fleet has 2" in v for v in large.predicted.violations)
    assert large.predicted.cost_usd_per_hour == pytest.approx(0.2)
    assert small.origin is Origin.BASELINE_SMALL
    assert small.plan.models == ("small",)


def test_front_is_short_enough_to_read_and_numbers_run_on() -> None:
    rng = np.random.default_rng(2)
    result = optimise(random_problem(rng, 3, 2, 3, 2, 4, load=3.0), effort=QUICK)
    assert 1 < len(result.front) <= 60
    assert [trial.number for trial in result.trials] == list(range(len(result.trials)))
    assert len({trial.plan for trial in result.trials}) == len(result.trials)


def test_a_floor_nobody_reaches_names_the_closest_and_the_gap() -> None:
    result = optimise(two_models(quality_floor=0.99))
    assert result.infeasible
    assert "large for everything" in result.message
    assert "short" in result.message
    assert [t.origin for t in result.trials] == [Origin.BASELINE_LARGE, Origin.BASELINE_SMALL]
    assert not result.front


def test_the_floor_that_is_suggested_works() -> None:
    facts = two_models(devices=6, quality_floor=0.99)
    message = optimise(facts).message
    suggested = float(message.split("Lower the floor to ")[1].split(",")[0])
    limits = replace(facts.limits, quality_floor=suggested)
    assert not optimise(replace(facts, limits=limits), effort=Effort(50, 20)).infeasible


def test_a_fleet_too_small_says_what_it_can_serve() -> None:
    facts = two_models(load=20.0, quality_floor=0.85)
    result = optimise(facts)
    assert result.infeasible
    assert "too small" in result.message
    assert "Add devices" in result.message
    served_rps = float(result.message.split("it can serve ")[1].split(" ")[0])
    rate_rps = facts.workload.rate_rps
    scaled = replace(facts, workload=_scaled(facts.workload, 0.98 * served_rps / rate_rps))
    assert not optimise(scaled, effort=Effort(50, 20)).infeasible
    more = replace(facts, workload=_scaled(facts.workload, 1.03 * served_rps / rate_rps))
    assert optimise(more).infeasible


def test_a_budget_too_small_names_the_least_cost() -> None:
    facts = two_models(quality_floor=0.85, budget_usd_per_hour=0.05)
    result = optimise(facts)
    assert result.infeasible
    assert "the cheapest plan that meets the other limits costs $0.08/h" in result.message
    enough = replace(facts, limits=replace(facts.limits, budget_usd_per_hour=0.08))
    assert not optimise(enough, effort=Effort(50, 20)).infeasible


def test_nothing_to_place_is_not_ready() -> None:
    with pytest.raises(NotReady, match="Nothing can be placed"):
        optimise(replace(two_models(), devices_per_node={}))


def _scaled(workload, factor: float):
    classes = tuple(replace(t, rate_rps=t.rate_rps * factor) for t in workload.classes)
    return replace(workload, classes=classes)
