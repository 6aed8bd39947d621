"""`UnitOfWork` in memory, for tests that need no database; passes the contract suite."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from types import TracebackType
from typing import Any, Self

from core.domain.catalog import ModelSpec
from core.domain.deployment import LIVE_STATES, Deployment, DeploymentState, Replica, ReplicaState
from core.domain.fleet import Device, Price
from core.domain.job import Job, JobState
from core.domain.observation import Observations
from core.domain.profile import Profile, most_trusted
from core.domain.quality import Outcome, QualityEstimate, QuerySet
from core.domain.study import Study, Trial
from core.domain.tenant import ApiKey, Tenant, Usage, utc_day
from core.domain.trace import Trace
from core.domain.traffic import RequestRecord
from core.domain.workload import Workload
from core.errors import Conflict
from core.ports import RequestTotals
from tests.fakes.memory_store import Store, Table, Transaction

WANTED = (DeploymentState.ROLLING, DeploymentState.ACTIVE)
UNFINISHED = (ReplicaState.PENDING, *LIVE_STATES)


def newest_first(records: list[Any], time: str, key: str) -> list[Any]:
    """Sort by a time, latest first; equal times by key."""
    by_key = sorted(records, key=lambda record: getattr(record, key))
    return sorted(by_key, key=lambda record: getattr(record, time), reverse=True)


class MemoryDevices:
    def __init__(self, transaction: Transaction) -> None:
        self._table = Table(transaction, "devices", lambda d: d.device_id)

    def upsert(self, devices: Sequence[Device]) -> None:
        for device in devices:
            self._table.save(device, keep=["enabled"])

    def set_enabled(self, device_id: str, enabled: bool) -> bool:
        return self._table.change(device_id, lambda _: True, {"enabled": enabled})

    def all(self) -> list[Device]:
        return sorted(self._table.all(), key=lambda d: (d.node, d.index))


class MemoryPrices:
    def __init__(self, transaction: Transaction) -> None:
        self._table = Table(transaction, "prices")

    def add(self, price: Price) -> None:
        self._table.add(price)

    def all(self) -> list[Price]:
        return sorted(self._table.all(), key=lambda p: p.valid_from)


class MemoryModels:
    def __init__(self, transaction: Transaction) -> None:
        self._table = Table(transaction, "models", lambda m: m.name)

    def save(self, model: ModelSpec) -> None:
        self._table.save(model)

    def get(self, name: str) -> ModelSpec | None:
        found: ModelSpec | None = self._table.get(name)
        return found

    def all(self) -> list[ModelSpec]:
        return sorted(self._table.all(), key=lambda m: m.name)

    def remove(self, name: str) -> bool:
        return self._table.remove(lambda m: m.name == name)


class MemoryProfiles:
    def __init__(self, transaction: Transaction) -> None:
        self._table = Table(transaction, "profiles", lambda p: p.profile_id)
        self._observations = Table(transaction, "observations", lambda o: (o.profile_id, o.load))

    def save(self, profile: Profile) -> None:
        self._table.save(profile)

    def get(self, profile_id: str) -> Profile | None:
        found: Profile | None = self._table.get(profile_id)
        return found

    def all(self) -> list[Profile]:
        return newest_first(self._table.all(), "measured_at", "profile_id")

    def latest(self) -> list[Profile]:
        return most_trusted(self.all())

    def save_observations(self, profile_id: str, load: str, seen: Observations) -> None:
        self._observations.save(StoredObservations(profile_id, load, seen))

    def observations(self, profile_id: str) -> dict[str, Observations]:
        mine = [o for o in self._observations.all() if o.profile_id == profile_id]
        return {o.load: o.seen for o in sorted(mine, key=lambda o: o.load)}


@dataclass(frozen=True)
class StoredObservations:
    profile_id: str
    load: str
    seen: Observations


@dataclass(frozen=True)
class StoredTrace:
    workload_id: str
    trace: Trace


class MemoryWorkloads:
    def __init__(self, transaction: Transaction) -> None:
        self._table = Table(transaction, "workloads", lambda w: w.workload_id)
        self._traces = Table(transaction, "traces", lambda t: t.workload_id)

    def save_trace(self, workload_id: str, trace: Trace) -> None:
        self._traces.save(StoredTrace(workload_id, trace))

    def trace(self, workload_id: str) -> Trace | None:
        found: StoredTrace | None = self._traces.get(workload_id)
        return found.trace if found else None

    def save(self, workload: Workload) -> None:
        self._table.save(workload)

    def get(self, workload_id: str) -> Workload | None:
        found: Workload | None = self._table.get(workload_id)
        return found

    def all(self) -> list[Workload]:
        return newest_first(self._table.all(), "created_at", "workload_id")


class MemoryQuerySets:
    def __init__(self, transaction: Transaction) -> None:
        self._table = Table(transaction, "query_sets", lambda q: q.name)

    def save(self, query_set: QuerySet) -> None:
        self._table.save(query_set)

    def get(self, name: str) -> QuerySet | None:
        found: QuerySet | None = self._table.get(name)
        return found

    def names(self) -> list[str]:
        return sorted(query_set.name for query_set in self._table.all())


class MemoryOutcomes:
    def __init__(self, transaction: Transaction) -> None:
        self._outcomes = Table(transaction, "outcomes")
        self._estimates = Table(transaction, "estimates", lambda e: (e.model, e.query_class))

    def add(self, outcomes: Sequence[Outcome]) -> None:
        for outcome in outcomes:
            self._outcomes.add(outcome)

    def remove_job(self, job_id: str, query_class: str) -> None:
        self._outcomes.remove(lambda o: o.job_id == job_id and o.query_class == query_class)

    def all(self) -> list[Outcome]:
        return self._outcomes.all()

    def by_job(self, job_id: str) -> list[Outcome]:
        return [outcome for outcome in self._outcomes.all() if outcome.job_id == job_id]

    def save_estimate(self, estimate: QualityEstimate) -> None:
        self._estimates.save(estimate)

    def estimates(self) -> list[QualityEstimate]:
        return sorted(self._estimates.all(), key=lambda e: (e.model, e.query_class))


class MemoryClassifiers:
    def __init__(self, transaction: Transaction) -> None:
        self._table = Table(transaction, "classifiers")

    def add(self, content: bytes, facts: Mapping[str, Any], created_at: datetime) -> int:
        return self._table.add((content, dict(facts), created_at))

    def latest(self) -> tuple[int, bytes, dict[str, Any]] | None:
        version = self.latest_version()
        if version is None:
            return None
        content, facts, _ = self._table.get(version)
        return version, content, facts

    def latest_version(self) -> int | None:
        return len(self._table.all()) or None


class MemoryStudies:
    def __init__(self, transaction: Transaction) -> None:
        self._studies = Table(transaction, "studies", lambda s: s.study_id)
        self._trials = Table(transaction, "trials", lambda t: (t.study_id, t.number))

    def save(self, study: Study) -> None:
        self._studies.save(study)

    def get(self, study_id: str) -> Study | None:
        found: Study | None = self._studies.get(study_id)
        return found

    def all(self) -> list[Study]:
        return newest_first(self._studies.all(), "created_at", "study_id")

    def save_trials(self, trials: Sequence[Trial]) -> None:
        for trial in trials:
            if self._studies.get(trial.study_id) is None:
                raise Conflict(f"There is no study {trial.study_id!r}.")
            self._trials.save(trial)

    def trials(self, study_id: str) -> list[Trial]:
        of_study = [trial for trial in self._trials.all() if trial.study_id == study_id]
        return sorted(of_study, key=lambda t: t.number)


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


class MemoryUnitOfWork:
    """One transaction over all repositories."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def __enter__(self) -> Self:
        self._transaction = transaction = Transaction(self._store)
        self.devices = MemoryDevices(transaction)
        self.prices = MemoryPrices(transaction)
        self.models = MemoryModels(transaction)
        self.profiles = MemoryProfiles(transaction)
        self.workloads = MemoryWorkloads(transaction)
        self.query_sets = MemoryQuerySets(transaction)
        self.outcomes = MemoryOutcomes(transaction)
        self.classifiers = MemoryClassifiers(transaction)
        self.studies = MemoryStudies(transaction)
        self.deployments = MemoryDeployments(transaction)
        self.replicas = MemoryReplicas(transaction)
        self.jobs = MemoryJobs(transaction)
        self.requests = MemoryRequests(transaction)
        self.tenants = MemoryTenants(transaction)
        self.api_keys = MemoryKeys(transaction)
        self.usage = MemoryUsage(transaction)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._transaction.rollback()

    def commit(self) -> None:
        self._transaction.commit()


class MemoryDatabase:
    """A database that lives as long as the object."""

    def __init__(self) -> None:
        self._store = Store()

    def unit_of_work(self) -> MemoryUnitOfWork:
        """Open a transaction on it."""
        return MemoryUnitOfWork(self._store)
