"""Replicas, jobs."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement
from sqlalchemy.orm import Session

from core.domain.deployment import LIVE_STATES, Replica, ReplicaState
from core.domain.job import ACTIVE_JOB_STATES, Job, JobState
from db.mapping import Mapper
from db.models import JobRow, ReplicaRow
from db.repositories.base import Table, values_of

REPLICAS = Mapper(Replica, ReplicaRow, "kind", "device_ids")
JOBS = Mapper(Job, JobRow, "params", "result")
UNFINISHED = values_of([ReplicaState.PENDING, *LIVE_STATES])
ACTIVE = values_of(ACTIVE_JOB_STATES)


class SqlReplicas:
    """`ReplicaRepository` in SQL."""

    def __init__(self, session: Session) -> None:
        self._table = Table(session, REPLICAS)
        self._oldest = (ReplicaRow.created_at, ReplicaRow.replica_id)

    def add(self, replica: Replica) -> None:
        """Append a replica."""
        self._table.insert([replica])

    def get(self, replica_id: str) -> Replica | None:
        """Return one replica."""
        return self._table.one(self._table.query().where(ReplicaRow.replica_id == replica_id))

    def all(self) -> list[Replica]:
        """Return every replica, newest first."""
        order = (ReplicaRow.created_at.desc(), ReplicaRow.replica_id)
        return self._table.many(self._table.query().order_by(*order))

    def unfinished(self) -> list[Replica]:
        """Return replicas that are neither stopped nor failed, oldest first."""
        unfinished = self._table.query().where(ReplicaRow.state.in_(UNFINISHED))
        return self._table.many(unfinished.order_by(*self._oldest))

    def by_owner(self, owner: str) -> list[Replica]:
        """Return the replicas of an owner, oldest first."""
        owned = self._table.query().where(ReplicaRow.owner == owner)
        return self._table.many(owned.order_by(*self._oldest))

    def set_wanted(self, replica_id: str, wanted: bool) -> bool:
        """Mark as wanted or not."""
        return self._table.change([ReplicaRow.replica_id == replica_id], {"wanted": wanted})

    def change_owner(self, replica_id: str, from_owner: str, to_owner: str) -> bool:
        """Hand a live replica over, if it still is its old owner's and ready."""
        where = [
            ReplicaRow.replica_id == replica_id,
            ReplicaRow.owner == from_owner,
            ReplicaRow.state.in_(values_of([ReplicaState.STARTING, ReplicaState.READY])),
        ]
        return self._table.change(where, {"owner": to_owner, "wanted": True})

    def transition(
        self,
        replica_id: str,
        from_states: Sequence[ReplicaState],
        to: ReplicaState,
        changes: Mapping[str, Any] | None = None,
    ) -> bool:
        """Change state and fields by one conditional update."""
        where: list[ColumnElement[bool]] = [
            ReplicaRow.replica_id == replica_id,
            ReplicaRow.state.in_(values_of(from_states)),
        ]
        return self._table.change(where, {**(changes or {}), "state": to})


class SqlJobs:
    """`JobRepository` in SQL."""

    def __init__(self, session: Session) -> None:
        self._table = Table(session, JOBS)

    def add(self, job: Job) -> None:
        """Append a job."""
        self._table.insert([job])

    def get(self, job_id: str) -> Job | None:
        """Return one job."""
        return self._table.one(self._table.query().where(JobRow.job_id == job_id))

    def all(self, limit: int = 200) -> list[Job]:
        """Return the newest jobs, newest first."""
        newest = self._table.query().order_by(JobRow.sequence.desc())
        return self._table.many(newest.limit(limit))

    def active(self) -> list[Job]:
        """Return queued and running jobs, oldest first."""
        active = self._table.query().where(JobRow.state.in_(ACTIVE))
        return self._table.many(active.order_by(JobRow.sequence))

    def transition(
        self,
        job_id: str,
        from_states: Sequence[JobState],
        to: JobState,
        changes: Mapping[str, Any] | None = None,
    ) -> bool:
        """Change state and fields by one conditional update."""
        where: list[ColumnElement[bool]] = [
            JobRow.job_id == job_id,
            JobRow.state.in_(values_of(from_states)),
        ]
        return self._table.change(where, {**(changes or {}), "state": to})

    def report(self, job_id: str, progress: float, message: str, at: datetime) -> bool:
        """Store progress and heartbeat of a running job."""
        where = [JobRow.job_id == job_id, JobRow.state == JobState.RUNNING.value]
        changes = {"progress": progress, "message": message, "heartbeat_at": at}
        return self._table.change(where, changes)

    def request_cancel(self, job_id: str) -> bool:
        """Ask an active job to stop."""
        where = [JobRow.job_id == job_id, JobRow.state.in_(ACTIVE)]
        return self._table.change(where, {"cancel_requested": True})
