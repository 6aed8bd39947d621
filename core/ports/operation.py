"""Ports to what runs: deployments, replicas, jobs, requests, tenants."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

from core.domain.deployment import Deployment, DeploymentState, Replica, ReplicaState
from core.domain.guard import Answered
from core.domain.job import Job, JobState
from core.domain.tenant import ApiKey, Tenant, Usage
from core.domain.traffic import RequestRecord


class DeploymentRepository(Protocol):
    """Deployments; at most one is rolling or active besides the one it replaces."""

    def add(self, deployment: Deployment) -> None:
        """Append a deployment."""

    def get(self, deployment_id: str) -> Deployment | None:
        """Return one deployment."""

    def all(self) -> list[Deployment]:
        """Return every deployment, newest first."""

    def current(self) -> Deployment | None:
        """Return the newest that is rolling or active: the desired plan."""

    def active(self) -> Deployment | None:
        """Return the newest active one: the plan the gateway routes by."""

    def transition(
        self,
        deployment_id: str,
        from_states: Sequence[DeploymentState],
        to: DeploymentState,
        at: datetime,
        message: str = "",
    ) -> bool:
        """Change state if it is in one of `from_states`; sets `active_at` or `ended_at`."""


class ReplicaRepository(Protocol):
    """Replicas, wanted and observed."""

    def add(self, replica: Replica) -> None:
        """Append a replica."""

    def get(self, replica_id: str) -> Replica | None:
        """Return one replica."""

    def all(self) -> list[Replica]:
        """Return every replica, newest first, stopped ones included (they are the meter)."""

    def unfinished(self) -> list[Replica]:
        """Return replicas that are neither stopped nor failed, oldest first."""

    def by_owner(self, owner: str) -> list[Replica]:
        """Return the replicas of an owner, oldest first."""

    def set_wanted(self, replica_id: str, wanted: bool) -> bool:
        """Mark as wanted or not; False when there is no such replica."""

    def change_owner(self, replica_id: str, from_owner: str, to_owner: str) -> bool:
        """Hand a live replica to another owner, wanted again; False when somebody was faster."""

    def transition(
        self,
        replica_id: str,
        from_states: Sequence[ReplicaState],
        to: ReplicaState,
        changes: Mapping[str, Any] | None = None,
    ) -> bool:
        """Change state, and other fields named as in `Replica`, if in one of `from_states`."""


class JobRepository(Protocol):
    """Jobs."""

    def add(self, job: Job) -> None:
        """Append a job."""

    def get(self, job_id: str) -> Job | None:
        """Return one job."""

    def all(self, limit: int = 200) -> list[Job]:
        """Return the newest jobs."""

    def active(self) -> list[Job]:
        """Return queued and running jobs, oldest first."""

    def transition(
        self,
        job_id: str,
        from_states: Sequence[JobState],
        to: JobState,
        changes: Mapping[str, Any] | None = None,
    ) -> bool:
        """Change state, and other fields named as in `Job`, if in one of `from_states`."""

    def report(self, job_id: str, progress: float, message: str, at: datetime) -> bool:
        """Store progress and heartbeat of a running job; False when it is not running."""

    def request_cancel(self, job_id: str) -> bool:
        """Ask an active job to stop; False when it is not active."""


class RequestRepository(Protocol):
    """Request records of the gateway."""

    def add(self, records: Sequence[RequestRecord]) -> None:
        """Append a batch and count it as usage; what is stored already (same id) stays."""

    def between(self, start: datetime, end: datetime, limit: int = 100_000) -> list[RequestRecord]:
        """Return records with start <= at < end, oldest first."""

    def latest(self, limit: int = 50) -> list[RequestRecord]:
        """Return the newest records, newest first."""

    def answered(self, plan_id: str, since: datetime, longer_than_s: float | None) -> Answered:
        """Count how requests by a plan fared that arrived at or after a moment.

        Args:
            longer_than_s: Whole answers that took longer are slow; None calls none slow.
        """

    def totals_by_day(self) -> list["RequestTotals"]:
        """Return counts and tokens per UTC day and model, answered requests only; what was pruned
        still counts.
        """

    def prune(self, before: datetime, limit: int) -> int:
        """Remove at most `limit` of the oldest records before a moment; returns how many."""


class RequestTotals(Protocol):
    """Sums over the answered requests of one UTC day and model."""

    @property
    def day(self) -> str:
        """UTC day, ISO format."""

    @property
    def model(self) -> str:
        """Model that answered."""

    @property
    def requests(self) -> int:
        """Answered requests."""

    @property
    def input_tokens(self) -> int:
        """Prompt tokens."""

    @property
    def output_tokens(self) -> int:
        """Answer tokens."""


class TenantRepository(Protocol):
    """Tenants, keyed by id; names are unique."""

    def save(self, tenant: Tenant) -> None:
        """Insert or replace.

        Raises:
            Conflict: Another tenant has the name (some databases say so when the unit is left).
        """

    def get(self, tenant_id: str) -> Tenant | None:
        """Return one tenant."""

    def all(self) -> list[Tenant]:
        """Return every tenant by name."""


class KeyRepository(Protocol):
    """API keys, keyed by id; digests are unique."""

    def add(self, key: ApiKey) -> None:
        """Append a key of a known tenant."""

    def all(self) -> list[ApiKey]:
        """Return every key, revoked ones included, oldest first."""

    def revoke(self, key_id: str, at: datetime) -> bool:
        """Stop a working key; False when there is none."""


class UsageRepository(Protocol):
    """What keys used per day and model: counted by `RequestRepository.add`, never pruned."""

    def since(self, day: str, key_id: str | None = None) -> list[Usage]:
        """Return usage from a UTC day (ISO format) on, by day, tenant, key and model.

        Args:
            key_id: Of this key only; None means of all.
        """

    def cost_by_tenant(self, since_day: str) -> dict[str, float]:
        """Return the cost from a UTC day on, $, of each tenant that has any."""
