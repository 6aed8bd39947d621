"""Numbers as people read them."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from core.domain.cascade import CascadeEstimate
from core.domain.plan import ReplicaKind, Route, make_plan
from ui import formatting as f

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (None, "–"),
        (0, "$0.00"),
        (1234.5, "$1,234.50"),
        (0.08, "$0.080"),
        (0.00042, "$0.00042"),
        (-3.2, "-$3.20"),
        (1e-9, "$0.000000"),
    ],
)
def test_usd_keeps_two_digits_that_mean_something(amount: float | None, text: str) -> None:
    assert f.usd(amount) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (0.34, "340 ms"), (1.234, "1.23 s"), (125, "2 min 5 s"), (11400, "3 h 10 min")],
)
def test_seconds_pick_the_unit(value: float | None, text: str) -> None:
    assert f.seconds(value) == text


def test_milliseconds_are_seconds_underneath() -> None:
    assert f.milliseconds(1500) == "1.50 s"
    assert f.milliseconds(None) == "–"


@pytest.mark.parametrize(
    ("count", "text"), [(None, "–"), (12, "12 B"), (3_250_000, "3.1 MiB"), (2**41, "2.0 TiB")]
)
def test_size_in_binary_units(count: float | None, text: str) -> None:
    assert f.size(count) == text


def test_change_is_relative_and_unknown_without_both() -> None:
    assert f.change(62.0, 100.0) == "-38 %"
    assert f.change(150.0, 100.0) == "+50 %"
    assert f.change(100.1, 100.0) == "0"
    assert f.change(None, 1.0) is None
    assert f.change(1.0, None) is None
    assert f.change(1.0, 0.0) is None


def test_rates_points_and_percentages() -> None:
    assert f.rate(3.146) == "3.15 req/s"
    assert f.points(0.015) == "+1.5 points"
    assert f.percent(0.853, 0) == "85 %"
    assert f.percent(None) == "–"


@pytest.mark.parametrize(
    ("past", "text"),
    [
        (timedelta(seconds=5), "just now"),
        (timedelta(minutes=5), "5 min ago"),
        (timedelta(hours=30), "30 h ago"),
        (timedelta(days=4), "4 days ago"),
    ],
)
def test_ago(past: timedelta, text: str) -> None:
    assert f.ago(NOW - past, NOW) == text


def test_moments_are_utc() -> None:
    assert f.moment(NOW) == "2026-11-24 12:00 UTC"
    assert f.moment(None) == "–"


def test_dollars_never_start_a_formula() -> None:
    assert f.markdown("$1 and $2") == "\\$1 and \\$2"


def test_a_plan_in_words_names_placement_and_routing() -> None:
    small, large = ReplicaKind("small", "L4"), ReplicaKind("large", "H100", tp=2)
    plan = make_plan(
        {small: 2, large: 1},
        {"easy": {"small": 1.0}, "hard": {"small": 0.3, "large": 0.7}},
    )
    assert f.plan_in_words(plan) == (
        "Run 1 x large on H100, TP 2, 2 x small on L4. "
        "Send easy queries to small; hard queries 70 % to large and 30 % to small."
    )


def test_a_cascade_in_words_says_what_goes_on_where_that_is_known() -> None:
    cascade = CascadeEstimate("medium", "small", "large", -0.3, 0.234, 200, 0.9, 0.85, 0.94)
    route = Route("medium", "small", 1.0, "large", -0.3)
    plan = make_plan({}, {}, [route])
    known = "medium queries to small first, 23 % go on to large when it is unsure"
    unknown = "medium queries to small first, then large when it is unsure"
    assert f.routing_in_words(plan, [cascade]) == known
    assert f.routing_in_words(plan) == unknown
    split = make_plan({}, {"medium": {"large": 0.6}}, [replace(route, share=0.4)])
    assert f.routing_in_words(split, [cascade]) == (
        "medium queries 60 % to large and 40 % to small first, "
        "23 % go on to large when it is unsure"
    )
