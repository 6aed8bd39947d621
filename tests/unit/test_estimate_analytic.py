"""The evaluator and the validator on plans of the embedded fleet."""

from dataclasses import replace

import numpy as np
import pytest

from core.domain.plan import ReplicaKind as Kind
from core.domain.plan import Route, ServingPlan, make_plan
from core.domain.study import Limits
from core.estimate import AnalyticEvaluator, validate
from core.estimate.packing import packs
from core.estimate.quality import mixture_quality
from tests.unit.planning_problems import estimate, two_models, workload

SMALL, LARGE = Kind("small", "cpu-core"), Kind("large", "cpu-core")
CLASSES = ("easy", "medium", "hard")
ALL_LARGE = {name: {"large": 1.0} for name in CLASSES}
JOINT = {"easy": {"small": 1.0}, "medium": {"large": 1.0}, "hard": {"large": 1.0}}


def test_cost_is_whole_devices_and_tokens_are_the_workloads() -> None:
    facts = two_models()
    score = AnalyticEvaluator(facts).evaluate(make_plan({LARGE: 2}, ALL_LARGE))
    assert score.cost_usd_per_hour == pytest.approx(0.08)
    tokens_per_hour = facts.workload.rate_rps * 40 * 3600
    assert score.cost_usd_per_million_tokens == pytest.approx(0.08 / tokens_per_hour * 1e6)
    assert score.feasible


def test_routing_easy_queries_to_the_small_model_is_faster_at_the_same_cost() -> None:
    evaluator = AnalyticEvaluator(two_models(sla_p95_e2e_s=1.0))
    alone = evaluator.evaluate(make_plan({LARGE: 2}, ALL_LARGE))
    joint = evaluator.evaluate(make_plan({LARGE: 1, SMALL: 1}, JOINT))
    assert joint.p50_e2e_s < alone.p50_e2e_s
    assert joint.p95_e2e_s < alone.p95_e2e_s
    assert joint.sla_attainment > alone.sla_attainment
    assert joint.quality_mean < alone.quality_mean


def test_attainment_at_the_p95_is_95_percent() -> None:
    facts = two_models()
    plan = make_plan({LARGE: 1, SMALL: 1}, JOINT)
    p95_s = AnalyticEvaluator(facts).evaluate(plan).p95_e2e_s
    limits = replace(facts.limits, sla_p95_e2e_s=p95_s)
    score = AnalyticEvaluator(replace(facts, limits=limits)).evaluate(plan)
    assert score.sla_attainment == pytest.approx(0.95, abs=1e-3)


def test_overload_has_no_latency_and_says_so() -> None:
    score = AnalyticEvaluator(two_models()).evaluate(make_plan({LARGE: 1}, ALL_LARGE))
    assert score.p95_e2e_s is None
    assert score.p50_e2e_s is None
    assert score.utilisation == pytest.approx(1.5)
    assert any("keep up" in text for text in score.violations)
    assert not score.feasible


def test_every_hard_limit_is_named() -> None:
    facts = two_models(quality_floor=0.95, budget_usd_per_hour=0.05, max_utilisation=0.2)
    score = AnalyticEvaluator(facts).evaluate(make_plan({LARGE: 3}, ALL_LARGE))
    text = " ".join(score.violations)
    for words in (
        "Needs 3 x cpu-core, the fleet has 2",
        "floor of 0.950",
        "budget",
        "Utilisation",
    ):
        assert words in text
    assert score.cost_usd_per_hour == pytest.approx(0.12)
    assert score.p95_e2e_s is not None


def test_a_model_without_replica_is_a_violation_not_a_crash() -> None:
    score = AnalyticEvaluator(two_models()).evaluate(make_plan({SMALL: 1}, JOINT))
    assert any("large has no replica" in text for text in score.violations)
    assert score.p95_e2e_s is None
    assert np.isfinite(score.utilisation)


def test_an_empty_plan_is_a_violation_not_a_crash() -> None:
    score = AnalyticEvaluator(two_models()).evaluate(ServingPlan((), ()))
    assert score.violations
    assert not score.feasible


