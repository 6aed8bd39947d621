"""The plan of a profile, played against replicas whose speed is known."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.domain.profile import EngineLimits, LoadLevel, Spread, StepTime
from core.estimate.closed_loop import closed_loop_prediction
from core.profiling.levels import (
    AT_KNEE,
    LONG_ANSWERS,
    LONG_PROMPTS,
    OPEN_LOADS,
    LevelPlan,
    Load,
    LoadKind,
    Progress,
    knee,
    most_remaining,
    next_load,
)

PLAN = LevelPlan(64, None, (LONG_PROMPTS, LONG_ANSWERS), None, max_seconds=1e6)
FIXED = StepTime(0.010, 0.0, 0.0, 0.0)
"""A step takes as long with many sequences as with one: throughput grows to the batch limit."""
SEQUENTIAL = StepTime(0.0, 0.010, 0.0, 0.0)
"""Every sequence takes its own time: throughput never grows."""
USUAL = StepTime(0.010, 0.001, 0.0, 1e-4)
SECONDS = 8.0


def level(load: Load, throughput_rps: float, e2e_ms: float) -> LoadLevel:
    around = Spread(e2e_ms, e2e_ms, 1.3 * e2e_ms, 1.5 * e2e_ms)
    return LoadLevel(
        concurrency=max(1, load.in_flight),
        requests=max(1, round(throughput_rps * SECONDS)),
        errors=0,
        duration_s=max(1, round(throughput_rps * SECONDS)) / throughput_rps,
        ttft_ms=around,
        tpot_ms=around,
        e2e_ms=around,
        input_tokens_mean=20,
        output_tokens_mean=40,
        memory_bytes=0,
        rate_rps=load.rate_rps if load.kind is LoadKind.OPEN else None,
    )


def measured(load: Load, step: StepTime, batch: int, noise: float = 1.0) -> LoadLevel:
    """What a replica of known speed does under a load."""
    limits = EngineLimits(batch, 2048, 10**6, 16)
    seen = closed_loop_prediction(step, limits, 20, 40, max(1, load.in_flight))
    throughput_rps = load.rate_rps or seen.throughput_rps * noise
    return level(load, throughput_rps, 1000 * seen.e2e_s / noise)


def play(
    plan: LevelPlan,
    step: StepTime = USUAL,
    batch: int = 64,
    noise: tuple[float, ...] = (1.0,),
    broken: frozenset[str] = frozenset(),
) -> tuple[list[str], Progress]:
    """Run a plan to its end; what remains must shrink with every load."""
    done, keys = Progress((), frozenset(), 0.0), []
    while (load := next_load(plan, done)) is not None:
        remaining = most_remaining(plan, done)
        assert load.key not in done.tried
        assert remaining >= 1
        keys.append(load.key)
        levels = done.levels
        if load.kind is not LoadKind.PROBE and load.key not in broken:
            levels = (*levels, measured(load, step, batch, noise[len(keys) % len(noise)]))
        done = Progress(levels, done.tried | {load.key}, done.spent_s + SECONDS)
        assert most_remaining(plan, done) < remaining
    return keys, done


def closed(keys: list[str]) -> list[int]:
    return [int(key.partition(":")[2]) for key in keys if key.startswith("closed:")]


def test_it_climbs_to_the_batch_limit_while_throughput_grows() -> None:
    keys, done = play(PLAN, FIXED)
    assert closed(keys) == [1, 2, 4, 8, 16, 32, 64, 45]
    best = knee(done.levels)
    assert best is not None
    assert best.concurrency == 64


def test_it_stops_where_throughput_no_longer_grows() -> None:
    keys, _ = play(PLAN, SEQUENTIAL)
    assert closed(keys) == [1, 2]


def test_a_knee_in_the_middle_is_bracketed() -> None:
    keys, done = play(PLAN, USUAL, batch=8)
    assert closed(keys) == [1, 2, 4, 8, 16, 6]
    at_knee = knee(done.levels)
    assert at_knee is not None
    assert at_knee.concurrency == 8


def test_probes_come_before_the_closer_look_and_poisson_arrivals_last() -> None:
    keys, done = play(PLAN, USUAL, batch=8)
    sustained = max(found.requests_per_s for found in done.closed)
    opened = [f"open:{share * sustained:.4g}" for share in OPEN_LOADS]
    assert keys[5:] == ["probe:long-prompts", "probe:long-answers", "closed:6", *opened]


def test_a_replica_that_takes_one_at_a_time_is_asked_two_together() -> None:
    keys, _ = play(replace(PLAN, most_in_flight=2, probes=()), USUAL, batch=1)
    assert closed(keys) == [1, 2]
    assert len(keys) == 4


def test_levels_that_were_chosen_are_measured_and_nothing_else() -> None:
    keys, _ = play(replace(PLAN, chosen=(16, 1, 4), probes=()))
    assert keys == ["closed:1", "closed:4", "closed:16"]


def test_a_level_that_nothing_answers_ends_the_climb_and_nothing_else() -> None:
    keys, done = play(PLAN, FIXED, broken=frozenset({"closed:8"}))
    assert closed(keys)[:4] == [1, 2, 4, 8]
    assert max(found.concurrency for found in done.closed) == 4
    assert len([key for key in keys if key.startswith("open:")]) == len(OPEN_LOADS)
    chosen, _ = play(replace(PLAN, chosen=(1, 2, 4)), broken=frozenset({"closed:2"}))
    assert closed(chosen) == [1, 2]


def test_without_a_single_answer_there_is_nothing_more_to_do() -> None:
    keys, _ = play(PLAN, broken=frozenset({"closed:1"}))
    assert keys == ["closed:1"]


def test_a_latency_budget_ends_the_climb() -> None:
    keys, _ = play(replace(PLAN, latency_budget_s=1.0, probes=()), USUAL)
    climbed = closed(keys)
    over = measured(Load(LoadKind.CLOSED, climbed[-1]), USUAL, 64)
    assert 1 < len(climbed) < 7
    assert over.e2e_ms.p95 > 1000


def test_the_budget_of_seconds_ends_everything() -> None:
    keys, done = play(replace(PLAN, max_seconds=3 * SECONDS))
    assert len(keys) == 3
    assert done.spent_s == 3 * SECONDS


def test_an_interrupted_profile_goes_on_as_if_it_had_not_been() -> None:
    keys, done = play(PLAN, USUAL, batch=8)
    for number in range(len(keys)):
        so_far = Progress((), frozenset(keys[:number]), 0.0)
        kept = tuple(
            found
            for found in done.levels
            if (f"closed:{found.concurrency}" in so_far.tried and found.rate_rps is None)
            or f"open:{found.rate_rps or 0:.4g}" in so_far.tried
        )
        load = next_load(PLAN, replace(so_far, levels=kept))
        assert load is not None
        assert load.key == keys[number]


@settings(deadline=None)
@given(
    most=st.integers(2, 300),
    batch=st.integers(1, 300),
    noise=st.lists(st.floats(0.5, 2.0), min_size=1, max_size=12).map(tuple),
    chosen=st.none() | st.lists(st.integers(1, 64), min_size=1, max_size=6).map(tuple),
    broken=st.frozensets(st.integers(2, 64).map("closed:{}".format), max_size=3),
)
def test_whatever_is_measured_it_ends_and_asks_for_nothing_twice(
    most: int,
    batch: int,
    noise: tuple[float, ...],
    chosen: tuple[int, ...] | None,
    broken: frozenset[str],
) -> None:
    plan = replace(PLAN, most_in_flight=most, chosen=chosen)
    keys, done = play(plan, USUAL, batch, noise, broken)
    assert len(keys) <= most_remaining(plan, Progress((), frozenset(), 0.0))
    assert all(in_flight <= most for in_flight in closed(keys) if chosen is None)
    at_knee = knee(done.levels)
    if at_knee is not None:
        best = max(found.requests_per_s for found in done.closed)
        fewer = [x for x in done.closed if x.concurrency < at_knee.concurrency]
        assert at_knee.requests_per_s >= AT_KNEE * best
        assert all(x.requests_per_s < AT_KNEE * best for x in fewer)


@pytest.mark.parametrize(
    ("load", "key", "told"),
    [
        (Load(LoadKind.CLOSED, 4), "closed:4", "Level 4"),
        (Load(LoadKind.OPEN, rate_rps=2.5), "open:2.5", "Poisson arrivals at 2.50 req/s"),
        (Load(LoadKind.PROBE, 1, probe=LONG_PROMPTS), "probe:long-prompts", "long prompts"),
    ],
)
def test_loads_have_names(load: Load, key: str, told: str) -> None:
    assert load.key == key
    assert told in load.told
