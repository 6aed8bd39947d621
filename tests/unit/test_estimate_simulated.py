"""The simulating evaluator: hand cases, the analytic one at low load, overload, intervals."""

from array import array
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.domain.plan import ReplicaKind, make_plan
from core.domain.planning import PlanningFacts
from core.domain.profile import EngineLimits, StepFit, StepTime
from core.domain.trace import Trace
from core.estimate import AnalyticEvaluator
from core.estimate.derived_step import derived_step
from core.estimate.engine import engine_limits, engine_spec
from core.estimate.simulated import SimulatedEvaluator
from core.estimate.summary import class_summaries, kind_summaries
from core.estimate.turns import turns
from core.routing.policy import Router
from tests.unit.planning_problems import two_models

SMALL, LARGE = ReplicaKind("small", "cpu-core"), ReplicaKind("large", "cpu-core")
CLASSES = ("easy", "medium", "hard")
ALL_LARGE = {name: {"large": 1.0} for name in CLASSES}
JOINT = {"easy": {"small": 0.7, "large": 0.3}, "medium": {"large": 1.0}, "hard": {"large": 1.0}}
FIXED_S = 0.010
STEP = StepTime(FIXED_S, 0.0, 0.0, 0.0)
LIMITS = EngineLimits(16, 2048, 10_000, 16)


def with_steps(facts: PlanningFacts, **changes: object) -> PlanningFacts:
    facts = replace(facts, limits=replace(facts.limits, sla_p95_e2e_s=1.0))
    known = {"step": STEP, "engine_limits": LIMITS, **changes}
    return replace(facts, profiles={k: replace(p, **known) for k, p in facts.profiles.items()})


def far_apart(tokens: int, count: int = 40) -> Trace:
    """Requests that never meet."""
    columns = array("d", [100.0 * i for i in range(count)]), array("q", [7] * count)
    return Trace(*columns, array("q", [tokens] * count), array("q", [0] * count), ("easy",))


def test_a_request_alone_takes_its_steps() -> None:
    facts = with_steps(two_models(devices=1, load=0.001))
    only_easy = replace(facts.workload, classes=facts.workload.classes[:1])
    facts = replace(facts, workload=only_easy)
    evaluator = SimulatedEvaluator(facts, trace=far_apart(25), requests=40, seeds=[1])
    score = evaluator.evaluate(make_plan({LARGE: 1}, ALL_LARGE))
    assert score.p50_e2e_s == pytest.approx(25 * FIXED_S)
    assert score.p95_e2e_s == pytest.approx(25 * FIXED_S)
    assert score.p95_ttft_s == pytest.approx(FIXED_S)
    assert score.sla_attainment == 1.0
    assert score.estimator == "simulated"


def test_a_replica_whose_speed_varies_is_simulated_at_several_speeds() -> None:
    fit = StepFit(100, 0.9, 0.1, 0.1, speed_variation=0.2)
    facts = with_steps(two_models(devices=1, load=0.001), fit=fit)
    facts = replace(facts, workload=replace(facts.workload, classes=facts.workload.classes[:1]))
    evaluator = SimulatedEvaluator(facts, trace=far_apart(25), requests=40, seeds=[1, 2, 3, 4, 5])
    score = evaluator.evaluate(make_plan({LARGE: 1}, ALL_LARGE))
    assert score.p50_e2e_s == pytest.approx(25 * FIXED_S)
    # The slowest of five equally likely speeds is the 90 % quantile.
    assert score.p95_e2e_s == pytest.approx(25 * FIXED_S * np.exp(0.2 * 1.2815515655446004))


def test_lengths_follow_the_model_that_answers() -> None:
    facts = with_steps(two_models(devices=1, load=0.001))
    longer = {
        key: replace(e, output_tokens_mean=60.0 if key[0] == "large" else 20.0)
        for key, e in facts.quality.items()
    }
    only_easy = replace(facts.workload, classes=facts.workload.classes[:1])
    facts = replace(facts, workload=only_easy, quality=longer)
    evaluator = SimulatedEvaluator(facts, trace=far_apart(24), requests=40, seeds=[1])
    large = evaluator.evaluate(make_plan({LARGE: 1}, ALL_LARGE))
    assert large.p50_e2e_s == pytest.approx(36 * FIXED_S), "24 tokens, half as much again"


