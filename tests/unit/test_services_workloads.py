from dataclasses import replace
from datetime import timedelta

import pytest

from core.domain.ids import utc_now
from core.domain.profile import LoadLevel, Profile, Provenance, Spread
from core.domain.quality import QualityEstimate
from core.domain.traffic import RequestRecord
from core.errors import InvalidInput, NotFound, NotReady
from core.ports import UnitOfWorkFactory
from core.services import workloads
from core.services.workloads import Lengths

SPREAD = Spread(10.0, 9.0, 20.0, 30.0)
TRACE = b"""arrived_at_s,input_tokens,output_tokens,query_class
0,100,10,easy
2,200,20,easy
4,900,90,hard
8,300,30,easy
10,50,0,easy
"""
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


def test_lengths_and_burstiness_can_be_given(measured: UnitOfWorkFactory) -> None:
    lengths = {
        "easy": Lengths(input_tokens_mean=50.0, input_tokens_std=20.0),
        "new": Lengths(7, 9),
    }
    rates = {"easy": 2.0, "new": 1.0}
    made = workloads.describe(measured, "w", rates, utc_now(), burstiness=2.5, lengths=lengths)
    easy, new = made.classes
    assert (easy.input_tokens_mean, easy.input_tokens_std) == (50.0, 20.0)
    assert (easy.output_tokens_mean, easy.output_tokens_std) == (28.0, 0.0)
    assert (new.input_tokens_mean, new.output_tokens_mean) == (7, 9)
    assert made.burstiness == 2.5
    assert workloads.workloads(measured) == [made]
    assert workloads.workload_trace(measured, made.workload_id) is None


@pytest.mark.parametrize("burstiness", [-0.1, 101.0, float("nan")])
def test_a_burstiness_out_of_range_is_refused(
    measured: UnitOfWorkFactory, burstiness: float
) -> None:
    with pytest.raises(InvalidInput, match="burstiness"):
        workloads.describe(measured, "w", {"easy": 1.0}, utc_now(), burstiness=burstiness)
    with pytest.raises(InvalidInput, match="rate"):
        workloads.describe(measured, "w", {"easy": float("inf")}, utc_now())


@pytest.mark.parametrize(
    "values", [{"input_tokens_mean": 0.0}, {"output_tokens_std": -1.0}, {"input_tokens_std": 1e99}]
)
def test_impossible_lengths_are_refused(values: dict[str, float]) -> None:
    with pytest.raises(InvalidInput, match="at least one token"):
        Lengths(**values)


def test_a_trace_is_imported_with_what_was_left_out(sqlite_uow: UnitOfWorkFactory) -> None:
    made = workloads.import_trace(sqlite_uow, "mine", TRACE, "mine.csv", utc_now())
    assert made.provenance is Provenance.IMPORTED
    assert made.source.startswith("mine.csv.")
    assert "1 without an answer" in made.source
    assert (made.trace_requests, made.trace_span_s) == (4, 8.0)
    easy, hard = made.classes
    assert (easy.input_tokens_mean, hard.output_tokens_mean) == (200.0, 90.0)
    assert easy.rate_rps / hard.rate_rps == pytest.approx(3)
    trace = workloads.workload_trace(sqlite_uow, made.workload_id)
    assert trace is not None
    assert list(trace.arrived_at_s) == [0.0, 2.0, 4.0, 8.0]
    assert workloads.workloads(sqlite_uow) == [made]


def test_a_trace_that_cannot_be_used_stores_nothing(sqlite_uow: UnitOfWorkFactory) -> None:
    broken = TRACE + b"11,0,5,easy\n"
    with pytest.raises(InvalidInput, match="Row 7: the prompt has 0 tokens"):
        workloads.import_trace(sqlite_uow, "mine", broken, "mine.csv", utc_now())
    moment = b"ts,isl,osl\n5,1,1\n5,1,1\n"
    with pytest.raises(InvalidInput, match="same time"):
        workloads.import_trace(sqlite_uow, "mine", moment, "mine.csv", utc_now())
    assert workloads.workloads(sqlite_uow) == []


