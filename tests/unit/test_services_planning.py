"""Facts for planners, studies and what-if, on a real database."""

from dataclasses import replace
from datetime import timedelta

import pytest

from core.domain.fleet import Price
from core.domain.job import JobKind, JobState
from core.domain.plan import ReplicaKind
from core.domain.study import Limits, StudyState
from core.errors import InvalidInput, NotFound, NotReady
from core.ports import UnitOfWorkFactory
from core.services import planning, studies
from core.services.jobs import cancel
from tests.unit.planning_problems import NOW, two_models
from tests.unit.planning_world import device, fill

SMALL, LARGE = ReplicaKind("small", "cpu-core"), ReplicaKind("large", "cpu-core")
ALL_LARGE = {name: {"large": 1.0} for name in ("easy", "medium", "hard")}
ALL_SMALL = {name: {"small": 1.0} for name in ("easy", "medium", "hard")}


def test_facts_are_what_the_database_holds(sqlite_uow: UnitOfWorkFactory) -> None:
    fill(sqlite_uow)
    facts = planning.load_facts(sqlite_uow, "w", Limits(0.5), NOW)
    assert set(facts.profiles) == {SMALL, LARGE}
    assert facts.devices_per_node == {"cpu-core": (3,)}
    assert facts.price_usd_per_hour == {"cpu-core": 0.04}
    assert facts.max_num_seqs == {"small": 16, "large": 16}
    assert facts.limits.quality_floor == 0.5
    assert facts.models == ("large", "small")


def test_only_usable_devices_count_and_nodes_stay_apart(sqlite_uow: UnitOfWorkFactory) -> None:
    fill(sqlite_uow)
    with sqlite_uow() as work:
        work.devices.upsert([device(7, node="other"), device(8, node="other", note="MIG is on")])
        work.devices.set_enabled("host/cpu-core/0", enabled=False)
        work.commit()
    facts = planning.load_facts(sqlite_uow, "w", Limits(), NOW)
    assert sorted(facts.devices_per_node["cpu-core"]) == [1, 2]


def test_the_price_in_force_at_that_moment_is_used(sqlite_uow: UnitOfWorkFactory) -> None:
    fill(sqlite_uow)
    later = NOW + timedelta(days=1)
    with sqlite_uow() as work:
        work.prices.add(Price("cpu-core", 0.08, later))
        work.commit()
    now = planning.load_facts(sqlite_uow, "w", Limits(), NOW)
    then = planning.load_facts(sqlite_uow, "w", Limits(), later)
    assert now.price_usd_per_hour["cpu-core"] == 0.04
    assert then.price_usd_per_hour["cpu-core"] == 0.08


def test_a_model_that_was_not_scored_is_left_out(sqlite_uow: UnitOfWorkFactory) -> None:
    facts = two_models(devices=3)
    known = {k: v for k, v in facts.quality.items() if k != ("small", "hard")}
    fill(sqlite_uow, replace(facts, quality=known))
    assert set(planning.load_facts(sqlite_uow, "w", Limits(), NOW).profiles) == {LARGE}


def test_what_is_missing_is_named_with_the_page_to_go_to(sqlite_uow: UnitOfWorkFactory) -> None:
    with pytest.raises(NotFound, match="no such workload"):
        planning.load_facts(sqlite_uow, "w", Limits(), NOW)
    facts = two_models(devices=3)
    fill(sqlite_uow, replace(facts, profiles={}, quality={}), price=False)
    with pytest.raises(NotReady, match=r"No model was profiled on cpu-core.*Models & profiling"):
        planning.load_facts(sqlite_uow, "w", Limits(), NOW)
    fill(sqlite_uow, replace(facts, quality={}), price=False)
    with pytest.raises(NotReady, match=r"large lacks easy, hard, medium.*Workload & quality"):
        planning.load_facts(sqlite_uow, "w", Limits(), NOW)
    fill(sqlite_uow, facts, price=False)
    with pytest.raises(NotReady, match=r"No price for cpu-core\. Set one on the Inventory page\."):
        planning.load_facts(sqlite_uow, "w", Limits(), NOW)
    with sqlite_uow() as work:
        for i in range(3):
            work.devices.set_enabled(f"host/cpu-core/{i}", enabled=False)
        work.commit()
    with pytest.raises(NotReady, match="no usable device"):
        planning.load_facts(sqlite_uow, "w", Limits(), NOW)


def test_a_study_is_stored_with_its_job(sqlite_uow: UnitOfWorkFactory) -> None:
    fill(sqlite_uow)
    made = studies.create_study(sqlite_uow, " ", "w", Limits(0.8), NOW, live_evaluations=2)
    assert studies.studies(sqlite_uow) == [made]
    assert studies.study(sqlite_uow, made.study_id).state is StudyState.RUNNING
    assert studies.trials(sqlite_uow, made.study_id) == []
    assert studies.front(sqlite_uow, made.study_id) == []
    with sqlite_uow() as work:
        (job,) = work.jobs.all()
    assert job.kind is JobKind.OPTIMISE
    assert job.params == {"study_id": made.study_id, "live_evaluations": 2}


@pytest.mark.parametrize(
    ("limits", "live"),
    [
        (Limits(quality_floor=-0.1), 0),
        (Limits(quality_floor=1.1), 0),
        (Limits(quality_floor=float("nan")), 0),
        (Limits(budget_usd_per_hour=0.0), 0),
        (Limits(budget_usd_per_hour=float("inf")), 0),
        (Limits(sla_p95_e2e_s=-1.0), 0),
        (Limits(max_utilisation=1.0), 0),
        (Limits(), -1),
        (Limits(), 10_000),
    ],
)
def test_limits_without_sense_are_refused(
    sqlite_uow: UnitOfWorkFactory, limits: Limits, live: int
) -> None:
    fill(sqlite_uow)
    with pytest.raises(InvalidInput):
        studies.create_study(sqlite_uow, "s", "w", limits, NOW, live_evaluations=live)
    assert studies.studies(sqlite_uow) == []


def test_a_study_that_cannot_run_is_not_stored(sqlite_uow: UnitOfWorkFactory) -> None:
    fill(sqlite_uow, price=False)
    with pytest.raises(NotReady, match="No price"):
        studies.create_study(sqlite_uow, "s", "w", Limits(), NOW)
    with sqlite_uow() as work:
        assert work.jobs.all() == []
        assert work.studies.all() == []


def test_a_study_ends_with_its_job_even_when_that_was_killed(
    sqlite_uow: UnitOfWorkFactory,
) -> None:
    fill(sqlite_uow)
    one = studies.create_study(sqlite_uow, "one", "w", Limits(), NOW)
    two = studies.create_study(sqlite_uow, "two", "w", Limits(), NOW)
    with sqlite_uow() as work:
        jobs = {job.params["study_id"]: job for job in work.jobs.all()}
        failed = {"message": "The job's process died.", "hint": "See its log.", "finished_at": NOW}
        job_id = jobs[two.study_id].job_id
        work.jobs.transition(job_id, [JobState.QUEUED], JobState.FAILED, failed)
        work.commit()
    cancel(sqlite_uow, jobs[one.study_id].job_id)
    assert studies.study(sqlite_uow, one.study_id).state is StudyState.CANCELLED
    ended = studies.study(sqlite_uow, two.study_id)
    assert ended.state is StudyState.FAILED
    assert ended.message == "The job's process died. See its log."


def test_an_unknown_study_is_not_found(sqlite_uow: UnitOfWorkFactory) -> None:
    with pytest.raises(NotFound, match="no such study"):
        studies.study(sqlite_uow, "nothing")
