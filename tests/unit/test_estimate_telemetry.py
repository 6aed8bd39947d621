"""How fast replicas are, read back from what they report."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.domain.plan import ReplicaKind, make_plan
from core.domain.study import KindTelemetry
from core.estimate import AnalyticEvaluator
from core.estimate.telemetry import slowdowns, slowed_evaluator, slowed_facts
from tests.unit.hidden_truth import SlowReplicas
from tests.unit.planning_problems import random_problem, two_models

SMALL, LARGE = ReplicaKind("small", "cpu-core"), ReplicaKind("large", "cpu-core")
CLASSES = ("easy", "medium", "hard")
SPLIT = make_plan(
    {SMALL: 2, LARGE: 2},
    {
        "easy": {"small": 1.0},
        "medium": {"small": 0.5, "large": 0.5},
        "hard": {"large": 1.0},
    },
)


@settings(max_examples=40, deadline=None)
@given(st.floats(-0.7, 0.7), st.floats(-0.7, 0.7), st.floats(0.3, 2.0))
def test_slowdowns_are_read_back(small: float, large: float, load: float) -> None:
    """Whether the slower replicas keep up or not, what they report tells how slow they are."""
    facts = two_models(devices=4, load=load)
    replicas = SlowReplicas(facts, {SMALL: small, LARGE: large})
    told = replicas.evaluate(SPLIT).telemetry
    found = {slow.kind: slow for slow in slowdowns(AnalyticEvaluator(facts), SPLIT, told)}
    for kind, real in ((SMALL, small), (LARGE, large)):
        if kind in found:
            assert found[kind].log_factor == pytest.approx(real, abs=0.07)
            assert 0 < found[kind].deviation < 0.2


def test_an_overloaded_replica_tells_its_speed_too() -> None:
    """Full batches: the time per token is that of the highest level."""
    facts = two_models(devices=2, load=1.0)
    plan = make_plan({LARGE: 1}, {name: {"large": 1.0} for name in CLASSES})
    evaluator = AnalyticEvaluator(facts)
    speed = evaluator.speeds[LARGE]
    full_s = float((speed.e2e_s[-1] - speed.ttft_s[-1]).mean()) / 39
    told = (KindTelemetry(LARGE, 1000, 1.5 * full_s, 2.0, 5.0),)
    (found,) = slowdowns(evaluator, plan, told)
    assert found.log_factor == pytest.approx(np.log(1.5), abs=0.01)


def test_more_answers_tell_more_and_kinds_that_did_not_run_tell_nothing() -> None:
    facts = two_models(devices=4)
    evaluator = AnalyticEvaluator(facts)
    plan = make_plan({LARGE: 2}, {name: {"large": 1.0} for name in CLASSES})
    few, many = (
        slowdowns(
            evaluator,
            plan,
            [KindTelemetry(LARGE, n, 0.02, 0.1, 1.0), KindTelemetry(SMALL, n, 0.02, 0.1, 1.0)],
        )
        for n in (10, 1000)
    )
    assert [slow.kind for slow in few] == [slow.kind for slow in many] == [LARGE]
    assert many[0].deviation < few[0].deviation / 2
    assert slowdowns(evaluator, plan, []) == []


def test_traffic_is_split_as_the_answers_were() -> None:
    """Two kinds of one model: the one that answered more at equal times is the faster one."""
    facts = random_problem(np.random.default_rng(1), 1, 2, 1, 1, 4, load=2.0)
    one, other = sorted(facts.profiles)
    plan = make_plan({one: 2, other: 2}, {"c0": {"m0": 1.0}})
    evaluator = AnalyticEvaluator(facts)

    def factors(*answers: int) -> dict[ReplicaKind, float]:
        told = [
            KindTelemetry(kind, n, 0.01, 0.05, 0.5)
            for kind, n in zip((one, other), answers, strict=True)
        ]
        return {s.kind: s.log_factor for s in slowdowns(evaluator, plan, told)}

    even, skewed = factors(100, 100), factors(180, 20)
    assert skewed[one] < even[one]
    assert skewed[other] >= even[other]


def test_slowed_facts_and_slowed_evaluators_agree() -> None:
    facts = two_models(devices=4, load=1.0)
    log_factors = {SMALL: 0.3, LARGE: -0.2}
    of_facts = AnalyticEvaluator(slowed_facts(facts, log_factors)).evaluate(SPLIT)
    evaluator = AnalyticEvaluator(facts)
    of_evaluator = slowed_evaluator(evaluator, log_factors).evaluate(SPLIT)
    assert of_facts.p95_e2e_s == pytest.approx(of_evaluator.p95_e2e_s)
    assert of_facts.utilisation == pytest.approx(of_evaluator.utilisation)
    untouched = replace(evaluator.evaluate(SPLIT))
    assert untouched == AnalyticEvaluator(facts).evaluate(SPLIT)
    assert of_facts.p95_e2e_s != pytest.approx(untouched.p95_e2e_s)
