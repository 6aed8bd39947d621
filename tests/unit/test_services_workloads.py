from dataclasses import replace
from datetime import timedelta

import pytest

from core.domain.ids import utc_now
from core.domain.profile import LoadLevel, Profile, Provenance, Spread
from core.domain.quality import QualityEstimate
from core.domain.traffic import RequestRecord
from core.errors import InvalidInput, NotReady
from core.ports import UnitOfWorkFactory
from core.services import workloads

SPREAD = Spread(10.0, 9.0, 20.0, 30.0)
LEVEL = LoadLevel(1, 50, 0, 8.0, SPREAD, SPREAD, SPREAD, 18.0, 30.0, 10**9)


def record(number: int, query_class: str, tokens: int | None) -> RequestRecord:
    return RequestRecord(
        request_id=f"r{number}",
        at=utc_now() - timedelta(seconds=30),
        requested_model="auto",
        query_class=query_class,
        model="small",
        replica_id="r",
        plan_id="p",
        status=200,
        ttft_ms=5.0,
        e2e_ms=50.0,
        input_tokens=20,
        output_tokens=tokens,
    )


@pytest.fixture
def measured(sqlite_uow: UnitOfWorkFactory) -> UnitOfWorkFactory:
    now = utc_now()
    profile = Profile(
        "p", "small", "cpu-core", 1, 1, Provenance.MEASURED, now, "vllm", "h", 30.0, (LEVEL,)
    )
    estimate = QualityEstimate("small", "easy", 100, 0.9, 0.8, 0.95, 26.0, now)
    with sqlite_uow() as work:
        work.profiles.save(profile)
        work.outcomes.save_estimate(estimate)
        work.outcomes.save_estimate(replace(estimate, model="large", output_tokens_mean=30.0))
        work.commit()
    return sqlite_uow


def test_lengths_come_from_what_was_measured(measured: UnitOfWorkFactory) -> None:
    workload = workloads.describe(measured, "w", {"easy": 2.0}, utc_now())
    [traffic] = workload.classes
    assert traffic.input_tokens_mean == 18.0
    assert traffic.output_tokens_mean == 28.0
    assert workloads.workloads(measured) == [workload]


@pytest.mark.parametrize("rates", [{}, {"easy": 0.0}, {"easy": -1.0}])
def test_a_workload_without_requests_is_refused(
    measured: UnitOfWorkFactory, rates: dict[str, float]
) -> None:
    with pytest.raises(InvalidInput, match="no requests") as refused:
        workloads.describe(measured, "w", rates, utc_now())
    assert "rate" in refused.value.hint
    assert workloads.workloads(measured) == []


def test_a_negative_rate_is_refused(measured: UnitOfWorkFactory) -> None:
    with measured() as work:
        known = work.outcomes.estimates()[0]
        work.outcomes.save_estimate(replace(known, query_class="hard"))
        work.commit()
    with pytest.raises(InvalidInput, match="negative"):
        workloads.describe(measured, "w", {"easy": 2.0, "hard": -1.0}, utc_now())


def test_nothing_is_assumed_about_what_was_not_measured(measured: UnitOfWorkFactory) -> None:
    with pytest.raises(NotReady, match="'hard'"):
        workloads.describe(measured, "w", {"hard": 1.0}, utc_now())


def test_traffic_can_be_taken_from_the_gateway(measured: UnitOfWorkFactory) -> None:
    seen = [record(i, "easy", 20) for i in range(6)] + [record(9, "hard", None)]
    with measured() as work:
        work.requests.add([*seen, record(10, "", 5)])
        work.commit()
    now = utc_now()
    workload = workloads.from_gateway(measured, "seen", now - timedelta(minutes=1), now, now)
    assert workload.provenance is Provenance.MEASURED
    assert [(t.query_class, t.rate_rps) for t in workload.classes] == [
        ("easy", pytest.approx(0.1)),
        ("hard", pytest.approx(1 / 60)),
    ]
    long_ago = now - timedelta(days=2)
    with pytest.raises(InvalidInput, match="no requests"):
        workloads.from_gateway(measured, "none", long_ago - timedelta(days=1), long_ago, now)
    with pytest.raises(InvalidInput, match="before it starts"):
        workloads.from_gateway(measured, "backwards", now, now - timedelta(hours=1), now)
