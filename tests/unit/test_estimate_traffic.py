"""Laws of traces and of descriptions of traffic, and how far samples may be from them."""

import itertools
from array import array
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.domain.profile import Provenance
from core.domain.trace import Trace
from core.domain.workload import ClassTraffic, Workload
from core.errors import InvalidInput
from core.estimate.traffic import (
    arrivals_for,
    burstiness,
    generated,
    period_s,
    replayed,
    scaled,
    summarised,
    window,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
EASY = ClassTraffic("easy", 3.0, 400.0, 60.0, 300.0, 45.0, 0.5)
HARD = ClassTraffic("hard", 1.0, 90.0, 700.0, 20.0, 0.0)
MIXED = Workload("w", "Mixed", (EASY, HARD), Provenance.IMPORTED, NOW, burstiness=1.0)
CLASSES = ("a", "b", "c")


def trace_of(rows: list[tuple[float, int, int, int]]) -> Trace:
    times, prompts, answers, classes = zip(*rows, strict=True)
    return Trace(
        array("d", times),
        array("q", prompts),
        array("q", answers),
        array("q", classes),
        CLASSES,
    )


def rows_of(trace: Trace) -> list[tuple[float, int, int, str]]:
    names = [trace.classes[k] for k in trace.query_class]
    columns = (trace.arrived_at_s, trace.input_tokens, trace.output_tokens, names)
    return list(zip(*columns, strict=True))


def described(trace: Trace) -> Workload:
    return summarised(trace, "w", "id", NOW)


@st.composite
def traces(draw: st.DrawFn) -> Trace:
    """Traces whose requests can be told apart by their prompt length."""
    gaps = draw(st.lists(st.integers(0, 5000), min_size=1, max_size=40))
    times = [0.0, *(total / 1000 for total in itertools.accumulate([gaps[0] + 1, *gaps[1:]]))]
    classes = draw(st.lists(st.integers(0, 2), min_size=len(times), max_size=len(times)))
    answers = draw(st.lists(st.integers(1, 900), min_size=len(times), max_size=len(times)))
    return trace_of(list(zip(times, range(1, len(times) + 1), answers, classes, strict=True)))


@settings(deadline=None)
@given(traces())
def test_a_summary_agrees_with_counting(trace: Trace) -> None:
    workload = described(trace)
    rows = rows_of(trace)
    for traffic in workload.classes:
        mine = [row for row in rows if row[3] == traffic.query_class]
        prompts, answers = [row[1] for row in mine], [row[2] for row in mine]
        assert traffic.rate_rps * period_s(trace) == pytest.approx(len(mine))
        assert traffic.input_tokens_mean == pytest.approx(sum(prompts) / len(mine))
        assert traffic.output_tokens_mean == pytest.approx(sum(answers) / len(mine))
        variance = sum((x - traffic.output_tokens_mean) ** 2 for x in answers) / len(mine)
        assert traffic.output_tokens_std == pytest.approx(variance**0.5, abs=1e-9)
    assert sum(len([r for r in rows if r[3] == t.query_class]) for t in workload.classes) == len(
        rows
    )
    assert (workload.trace_requests, workload.trace_span_s) == (len(trace), trace.span_s)
    # One gap per request: a trace of n requests spans n - 1 mean gaps.
    assert workload.rate_rps == pytest.approx((len(trace) - 1) / trace.span_s)


@settings(deadline=None)
@given(traces(), st.floats(-5, 150), st.floats(-5, 150))
def test_a_window_holds_what_arrives_in_it(trace: Trace, start_s: float, end_s: float) -> None:
    expected = [
        (row[0] - start_s, *row[1:]) for row in rows_of(trace) if start_s <= row[0] < end_s
    ]
    if expected:
        assert rows_of(window(trace, start_s, end_s)) == expected
    else:
        with pytest.raises(InvalidInput, match="No request arrives"):
            window(trace, start_s, end_s)


@settings(deadline=None)
@given(traces(), st.floats(0, 150))
def test_two_windows_that_meet_hold_everything_once(trace: Trace, cut_s: float) -> None:
    parts = []
    for start_s, end_s in ((0.0, cut_s), (cut_s, 1e9)):
        if any(start_s <= at < end_s for at in trace.arrived_at_s):
            parts += [row[1:] for row in rows_of(window(trace, start_s, end_s))]
    assert parts == [row[1:] for row in rows_of(trace)]


@settings(deadline=None)
@given(traces(), st.floats(0.01, 100))
def test_scaling_changes_the_rate_and_nothing_else(trace: Trace, factor: float) -> None:
    faster = scaled(trace, factor)
    assert [row[1:] for row in rows_of(faster)] == [row[1:] for row in rows_of(trace)]
    before, after = described(trace), described(faster)
    assert after.rate_rps == pytest.approx(before.rate_rps * factor)
    assert after.burstiness == pytest.approx(before.burstiness)
    back = scaled(faster, 1 / factor)
    assert list(back.arrived_at_s) == pytest.approx(list(trace.arrived_at_s))


@pytest.mark.parametrize("factor", [0.0, -1.0, float("nan"), float("inf")])
def test_no_rate_is_multiplied_by_nonsense(factor: float) -> None:
    with pytest.raises(InvalidInput, match="multiplied"):
        scaled(trace_of([(0.0, 1, 1, 0), (1.0, 1, 1, 0)]), factor)


@settings(deadline=None)
@given(traces(), st.integers(1, 150))
def test_a_replay_begins_again_whenever_the_trace_ends(trace: Trace, requests: int) -> None:
    rows = rows_of(trace)
    expected = [
        (at + turn * period_s(trace), *rest)
        for turn in range(requests // len(rows) + 1)
        for at, *rest in rows
    ]
    again = rows_of(replayed(trace, requests))
    assert [row[1:] for row in again] == [tuple(row[1:]) for row in expected[:requests]]
    times = [row[0] for row in again]
    assert times == pytest.approx([row[0] for row in expected[:requests]])
    assert times == sorted(times)


def test_a_trace_of_one_moment_has_no_rate() -> None:
    once = trace_of([(0.0, 1, 1, 0), (0.0, 2, 2, 0)])
    assert len(replayed(once, 2)) == 2
    for use in (described, lambda t: replayed(t, 3)):
        with pytest.raises(InvalidInput, match="same time"):
            use(once)


@settings(deadline=None)
@given(traces(), st.integers(1, 120), st.integers(0, 5))
def test_arrivals_from_a_trace_are_the_trace_from_another_place(
    trace: Trace, requests: int, seed: int
) -> None:
    workload = described(trace)
    replay = arrivals_for(workload, trace, requests, seed)
    assert len(replay) == requests
    assert replay.classes == tuple(t.query_class for t in workload.classes)
    assert replay.arrived_at_s[0] == 0
    rows, once = rows_of(replay), rows_of(trace)
    # Requests of one moment may change places.
    start_s = next(row[0] for row in once if row[1:] == rows[0][1:])
    first = next(i for i, row in enumerate(once) if row[0] == start_s)
    period = period_s(trace)
    for i, row in enumerate(rows):
        turn, place = divmod(first + i, len(once))
        expected_s = once[place][0] + turn * period - once[first][0]
        assert row[0] == pytest.approx(expected_s, abs=1e-6)
    everything = Counter(row[1:] for row in once)
    whole = Counter(row[1:] for row in rows[: len(once)])
    assert whole <= everything


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.floats(0.1, 10), st.floats(0.1, 10))
def test_rates_changed_per_class_are_kept_and_pairs_stay_together(
    seed: int, factor_a: float, factor_b: float
) -> None:
    dice = np.random.default_rng(seed)
    times = np.cumsum(dice.exponential(0.1, 400))
    # The answer's length tells the class and the prompt that belong to it.
    rows = [(float(t), i + 1, 3 * (i + 1) + i % 2, i % 2) for i, t in enumerate(times)]
    trace = trace_of(rows)
    a, b = described(trace).classes
    wanted = replace(
        described(trace),
        classes=(
            replace(a, rate_rps=a.rate_rps * factor_a),
            replace(b, rate_rps=b.rate_rps * factor_b),
        ),
    )
    replay = arrivals_for(wanted, trace, 4000, seed)
    span_s = replay.span_s
    for traffic in wanted.classes:
        mine = [row for row in rows_of(replay) if row[3] == traffic.query_class]
        # Whole turns are exact; what is left of the last turn is not.
        slack = 200 + 2
        assert len(mine) == pytest.approx(traffic.rate_rps * span_s, abs=slack)
        assert all(row[2] == 3 * row[1] + (row[1] - 1) % 2 for row in mine)
        assert {(row[1] - 1) % 2 for row in mine} == {CLASSES.index(traffic.query_class)}
    assert list(replay.arrived_at_s) == sorted(replay.arrived_at_s)


def test_another_seed_meets_another_part_of_the_trace_and_the_same_seed_the_same() -> None:
    trace = generated(MIXED, 5000, 1)
    workload = described(trace)
    assert arrivals_for(workload, trace, 100, 3) == arrivals_for(workload, trace, 100, 3)
    starts = {rows_of(arrivals_for(workload, trace, 1, seed))[0][1:] for seed in range(20)}
    assert len(starts) > 15


def test_classes_that_the_trace_lacks_are_drawn_and_others_are_left_out() -> None:
    trace = trace_of([(float(i), 5, 7, i % 2) for i in range(100)])
    new = ClassTraffic("new", 2.0, 50.0, 60.0)
    idle = ClassTraffic("idle", 0.0, 50.0, 60.0)
    workload = replace(MIXED, classes=(idle, ClassTraffic("b", 2.0, 5.0, 7.0), new))
    mixed = arrivals_for(workload, trace, 4000, 1)
    assert mixed.classes == ("idle", "b", "new")
    counts = Counter(mixed.query_class)
    assert set(counts) == {1, 2}
    assert counts[1] == pytest.approx(2000, abs=150)
    assert {row[1:] for row in rows_of(mixed)} == {(5, 7, "b"), (50, 60, "new")}
    assert mixed.span_s == pytest.approx(1000, rel=0.1)


def test_without_a_trace_requests_are_drawn_from_the_description() -> None:
    assert arrivals_for(MIXED, None, 50, 7) == generated(MIXED, 50, 7)
    assert generated(MIXED, 50, 7) != generated(MIXED, 50, 8)


@pytest.mark.parametrize("cv", [0.0, 0.5, 1.0, 2.5])
def test_what_is_drawn_has_the_described_rates_lengths_and_burstiness(cv: float) -> None:
    n = 60_000
    drawn = described(generated(replace(MIXED, burstiness=cv), n, 5))
    # The standard error of a mean gap is cv / sqrt(n); four of them, plus the multinomial's.
    assert drawn.rate_rps == pytest.approx(4.0, rel=4 * max(cv, 1e-3) / n**0.5)
    assert drawn.burstiness == pytest.approx(cv, abs=0.03 + 0.02 * cv)
    for wanted, got in zip(MIXED.classes, drawn.classes, strict=True):
        mine = n * wanted.rate_rps / 4
        error = 4 * wanted.input_tokens_std / mine**0.5
        assert got.rate_rps / drawn.rate_rps == pytest.approx(wanted.rate_rps / 4, abs=0.01)
        assert got.input_tokens_mean == pytest.approx(wanted.input_tokens_mean, abs=error + 0.5)
        assert got.output_tokens_mean == pytest.approx(wanted.output_tokens_mean, rel=0.02)
        assert got.input_tokens_std == pytest.approx(wanted.input_tokens_std, rel=0.06)
        assert got.output_tokens_std == pytest.approx(wanted.output_tokens_std, rel=0.06)
        assert got.length_correlation == pytest.approx(wanted.length_correlation, abs=0.02)
    assert drawn.classes[1].output_tokens_std == 0


@settings(deadline=None)
@given(
    st.floats(1, 5000),
    st.floats(0, 50_000),
    st.floats(-1, 1),
    st.floats(0, 100),
    st.integers(1, 50),
)
def test_whatever_is_described_can_be_drawn(
    mean: float, std: float, correlation: float, cv: float, requests: int
) -> None:
    traffic = ClassTraffic("x", 2.0, mean, mean, std, std, correlation)
    drawn = generated(replace(MIXED, classes=(traffic,), burstiness=cv), requests, 1)
    assert len(drawn) == requests
    assert drawn.arrived_at_s[0] == 0
    assert list(drawn.arrived_at_s) == sorted(drawn.arrived_at_s)
    assert min(drawn.input_tokens) >= 1
    assert min(drawn.output_tokens) >= 1


@pytest.mark.parametrize(("arrivals", "error"), [(3000, 0.1), (200, 0.2)])
def test_a_night_between_two_days_is_not_burstiness(arrivals: int, error: float) -> None:
    day = np.cumsum(np.random.default_rng(2).exponential(1.0, arrivals))
    both = np.concatenate([day, day + 1e6])
    gaps = np.diff(both)
    assert gaps.std() / gaps.mean() > 15
    assert burstiness(both) == pytest.approx(1.0, abs=error)


@pytest.mark.parametrize(("times", "expected"), [([0.0], 1.0), ([0.0, 0.0], 1.0), ([0, 1], 1.0)])
def test_too_few_gaps_are_taken_as_poisson(times: list[float], expected: float) -> None:
    assert burstiness(np.array(times)) == expected


def test_even_arrivals_have_no_burstiness() -> None:
    assert burstiness(np.arange(10.0)) == pytest.approx(0)
