"""Use cases of jobs: ask for long work, watch it, stop it."""

from datetime import datetime
from typing import Any

from core.domain.ids import new_id, utc_now
from core.domain.job import Job, JobKind, JobState
from core.errors import Conflict, NotFound
from core.ports import UnitOfWork, UnitOfWorkFactory


def new_job(
    kind: JobKind, title: str, params: dict[str, Any], now: datetime, group_id: str | None = None
) -> Job:
    """Return a queued job that is not stored yet."""
    return Job(
        job_id=new_id(),
        kind=kind,
        title=title,
        params=params,
        state=JobState.QUEUED,
        created_at=now,
        group_id=group_id,
        message="Waiting for its turn",
    )


def enqueue(
    uow: UnitOfWorkFactory,
    kind: JobKind,
    title: str,
    params: dict[str, Any],
    now: datetime,
    group_id: str | None = None,
) -> Job:
    """Store a job for the controller to run."""
    job = new_job(kind, title, params, now, group_id)
    with uow() as work:
        work.jobs.add(job)
        work.commit()
    return job


def cancel(uow: UnitOfWorkFactory, job_id: str) -> None:
    """Stop a job: at once when it only waits, within seconds when it runs.

    Raises:
        Conflict: It is over already.
    """
    with uow() as work:
        ended = {"message": "Cancelled before it started", "finished_at": utc_now()}
        waiting = work.jobs.transition(job_id, [JobState.QUEUED], JobState.CANCELLED, ended)
        if not waiting and not work.jobs.request_cancel(job_id):
            raise Conflict("This job is over already.", "Reload the page.")
        work.commit()


def jobs(uow: UnitOfWorkFactory, limit: int = 200) -> list[Job]:
    """Return the newest jobs."""
    with uow() as work:
        return work.jobs.all(limit)


def get(uow: UnitOfWorkFactory, job_id: str) -> Job:
    """Return one job.

    Raises:
        NotFound: There is no such job.
    """
    with uow() as work:
        return _require(work, job_id)


def retry(uow: UnitOfWorkFactory, job_id: str, now: datetime) -> Job:
    """Enqueue a finished job's work again as a new job.

    Raises:
        NotFound: There is no such job.
        Conflict: It is still active.
    """
    with uow() as work:
        old = _require(work, job_id)
        if old.active:
            raise Conflict("This job is still active.", "Cancel it first.")
        job = new_job(old.kind, old.title, dict(old.params), now)
        work.jobs.add(job)
        work.commit()
    return job


def _require(work: UnitOfWork, job_id: str) -> Job:
    job = work.jobs.get(job_id)
    if job is None:
        raise NotFound("There is no such job.", "Reload the page.")
    return job
