"""Replicas, jobs, request records."""

from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from core.domain.deployment import SERVING, ReplicaState
from core.domain.guard import Answered
from core.domain.job import JobState
from core.errors import Conflict
from core.ports import UnitOfWorkFactory
from tests.contract import samples

PENDING, STARTING, READY = ReplicaState.PENDING, ReplicaState.STARTING, ReplicaState.READY
DRAINING, STOPPED, FAILED = ReplicaState.DRAINING, ReplicaState.STOPPED, ReplicaState.FAILED
QUEUED, RUNNING, SUCCEEDED = JobState.QUEUED, JobState.RUNNING, JobState.SUCCEEDED
CANCELLED = JobState.CANCELLED


def test_replicas_are_listed_by_age_owner_and_state(any_uow: UnitOfWorkFactory) -> None:
    old = samples.replica("a", 0, state=DRAINING, wanted=False)
    ended = [samples.replica("b", 1, state=STOPPED), samples.replica("c", 2, state=FAILED)]
    new = samples.replica("d", 3, owner=SERVING, state=READY)
    newest = samples.replica("e", 4)
    with any_uow() as work:
        for replica in (new, *ended, newest, old):
            work.replicas.add(replica)
        work.commit()
    with any_uow() as work:
        assert work.replicas.all() == [newest, new, ended[1], ended[0], old]
        assert work.replicas.unfinished() == [old, new, newest]
        assert work.replicas.by_owner("job:j1") == [old, *ended, newest]
        assert work.replicas.by_owner("job:j2") == []
        assert work.replicas.get("d") == new
        assert work.replicas.get("z") is None


def test_a_replica_starts_with_all_its_facts(any_uow: UnitOfWorkFactory) -> None:
    facts: dict[str, Any] = {
        "device_ids": ("node0/cpu/0", "node0/cpu/1"),
        "port": 8801,
        "pid": 4_000_000,
        "process_started_at": 1_790_000_000.123456,
        "log_path": "/logs/r1.log",
        "started_at": samples.later(1),
        "memory_bytes": 80 * 2**30,
        "restarts": 1,
    }
    with any_uow() as work:
        work.replicas.add(samples.replica())
        assert work.replicas.transition("r1", [PENDING], STARTING, facts)
        work.commit()
    with any_uow() as work:
        assert work.replicas.get("r1") == samples.replica(state=STARTING, **facts)


def test_only_the_first_of_two_moves_a_replica(any_uow: UnitOfWorkFactory) -> None:
    with any_uow() as work:
        work.replicas.add(samples.replica())
        work.commit()
    with any_uow() as first, any_uow() as second:
        assert second.replicas.get("r1") == samples.replica()
        assert first.replicas.transition("r1", [PENDING], STARTING, {"port": 1})
        first.commit()
        assert not second.replicas.transition("r1", [PENDING], STARTING, {"port": 2})
        found = second.replicas.get("r1")
    assert found is not None
    assert found.port == 1


def test_a_live_replica_goes_to_one_new_owner(any_uow: UnitOfWorkFactory) -> None:
    with any_uow() as work:
        work.replicas.add(samples.replica(state=READY, wanted=False))
        work.commit()
    with any_uow() as work:
        assert work.replicas.change_owner("r1", "job:j1", SERVING)
        assert not work.replicas.change_owner("r1", "job:j1", "job:j2")
        work.commit()
    with any_uow() as work:
        assert work.replicas.get("r1") == samples.replica(state=READY, owner=SERVING, wanted=True)


@pytest.mark.parametrize("state", [PENDING, DRAINING, STOPPED, FAILED])
def test_a_replica_that_does_not_serve_is_not_handed_over(
    any_uow: UnitOfWorkFactory, state: ReplicaState
) -> None:
    with any_uow() as work:
        work.replicas.add(samples.replica(state=state))
        assert not work.replicas.change_owner("r1", "job:j1", SERVING)
        assert work.replicas.get("r1") == samples.replica(state=state)


def test_wanting_a_replica(any_uow: UnitOfWorkFactory) -> None:
    with any_uow() as work:
        work.replicas.add(samples.replica())
        assert work.replicas.set_wanted("r1", False)
        assert not work.replicas.set_wanted("r2", False)
        assert work.replicas.get("r1") == samples.replica(wanted=False)


def test_unknown_fields_are_refused(any_uow: UnitOfWorkFactory) -> None:
    with any_uow() as work:
        work.replicas.add(samples.replica())
        with pytest.raises(ValueError, match="colour"):
            work.replicas.transition("r1", [PENDING], STARTING, {"colour": "red"})


def test_jobs_of_one_click_keep_their_order(any_uow: UnitOfWorkFactory) -> None:
    ids = ["z", "m", "a"]
    with any_uow() as work:
        for job_id in ids:
            work.jobs.add(samples.job(job_id, group_id="g"))
        work.jobs.add(samples.job("done", state=SUCCEEDED))
        work.commit()
    with any_uow() as work:
        assert [job.job_id for job in work.jobs.all()] == ["done", "a", "m", "z"]
        assert [job.job_id for job in work.jobs.all(limit=2)] == ["done", "a"]
        assert [job.job_id for job in work.jobs.active()] == ids
        assert work.jobs.get("z") == samples.job("z", group_id="g")
        assert work.jobs.get("q") is None


def test_a_job_is_claimed_once(any_uow: UnitOfWorkFactory) -> None:
    with any_uow() as work:
        work.jobs.add(samples.job())
        work.commit()
    with any_uow() as first, any_uow() as second:
        assert [job.job_id for job in second.jobs.active()] == ["j1"]
        assert first.jobs.transition("j1", [QUEUED], RUNNING, {"started_at": samples.later(1)})
        first.commit()
        assert not second.jobs.transition("j1", [QUEUED], CANCELLED)
    with any_uow() as work:
        running = samples.job(state=RUNNING, started_at=samples.later(1))
        assert work.jobs.get("j1") == running