def test_what_is_no_latency_is_the_analytic_evaluators() -> None:
    facts = two_models(devices=3, load=0.5)
    plan = make_plan({LARGE: 2, SMALL: 1}, JOINT)
    ours = SimulatedEvaluator(facts, requests=500).evaluate(plan)
    theirs = AnalyticEvaluator(facts).evaluate(plan)
    for name in ("cost_usd_per_hour", "quality_mean", "quality_lower", "utilisation"):
        assert getattr(ours, name) == getattr(theirs, name)


@pytest.mark.parametrize("load", [0.2, 1.0])
def test_it_agrees_with_the_analytic_evaluator_while_queues_are_short(load: float) -> None:
    facts = two_models(devices=3, load=load)
    plan = make_plan({LARGE: 2, SMALL: 1}, JOINT)
    analytic = AnalyticEvaluator(facts).evaluate(plan)
    simulated = SimulatedEvaluator(facts).evaluate(plan)
    assert simulated.p50_e2e_s == pytest.approx(analytic.p50_e2e_s, rel=0.08)
    assert simulated.p95_e2e_s == pytest.approx(analytic.p95_e2e_s, rel=0.08)


def test_overload_by_the_profile_has_no_latency() -> None:
    facts = two_models(devices=1, load=1.5)
    score = SimulatedEvaluator(facts, requests=300, seeds=[1]).evaluate(
        make_plan({LARGE: 1}, ALL_LARGE)
    )
    assert score.p95_e2e_s is None
    assert score.p95_e2e_high_s is None
    assert any("keep up" in text for text in score.violations)


def test_a_backlog_that_grows_without_end_is_found() -> None:
    # The levels promise 16 at once; the engine they are combined with takes one at a time.
    facts = two_models(devices=1, load=0.8)
    one = EngineLimits(1, 2048, 10_000, 16)
    wrong = {k: replace(p, engine_limits=one) for k, p in facts.profiles.items()}
    plan = make_plan({LARGE: 1}, ALL_LARGE)
    score = SimulatedEvaluator(replace(facts, profiles=wrong), requests=3000).evaluate(plan)
    assert score.p95_e2e_s is None
    assert not score.feasible
    assert any("more and more requests wait" in text for text in score.violations)
    assert SimulatedEvaluator(facts, requests=3000).evaluate(plan).p95_e2e_s is not None


def test_requests_beyond_the_cache_are_refused_and_said() -> None:
    facts = with_steps(two_models(devices=1, load=0.01))
    only_easy = replace(facts.workload, classes=facts.workload.classes[:1])
    tiny = EngineLimits(16, 2048, 2, 16)
    facts = with_steps(replace(facts, workload=only_easy), engine_limits=tiny)
    lengths = array("q", [20] * 38 + [60] * 2)
    trace = replace(far_apart(20), output_tokens=lengths)
    plan = make_plan({LARGE: 1}, ALL_LARGE)
    score = SimulatedEvaluator(facts, trace=trace, requests=40, seeds=[1]).evaluate(plan)
    assert score.p50_e2e_s == pytest.approx(20 * FIXED_S)
    assert any("more cache" in text for text in score.violations)


def test_intervals_hold_the_value_and_narrow_with_more_seeds_and_surer_profiles() -> None:
    plan = make_plan({LARGE: 2, SMALL: 1}, JOINT)

    def width(error: float, seeds: int) -> float:
        facts = two_models(devices=3, load=1.0)
        sure = {k: replace(p, relative_error=error) for k, p in facts.profiles.items()}
        evaluator = SimulatedEvaluator(
            replace(facts, profiles=sure), requests=400, seeds=range(seeds)
        )
        score = evaluator.evaluate(plan)
        assert score.p95_e2e_low_s <= score.p95_e2e_s <= score.p95_e2e_high_s
        return score.p95_e2e_high_s / score.p95_e2e_low_s

    assert width(0.0, 16) < width(0.0, 3)
    assert width(0.2, 8) > width(0.05, 8)


