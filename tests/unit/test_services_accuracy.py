"""Predictions beside what the gateway saw and what studies measured."""

from dataclasses import replace
from datetime import timedelta

import pytest

from core.domain.deployment import DeploymentState
from core.domain.study import StudyState
from core.ports import UnitOfWorkFactory
from core.services.accuracy import Source, pairs, why_not
from tests.contract import samples
from tests.fakes.memory_uow import MemoryDatabase

SERVED = samples.later(10)
NOW = samples.later(60)
PREDICTED = replace(
    samples.SCORE, p50_e2e_s=0.5, p95_e2e_s=1.2, p95_e2e_low_s=0.8, p95_e2e_high_s=1.3
)


@pytest.fixture
def uow() -> UnitOfWorkFactory:
    return MemoryDatabase().unit_of_work


def serve(uow: UnitOfWorkFactory, requests: int, every_s: float = 0.4) -> None:
    """A plan that answers in 0.01, 0.02, ... seconds, one request every so often."""
    deployment = replace(
        samples.deployment(),
        state=DeploymentState.ACTIVE,
        active_at=SERVED,
        ended_at=None,
        predicted=PREDICTED,
        study_id="s1",
    )
    records = [
        replace(
            samples.request(),
            request_id=f"r{i}",
            at=SERVED + timedelta(seconds=every_s * i),
            plan_id=deployment.plan.plan_id,
            status=200,
            e2e_ms=10.0 * (i + 1),
        )
        for i in range(requests)
    ]
    with uow() as work:
        work.workloads.save(samples.workload())
        work.studies.save(replace(samples.study(), workload_id="w1", state=StudyState.DONE))
        work.deployments.add(deployment)
        work.requests.add(records)
        work.commit()


def test_traffic_is_compared_with_the_prediction_of_its_plan(uow: UnitOfWorkFactory) -> None:
    serve(uow, 101)
    [pair] = pairs(uow, NOW)
    assert pair.source is Source.TRAFFIC
    assert pair.requests == 101
    assert pair.p50_e2e_s == pytest.approx(0.51)
    assert pair.p95_e2e_s == pytest.approx(0.96)
    assert pair.p95_error == pytest.approx(0.25)
    assert pair.inside is True
    assert pair.load == pytest.approx(1.0)  # 2.5 requests per second were planned for


def test_failed_requests_and_other_plans_do_not_count(uow: UnitOfWorkFactory) -> None:
    serve(uow, 40)
    with uow() as work:
        plan_id = work.deployments.all()[0].plan.plan_id
        late = replace(samples.request(), at=SERVED + timedelta(seconds=1), e2e_ms=1e6)
        work.requests.add([replace(late, request_id="x", plan_id=plan_id, status=502)])
        work.requests.add([replace(late, request_id="y", plan_id="other", status=200)])
        work.commit()
    [pair] = pairs(uow, NOW)
    assert pair.requests == 40
    assert pair.p95_e2e_s < 1


def test_a_few_requests_say_nothing(uow: UnitOfWorkFactory) -> None:
    serve(uow, 29)
    assert pairs(uow, NOW) == []
    assert "30 requests" in (why_not([]) or "")


def test_measured_trials_of_a_study_are_pairs(uow: UnitOfWorkFactory) -> None:
    measured = replace(PREDICTED, p50_e2e_s=1.0, p95_e2e_s=2.4)
    trial = replace(samples.trial(), predicted=PREDICTED, measured=measured)
    with uow() as work:
        work.studies.save(samples.study())
        work.studies.save_trials([trial, replace(trial, number=trial.number + 1, measured=None)])
        work.commit()
    [pair] = pairs(uow, NOW)
    assert pair.source is Source.STUDY
    assert pair.p95_error == pytest.approx(-0.5)
    assert pair.inside is False
    assert why_not([pair]) is None
