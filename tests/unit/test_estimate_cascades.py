"""What a cascade does to load, quality and latency: by hand, by sampling, and in the simulator."""

from dataclasses import replace

import numpy as np
import pytest

from core.domain.plan import ReplicaKind, Route, ServingPlan, make_plan
from core.domain.planning import PlanningFacts
from core.errors import InvalidInput
from core.estimate import AnalyticEvaluator, validate
from core.estimate.flows import flows_of
from core.estimate.options import options_of
from core.estimate.plan_times import plan_mixtures
from core.estimate.quality import error_slope, routing_error
from core.estimate.queueing import pool_latency
from core.estimate.simulated import SimulatedEvaluator
from core.estimate.summary import class_summaries, kind_summaries
from tests.unit.planning_problems import cascade, random_fleet, two_models, with_cascades

SMALL, LARGE = ReplicaKind("small", "cpu-core"), ReplicaKind("large", "cpu-core")
CASCADE = cascade("small", "large", "medium", -0.3, 0.4, 0.9)
ROUTE = Route("medium", "small", 1.0, "large", -0.3)
CLASSES = ["easy", "hard", "medium"]


def facts(load: float = 1.0, devices: int = 4) -> PlanningFacts:
    return replace(two_models(devices=devices, load=load), cascades=(CASCADE,))


def escalating(small: int = 1, large: int = 1, share: float = 1.0) -> ServingPlan:
    """Easy to small, hard to large, medium (or a share of it) to the cascade, else to large."""
    routing = {"easy": {"small": 1.0}, "hard": {"large": 1.0}, "medium": {"large": 1 - share}}
    return make_plan({SMALL: small, LARGE: large}, routing, [replace(ROUTE, share=share)])


def rate_of(problem: PlanningFacts, name: str) -> float:
    return next(t.rate_rps for t in problem.workload.classes if t.query_class == name)


def test_both_calls_are_load() -> None:
    problem = facts()
    easy, medium, hard = (rate_of(problem, name) for name in ("easy", "medium", "hard"))
    pools = {pool.kind: pool for pool in AnalyticEvaluator(problem).pools(escalating(share=0.5))}
    assert pools[SMALL].rate_rps == pytest.approx(easy + 0.5 * medium)
    assert pools[LARGE].rate_rps == pytest.approx(hard + 0.5 * medium + 0.5 * 0.4 * medium)


def test_quality_is_the_cascades_own_and_its_error_adds_up_within_a_class() -> None:
    problem = facts()
    score = AnalyticEvaluator(problem).evaluate(escalating(share=0.5))
    easy, hard = problem.quality["small", "easy"], problem.quality["large", "hard"]
    medium = problem.quality["large", "medium"]
    mean = 0.6 * easy.mean + 0.15 * hard.mean + 0.125 * (medium.mean + CASCADE.mean)
    assert score.quality_mean == pytest.approx(mean)
    of_medium = 0.125 * (medium.mean - medium.lower) + 0.125 * (CASCADE.mean - CASCADE.lower)
    errors = [0.6 * (easy.mean - easy.lower), 0.15 * (hard.mean - hard.lower), of_medium]
    assert score.quality_lower == pytest.approx(mean - np.linalg.norm(errors))


def test_tokens_are_those_of_the_answers_that_are_given() -> None:
    plain = AnalyticEvaluator(facts()).evaluate(
        make_plan({LARGE: 2}, {c: {"large": 1.0} for c in CLASSES})
    )
    score = AnalyticEvaluator(facts()).evaluate(escalating())
    assert score.cost_usd_per_million_tokens == pytest.approx(plain.cost_usd_per_million_tokens)


def test_what_is_not_among_the_facts_cascades_is_a_fault() -> None:
    problem = facts()
    assert validate(escalating(), problem) == ()
    unknown = make_plan(
        {SMALL: 1, LARGE: 1},
        {c: {"large": 1.0} for c in ("easy", "hard")},
        [replace(ROUTE, threshold=-0.2)],
    )
    assert any("unknown" in fault for fault in validate(unknown, problem))
    alone = make_plan({SMALL: 2}, {"easy": {"small": 1.0}, "hard": {"small": 1.0}}, [ROUTE])
    assert validate(alone, problem) == ("large has no replica but answers medium.",)
    assert AnalyticEvaluator(problem).evaluate(alone).p95_e2e_s is None