def test_validator_finds_each_fault() -> None:
    facts = two_models()
    half = {**ALL_LARGE, "easy": {"large": 0.5}}
    assert "routed for 50.0%" in validate(make_plan({LARGE: 1}, half), facts)[0]
    assert (
        "not profiled"
        in validate(make_plan({Kind("large", "cpu-core", 2): 1}, ALL_LARGE), facts)[0]
    )
    unknown = make_plan({Kind("huge", "cpu-core"): 1}, {c: {"huge": 1.0} for c in CLASSES})
    assert any("Quality of huge" in text for text in validate(unknown, facts))
    negative = ServingPlan(
        make_plan({LARGE: 1}, {}).placement,
        (Route("easy", "large", 1.5), Route("easy", "small", -0.5)),
    )
    assert any("negative share" in text for text in validate(negative, facts))
    assert validate(make_plan({LARGE: 1, SMALL: 1}, JOINT), facts) == ()


def test_a_tensor_parallel_group_stays_inside_a_node() -> None:
    facts = two_models()
    wide = Kind("large", "cpu-core", tp=2)
    facts = replace(
        facts,
        profiles={**facts.profiles, wide: facts.profiles[LARGE]},
        devices_per_node={"cpu-core": (1, 1)},
    )
    faults = validate(make_plan({wide: 1}, ALL_LARGE), facts)
    assert "stays inside one node" in faults[0]
    pipeline = Kind("large", "cpu-core", tp=1, pp=2)
    facts = replace(facts, profiles={**facts.profiles, pipeline: facts.profiles[LARGE]})
    assert validate(make_plan({pipeline: 1}, ALL_LARGE), facts) == ()


def brute_packs(groups: list[int], nodes: list[int]) -> bool:
    if not groups:
        return True
    size, rest = groups[0], groups[1:]
    return any(
        brute_packs(rest, [*nodes[:i], room - size, *nodes[i + 1 :]])
        for i, room in enumerate(nodes)
        if room >= size
    )


def test_packing_is_exact() -> None:
    rng = np.random.default_rng(0)
    for _ in range(400):
        sizes = [1, 2, 4] if rng.random() < 0.5 else [2, 3, 5]
        groups = {s: int(rng.integers(0, 3)) for s in sizes}
        nodes = [int(n) for n in rng.integers(1, 9, size=rng.integers(1, 4))]
        listed = sorted((s for s, n in groups.items() for _ in range(n)), reverse=True)
        assert packs(groups, nodes) == brute_packs(listed, nodes), (groups, nodes)


def test_quality_bound_of_one_model_and_class_is_its_own() -> None:
    traffic = workload({"easy": 2.0})
    known = {("m", "easy"): estimate("m", "easy", 0.8)}
    mean, lower = mixture_quality(traffic, known, {"easy": {"m": 1.0}})
    assert mean == pytest.approx(0.8)
    assert lower == pytest.approx(known["m", "easy"].lower)


def test_quality_bound_covers_the_truth_as_often_as_it_says() -> None:
    """Of many repeated measurements, at most about 2.5 % may put the bound above the truth."""
    rng = np.random.default_rng(5)
    truth = {("a", "x"): 0.95, ("b", "x"): 0.7, ("b", "y"): 0.85}
    routing = {"x": {"a": 0.6, "b": 0.4}, "y": {"b": 1.0}}
    traffic = workload({"x": 3.0, "y": 1.0})
    real = 0.75 * (0.6 * 0.95 + 0.4 * 0.7) + 0.25 * 0.85
    above = 0
    for _ in range(2000):
        seen = {k: estimate(*k, rng.binomial(60, q) / 60, n=60) for k, q in truth.items()}
        mean, lower = mixture_quality(traffic, seen, routing)
        above += lower > real
        cautious = 0.75 * (0.6 * seen["a", "x"].lower + 0.4 * seen["b", "x"].lower)
        assert cautious + 0.25 * seen["b", "y"].lower <= lower + 1e-12 <= mean + 1e-12
    assert above / 2000 < 0.04


def test_traffic_is_split_over_kinds_by_capacity() -> None:
    facts = two_models(devices=4)
    fast = Kind("large", "fast")
    facts = replace(
        facts,
        profiles={**facts.profiles, fast: facts.profiles[SMALL]},
        price_usd_per_hour={"cpu-core": 0.04, "fast": 0.1},
        devices_per_node={"cpu-core": (4,), "fast": (1,)},
        limits=Limits(),
    )
    evaluator = AnalyticEvaluator(facts)
    pools = {p.kind: p for p in evaluator.pools(make_plan({LARGE: 1, fast: 1}, ALL_LARGE))}
    assert pools[fast].rate_rps == pytest.approx(3 * pools[LARGE].rate_rps)
    assert pools[fast].load == pytest.approx(pools[LARGE].load)
    assert pools[fast].rate_rps + pools[LARGE].rate_rps == pytest.approx(facts.workload.rate_rps)
