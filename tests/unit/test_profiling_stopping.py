"""When a level has enough requests, and how sure its means are."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.profiling.client import Answer
from core.profiling.load import Sent
from core.profiling.statistics import MOST_BATCHES, T_95, relative_half_width
from core.profiling.stopping import (
    FEWEST_TO_TELL,
    HOPELESS,
    Counted,
    StopRule,
    counted_closed,
    counted_open,
    enough,
)

RULE = StopRule(usual_s=8.0, most_s=32.0)


def answered(sent_at_s: float, e2e_s: float = 0.5, error: str = "") -> Sent:
    return Sent(sent_at_s, Answer("4", None if error else 1.0, e2e_s * 1000, 7, 4, error))


def one_after_the_other(number: int, e2e_s: float = 0.5) -> list[Sent]:
    return [answered(e2e_s * place, e2e_s) for place in range(number)]


def test_the_interval_is_the_textbooks() -> None:
    values = [1.0, 3.0] * MOST_BATCHES  # batches of two, each with mean 2
    assert relative_half_width(values) == 0.0
    ramp = [float(v) for v in range(1, 2 * MOST_BATCHES + 1)]
    means = [(a + b) / 2 for a, b in zip(ramp[::2], ramp[1::2], strict=True)]
    half = 2.262 * float(np.std(means, ddof=1)) / math.sqrt(10)
    assert relative_half_width(ramp) == pytest.approx(half / 10.5)


def test_few_values_make_fewer_batches_and_too_few_say_nothing() -> None:
    fewest = 2 * min(T_95)
    half = relative_half_width([1.0, 1.0, 2.0, 2.0] * (fewest // 4) + [1.0, 1.0])
    means = [1.0, 2.0] * 2 + [1.0]
    assert half == pytest.approx(2.776 * float(np.std(means, ddof=1)) / math.sqrt(5) / 1.4)
    assert relative_half_width([1.0] * (fewest - 1)) is None
    assert relative_half_width([0.0] * 40) is None


def test_students_t_is_students() -> None:
    stdtrit = pytest.importorskip("scipy.special").stdtrit
    for batches, t in T_95.items():
        assert t == pytest.approx(stdtrit(batches - 1, 0.975), abs=5e-4)


@pytest.mark.parametrize(("correlation", "least"), [(0.0, 0.92), (0.7, 0.88)])
def test_the_interval_covers_the_mean_also_when_neighbours_are_alike(
    correlation: float, least: float
) -> None:
    """Autoregressive series of known mean: a plain interval covers 58 % of them at 0.7."""
    rng = np.random.default_rng(11)
    covered, number = 0, 500
    for _ in range(number):
        noise = rng.standard_normal(400)
        series = np.empty(400)
        series[0] = noise[0] / math.sqrt(1 - correlation**2)
        for place in range(1, 400):
            series[place] = correlation * series[place - 1] + noise[place]
        values = 10 + series
        half = relative_half_width(list(values))
        assert half is not None
        covered += abs(values.mean() - 10) <= half * values.mean()
    assert covered / number >= least


@settings(deadline=None)
@given(st.lists(st.floats(0.1, 100), min_size=20, max_size=200), st.floats(0.01, 100))
def test_the_interval_does_not_depend_on_the_unit(values: list[float], unit: float) -> None:
    half = relative_half_width(values)
    assert half is not None
    assert half >= 0
    assert relative_half_width([unit * v for v in values]) == pytest.approx(half, abs=1e-9)


def test_of_a_closed_loop_what_ended_after_one_turn_counts() -> None:
    sent = [answered(0.0, 0.4), answered(0.0, 0.6), answered(0.4, 0.5), answered(0.6, 0.5)]
    found = counted_closed(sent, 2, until_s=1.0)
    assert found.sent == (sent[2],)
    assert found.duration_s == pytest.approx(0.4)
    assert found.settled


def test_slow_answers_count_although_nothing_ended_after_them() -> None:
    sent = [answered(0.0, 5.0), answered(0.0, 6.0)]
    found = counted_closed(sent, 2, until_s=5.5)
    assert found.sent == tuple(sent)
    assert found.duration_s == 6.0
    assert not found.settled
    assert not enough(RULE, found, 20.0)
    assert enough(RULE, found, RULE.most_s)


def test_of_an_open_loop_what_arrived_after_the_warm_up_counts() -> None:
    sent = [answered(0.5), answered(2.5), answered(9.0, 3.0), answered(10.5)]
    found = counted_open(sent, 2.0, until_s=10.0)
    assert found.sent == (sent[1], sent[2])
    assert found.duration_s == 8.0
    early = counted_open(sent[:1], 2.0, until_s=10.0)
    assert early.sent == (sent[0],)
    assert not early.settled


def test_equal_answers_are_enough_once_there_are_so_many() -> None:
    few, many = one_after_the_other(RULE.fewest - 1, 0.1), one_after_the_other(RULE.fewest, 0.1)
    assert not enough(RULE, Counted(tuple(few), 3.0, closed=True), 3.0)
    assert enough(RULE, Counted(tuple(many), 3.0, closed=True), 3.0)
    assert not enough(RULE, Counted(tuple(many), RULE.shortest_s / 2, closed=True), 1.0)


def test_answers_that_differ_need_the_usual_length() -> None:
    rng = np.random.default_rng(1)
    sent = tuple(answered(0.1 * n, float(rng.uniform(0.1, 2))) for n in range(60))
    assert not enough(RULE, Counted(sent, 6.0, closed=False), 6.5)
    assert enough(RULE, Counted(sent, 8.0, closed=False), 8.5)


def test_a_level_with_hardly_any_answers_is_stretched_but_not_for_ever() -> None:
    few = tuple(one_after_the_other(FEWEST_TO_TELL - 1, 2.0))
    assert not enough(RULE, Counted(few, 10.0, closed=True), 12.0)
    assert enough(RULE, Counted((*few, answered(14.0)), 16.0, closed=True), 18.0)
    assert enough(RULE, Counted(few, 30.0, closed=True), RULE.most_s)


def test_failures_alone_end_a_load_and_a_few_of_them_do_not() -> None:
    failed = [answered(0.1 * n, 0.01, "HTTP 500") for n in range(HOPELESS)]
    assert enough(RULE, counted_closed(failed, 1, 1.0), 1.0)
    assert not enough(RULE, counted_closed(failed[1:], 1, 1.0), 1.0)
    assert not enough(RULE, counted_closed([*failed, answered(1.0, 0.1)], 1, 1.2), 1.2)


def test_bursts_make_the_throughput_unsure_though_every_answer_takes_the_same() -> None:
    rng = np.random.default_rng(5)
    ends = np.cumsum(rng.exponential(0.1, 60))
    sent = tuple(answered(float(end) - 0.05, 0.05) for end in ends)
    closed = Counted(sent, float(ends[-1]), closed=True).half_width
    opened = Counted(sent, float(ends[-1]), closed=False).half_width
    assert closed is not None
    assert closed > 0.1
    assert opened == 0.0
