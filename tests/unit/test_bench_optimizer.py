"""The optimiser's benchmark: instances, truth, volumes, methods and figures."""

import argparse
import itertools
import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.domain.plan import ReplicaKind, make_plan
from core.domain.study import Measurement
from core.entrypoints.bench import optimizer
from core.entrypoints.bench.arena import Arena, play
from core.entrypoints.bench.hidden_truth import Hidden, World, contention, noise_rng
from core.entrypoints.bench.instances import live_like
from core.entrypoints.bench.optimizer_figures import figures
from core.entrypoints.bench.optimizer_runs import ENTRANTS, KeptFront, KeptRun
from core.entrypoints.bench.oracle_front import true_front
from core.entrypoints.bench.volume import best_subset, gains, true_values, volume
from core.errors import InvalidInput
from core.estimate import AnalyticEvaluator
from core.settings import load_settings

pytestmark = [
    pytest.mark.filterwarnings("ignore:.torch.jit.script:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:A not p.d."),
    pytest.mark.filterwarnings("ignore:Data .outcome observations. is not standardized"),
]

PLAIN = ("boute", "no-telemetry", "no-learning", "no-surrogate", "random", "paper")
BOTORCH = ("qlognehvi", "qlognehvi-pool", "trust-region")
TOOLS = {"nsga2": "pymoo", "optuna-tpe": "optuna", "optuna-gp": "optuna", "ax": "ax"}


@pytest.fixture(scope="module")
def world() -> World:
    return live_like(1)


@pytest.fixture(scope="module")
def arena(world: World) -> Arena:
    front = true_front(world, 200)
    return Arena(world.facts, front.reference, warm=3, seed=1)


def test_an_instance_depends_on_its_seed_only():
    one, again, other = live_like(4), live_like(4), live_like(5)
    assert one.facts == again.facts
    assert one.hidden == again.hidden
    assert one.facts != other.facts


def test_instances_are_as_described():
    for seed in range(8):
        facts, hidden = live_like(seed).facts, live_like(seed).hidden
        assert 2 <= len(facts.models) <= 4
        assert 2 <= len(facts.devices_per_node) <= 4
        assert 2 <= len(facts.workload.classes) <= 4
        assert all(4 <= sum(nodes) <= 16 for nodes in facts.devices_per_node.values())
        assert set(hidden.decode) == set(facts.profiles)
        assert 0.05 <= hidden.noise <= 0.10
        for kind in facts.profiles:
            assert kind.tp <= max(facts.devices_per_node[kind.sku])


def test_truth_without_hidden_effects_is_the_catalogue(world: World, arena: Arena):
    same = {kind: 1.0 for kind in world.facts.profiles}
    plain = World(0, world.facts, Hidden(same, same, {}, 0.0, 0.0))
    for plan in arena.spread[:5]:
        assert plain.truth(plan).p95_e2e_s == pytest.approx(
            AnalyticEvaluator(world.facts).evaluate(plan).p95_e2e_s
        )


def test_slower_replicas_make_slower_plans(world: World, arena: Arena):
    same = {kind: 1.0 for kind in world.facts.profiles}
    slow = {kind: 1.1 for kind in world.facts.profiles}
    plain = World(0, world.facts, Hidden(same, same, {}, 0.0, 0.0))
    slowed = World(0, world.facts, Hidden(slow, slow, {}, 0.0, 0.0))
    bursty = World(0, world.facts, Hidden(same, same, {}, 0.4, 0.0))
    for plan in arena.spread[:5]:
        fast_s = plain.truth(plan).p95_e2e_s
        assert fast_s is not None
        for other in (slowed.truth(plan).p95_e2e_s, bursty.truth(plan).p95_e2e_s):
            assert other is None or other > fast_s


def test_measurements_scatter_around_the_truth_and_repeat(world: World, arena: Arena):
    plan = next(p for p in arena.spread if world.truth(p).p95_e2e_s)
    true_s = world.truth(plan).p95_e2e_s
    seen = [world.measure(plan, noise_rng(1, plan, i)).score.p95_e2e_s for i in range(300)]
    ratio = np.log(np.array(seen) / true_s)
    assert abs(ratio.mean()) < 4 * world.hidden.noise / np.sqrt(300)
    assert ratio.std() == pytest.approx(world.hidden.noise, rel=0.2)
    again = world.measure(plan, noise_rng(1, plan, 0))
    assert again == world.measure(plan, noise_rng(1, plan, 0))


