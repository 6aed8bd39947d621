"""What a job's step sees of the world, inside its child process."""

import time
from collections import Counter
from collections.abc import Mapping

from core.domain.deployment import Replica, ReplicaState, job_owner
from core.domain.ids import new_id, utc_now
from core.domain.job import Job
from core.domain.plan import ReplicaKind
from core.errors import Cancelled, EngineFailed, NotReady
from core.ports import UnitOfWork, UnitOfWorkFactory

POLL_S = 0.3
DEVICE_WAIT_S = 60.0


class ChildJobContext:
    """The `JobContext` of the real controller: everything goes through the database."""

    def __init__(self, job: Job, uow: UnitOfWorkFactory) -> None:
        self._job = job
        self._uow = uow
        self._fraction = job.progress
        self._forget_failed()

    @property
    def job(self) -> Job:
        """The job as it was when the step began."""
        return self._job

    @property
    def uow(self) -> UnitOfWorkFactory:
        """Opens one transaction."""
        return self._uow

    def progress(self, fraction: float, message: str) -> None:
        """Store progress and stop if the operator asked for it."""
        self._fraction = fraction
        with self._uow() as work:
            work.jobs.report(self._job.job_id, fraction, message, utc_now())
            work.commit()
            job = work.jobs.get(self._job.job_id)
        if job is None or job.cancel_requested:
            raise Cancelled("Cancelled by the operator.")

    def replicas(self, kinds: Mapping[ReplicaKind, int]) -> list[Replica]:
        """Have exactly these replicas, ready; see `JobContext`."""
        with self._uow() as work:
            self._want(work, kinds)
            work.commit()
        began = time.monotonic()
        while True:
            mine = self._mine()
            failed = next((r for r in mine if r.state is ReplicaState.FAILED), None)
            if failed:
                raise EngineFailed(
                    f"A replica of {failed.kind.label} failed: {failed.message}",
                    "The log named above tells why; mend the model or its limits, then retry.",
                )
            if all(r.state is ReplicaState.READY for r in mine):
                return mine
            waited_s = time.monotonic() - began
            self._complain_if_no_device(mine, waited_s)
            self.progress(self._fraction, _waiting_text(mine, waited_s))
            time.sleep(POLL_S)

    def _mine(self) -> list[Replica]:
        with self._uow() as work:
            return [r for r in work.replicas.by_owner(job_owner(self._job.job_id)) if r.wanted]

    def _want(self, work: UnitOfWork, kinds: Mapping[ReplicaKind, int]) -> None:
        have = [r for r in work.replicas.by_owner(job_owner(self._job.job_id)) if r.wanted]
        missing = Counter(dict(kinds))
        for replica in have:
            if missing[replica.kind] > 0:
                missing[replica.kind] -= 1
            else:
                work.replicas.set_wanted(replica.replica_id, False)
        for kind in missing.elements():
            if not self._take_over(work, kind):
                work.replicas.add(self._new_replica(kind))

    def _take_over(self, work: UnitOfWork, kind: ReplicaKind) -> bool:
        """Adopt a ready replica that an ended job left behind: saves a start."""
        owner = job_owner(self._job.job_id)
        left = [
            r
            for r in work.replicas.unfinished()
            if r.kind == kind
            and not r.wanted
            and r.state is ReplicaState.READY
            and r.owner.startswith("job:")
        ]
        return any(work.replicas.change_owner(r.replica_id, r.owner, owner) for r in left)

    def _new_replica(self, kind: ReplicaKind) -> Replica:
        return Replica(
            replica_id=new_id(),
            owner=job_owner(self._job.job_id),
            kind=kind,
            wanted=True,
            state=ReplicaState.PENDING,
            created_at=utc_now(),
        )

    def _forget_failed(self) -> None:
        """Replicas that failed before this step began must not fail it again."""
        with self._uow() as work:
            for replica in work.replicas.by_owner(job_owner(self._job.job_id)):
                if replica.state is ReplicaState.FAILED and replica.wanted:
                    work.replicas.set_wanted(replica.replica_id, False)
            work.commit()

    def _complain_if_no_device(self, mine: list[Replica], waited_s: float) -> None:
        pending = next((r for r in mine if r.state is ReplicaState.PENDING), None)
        if pending is None or waited_s < DEVICE_WAIT_S:
            return
        raise NotReady(
            f"No free device for {pending.kind.label} after {waited_s:.0f} s. {pending.message}",
            "Stop the deployment on the Deploy page, or enable devices on Inventory; then retry.",
        )


def _waiting_text(mine: list[Replica], waited_s: float) -> str:
    waiting = next(r for r in mine if r.state is not ReplicaState.READY)
    if waiting.state is ReplicaState.PENDING:
        return waiting.message or f"Waiting for a free device for {waiting.kind.label}"
    return f"Starting vLLM with {waiting.kind.label} ({waited_s:.0f} s, usually under a minute)"