def test_only_a_running_job_reports(any_uow: UnitOfWorkFactory) -> None:
    with any_uow() as work:
        work.jobs.add(samples.job())
        assert not work.jobs.report("j1", 0.5, "half", samples.NOW)
        work.jobs.transition("j1", [QUEUED], RUNNING)
        assert work.jobs.report("j1", 0.5, "half", samples.later(1))
        assert work.jobs.get("j1") == samples.job(
            state=RUNNING, progress=0.5, message="half", heartbeat_at=samples.later(1)
        )
        work.jobs.transition("j1", [RUNNING], SUCCEEDED, {"result": {"levels": 3}})
        assert not work.jobs.report("j1", 0.9, "late", samples.later(2))
        found = work.jobs.get("j1")
        assert found is not None
        assert (found.progress, found.result) == (0.5, {"levels": 3})


def test_only_an_active_job_is_asked_to_stop(any_uow: UnitOfWorkFactory) -> None:
    with any_uow() as work:
        work.jobs.add(samples.job("a"))
        work.jobs.add(samples.job("b", state=RUNNING))
        work.jobs.add(samples.job("c", state=CANCELLED))
        asked = {job_id: work.jobs.request_cancel(job_id) for job_id in "abcd"}
        assert asked == {"a": True, "b": True, "c": False, "d": False}
        assert work.jobs.get("a") == samples.job("a", cancel_requested=True)


def test_a_job_is_added_once(any_uow: UnitOfWorkFactory) -> None:
    with any_uow() as work:
        work.jobs.add(samples.job())
        work.commit()
    with pytest.raises(Conflict), any_uow() as work:
        work.jobs.add(samples.job(title="again"))
    with any_uow() as work:
        assert work.jobs.all() == [samples.job()]


def test_what_comes_out_cannot_change_what_is_in(any_uow: UnitOfWorkFactory) -> None:
    job = samples.job()
    with any_uow() as work:
        work.jobs.add(job)
        job.params["model"] = "changed"
        found = work.jobs.get("j1")
        assert found == samples.job()
        found.params["model"] = "changed"
        assert work.jobs.get("j1") == samples.job()


def test_a_batch_sent_twice_is_stored_once(any_uow: UnitOfWorkFactory) -> None:
    first, second = samples.request("a", 1), samples.request("b", 2)
    with any_uow() as work:
        work.requests.add([first])
        work.requests.add([])
        work.commit()
    with any_uow() as work:
        work.requests.add([replace(first, status=500), second, replace(second, status=500)])
        work.commit()
    with any_uow() as work:
        assert work.requests.latest() == [second, first]


def test_requests_between_two_moments(any_uow: UnitOfWorkFactory) -> None:
    records = [
        samples.request(name, minute) for name, minute in zip("abcd", range(4), strict=True)
    ]
    with any_uow() as work:
        work.requests.add(records[::-1])
        assert work.requests.between(samples.later(1), samples.later(3)) == records[1:3]
        assert work.requests.between(samples.later(0), samples.later(9), 2) == records[:2]
        assert work.requests.latest(2) == [records[3], records[2]]


def test_moments_in_any_zone_mean_the_same(any_uow: UnitOfWorkFactory) -> None:
    tokyo = timezone(timedelta(hours=9))
    record = samples.request(at=samples.NOW.astimezone(tokyo))
    with any_uow() as work:
        work.requests.add([record])
        found = work.requests.between(samples.NOW.astimezone(tokyo), samples.later(1))
    assert found == [samples.request()]
    assert found[0].at.tzinfo is not None


def test_totals_count_answered_requests_by_utc_day(any_uow: UnitOfWorkFactory) -> None:
    new_york = timezone(timedelta(hours=-5))
    evening = datetime(2026, 3, 1, 21, 0, tzinfo=new_york)  # 2 March in UTC
    records = [
        samples.request("a"),
        samples.request("b", output_tokens=None, input_tokens=None),
        samples.request("c", model="large"),
        samples.request("d", at=evening),
        samples.request("e", status=503, model=""),
        samples.request("f", status=500),
    ]
    with any_uow() as work:
        work.requests.add(records)
        totals = work.requests.totals_by_day()
    assert [(t.day, t.model, t.requests, t.input_tokens, t.output_tokens) for t in totals] == [
        ("2026-03-01", "large", 1, 18, 24),
        ("2026-03-01", "small", 2, 18, 24),
        ("2026-03-02", "small", 1, 18, 24),
    ]


def test_how_requests_by_a_plan_fared(any_uow: UnitOfWorkFactory) -> None:
    sent = [
        samples.request("old", -5, status=502),
        samples.request("fast", 0, e2e_ms=999.0),
        samples.request("slow", 1, e2e_ms=1001.0),
        samples.request("slow-and-failed", 1, e2e_ms=5000.0, status=502),
        samples.request("refused", 1, status=429),
        samples.request("other", 1, plan_id="another", status=503),
    ]
    with any_uow() as work:
        work.requests.add(sent)
        work.commit()
    with any_uow() as work:
        assert work.requests.answered("plan", samples.NOW, 1.0) == Answered(2, 1, 1)
        assert work.requests.answered("plan", samples.NOW, None) == Answered(2, 1, 0)
        assert work.requests.answered("none", samples.NOW, 1.0) == Answered(0, 0, 0)


def test_no_requests_no_totals(any_uow: UnitOfWorkFactory) -> None:
    with any_uow() as work:
        assert work.requests.totals_by_day() == []
        assert work.requests.latest() == []