def test_the_same_seeds_give_the_same_score() -> None:
    facts, plan = two_models(devices=3), make_plan({LARGE: 2, SMALL: 1}, JOINT)
    first, second = (SimulatedEvaluator(facts, requests=300).evaluate(plan) for _ in range(2))
    assert first == second


def test_summaries_add_up() -> None:
    facts, plan = two_models(devices=3, load=0.8), make_plan({LARGE: 2, SMALL: 1}, JOINT)
    evaluator = SimulatedEvaluator(facts, requests=1000, seeds=[1, 2])
    runs = evaluator.runs(plan)
    overall, *classes = class_summaries(runs, CLASSES, 1.0)
    assert overall.requests == sum(c.requests for c in classes) == 1800
    assert overall.e2e_s["p95"] == evaluator.evaluate(plan).p95_e2e_s
    assert overall.e2e_s["p50"] < overall.e2e_s["p95"] < overall.e2e_s["p99"]
    kinds = {k.kind: k for k in kind_summaries(evaluator, plan, runs)}
    assert sum(k.requests_share for k in kinds.values()) == pytest.approx(1)
    assert kinds[SMALL].requests_share == pytest.approx(0.42, abs=0.03)
    assert kinds[LARGE].replicas == 2
    assert kinds[LARGE].preempted_share == 0


shares_of = st.dictionaries(
    st.sampled_from(["a", "b", "c", "d"]), st.floats(0.001, 1), min_size=1, max_size=4
)


@settings(max_examples=60, deadline=None)
@given(shares_of, st.integers(1, 200))
def test_turns_are_the_gateways(shares: dict[str, float], count: int) -> None:
    router = Router(make_plan({SMALL: 1}, {"easy": shares}), None)
    routed = [router.choose("?").model for _ in range(count)]
    names = sorted(shares)
    assert [names[i] for i in turns([shares[n] for n in names], count)] == routed


steps = st.builds(
    StepTime,
    fixed_s=st.floats(1e-3, 0.1),
    per_sequence_s=st.floats(0, 0.01),
    per_context_token_s=st.just(0.0),
    per_prefill_token_s=st.floats(1e-6, 1e-3),
)


@settings(max_examples=50, deadline=None)
@given(steps)
def test_a_step_time_comes_back_out_of_the_levels_it_makes(step: StepTime) -> None:
    kind, facts = LARGE, two_models()
    levels = tuple(
        replace(
            level,
            ttft_ms=replace(level.ttft_ms, mean=1000 * ttft_s(step, level.concurrency)),
            tpot_ms=replace(level.tpot_ms, mean=1000 * tpot_s(step, level.concurrency)),
        )
        for level in facts.profiles[kind].levels
    )
    found = derived_step(replace(facts.profiles[kind], levels=levels), 16)
    for name in ("fixed_s", "per_sequence_s", "per_prefill_token_s"):
        assert getattr(found, name) == pytest.approx(getattr(step, name), rel=1e-3, abs=1e-7)


def ttft_s(step: StepTime, held: int) -> float:
    waited = 1.0 if held == 1 else 1.5
    return waited * (step.fixed_s + held * step.per_sequence_s) + 20 * step.per_prefill_token_s


def tpot_s(step: StepTime, held: int) -> float:
    beside = (held - 1) * 20 * step.per_prefill_token_s
    return step.fixed_s + held * step.per_sequence_s + beside / 39


def test_an_engine_that_says_nothing_is_taken_for_a_usual_one() -> None:
    facts = two_models()
    assert engine_limits(facts, SMALL).max_num_seqs == 16
    assert engine_limits(facts, SMALL).max_num_batched_tokens == 2048
    assert engine_limits(with_steps(facts), SMALL) == LIMITS
    spec = engine_spec(facts, SMALL, 3)
    assert (spec.pool, spec.devices) == (3, 1)
    assert np.isclose(spec.step.fixed_s, 0.004, rtol=0.2)
