"""What the engine needs from outside, as Protocols; implementations live in db and core.serving.

Rows never leave `db`: repositories take and return the frozen dataclasses of `core.domain`.
State changes are conditional updates that answer whether they happened.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import Any, Protocol, Self

from core.domain.catalog import ModelSpec
from core.domain.deployment import Deployment, DeploymentState, Replica, ReplicaState
from core.domain.fleet import Device, Price
from core.domain.job import Job, JobState
from core.domain.observation import Observations
from core.domain.plan import PlanScore, ReplicaKind, ServingPlan
from core.domain.profile import Profile
from core.domain.quality import Outcome, QualityEstimate, QuerySet
from core.domain.study import Measurement, Study, Trial
from core.domain.tenant import ApiKey, Tenant, Usage
from core.domain.trace import Trace
from core.domain.traffic import RequestRecord
from core.domain.workload import Workload


class DeviceRepository(Protocol):
    """Devices, keyed by `device_id`."""

    def upsert(self, devices: Sequence[Device]) -> None:
        """Insert or refresh what a probe saw; `enabled` of a known device is kept."""

    def set_enabled(self, device_id: str, enabled: bool) -> bool:
        """Let BOute use a device or not; False when there is no such device."""

    def all(self) -> list[Device]:
        """Return every device by node and index."""


class PriceRepository(Protocol):
    """Prices with their history; rows are only ever added."""

    def add(self, price: Price) -> None:
        """Append a price."""

    def all(self) -> list[Price]:
        """Return every price, oldest first."""


class ModelRepository(Protocol):
    """Models, keyed by name."""

    def save(self, model: ModelSpec) -> None:
        """Insert or replace."""

    def get(self, name: str) -> ModelSpec | None:
        """Return one model."""

    def all(self) -> list[ModelSpec]:
        """Return every model by name."""

    def remove(self, name: str) -> bool:
        """Remove a model; False when there is none."""


class ProfileRepository(Protocol):
    """Profiles; of one (model, SKU, TP, PP) the most trusted stands in front, then the newest."""

    def save(self, profile: Profile) -> None:
        """Insert or replace by `profile_id` (levels may grow while a job runs)."""

    def get(self, profile_id: str) -> Profile | None:
        """Return one profile."""

    def all(self) -> list[Profile]:
        """Return every profile, newest first."""

    def latest(self) -> list[Profile]:
        """Return per (model, SKU, TP, PP) what `core.domain.profile.most_trusted` chooses."""

    def save_observations(self, profile_id: str, load: str, seen: Observations) -> None:
        """Insert or replace what one load ("closed:4", "open:2.5") of a profile saw."""

    def observations(self, profile_id: str) -> dict[str, Observations]:
        """Return what the loads of a profile saw, by load."""


class WorkloadRepository(Protocol):
    """Workloads, keyed by id, with the traces some of them come from."""

    def save_trace(self, workload_id: str, trace: Trace) -> None:
        """Insert or replace the trace of a workload."""

    def trace(self, workload_id: str) -> Trace | None:
        """Return the trace of a workload; None when it has none."""

    def save(self, workload: Workload) -> None:
        """Insert or replace."""

    def get(self, workload_id: str) -> Workload | None:
        """Return one workload."""

    def all(self) -> list[Workload]:
        """Return every workload, newest first."""


class QuerySetRepository(Protocol):
    """Query sets, keyed by name."""

    def save(self, query_set: QuerySet) -> None:
        """Insert or replace."""

    def get(self, name: str) -> QuerySet | None:
        """Return one query set."""

    def names(self) -> list[str]:
        """Return every name, sorted."""


class OutcomeRepository(Protocol):
    """Scored answers and the estimates made of them."""

    def add(self, outcomes: Sequence[Outcome]) -> None:
        """Append outcomes."""

    def remove_job(self, job_id: str, query_class: str) -> None:
        """Drop what a step of a job had stored before it was interrupted."""

    def all(self) -> list[Outcome]:
        """Return every outcome."""

    def by_job(self, job_id: str) -> list[Outcome]:
        """Return the outcomes of one job."""

    def save_estimate(self, estimate: QualityEstimate) -> None:
        """Insert or replace by (model, query_class)."""

    def estimates(self) -> list[QualityEstimate]:
        """Return the newest estimate per (model, query_class)."""


class ClassifierRepository(Protocol):
    """Trained classifiers as safetensors bytes."""

    def add(self, content: bytes, facts: Mapping[str, Any], created_at: datetime) -> int:
        """Store a classifier and return its version, rising from 1."""

    def latest(self) -> tuple[int, bytes, dict[str, Any]] | None:
        """Return version, content and facts (accuracy, classes, n) of the newest."""

    def latest_version(self) -> int | None:
        """Return the newest version without its content."""


class StudyRepository(Protocol):
    """Studies and their trials."""

    def save(self, study: Study) -> None:
        """Insert or replace."""

    def get(self, study_id: str) -> Study | None:
        """Return one study."""

    def all(self) -> list[Study]:
        """Return every study, newest first."""

    def save_trials(self, trials: Sequence[Trial]) -> None:
        """Insert or replace by (study_id, number)."""

    def trials(self, study_id: str) -> list[Trial]:
        """Return the trials of a study by number."""


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


class UnitOfWork(Protocol):
    """One transaction: leave without `commit` and nothing happened."""

    @property
    def devices(self) -> DeviceRepository: ...
    @property
    def prices(self) -> PriceRepository: ...
    @property
    def models(self) -> ModelRepository: ...
    @property
    def profiles(self) -> ProfileRepository: ...
    @property
    def workloads(self) -> WorkloadRepository: ...
    @property
    def query_sets(self) -> QuerySetRepository: ...
    @property
    def outcomes(self) -> OutcomeRepository: ...
    @property
    def classifiers(self) -> ClassifierRepository: ...
    @property
    def studies(self) -> StudyRepository: ...
    @property
    def deployments(self) -> DeploymentRepository: ...
    @property
    def replicas(self) -> ReplicaRepository: ...
    @property
    def jobs(self) -> JobRepository: ...
    @property
    def requests(self) -> RequestRepository: ...
    @property
    def tenants(self) -> TenantRepository: ...
    @property
    def api_keys(self) -> KeyRepository: ...
    @property
    def usage(self) -> UsageRepository: ...

    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def commit(self) -> None:
        """Make everything since entering durable."""


UnitOfWorkFactory = Callable[[], UnitOfWork]


class GpuProbe(Protocol):
    """Looks at the devices of this host."""

    def devices(self) -> list[Device]:
        """Return what is there now.

        Raises:
            EnvironmentFailed: The driver is there but does not answer.
        """

    def used_memory_bytes(self, device_ids: Sequence[str]) -> dict[str, int]:
        """Return memory in use per device, by anybody."""


class ReplicaProcess(Protocol):
    """Facts of a started server process."""

    @property
    def pid(self) -> int: ...
    @property
    def process_started_at(self) -> float: ...
    @property
    def log_path(self) -> str: ...


class Launcher(Protocol):
    """Starts and stops model servers on this host; keeps no state of its own."""

    def start(
        self, replica: Replica, model: ModelSpec, devices: Sequence[Device]
    ) -> ReplicaProcess:
        """Start the server in a process group of its own.

        Raises:
            EngineFailed: The process could not be started.
        """

    def alive(self, replica: Replica) -> bool:
        """Whether that very process (pid and start time) still runs."""

    def healthy(self, replica: Replica) -> bool:
        """Whether its HTTP health endpoint answers."""

    def requests_in_flight(self, replica: Replica) -> int | None:
        """Requests it runs or queues now; None when it does not say."""

    def stop(self, replica: Replica) -> None:
        """End the whole process group: ask, wait, kill; return when it is gone."""

    def memory_bytes(self, replica: Replica) -> int:
        """Resident memory of the whole process group."""

    def log_tail(self, replica: Replica, lines: int = 15) -> str:
        """Return the last lines of its log."""


class PlanEvaluator(Protocol):
    """Says how good a plan is; estimates and live measurement are both behind this."""

    def evaluate(self, plan: ServingPlan) -> PlanScore:
        """Score one valid plan."""


class PlanMeter(Protocol):
    """Measures plans on what really runs."""

    def evaluate(self, plan: ServingPlan) -> Measurement | PlanScore:
        """Measure one valid plan.

        Raises:
            EngineFailed: It could not be measured: a replica did not start, or none answered.
        """


class JobContext(Protocol):
    """What a step of a job may use; it runs in a child process of the controller."""

    @property
    def job(self) -> Job: ...
    @property
    def uow(self) -> UnitOfWorkFactory: ...

    def progress(self, fraction: float, message: str) -> None:
        """Report the done fraction (0..1) of the whole job.

        Raises:
            Cancelled: The operator asked to stop.
        """

    def replicas(self, kinds: Mapping[ReplicaKind, int]) -> list[Replica]:
        """Have exactly these replicas running for this job, and wait until all are ready.

        Safe to call again: what runs is kept, what is missing is started.

        Raises:
            EngineFailed: A replica did not start; holds its last log lines.
            NotReady: The devices are not free.
            Cancelled: The operator asked to stop.
        """


class JobBody(Protocol):
    """One kind of job as a list of durable steps.

    A finished step is never run again, not even after a crash; an interrupted one is run again
    from its beginning, so each must be repeatable.
    """

    def steps(self, job: Job) -> list[str]:
        """Return the names of the steps, in order; depends on the parameters only."""

    def run(self, step: str, context: JobContext) -> dict[str, Any]:
        """Do one step and return a small JSON result; the last one's becomes the job's."""
