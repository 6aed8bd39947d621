"""The batch evaluator says what the analytic evaluator says, plan by plan."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.estimate.batch import BatchEvaluator
from core.optimize.problem import Problem, round_shares
from tests.unit.planning_problems import random_fleet, with_cascades

PLANS = 20


@settings(max_examples=120, deadline=None)
@given(seed=st.integers(0, 10**6), cascades=st.booleans())
def test_agrees_with_the_analytic_evaluator(seed: int, cascades: bool) -> None:
    rng = np.random.default_rng(seed)
    facts = random_fleet(rng)
    problem = Problem(with_cascades(facts, rng) if cascades else facts)
    if not problem.kinds:
        return
    batch = BatchEvaluator(problem.evaluator, problem.kinds, problem.options)
    counts = rng.integers(0, 4, (PLANS, len(problem.kinds)))
    drawn = rng.dirichlet(np.full(len(problem.options), 0.4), (PLANS, len(problem.classes)))
    shares = np.array([round_shares(problem.options.plain(routing)) for routing in drawn])
    found = batch.score(counts, shares)
    for i in range(PLANS):
        # Replicas of a model without traffic are no part of a plan that is made the usual way.
        routed = problem.needed(shares[i])[problem.owner]
        plan = problem.plan_of(counts[i] * routed, shares[i])
        score = problem.evaluator.evaluate(plan)
        again = batch.score((counts[i] * routed)[None], shares[i][None])
        assert again.cost_usd_per_hour[0] == pytest.approx(score.cost_usd_per_hour)
        assert found.quality_mean[i] == pytest.approx(score.quality_mean, abs=1e-9)
        assert found.quality_lower[i] == pytest.approx(score.quality_lower, abs=1e-9)
        if score.p95_e2e_s is None:
            assert np.isinf(found.p95_e2e_s[i])
            assert found.load[i] >= 1
        else:
            assert found.p95_e2e_s[i] == pytest.approx(score.p95_e2e_s, rel=1e-6)
            assert found.load[i] == pytest.approx(score.utilisation)