def test_replicas_report_the_times_they_have(world: World, arena: Arena):
    quiet = World(0, world.facts, replace(world.hidden, noise=1e-9, burst=0.0))
    for plan in arena.spread[:8]:
        measured = quiet.measure(plan, np.random.default_rng(0))
        assert {t.kind for t in measured.telemetry} == {p.kind for p in plan.placement}
        for report in measured.telemetry:
            assert 0 < report.ttft_mean_s < report.e2e_mean_s
            assert report.tpot_mean_s > 0
        if measured.score.p95_e2e_s and measured.score.p50_e2e_s:
            weights = np.array([t.requests for t in measured.telemetry])
            means = np.array([t.e2e_mean_s for t in measured.telemetry])
            mean_s = float(weights @ means / weights.sum())
            assert 0.5 * measured.score.p50_e2e_s < mean_s < measured.score.p95_e2e_s


def test_an_overloaded_plan_has_no_latency_but_reports(world: World):
    kind = max(world.facts.profiles, key=lambda k: k.model)
    routing = {t.query_class: {kind.model: 1.0} for t in world.facts.workload.classes}
    measured = world.measure(make_plan({kind: 1}, routing), np.random.default_rng(0))
    assert measured.score.p95_e2e_s is None
    assert not measured.score.feasible
    assert measured.telemetry[0].e2e_mean_s > 0


def test_neighbours_on_a_node_slow_each_other(world: World):
    sku = next(iter(world.facts.devices_per_node))
    facts = replace(world.facts, devices_per_node={sku: (4, 4)})
    one, two = ReplicaKind("a", sku), ReplicaKind("b", sku, 2)
    assert contention({one: 1}, facts, {sku: 0.2}) == {one: 1.0}
    # Both on one node of four: the single device sees two others, the pair one.
    both = contention({one: 1, two: 1}, facts, {sku: 0.2})
    assert both == {one: pytest.approx(1.1), two: pytest.approx(1.05)}


boxes = st.lists(st.tuples(*[st.integers(0, 6)] * 3), min_size=1, max_size=8)


@given(boxes)
@settings(max_examples=150, deadline=None)
def test_volume_counts_the_covered_cells(points: list[tuple[int, int, int]]):
    cells = {
        cell for x, y, z in points for cell in itertools.product(range(x), range(y), range(z))
    }
    assert volume(np.array(points, dtype=float)) == pytest.approx(len(cells))


@given(boxes, st.integers(1, 4))
@settings(max_examples=100, deadline=None)
def test_the_best_subset_is_nearly_the_best_of_all(points: list[tuple[int, int, int]], n: int):
    rows = np.array(points, dtype=float)
    n = min(n, len(rows))
    chosen = best_subset(rows, n)
    best = max(volume(rows[list(c)]) for c in itertools.combinations(range(len(rows)), n))
    assert len(chosen) == n
    assert volume(rows[chosen]) >= 0.9 * best


def test_gains_leave_out_what_does_not_beat_the_reference():
    values = np.array([[1.0, 1.0, 0.9], [3.0, 1.0, 0.9], [1.0, np.nan, 0.9], [1.0, 1.0, 0.1]])
    rows = gains(values, (2.0, 2.0, 0.5))
    assert rows[0] == pytest.approx([1.0, np.log(2.0), 0.4])
    assert not rows[1:].any()


def test_the_long_search_reaches_the_exhaustive_front():
    """On a small instance: every placement, routings on a grid of quarters."""
    world = _tiny()
    front = true_front(world, 1500)
    models, classes = world.facts.models, [t.query_class for t in world.facts.workload.classes]
    kinds = sorted(world.facts.profiles)
    counts = list(itertools.product(range(5), repeat=len(kinds)))
    shares = [{models[0]: s, models[1]: 1 - s} for s in np.linspace(0, 1, 5)]
    scores = [
        world.truth(
            make_plan(dict(zip(kinds, n, strict=True)), dict(zip(classes, r, strict=True)))
        )
        for n in counts
        for r in itertools.product(shares, repeat=len(classes))
    ]
    exhaustive = volume(gains(true_values(scores), front.reference))
    found = volume(gains(true_values(front.scores), front.reference))
    assert exhaustive > 0
    assert found >= 0.99 * exhaustive


def _tiny() -> World:
    """Cut an instance to two models, one kind each on one SKU, four devices and two classes."""
    world = next(w for w in map(live_like, range(20)) if len(w.facts.workload.classes) == 2)
    facts = world.facts
    pairs = [(facts.models[0], facts.models[1])]
    kinds = [min(k for k in facts.profiles if k.model == model) for model in pairs[0]]
    kinds = [replace(k, sku=kinds[0].sku) for k in kinds]
    kept = {k: facts.profiles[k] for k in kinds if k in facts.profiles}
    assert len(kept) == 2
    classes = tuple(replace(t, rate_rps=t.rate_rps / 20) for t in facts.workload.classes)
    small = replace(
        facts,
        workload=replace(facts.workload, classes=classes),
        limits=replace(facts.limits, quality_floor=0.0, budget_usd_per_hour=None),
        profiles=kept,
        devices_per_node={kinds[0].sku: (4,)},
    )
    return World(0, small, world.hidden)


