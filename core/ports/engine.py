"""Ports to machines, model servers, evaluators and durable jobs."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from core.domain.catalog import ModelSpec
from core.domain.deployment import Replica
from core.domain.fleet import Device
from core.domain.job import Job
from core.domain.plan import PlanScore, ReplicaKind, ServingPlan
from core.domain.study import Measurement
from core.ports.unit_of_work import UnitOfWorkFactory


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