def sampled_times(problem: PlanningFacts, plan: ServingPlan, n: int) -> tuple[np.ndarray, ...]:
    """Draw n queries' end-to-end times and times to first token from the pools' states."""
    rng, evaluator = np.random.default_rng(4), AnalyticEvaluator(problem)
    pools = evaluator.pools(plan)
    latency = {
        p.kind: pool_latency(evaluator.speeds[p.kind], p.count, p.rate_rps, p.mix) for p in pools
    }
    rates = np.array([t.rate_rps for t in problem.workload.classes])
    query_class = rng.choice(len(rates), n, p=rates / rates.sum())
    lengths, prompts = rng.normal(size=n), rng.normal(size=n)

    def call(model: str) -> tuple[np.ndarray, np.ndarray]:
        of_model = [p for p in pools if p.kind.model == model]
        chosen = rng.choice(
            len(of_model),
            n,
            p=np.array([p.rate_rps for p in of_model]) / sum(p.rate_rps for p in of_model),
        )
        e2e_s, ttft_s = np.empty(n), np.empty(n)
        for i, pool in enumerate(of_model):
            seen, mine = latency[pool.kind], chosen == i
            state = rng.choice(len(seen.weight), n, p=seen.weight / seen.weight.sum())[mine]
            k = query_class[mine]
            for times, mean_s, sigma, z in (
                (e2e_s, seen.e2e_s, seen.e2e_sigma, lengths),
                (ttft_s, seen.ttft_s, seen.ttft_sigma, prompts),
            ):
                times[mine] = mean_s[state, k] * np.exp(
                    sigma[state] * z[mine] - sigma[state] ** 2 / 2
                )
        return e2e_s, ttft_s

    (small_s, small_ttft_s), (large_s, large_ttft_s) = call("small"), call("large")
    medium, luck = query_class == CLASSES.index("medium"), rng.random(n)
    to_small = (query_class == CLASSES.index("easy")) | medium
    on = medium & (luck < CASCADE.escalated)
    e2e_s = np.where(to_small, small_s, large_s) + on * large_s
    ttft_s = np.where(to_small, small_ttft_s, large_ttft_s)
    ttft_s = np.where(medium, small_s + on * large_ttft_s, ttft_s)
    return e2e_s, ttft_s


@pytest.mark.parametrize("load", [0.3, 1.2])
def test_latency_is_the_sum_of_both_calls(load: float) -> None:
    problem, plan = facts(load), escalating(2, 2)
    score = AnalyticEvaluator(problem).evaluate(plan)
    e2e_s, ttft_s = sampled_times(problem, plan, 200_000)
    assert score.p50_e2e_s == pytest.approx(np.quantile(e2e_s, 0.5), rel=0.03)
    assert score.p95_e2e_s == pytest.approx(np.quantile(e2e_s, 0.95), rel=0.03)
    assert score.p95_ttft_s == pytest.approx(np.quantile(ttft_s, 0.95), rel=0.03)


def test_the_mixtures_parts_are_all_of_the_traffic() -> None:
    rng, checked = np.random.default_rng(8), 0
    for _ in range(40):
        problem = with_cascades(random_fleet(rng), rng)
        evaluator = AnalyticEvaluator(problem)
        routes = [Route(*c.key[:2], 1.0, *c.key[2:]) for c in problem.cascades]
        names = {t.query_class for t in problem.workload.classes}
        chosen = {route.query_class: route for route in routes}
        plan = make_plan({kind: 50 for kind in problem.profiles}, {}, chosen.values())
        if set(chosen) != names or plan.asked - set(plan.models):
            continue
        rates = np.array([t.rate_rps for t in problem.workload.classes])
        known = {c.key: c for c in problem.cascades}
        flows = flows_of(plan, [t.query_class for t in problem.workload.classes], rates, known)
        mixtures = plan_mixtures(evaluator.speeds, evaluator.pools(plan), flows, rates.sum())
        if mixtures is not None:
            for mixture in mixtures:
                assert mixture.share_within(1e9) == pytest.approx(1.0)
            checked += 1
    assert checked > 3


