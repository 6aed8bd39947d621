"""Programs: what they call enough is enough, what they call necessary is, and bounds hold."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.optimize.linear import Capacity, necessary, safe
from core.optimize.problem import Problem
from core.optimize.search import Search
from tests.unit.planning_problems import random_fleet
from tests.unit.test_optimize_decoder import every_valid_plan, searches, small_fleet


def keeps(rows: list[Capacity], counts: np.ndarray, flows: np.ndarray, load: float) -> list[bool]:
    """Whether n replicas (R) meet each constraint at flows K x M."""
    return [
        row.strength @ counts >= row.work_s @ flows[:, row.model] / load * (1 - 1e-9)
        for row in rows
    ]


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), scale=st.floats(0.1, 3.0))
def test_safe_is_sufficient_and_necessary_is_necessary(seed: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    problem = Problem(random_fleet(rng))
    if not problem.kinds:
        return
    counts = rng.integers(0, 5, (40, len(problem.kinds)))
    shares = rng.dirichlet(np.full(len(problem.models), 0.5), (40, len(problem.classes)))
    load = problem.batch.score(counts, shares).load
    for i in range(40):
        flows = problem.rates[:, None] * shares[i]
        limit = max(load[i] * scale, 1e-9) if np.isfinite(load[i]) else 0.9
        keeps_up = load[i] <= limit * (1 + 1e-12)
        assert keeps_up or not all(keeps(safe(problem), counts[i], flows, limit))
        assert not keeps_up or all(keeps(necessary(problem), counts[i], flows, limit))


@pytest.mark.parametrize("seed", range(6))
def test_the_bound_is_below_every_valid_plan(seed: int) -> None:
    facts = small_fleet(np.random.default_rng([6, seed]))
    search = Search(facts)
    costs = [
        search.problem.score(plan).cost_usd_per_hour
        for plan in every_valid_plan(facts, (0.0, 0.2, 0.4, 0.6, 0.8, 1.0))
    ]
    bound = search.cost_bound_usd_per_hour
    assert bound is not None
    assert 0 < bound <= min(costs) * (1 + 1e-9)


def test_the_cheapest_plan_is_near_its_bound_on_most_fleets() -> None:
    gaps = []
    for search in searches(200, 40):
        anchor = search.problem.score(search.decoder.anchor).cost_usd_per_hour
        bound = search.cost_bound_usd_per_hour
        assert bound is not None
        assert anchor >= bound * (1 - 1e-9)
        gaps.append(anchor / bound - 1)
    assert len(gaps) > 15
    assert np.median(gaps) < 0.01
