"""Allocation cost against a slow oracle that adds up second by second."""

from collections import defaultdict
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.domain.cost import (
    Occupation,
    Purpose,
    charges,
    clip,
    occupations,
    serving_spans,
    usd_per_million,
)
from core.domain.deployment import (
    SERVING,
    Deployment,
    DeploymentState,
    Replica,
    ReplicaState,
    job_owner,
)
from core.domain.fleet import Price, price_in_force
from core.domain.plan import ReplicaKind, make_plan

# Ten minutes around a midnight, so that days are split in most examples.
START = datetime(2026, 3, 1, 23, 55, tzinfo=UTC)
SECONDS = 600
SKUS = ("slow", "fast")


def at(second: float) -> datetime:
    return START + timedelta(seconds=second)


def replica(
    start: float | None,
    stop: float | None,
    *,
    state: ReplicaState = ReplicaState.STOPPED,
    owner: str = SERVING,
    kind: ReplicaKind | None = None,
) -> Replica:
    return Replica(
        replica_id=f"{owner}-{start}-{stop}",
        owner=owner,
        kind=kind or ReplicaKind("small", "slow"),
        wanted=False,
        state=state,
        created_at=START,
        started_at=None if start is None else at(start),
        stopped_at=None if stop is None else at(stop),
    )


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[Replica], list[Price]]:
    seconds = st.integers(0, SECONDS)
    replicas = []
    for _ in range(draw(st.integers(0, 5))):
        start, stop = sorted((draw(seconds), draw(seconds)))
        running = draw(st.booleans())
        replicas.append(
            replica(
                start,
                None if running else stop,
                state=ReplicaState.READY if running else ReplicaState.STOPPED,
                owner=draw(st.sampled_from((SERVING, job_owner("j")))),
                kind=ReplicaKind(
                    draw(st.sampled_from(("small", "large"))),
                    draw(st.sampled_from(SKUS)),
                    tp=draw(st.integers(1, 4)),
                ),
            )
        )
    changes = st.tuples(st.sampled_from(SKUS), st.floats(0.01, 100), st.integers(-60, SECONDS))
    prices = [Price(sku, usd, at(second)) for sku, usd, second in draw(st.lists(changes))]
    return replicas, prices


def by_second(
    replicas: list[Replica], prices: list[Price], now: datetime
) -> tuple[dict[tuple[str, str, Purpose], float], dict[str, float]]:
    """Slow and obvious: every second of every replica at the price of that second."""
    usd: dict[tuple[str, str, Purpose], float] = defaultdict(float)
    unpriced: dict[str, float] = defaultdict(float)
    for one in replicas:
        purpose = Purpose.SERVING if one.owner == SERVING else Purpose.MEASURING
        for second in range(SECONDS):
            moment = at(second)
            assert one.started_at is not None
            if not one.started_at <= moment < min(one.stopped_at or now, now):
                continue
            price = price_in_force(prices, one.kind.sku, moment)
            if price is None:
                unpriced[one.kind.sku] += one.kind.devices
            else:
                key = (moment.date().isoformat(), one.kind.model, purpose)
                usd[key] += one.kind.devices * price.usd_per_hour / 3600
    return usd, unpriced


@settings(max_examples=50, deadline=None)
@given(histories(), st.integers(0, SECONDS))
def test_equals_the_sum_over_seconds(
    history: tuple[list[Replica], list[Price]], now_second: int
) -> None:
    replicas, prices = history
    now = at(now_second)
    usd: dict[tuple[str, str, Purpose], float] = defaultdict(float)
    unpriced: dict[str, float] = defaultdict(float)
    for charge in charges(occupations(replicas, now), prices):
        if charge.cost_usd is None:
            unpriced[charge.sku] += charge.device_seconds
        else:
            usd[charge.day, charge.model, charge.purpose] += charge.cost_usd
    expected_usd, expected_unpriced = by_second(replicas, prices, now)
    assert usd == pytest.approx(expected_usd)
    assert unpriced == pytest.approx(expected_unpriced)


@settings(max_examples=50, deadline=None)
@given(histories(), st.integers(1, SECONDS - 1))
def test_cutting_anywhere_loses_nothing(
    history: tuple[list[Replica], list[Price]], cut: int
) -> None:
    replicas, prices = history
    held = occupations(replicas, at(SECONDS))
    parts = clip(held, START, at(cut)) + clip(held, at(cut), at(SECONDS))
    assert total(charges(parts, prices)) == pytest.approx(total(charges(held, prices)))
    assert sum(o.device_seconds for o in parts) == pytest.approx(
        sum(o.device_seconds for o in held)
    )


def total(found: list) -> tuple[float, float]:
    priced = sum(c.cost_usd for c in found if c.cost_usd is not None)
    return priced, sum(c.device_seconds for c in found)


def test_days_of_a_long_run() -> None:
    held = [
        Occupation("m", "slow", 2, Purpose.SERVING, at(0), START + timedelta(days=3)),
    ]
    found = charges(held, [Price("slow", 1.5, START - timedelta(days=9))])
    assert [c.day for c in found] == ["2026-03-01", "2026-03-02", "2026-03-03", "2026-03-04"]
    assert [c.device_seconds for c in found] == [600, 172800, 172800, 2 * (86400 - 300)]
    assert sum(c.cost_usd or 0 for c in found) == pytest.approx(2 * 72 * 1.5)


def test_other_time_zones_are_billed_on_utc_days() -> None:
    zone_start = START.astimezone(tz=None)
    held = [Occupation("m", "slow", 1, Purpose.SERVING, zone_start, at(600).astimezone(tz=None))]
    assert [c.device_seconds for c in charges(held, [])] == [300, 300]


def test_an_unknown_price_is_not_zero() -> None:
    [charge] = charges(occupations([replica(0, 60)], at(600)), [Price("fast", 1, START)])
    assert charge.cost_usd is None
    assert charge.device_seconds == 60


def test_never_started_or_starting_later_costs_nothing() -> None:
    future = replica(500, None, state=ReplicaState.STARTING)
    assert occupations([replica(None, None), future, replica(7, 7)], at(400)) == []


def test_an_ended_replica_without_an_end_does_not_cost_for_ever() -> None:
    assert occupations([replica(0, None, state=ReplicaState.FAILED)], at(600)) == []


def deployment(name: str, active: float | None, ended: float | None) -> Deployment:
    return Deployment(
        deployment_id=name,
        plan=make_plan({ReplicaKind("small", "slow"): 1}, {"easy": {"small": 1.0}}),
        study_id=None,
        state=DeploymentState.ACTIVE,
        created_at=START,
        active_at=None if active is None else at(active),
        ended_at=None if ended is None else at(ended),
    )


def test_serving_spans_do_not_overlap() -> None:
    rows = [
        deployment("new", 200, None),
        deployment("never", None, 100),
        deployment("old", 0, 210),
    ]
    spans = [(d.deployment_id, s, e) for d, s, e in serving_spans(rows, at(300))]
    assert spans == [("old", at(0), at(200)), ("new", at(200), at(300))]


def test_cost_per_million() -> None:
    assert usd_per_million(3.0, 1_500_000) == pytest.approx(2.0)
    assert usd_per_million(3.0, 0) is None
    assert usd_per_million(0.0, 10) is None