def test_the_simulator_agrees_at_a_low_load() -> None:
    problem, plan = facts(0.3), escalating(2, 2)
    evaluator = SimulatedEvaluator(problem, requests=4000, seeds=[1, 2])
    simulated, analytic = evaluator.evaluate(plan), AnalyticEvaluator(problem).evaluate(plan)
    assert simulated.p95_e2e_s == pytest.approx(analytic.p95_e2e_s, rel=0.2)
    assert simulated.p50_e2e_s == pytest.approx(analytic.p50_e2e_s, rel=0.2)
    assert simulated.p95_ttft_s == pytest.approx(analytic.p95_ttft_s, rel=0.2)


def test_simulated_queries_go_on_as_often_as_the_estimate_says() -> None:
    problem, plan = facts(0.5), escalating(2, 2)
    evaluator = SimulatedEvaluator(problem, requests=3000, seeds=[1, 2])
    runs = evaluator.runs(plan)
    for run in runs:
        medium = run.query_class == CLASSES.index("medium")
        assert np.mean(run.went_on[medium]) == pytest.approx(0.4, abs=0.05)
        assert not run.went_on[~medium].any()
        accepted = medium & ~run.went_on
        np.testing.assert_array_equal(run.ttft_s[accepted], run.e2e_s[accepted])
        answered_by = [run.kinds[i].model for i in run.kind]
        assert {m for m, on in zip(answered_by, run.went_on, strict=True) if on} == {"large"}
        assert run.e2e_s[run.went_on].min() > run.e2e_s[accepted].min()
    overall, *classes = class_summaries(runs, CLASSES, None)
    assert {c.query_class: c.went_on > 0 for c in classes} == {
        "easy": False,
        "hard": False,
        "medium": True,
    }
    assert overall.went_on == pytest.approx(0.1, abs=0.03)
    kinds = {k.kind: k for k in kind_summaries(evaluator, plan, runs)}
    assert kinds[LARGE].requests_share == pytest.approx(0.15 + 0.25 * 0.4, abs=0.03)


def test_the_same_queries_go_on_whatever_the_placement() -> None:
    evaluator = SimulatedEvaluator(facts(0.5), requests=500, seeds=[3])
    few, many = (evaluator.runs(escalating(2, n))[0] for n in (1, 2))
    np.testing.assert_array_equal(few.went_on, many.went_on)


def test_models_that_escalate_to_each_other_are_not_simulated() -> None:
    back = cascade("large", "small", "hard", -0.1, 0.2, 0.9)
    problem = replace(facts(), cascades=(CASCADE, back))
    routes = [ROUTE, Route("hard", "large", 1.0, "small", -0.1)]
    plan = make_plan({SMALL: 2, LARGE: 2}, {"easy": {"small": 1.0}}, routes)
    assert AnalyticEvaluator(problem).evaluate(plan).p95_e2e_s is not None
    with pytest.raises(InvalidInput, match="circle"):
        SimulatedEvaluator(problem, requests=50, seeds=[1]).evaluate(plan)


def test_a_class_without_a_cascade_takes_its_column_for_the_first_model() -> None:
    options = options_of(facts(), ("large", "small"))
    assert len(options) == 3
    assert options.label(CLASSES.index("medium"), 2) == "small, then large"
    assert options.label(CLASSES.index("easy"), 2) == "small"
    assert options.column(ROUTE) == 2
    assert options.column(replace(ROUTE, threshold=-0.2)) is None
    everything = np.tile([0.0, 0.0, 1.0], (3, 1))
    np.testing.assert_allclose(options.calls_of(everything), [[0, 1], [0, 1], [0.4, 1]])
    np.testing.assert_allclose(options.answered_by(everything), [[0, 1], [0, 1], [0.4, 0.6]])
    np.testing.assert_array_equal(options.plain(everything), [[0, 1, 0], [0, 1, 0], [0, 0, 1]])
    assert options.needed(options.plain(everything)).tolist() == [True, True]


def test_the_error_is_never_less_than_its_tangents() -> None:
    rng = np.random.default_rng(2)
    for _ in range(300):
        models, cascades = int(rng.integers(1, 4)), int(rng.integers(0, 4))
        gap = rng.random((3, models + cascades)) * rng.choice([0.0, 1.0], (3, models + cascades))
        at, elsewhere = (rng.dirichlet(np.full(models + cascades, 0.3), 3) for _ in range(2))
        slope = error_slope(at, gap, models)
        assert (slope * at).sum() == pytest.approx(routing_error(at, gap, models))
        assert routing_error(elsewhere, gap, models) >= (slope * elsewhere).sum() - 1e-12