def test_the_gateway_keeps_single_requests(measured: UnitOfWorkFactory) -> None:
    now = utc_now()
    seen = [
        replace(record(i, "easy", 10 * i), at=now - timedelta(seconds=60 - 10 * i))
        for i in range(4)
    ]
    with measured() as work:
        work.requests.add([*seen, replace(seen[1], request_id="cut", output_tokens=None)])
        work.commit()
    made = workloads.from_gateway(measured, "seen", now - timedelta(minutes=2), now, now)
    [easy] = made.classes
    assert easy.rate_rps == pytest.approx(5 / 120)
    assert (easy.output_tokens_mean, easy.output_tokens_std) == (20.0, pytest.approx(8.165, 1e-3))
    assert (
        made.source == "5 requests at the gateway. Left out of the trace: 2 without token counts."
    )
    trace = workloads.workload_trace(measured, made.workload_id)
    assert trace is not None
    assert list(trace.arrived_at_s) == pytest.approx([0.0, 10.0, 20.0])
    assert list(trace.output_tokens) == [10, 20, 30]
    assert (made.trace_requests, made.trace_span_s) == (3, pytest.approx(20.0))


def test_a_scaled_copy_arrives_faster_and_nobody_measured_it(measured: UnitOfWorkFactory) -> None:
    now = utc_now()
    original = workloads.import_trace(measured, "mine", TRACE, "mine.csv", now)
    copy = workloads.scaled_copy(measured, original.workload_id, 4.0, "busy", now)
    assert copy.rate_rps == pytest.approx(4 * original.rate_rps)
    assert (copy.trace_requests, copy.trace_span_s) == (4, 2.0)
    assert (copy.source, copy.provenance) == ("mine at 4 times its rate.", Provenance.IMPORTED)
    trace = workloads.workload_trace(measured, copy.workload_id)
    assert trace is not None
    assert list(trace.arrived_at_s) == [0.0, 0.5, 1.0, 2.0]
    described = workloads.describe(measured, "w", {"easy": 2.0}, now)
    half = workloads.scaled_copy(measured, described.workload_id, 0.5, "half", now)
    assert half.rate_rps == 1.0
    assert workloads.workload_trace(measured, half.workload_id) is None


def test_a_window_of_a_trace_is_a_workload(measured: UnitOfWorkFactory) -> None:
    now = utc_now()
    original = workloads.import_trace(measured, "mine", TRACE, "mine.csv", now)
    part = workloads.windowed_copy(measured, original.workload_id, 1.0, 5.0, "part", now)
    assert [(t.query_class, t.rate_rps) for t in part.classes] == [("easy", 0.25), ("hard", 0.25)]
    trace = workloads.workload_trace(measured, part.workload_id)
    assert trace is not None
    assert list(trace.arrived_at_s) == [1.0, 3.0]
    # Nothing was seen after the trace: a window that goes on is cut there.
    rest = workloads.windowed_copy(measured, original.workload_id, 3.0, 99.0, "rest", now)
    assert rest.rate_rps == pytest.approx(2 / (8 * 4 / 3 - 3))


def test_copies_of_nothing_are_refused(measured: UnitOfWorkFactory) -> None:
    now = utc_now()
    described = workloads.describe(measured, "w", {"easy": 2.0}, now)
    original = workloads.import_trace(measured, "mine", TRACE, "mine.csv", now)
    with pytest.raises(NotReady, match="no trace"):
        workloads.windowed_copy(measured, described.workload_id, 0, 1, "x", now)
    with pytest.raises(InvalidInput, match="No request arrives"):
        workloads.windowed_copy(measured, original.workload_id, 5, 6, "x", now)
    with pytest.raises(InvalidInput, match="same time"):
        workloads.windowed_copy(measured, original.workload_id, 1, 3, "x", now)
    with pytest.raises(InvalidInput, match="multiplied"):
        workloads.scaled_copy(measured, original.workload_id, 0.0, "x", now)
    with pytest.raises(NotFound):
        workloads.scaled_copy(measured, "unknown", 2.0, "x", now)
    assert len(workloads.workloads(measured)) == 2
