"""The bill made from rows in a database."""

import csv
import io
from datetime import UTC, datetime, timedelta

import pytest

from core.domain.cost import Purpose
from core.domain.deployment import (
    SERVING,
    Deployment,
    DeploymentState,
    Replica,
    ReplicaState,
    job_owner,
)
from core.domain.fleet import Price
from core.domain.plan import ReplicaKind, make_plan
from core.domain.traffic import RequestRecord
from core.ports import UnitOfWorkFactory
from core.reporting.costs import cost_csv, cost_report, why_not

T0 = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
SMALL = ReplicaKind("small", "cpu-core")
LARGE = ReplicaKind("large", "cpu-core", tp=2)
PLAN = make_plan({SMALL: 1}, {"easy": {"small": 1.0}})


def replica(kind: ReplicaKind, start: datetime, stop: datetime | None, owner: str) -> Replica:
    return Replica(
        replica_id=f"{kind.model}-{owner}-{start:%H%M}",
        owner=owner,
        kind=kind,
        wanted=stop is None,
        state=ReplicaState.STOPPED if stop else ReplicaState.READY,
        created_at=start,
        started_at=start,
        stopped_at=stop,
    )


def record(name: str, model: str, status: int = 200) -> RequestRecord:
    return RequestRecord(
        request_id=name,
        at=T0 + HOUR / 2,
        requested_model="auto",
        query_class="easy",
        model=model,
        replica_id="r",
        plan_id=PLAN.plan_id,
        status=status,
        ttft_ms=1.0,
        e2e_ms=2.0,
        input_tokens=100,
        output_tokens=250,
    )


def active(baseline: float | None) -> Deployment:
    return Deployment(
        deployment_id="d",
        plan=PLAN,
        study_id=None,
        state=DeploymentState.ACTIVE,
        created_at=T0,
        baseline_usd_per_hour=baseline,
        baseline_note="3 x large on cpu-core",
        active_at=T0,
    )


def seed(
    uow: UnitOfWorkFactory,
    *,
    prices: tuple[Price, ...] = (Price("cpu-core", 0.10, T0 - HOUR),),
    deployment: Deployment | None = None,
) -> None:
    with uow() as work:
        for price in prices:
            work.prices.add(price)
        work.replicas.add(replica(SMALL, T0, None, SERVING))
        work.replicas.add(replica(LARGE, T0 - HOUR / 2, T0, job_owner("j")))
        work.requests.add([record("a", "small"), record("b", "small"), record("c", "", 503)])
        if deployment:
            work.deployments.add(deployment)
        work.commit()


def test_an_empty_database_says_what_to_do(sqlite_uow: UnitOfWorkFactory) -> None:
    report = cost_report(sqlite_uow, T0)
    assert report.rows == ()
    assert report.total.cost_usd == 0
    assert report.total.usd_per_million_tokens is None
    assert "deploy a plan" in (why_not(report) or "")


def test_bill(sqlite_uow: UnitOfWorkFactory) -> None:
    seed(sqlite_uow, deployment=active(0.6))
    report = cost_report(sqlite_uow, T0 + 2 * HOUR)
    assert why_not(report) is None
    assert report.by_purpose == pytest.approx({Purpose.SERVING: 0.2, Purpose.MEASURING: 0.1})
    assert report.total.cost_usd == pytest.approx(0.3)
    assert report.total.device_seconds == pytest.approx(3 * 3600)
    small = report.by_model["small"]
    assert (small.requests, small.input_tokens, small.output_tokens) == (2, 200, 500)
    assert small.usd_per_million_tokens == pytest.approx(0.2 / 500 * 1e6)
    assert report.by_model["large"].usd_per_million_tokens is None
    assert list(report.by_day) == ["2026-03-01"]


def test_comparison_covers_the_same_hours(sqlite_uow: UnitOfWorkFactory) -> None:
    seed(sqlite_uow, deployment=active(0.6))
    comparison = cost_report(sqlite_uow, T0 + 2 * HOUR).comparison
    assert comparison is not None
    assert comparison.hours == pytest.approx(2)
    assert comparison.baseline_usd == pytest.approx(1.2)
    assert comparison.actual_usd == pytest.approx(0.2)  # measuring is not part of it
    assert comparison.saving_usd == pytest.approx(1.0)
    assert comparison.saving_share == pytest.approx(1 / 1.2)
    assert comparison.notes == ("3 x large on cpu-core",)


def test_no_comparison_without_a_prediction(sqlite_uow: UnitOfWorkFactory) -> None:
    seed(sqlite_uow, deployment=active(None))
    assert cost_report(sqlite_uow, T0 + HOUR).comparison is None


def test_time_before_the_first_price_is_listed(sqlite_uow: UnitOfWorkFactory) -> None:
    seed(sqlite_uow, prices=(Price("cpu-core", 0.10, T0 + HOUR),), deployment=active(0.6))
    report = cost_report(sqlite_uow, T0 + 2 * HOUR)
    assert report.unpriced_device_seconds == pytest.approx({"cpu-core": 2 * 3600})
    assert report.total.serving_usd == pytest.approx(0.1)
    assert report.total.usd_per_million_tokens is None
    assert report.comparison is not None
    assert report.comparison.saving_usd is None


def test_no_price_at_all_says_where_to_set_one(sqlite_uow: UnitOfWorkFactory) -> None:
    seed(sqlite_uow, prices=())
    report = cost_report(sqlite_uow, T0 + HOUR)
    assert "cpu-core had no price" in (why_not(report) or "")


def test_price_change_in_the_middle(sqlite_uow: UnitOfWorkFactory) -> None:
    prices = (Price("cpu-core", 0.10, T0 - HOUR), Price("cpu-core", 0.30, T0 + HOUR))
    seed(sqlite_uow, prices=prices)
    report = cost_report(sqlite_uow, T0 + 2 * HOUR)
    assert report.by_purpose[Purpose.SERVING] == pytest.approx(0.10 + 0.30)


def test_csv_has_every_row(sqlite_uow: UnitOfWorkFactory) -> None:
    seed(sqlite_uow)
    report = cost_report(sqlite_uow, T0 + HOUR)
    read = list(csv.DictReader(io.StringIO(cost_csv(report))))
    assert [(r["model"], r["purpose"]) for r in read] == [
        ("large", "measuring"),
        ("small", "serving"),
    ]
    assert sum(float(r["cost_usd"]) for r in read) == pytest.approx(report.total.cost_usd)
    assert sum(int(r["requests"]) for r in read) == 2
