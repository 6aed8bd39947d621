"""Repositories in memory: what runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from core.domain.deployment import LIVE_STATES, Deployment, DeploymentState, Replica, ReplicaState
from core.domain.guard import Answered
from core.domain.job import Job, JobState
from core.domain.tenant import ApiKey, Tenant, Usage, utc_day
from core.domain.traffic import RequestRecord
from core.errors import Conflict
from core.ports import RequestTotals
from tests.fakes.memory_store import Table, Transaction, newest_first

WANTED = (DeploymentState.ROLLING, DeploymentState.ACTIVE)
UNFINISHED = (ReplicaState.PENDING, *LIVE_STATES)


class MemoryDeployments:
    def __init__(self, transaction: Transaction) -> None:
        self._table = Table(transaction, "deployments", lambda d: d.deployment_id)

    def add(self, deployment: Deployment) -> None:
        self._table.add(deployment)

    def get(self, deployment_id: str) -> Deployment | None:
        found: Deployment | None = self._table.get(deployment_id)
        return found

    def all(self) -> list[Deployment]:
        return newest_first(self._table.all(), "created_at", "deployment_id")

    def current(self) -> Deployment | None:
        return next((d for d in self.all() if d.state in WANTED), None)

    def active(self) -> Deployment | None:
        return next((d for d in self.all() if d.state is DeploymentState.ACTIVE), None)

    def transition(
        self,
        deployment_id: str,
        from_states: Sequence[DeploymentState],
        to: DeploymentState,
        at: datetime,
        message: str = "",
    ) -> bool:
        changes: dict[str, Any] = {"state": to, "message": message}
        if to is DeploymentState.ACTIVE:
            changes["active_at"] = at
        elif to not in WANTED:
            changes["ended_at"] = at
        return self._table.change(deployment_id, lambda d: d.state in from_states, changes)


class MemoryReplicas:
    def __init__(self, transaction: Transaction) -> None:
        self._table = Table(transaction, "replicas", lambda r: r.replica_id)

    def add(self, replica: Replica) -> None:
        self._table.add(replica)

    def get(self, replica_id: str) -> Replica | None:
        found: Replica | None = self._table.get(replica_id)
        return found

    def all(self) -> list[Replica]:
        return newest_first(self._table.all(), "created_at", "replica_id")

    def unfinished(self) -> list[Replica]:
        return [replica for replica in self._oldest_first() if replica.state in UNFINISHED]

    def by_owner(self, owner: str) -> list[Replica]:
        return [replica for replica in self._oldest_first() if replica.owner == owner]

    def set_wanted(self, replica_id: str, wanted: bool) -> bool:
        return self._table.change(replica_id, lambda _: True, {"wanted": wanted})

    def change_owner(self, replica_id: str, from_owner: str, to_owner: str) -> bool:
        live = (ReplicaState.STARTING, ReplicaState.READY)
        return self._table.change(
            replica_id,
            lambda r: r.owner == from_owner and r.state in live,
            {"owner": to_owner, "wanted": True},
        )

    def transition(
        self,
        replica_id: str,
        from_states: Sequence[ReplicaState],
        to: ReplicaState,
        changes: Mapping[str, Any] | None = None,
    ) -> bool:
        new = {**(changes or {}), "state": to}
        return self._table.change(replica_id, lambda r: r.state in from_states, new)

    def _oldest_first(self) -> list[Replica]:
        return sorted(self._table.all(), key=lambda r: (r.created_at, r.replica_id))


class MemoryJobs:
    def __init__(self, transaction: Transaction) -> None:
        self._table = Table(transaction, "jobs", lambda j: j.job_id)

    def add(self, job: Job) -> None:
        self._table.add(job)

    def get(self, job_id: str) -> Job | None:
        found: Job | None = self._table.get(job_id)
        return found

    def all(self, limit: int = 200) -> list[Job]:
        return self._table.all()[::-1][:limit]

    def active(self) -> list[Job]:
        return [job for job in self._table.all() if job.active]

    def transition(
        self,
        job_id: str,
        from_states: Sequence[JobState],
        to: JobState,
        changes: Mapping[str, Any] | None = None,
    ) -> bool:
        new = {**(changes or {}), "state": to}
        return self._table.change(job_id, lambda j: j.state in from_states, new)

    def report(self, job_id: str, progress: float, message: str, at: datetime) -> bool:
        changes = {"progress": progress, "message": message, "heartbeat_at": at}
        return self._table.change(job_id, lambda j: j.state is JobState.RUNNING, changes)

    def request_cancel(self, job_id: str) -> bool:
        return self._table.change(job_id, lambda j: j.active, {"cancel_requested": True})


@dataclass(frozen=True, slots=True)
class DayTotals:
    day: str
    model: str
    requests: int
    input_tokens: int
    output_tokens: int


class MemoryRequests:
    def __init__(self, transaction: Transaction) -> None:
        self._table = Table(transaction, "requests", lambda r: r.request_id)
        self._usage = MemoryUsage(transaction)

    def add(self, records: Sequence[RequestRecord]) -> None:
        for record in records:
            if self._table.add_new(record):
                self._usage.count(record)

    def between(self, start: datetime, end: datetime, limit: int = 100_000) -> list[RequestRecord]:
        within = [record for record in self._table.all() if start <= record.at < end]
        return sorted(within, key=lambda r: (r.at, r.request_id))[:limit]

    def latest(self, limit: int = 50) -> list[RequestRecord]:
        return newest_first(self._table.all(), "at", "request_id")[:limit]

    def answered(self, plan_id: str, since: datetime, longer_than_s: float | None) -> Answered:
        records = [r for r in self._table.all() if r.plan_id == plan_id and r.at >= since]
        whole = [r for r in records if r.status == 200]
        slow = [r for r in whole if longer_than_s is not None and r.e2e_ms > 1000 * longer_than_s]
        return Answered(len(whole), sum(r.status >= 500 for r in records), len(slow))

    def totals_by_day(self) -> list[RequestTotals]:
        groups: dict[tuple[str, str], list[Usage]] = {}
        for used in self._usage.since(""):
            if used.requests:
                groups.setdefault((used.day, used.model), []).append(used)
        return [self._totals(*key, groups[key]) for key in sorted(groups)]

    def prune(self, before: datetime, limit: int) -> int:
        old = [record for record in self._table.all() if record.at < before]
        goes = {record.request_id for record in sorted(old, key=lambda r: r.at)[:limit]}
        self._table.remove(lambda record: record.request_id in goes)
        return len(goes)

    def _totals(self, day: str, model: str, used: list[Usage]) -> DayTotals:
        tokens_in = sum(one.input_tokens for one in used)
        tokens_out = sum(one.output_tokens for one in used)
        return DayTotals(day, model, sum(one.requests for one in used), tokens_in, tokens_out)


class MemoryUsage:
    def __init__(self, transaction: Transaction) -> None:
        key = lambda u: (u.day, u.tenant_id, u.key_id, u.model)  # noqa: E731
        self._table = Table(transaction, "usage", key)

    def count(self, record: RequestRecord) -> None:
        if record.first_model:
            self._count_first(record)
        if not record.model:
            return
        key = (utc_day(record.at), record.tenant_id, record.key_id, record.model)
        before: Usage = self._table.get(key) or Usage(*key, 0, 0, 0, 0.0)
        after = replace(before, cost_usd=before.cost_usd + (record.cost_usd or 0.0))
        if record.status == 200:
            after = replace(
                after,
                requests=after.requests + 1,
                input_tokens=after.input_tokens + (record.input_tokens or 0),
                output_tokens=after.output_tokens + (record.output_tokens or 0),
            )
        self._table.save(after)

    def _count_first(self, record: RequestRecord) -> None:
        key = (utc_day(record.at), record.tenant_id, record.key_id, record.first_model)
        before: Usage = self._table.get(key) or Usage(*key, 0, 0, 0, 0.0)
        tokens_in = before.input_tokens + (record.first_input_tokens or 0)
        tokens_out = before.output_tokens + (record.first_output_tokens or 0)
        cost_usd = before.cost_usd + (record.first_cost_usd or 0.0)
        self._table.save(Usage(*key, before.requests, tokens_in, tokens_out, cost_usd))

    def since(self, day: str, key_id: str | None = None) -> list[Usage]:
        found = [u for u in self._table.all() if u.day >= day and key_id in {None, u.key_id}]
        return sorted(found, key=lambda u: (u.day, u.tenant_id, u.key_id, u.model))

    def cost_by_tenant(self, since_day: str) -> dict[str, float]:
        costs: dict[str, float] = {}
        for used in self.since(since_day):
            if used.tenant_id:
                costs[used.tenant_id] = costs.get(used.tenant_id, 0.0) + used.cost_usd
        return costs


class MemoryTenants:
    def __init__(self, transaction: Transaction) -> None:
        self._table = Table(transaction, "tenants", lambda t: t.tenant_id)

    def save(self, tenant: Tenant) -> None:
        if any(t.name == tenant.name and t.tenant_id != tenant.tenant_id for t in self.all()):
            raise Conflict(f"There is a tenant {tenant.name!r} already.")
        self._table.save(tenant)

    def get(self, tenant_id: str) -> Tenant | None:
        found: Tenant | None = self._table.get(tenant_id)
        return found

    def all(self) -> list[Tenant]:
        return sorted(self._table.all(), key=lambda t: t.name)


class MemoryKeys:
    def __init__(self, transaction: Transaction) -> None:
        self._table = Table(transaction, "api_keys", lambda k: k.key_id)
        self._tenants = Table(transaction, "tenants", lambda t: t.tenant_id)

    def add(self, key: ApiKey) -> None:
        if self._tenants.get(key.tenant_id) is None:
            raise Conflict(f"There is no tenant {key.tenant_id!r}.")
        if any(k.digest == key.digest for k in self.all()):
            raise Conflict("There is such a key already.")
        self._table.add(key)

    def all(self) -> list[ApiKey]:
        return sorted(self._table.all(), key=lambda k: (k.created_at, k.key_id))

    def revoke(self, key_id: str, at: datetime) -> bool:
        return self._table.change(key_id, lambda k: k.revoked_at is None, {"revoked_at": at})
