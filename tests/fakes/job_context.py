"""What a job's step sees, with replicas that run already."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from core.domain.deployment import Replica, ReplicaState, job_owner
from core.domain.ids import new_id, utc_now
from core.domain.job import Job, JobKind, JobState
from core.domain.plan import ReplicaKind
from core.errors import Cancelled, EngineFailed
from core.ports import UnitOfWork, UnitOfWorkFactory

STARTUP_S = 12.0
MEMORY_BYTES = 700_000_000


def running_job(kind: JobKind, params: Mapping[str, Any]) -> Job:
    now = utc_now()
    return Job(new_id(), kind, f"{kind} of a test", dict(params), JobState.RUNNING, now)


class RunningReplicas:
    """A `JobContext` whose replicas of a model are the servers at given addresses.

    Args:
        job: The job; nothing of it is stored.
        uow: Opens one transaction.
        servers: Base URLs per model; more replicas than servers cannot be had.
        cancel_after: Reports of progress after which the operator cancels; None for never.

    Attributes:
        reports: Fractions and messages reported.
    """

    def __init__(
        self,
        job: Job,
        uow: UnitOfWorkFactory,
        servers: Mapping[str, list[str]],
        cancel_after: int | None = None,
    ) -> None:
        self.job = job
        self.uow = uow
        self.cancel_after = cancel_after
        self.reports: list[tuple[float, str]] = []
        self._servers = servers

    def progress(self, fraction: float, message: str) -> None:
        self.reports.append((fraction, message))
        if self.cancel_after is not None and len(self.reports) > self.cancel_after:
            raise Cancelled("Cancelled by the operator.")

    def replicas(self, kinds: Mapping[ReplicaKind, int]) -> list[Replica]:
        with self.uow() as work:
            mine = self._wanted(work)
            for kind, count in kinds.items():
                have = [r for r in mine if r.kind == kind]
                urls = self._servers.get(kind.model, [])
                if len(urls) < count:
                    raise EngineFailed(f"{kind.label} did not start.", "See its log.")
                for url in urls[len(have) : count]:
                    work.replicas.add(self._ready(kind, url))
            work.commit()
            mine = self._wanted(work)
        return [r for kind in kinds for r in mine if r.kind == kind]

    def _wanted(self, work: UnitOfWork) -> list[Replica]:
        owned = work.replicas.by_owner(job_owner(self.job.job_id))
        mine = [replica for replica in owned if replica.wanted]
        dead = next((r for r in mine if r.state is ReplicaState.FAILED), None)
        if dead:
            raise EngineFailed(f"A replica of {dead.kind.label} failed.", "See its log.")
        return mine

    def _ready(self, kind: ReplicaKind, url: str) -> Replica:
        now = utc_now()
        return Replica(
            replica_id=new_id(),
            owner=job_owner(self.job.job_id),
            kind=kind,
            wanted=True,
            state=ReplicaState.READY,
            created_at=now,
            port=urlsplit(url).port,
            started_at=now - timedelta(seconds=STARTUP_S),
            ready_at=now,
            memory_bytes=MEMORY_BYTES,
            engine="stub 1.0",
        )
