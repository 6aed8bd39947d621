"""Deployments and replicas: what is wanted and what is."""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from core.domain.guard import Guard
from core.domain.plan import PlanScore, ReplicaKind, ServingPlan


class DeploymentState(StrEnum):
    """A wanted plan's life; edges owned by the controller but for the first and `STOPPING`.

    ROLLING (operator deploys) -> ACTIVE (all replicas ready) -> SUPERSEDED (a newer one is active)
    ROLLING -> FAILED (a replica does not start) ; ACTIVE|ROLLING -> STOPPED (operator stops)
    ACTIVE -> FAILED (its guard was broken, and the plan before it is active again)
    """

    ROLLING = "rolling"
    ACTIVE = "active"
    SUPERSEDED = "superseded"
    FAILED = "failed"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Deployment:
    """A plan the operator wants running.

    Attributes:
        predicted: The plan's predicted score when it was deployed; None when unknown.
        baseline_usd_per_hour: Predicted cost of running everything on the best model,
            by the same estimator at the same traffic; None when unknown.
        baseline_note: What that baseline is, in words ("3 x large on cpu-core").
        override: Why the operator deployed a plan that is not offered, with what speaks against
            it; empty for an offered plan.
        guard: What it is watched for in its first minutes; None: nothing.
        reverts: Id of the deployment that this one takes back; empty for an operator's own.
    """

    deployment_id: str
    plan: ServingPlan
    study_id: str | None
    state: DeploymentState
    created_at: datetime
    predicted: PlanScore | None = None
    baseline_usd_per_hour: float | None = None
    baseline_note: str = ""
    active_at: datetime | None = None
    ended_at: datetime | None = None
    message: str = ""
    override: str = ""
    guard: Guard | None = None
    reverts: str = ""


def reverting(
    bad: Deployment, earlier: Deployment, deployment_id: str, why: str, now: datetime
) -> Deployment:
    """Return the deployment that goes back from a bad one to an earlier plan; it has no guard.

    Args:
        bad: The deployment to take back.
        earlier: Whose plan comes back.
        why: What the bad one did, a sentence.
    """
    return replace(
        earlier,
        deployment_id=deployment_id,
        state=DeploymentState.ROLLING,
        created_at=now,
        active_at=None,
        ended_at=None,
        message=f"Went back from plan {bad.plan.plan_id[:6]}: {why}",
        guard=None,
        reverts=bad.deployment_id,
    )


class ReplicaState(StrEnum):
    """A replica's life; every edge is owned by the controller's reconcile loop.

    PENDING (no devices yet) -> STARTING (process runs) -> READY (health and models answer)
    READY -> DRAINING (no new requests) -> STOPPED ; STARTING|READY -> FAILED (died)
    """

    PENDING = "pending"
    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    STOPPED = "stopped"
    FAILED = "failed"


LIVE_STATES = (ReplicaState.STARTING, ReplicaState.READY, ReplicaState.DRAINING)


@dataclass(frozen=True, slots=True)
class Replica:
    """One vLLM server process, wanted and observed.

    Attributes:
        owner: `deployment` or `job:<job_id>`; who wants it.
        wanted: False once nobody wants it any more; the controller then drains and stops it.
        device_ids: Devices it holds while live.
        port: TCP port on `host`.
        pid: Process id; also its process group.
        process_started_at: Kernel start time of the process as given by psutil (s since the
            epoch): tells an adopted process from a recycled pid.
        started_at, ready_at, stopped_at: Metering interval (UTC); billed from start to stop.
        restarts: Times it was started again after dying.
        message: Why it failed, with the last log lines; or what it waits for.
    """

    replica_id: str
    owner: str
    kind: ReplicaKind
    wanted: bool
    state: ReplicaState
    created_at: datetime
    device_ids: tuple[str, ...] = ()
    host: str = "127.0.0.1"
    port: int | None = None
    pid: int | None = None
    process_started_at: float | None = None
    log_path: str = ""
    started_at: datetime | None = None
    ready_at: datetime | None = None
    stopped_at: datetime | None = None
    restarts: int = 0
    memory_bytes: int | None = None
    engine: str = ""
    message: str = ""

    @property
    def live(self) -> bool:
        """Whether it holds devices."""
        return self.state in LIVE_STATES

    @property
    def base_url(self) -> str:
        """Where its OpenAI server listens."""
        return f"http://{self.host}:{self.port}"


SERVING = "deployment"


def job_owner(job_id: str) -> str:
    """Owner text of a replica that a job wants."""
    return f"job:{job_id}"