@pytest.fixture(autouse=True)
def no_compiler(monkeypatch: pytest.MonkeyPatch):
    """BoTorch compiles its logarithmic acquisitions on first use: not in a test."""
    logei = pytest.importorskip("botorch.acquisition.multi_objective.logei")
    monkeypatch.setattr(logei, "_load_attempted", True)


@pytest.mark.parametrize("name", [*PLAIN, *BOTORCH, *TOOLS])
def test_every_method_plays_valid_plans(name: str, world: World, arena: Arena):
    if name in TOOLS:
        pytest.importorskip(TOOLS[name])
    played = play(world, arena, ENTRANTS[name].make, 5, [].append)
    assert played.plans[:3] == arena.warm
    assert len(played.plans) == 5
    assert len(played.proposal_cpu_s) == 2
    for plan in played.plans:
        assert not [v for v in world.truth(plan).violations if "fit" in v or "routed" in v]


def test_a_plan_and_its_point_stand_for_each_other(arena: Arena):
    units = [arena.box.unit(plan) for plan in arena.spread[:10]]
    assert all(((unit >= 0) & (unit <= 1)).all() for unit in units)
    # A plan at its very limit of load may be given one replica more for a rounded share.
    same = [
        arena.box.plan(u).placement == p.placement
        for u, p in zip(units, arena.spread[:10], strict=True)
    ]
    assert np.mean(same) >= 0.7


def test_failed_plans_are_worse_than_the_reference(world: World, arena: Arena):
    kind = max(world.facts.profiles, key=lambda k: k.model)
    routing = {t.query_class: {kind.model: 1.0} for t in world.facts.workload.classes}
    broken: Measurement = world.measure(make_plan({kind: 1}, routing), np.random.default_rng(0))
    assert arena.gain(broken.score)[1] < 0


def test_figures_say_what_is_met_and_what_is_missed():
    best = [[1.0, 1.0, 0.9], [2.0, 0.5, 0.9]]
    fronts = [KeptFront(seed, 10, (4.0, 4.0, 0.5), best, best) for seed in range(3)]
    ours, theirs = [best[0], best[1], *[None] * 198], [None, best[0], *[None] * 198]
    runs = [
        KeptRun(seed, name, 0, values, [spent] * 200)
        for seed in range(3)
        for name, values, spent in (("boute", ours, 0.1), ("qlognehvi", theirs, 0.5))
    ]
    found = figures(fronts, runs)
    assert found["methods"]["boute"]["of_oracle"]["25"]["median"] == pytest.approx(1.0)
    assert found["methods"]["qlognehvi"]["of_oracle"]["25"]["median"] < 1
    verdicts = {bar["text"]: bar["met"] for bar in found["bars"]}
    assert verdicts.pop("proposal time over that of qLogNEHVI, relaxed (BoTorch)") is False
    assert verdicts
    assert all(verdicts.values())
    json.dumps(found)


def test_what_methods_find_counts_as_known():
    """A method that beats the long search is not above 1."""
    fronts = [KeptFront(0, 10, (4.0, 4.0, 0.5), [[2.0, 2.0, 0.8]], [])]
    runs = [KeptRun(0, "boute", 0, [[1.0, 1.0, 0.9]] * 25, [0.1] * 25)]
    row = figures(fronts, runs)["methods"]["boute"]
    assert row["of_front"]["25"]["median"] == pytest.approx(1.0)


def test_the_command_goes_on_from_what_it_kept(tmp_path):
    parser = argparse.ArgumentParser()
    optimizer.add_arguments(parser)
    options = "--seeds 1 --first-seed 1 --evaluations 26 --searched 100 --methods random"
    parsed = parser.parse_args([*options.split(), "--keep", str(tmp_path)])
    first = optimizer.run(parsed, load_settings({}))
    kept = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert sorted(kept) == ["front-1.json", "run-1-random.json"]
    assert optimizer.run(parsed, load_settings({})) == first
    assert {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == kept
    text = optimizer.told(first)
    assert "random valid plans" in text
    assert "at 25" in text
    json.dumps(first)


def test_unknown_methods_are_refused():
    parser = argparse.ArgumentParser()
    optimizer.add_arguments(parser)
    with pytest.raises(InvalidInput, match="sorcery"):
        optimizer.run(parser.parse_args(["--methods", "boute,sorcery"]), load_settings({}))
