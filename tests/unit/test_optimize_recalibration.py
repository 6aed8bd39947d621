"""The Bayesian model of how fast every kind is."""

import numpy as np
import pytest

from core.domain.plan import ReplicaKind
from core.optimize.recalibration import Belief, Effects, Observed, used_by_others

KINDS = [ReplicaKind(m, g, tp) for m in ("a", "b") for g in ("x", "y", "z") for tp in (1, 2)]
ALONE = np.zeros((1, len(KINDS)))


def seen(effects: Effects, factors: dict[ReplicaKind, float], deviation: float = 0.03) -> list:
    return [Observed(effects.row(k, 0.0), value, deviation) for k, value in factors.items()]


def test_the_posterior_is_that_of_the_joint_normal() -> None:
    """Conditioning the joint normal of all kinds and observations: the same, another way."""
    effects = Effects(KINDS)
    rng = np.random.default_rng(0)
    observed = [
        Observed(effects.row(KINDS[i], float(rng.uniform())), float(rng.normal()), 0.1)
        for i in rng.integers(0, len(KINDS), 7)
    ]
    belief = Belief(effects, observed)
    rows = np.array([one.row for one in observed])
    values = np.array([one.value for one in observed])
    prior = np.diag(effects.prior**2)
    gain = prior @ rows.T @ np.linalg.inv(rows @ prior @ rows.T + 0.1**2 * np.eye(7))
    np.testing.assert_allclose(belief.mean, gain @ values, atol=1e-9)
    np.testing.assert_allclose(belief.covariance, prior - gain @ rows @ prior, atol=1e-9)


def test_kinds_that_were_not_measured_borrow_from_relatives() -> None:
    effects = Effects(KINDS)
    belief = Belief(effects, seen(effects, {ReplicaKind("a", "x", 1): 0.5}))
    factor = dict(zip(KINDS, belief.log_factors(ALONE)[0], strict=True))
    measured, twin = factor[ReplicaKind("a", "x", 1)], factor[ReplicaKind("a", "x", 2)]
    same_model, stranger = factor[ReplicaKind("a", "y", 1)], factor[ReplicaKind("b", "z", 1)]
    assert 0.45 < measured < 0.5
    assert measured > twin > same_model > stranger > 0
    rows = belief.combined(np.eye(len(KINDS)), np.zeros((len(KINDS), len(KINDS))))
    assert np.array_equal(rows, effects.rows)
    deviation, prior = belief.deviations(rows), Belief(effects, []).deviations(rows)
    assert deviation[0] < deviation[1] < prior[1]
    assert prior == pytest.approx(np.full(len(KINDS), 0.35), abs=0.02)


def test_busy_nodes_are_learnt_apart_from_speed() -> None:
    effects = Effects(KINDS)
    kind = ReplicaKind("a", "x", 1)
    told = [
        Observed(effects.row(kind, others), 0.2 + 0.25 * others, 0.01)
        for others in (0.0, 0.3, 0.6, 0.9)
    ]
    belief = Belief(effects, told)
    alone, crowded = belief.log_factors(ALONE)[0], belief.log_factors(ALONE + 0.8)[0]
    assert alone[0] == pytest.approx(0.2, abs=0.02)
    assert crowded[0] - alone[0] == pytest.approx(0.2, abs=0.02)
    assert crowded[-1] == pytest.approx(alone[-1], abs=1e-6), "another SKU's nodes"


def test_draws_scatter_as_the_belief_does() -> None:
    effects = Effects(KINDS)
    belief = Belief(effects, seen(effects, {KINDS[0]: 0.4, KINDS[5]: -0.3}))
    drawn = belief.draws(4000, np.random.default_rng(1))
    np.testing.assert_allclose(drawn.mean(axis=0), belief.mean, atol=0.02)
    np.testing.assert_allclose(np.cov(drawn.T), belief.covariance, atol=0.004)
    again = belief.draws(4000, np.random.default_rng(1))
    assert np.array_equal(drawn, again)


@pytest.mark.parametrize(
    ("placement", "nodes", "expected"),
    [
        ({KINDS[0]: 1}, (4,), {KINDS[0]: 0.0}),
        ({KINDS[0]: 4}, (4,), {KINDS[0]: 0.75}),
        ({KINDS[0]: 4}, (2, 2), {KINDS[0]: 0.5}),
        ({KINDS[0]: 1, KINDS[1]: 1}, (4, 4), {KINDS[0]: 0.5, KINDS[1]: 0.25}),
        ({KINDS[1]: 2, KINDS[0]: 1}, (2, 4), {KINDS[1]: 0.125, KINDS[0]: 0.5}),
        ({KINDS[0]: 9}, (1,), {KINDS[0]: 0.0}),
    ],
)
def test_sharing_of_nodes(placement, nodes, expected) -> None:
    assert used_by_others(placement, {"x": nodes}) == pytest.approx(expected)


def test_device_types_share_no_node() -> None:
    found = used_by_others({KINDS[0]: 2, ReplicaKind("a", "y"): 1}, {"x": (4,), "y": (4,)})
    assert found == {KINDS[0]: 0.25, ReplicaKind("a", "y"): 0.0}
