"""Tables. Column names are the field names of `core.domain`; structured parts are JSON."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, LargeBinary
from sqlalchemy.orm import Mapped, mapped_column

from db.table_base import Base


class DeviceRow(Base):
    """Devices as last seen."""

    __tablename__ = "devices"
    device_id: Mapped[str] = mapped_column(primary_key=True)
    node: Mapped[str]
    index: Mapped[int]
    sku: Mapped[str]
    kind: Mapped[str]
    memory_total_bytes: Mapped[int] = mapped_column(BigInteger)
    memory_used_bytes: Mapped[int] = mapped_column(BigInteger)
    utilisation: Mapped[float | None]
    power_w: Mapped[float | None]
    seen_at: Mapped[datetime]
    note: Mapped[str]
    enabled: Mapped[bool]


class PriceRow(Base):
    """Prices with their history."""

    __tablename__ = "prices"
    __table_args__ = (CheckConstraint("usd_per_hour > 0", name="positive"),)
    price_id: Mapped[int] = mapped_column(primary_key=True)
    sku: Mapped[str] = mapped_column(index=True)
    usd_per_hour: Mapped[float]
    valid_from: Mapped[datetime]


class ModelRow(Base):
    """Models an operator may serve."""

    __tablename__ = "models"
    name: Mapped[str] = mapped_column(primary_key=True)
    path: Mapped[str]
    weight_bytes: Mapped[int] = mapped_column(BigInteger)
    kv_bytes_per_token: Mapped[int] = mapped_column(BigInteger)
    max_model_len: Mapped[int]
    max_num_seqs: Mapped[int]
    added_at: Mapped[datetime]
    trust_remote_code: Mapped[bool]


class ProfileRow(Base):
    """Profiles; levels are JSON."""

    __tablename__ = "profiles"
    profile_id: Mapped[str] = mapped_column(primary_key=True)
    model: Mapped[str]
    sku: Mapped[str]
    tp: Mapped[int]
    pp: Mapped[int]
    provenance: Mapped[str]
    measured_at: Mapped[datetime]
    engine: Mapped[str]
    host: Mapped[str]
    startup_s: Mapped[float]
    levels: Mapped[list[Any]]
    step: Mapped[dict[str, Any] | None]
    fit: Mapped[dict[str, Any] | None]
    engine_limits: Mapped[dict[str, Any] | None]
    relative_error: Mapped[float | None]


class ObservationRow(Base):
    """What each load of a measured profile saw, answer by answer; see `db.columns`."""

    __tablename__ = "observations"
    profile_id: Mapped[str] = mapped_column(primary_key=True)
    load: Mapped[str] = mapped_column(primary_key=True)
    content: Mapped[bytes] = mapped_column(LargeBinary)


class WorkloadRow(Base):
    """Workloads; classes are JSON."""

    __tablename__ = "workloads"
    workload_id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    classes: Mapped[list[Any]]
    provenance: Mapped[str]
    created_at: Mapped[datetime]
    burstiness: Mapped[float]
    trace_requests: Mapped[int]
    trace_span_s: Mapped[float]
    source: Mapped[str]


class TraceRow(Base):
    """Traces of workloads, apart from them because they are large; see `db.columns`."""

    __tablename__ = "traces"
    workload_id: Mapped[str] = mapped_column(primary_key=True)
    classes: Mapped[list[Any]]
    content: Mapped[bytes] = mapped_column(LargeBinary)


class QuerySetRow(Base):
    """Query sets; queries are JSON."""

    __tablename__ = "query_sets"
    name: Mapped[str] = mapped_column(primary_key=True)
    scorer: Mapped[str]
    max_tokens: Mapped[int]
    queries: Mapped[list[Any]]


class OutcomeRow(Base):
    """Scored answers."""

    __tablename__ = "outcomes"
    outcome_id: Mapped[int] = mapped_column(primary_key=True)
    query: Mapped[str]
    query_class: Mapped[str]
    model: Mapped[str]
    score: Mapped[float]
    output_tokens: Mapped[int]
    job_id: Mapped[str] = mapped_column(index=True)
    confidence: Mapped[float | None]
    metric: Mapped[str]


class CascadeEstimateRow(Base):
    """Cascades a plan may use, as calibrated from the newest outcomes."""

    __tablename__ = "cascade_estimates"
    query_class: Mapped[str] = mapped_column(primary_key=True)
    model: Mapped[str] = mapped_column(primary_key=True)
    escalate_to: Mapped[str] = mapped_column(primary_key=True)
    threshold: Mapped[float] = mapped_column(primary_key=True)
    escalated: Mapped[float]
    n: Mapped[int]
    mean: Mapped[float]
    lower: Mapped[float]
    upper: Mapped[float]


class QualityEstimateRow(Base):
    """Newest estimate per model and class."""

    __tablename__ = "quality_estimates"
    model: Mapped[str] = mapped_column(primary_key=True)
    query_class: Mapped[str] = mapped_column(primary_key=True)
    n: Mapped[int]
    mean: Mapped[float]
    lower: Mapped[float]
    upper: Mapped[float]
    output_tokens_mean: Mapped[float]
    measured_at: Mapped[datetime]
    metric: Mapped[str]
    provenance: Mapped[str]


class JudgementRow(Base):
    """Answers judged against their reference, in both orders."""

    __tablename__ = "judgements"
    judgement_id: Mapped[int] = mapped_column(primary_key=True)
    job_id: Mapped[str] = mapped_column(index=True)
    query: Mapped[str]
    query_class: Mapped[str]
    model: Mapped[str]
    first: Mapped[str]
    second: Mapped[str]
    input_tokens: Mapped[int]
    output_tokens: Mapped[int]


class LiveCheckRow(Base):
    """Live queries that were also put to the best model."""

    __tablename__ = "live_checks"
    check_id: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[datetime] = mapped_column(index=True)
    query_class: Mapped[str]
    model: Mapped[str]
    best: Mapped[str]
    metric: Mapped[str]
    agrees: Mapped[bool]


class ClassifierRow(Base):
    """Classifiers as safetensors bytes."""

    __tablename__ = "classifiers"
    version: Mapped[int] = mapped_column(primary_key=True)
    content: Mapped[bytes] = mapped_column(LargeBinary)
    facts: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]


class StudyRow(Base):
    """Studies; limits and the reference point are JSON."""

    __tablename__ = "studies"
    study_id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    workload_id: Mapped[str]
    limits: Mapped[dict[str, Any]]
    live_evaluations: Mapped[int]
    seed: Mapped[int] = mapped_column(BigInteger)
    state: Mapped[str]
    created_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]
    message: Mapped[str]
    reference: Mapped[list[Any] | None]
    method: Mapped[str]
    infeasibility: Mapped[dict[str, Any] | None]
    comparisons: Mapped[list[Any]]


class TrialRow(Base):
    """Trials of a study; plans and scores are JSON."""

    __tablename__ = "trials"
    study_id: Mapped[str] = mapped_column(ForeignKey("studies.study_id"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    plan: Mapped[dict[str, Any]]
    origin: Mapped[str]
    predicted: Mapped[dict[str, Any]]
    measured: Mapped[dict[str, Any] | None]
    on_front: Mapped[bool]
    telemetry: Mapped[list[Any]]
    failure: Mapped[str]
    evaluation: Mapped[int | None]
    alike: Mapped[int | None]


class DeploymentRow(Base):
    """Deployments; the plan and its score are JSON."""

    __tablename__ = "deployments"
    deployment_id: Mapped[str] = mapped_column(primary_key=True)
    plan: Mapped[dict[str, Any]]
    study_id: Mapped[str | None]
    state: Mapped[str] = mapped_column(index=True)
    created_at: Mapped[datetime]
    predicted: Mapped[dict[str, Any] | None]
    baseline_usd_per_hour: Mapped[float | None]
    baseline_note: Mapped[str]
    active_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    message: Mapped[str]
    override: Mapped[str]
    guard: Mapped[dict[str, Any] | None]
    reverts: Mapped[str]


class ReplicaRow(Base):
    """Replicas, wanted and observed; also the meter, so rows stay."""

    __tablename__ = "replicas"
    replica_id: Mapped[str] = mapped_column(primary_key=True)
    owner: Mapped[str] = mapped_column(index=True)
    kind: Mapped[dict[str, Any]]
    wanted: Mapped[bool]
    state: Mapped[str] = mapped_column(index=True)
    created_at: Mapped[datetime]
    device_ids: Mapped[list[Any]]
    host: Mapped[str]
    port: Mapped[int | None]
    pid: Mapped[int | None]
    process_started_at: Mapped[float | None]
    log_path: Mapped[str]
    started_at: Mapped[datetime | None]
    ready_at: Mapped[datetime | None]
    stopped_at: Mapped[datetime | None]
    restarts: Mapped[int]
    memory_bytes: Mapped[int | None] = mapped_column(BigInteger)
    engine: Mapped[str]
    message: Mapped[str]


class JobRow(Base):
    """Jobs; parameters and results are JSON."""

    __tablename__ = "jobs"
    # Jobs enqueued by one click share a timestamp; this keeps them in order.
    sequence: Mapped[int] = mapped_column(primary_key=True)
    job_id: Mapped[str] = mapped_column(unique=True)
    kind: Mapped[str]
    title: Mapped[str]
    params: Mapped[dict[str, Any]]
    state: Mapped[str] = mapped_column(index=True)
    created_at: Mapped[datetime]
    group_id: Mapped[str | None]
    progress: Mapped[float]
    message: Mapped[str]
    hint: Mapped[str]
    result: Mapped[dict[str, Any]]
    cancel_requested: Mapped[bool]
    started_at: Mapped[datetime | None]
    heartbeat_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]


class RequestRow(Base):
    """Requests through the gateway."""

    __tablename__ = "requests"
    request_id: Mapped[str] = mapped_column(primary_key=True)
    at: Mapped[datetime] = mapped_column(index=True)
    requested_model: Mapped[str]
    query_class: Mapped[str]
    model: Mapped[str]
    replica_id: Mapped[str]
    plan_id: Mapped[str]
    status: Mapped[int]
    ttft_ms: Mapped[float | None]
    e2e_ms: Mapped[float]
    input_tokens: Mapped[int | None]
    output_tokens: Mapped[int | None]
    streamed: Mapped[bool]
    prompt: Mapped[str | None]
    tenant_id: Mapped[str]
    key_id: Mapped[str]
    cost_usd: Mapped[float | None]
    confidence: Mapped[float | None]
    first_model: Mapped[str]
    first_input_tokens: Mapped[int | None]
    first_output_tokens: Mapped[int | None]
    first_cost_usd: Mapped[float | None]


class TenantRow(Base):
    """Tenants and their limits."""

    __tablename__ = "tenants"
    tenant_id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    created_at: Mapped[datetime]
    requests_per_minute: Mapped[int | None]
    tokens_per_minute: Mapped[int | None]
    budget_usd_per_month: Mapped[float | None]
    quality_floor: Mapped[float | None]
    enabled: Mapped[bool]


class ApiKeyRow(Base):
    """API keys, as digests."""

    __tablename__ = "api_keys"
    key_id: Mapped[str] = mapped_column(primary_key=True)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.tenant_id"))
    name: Mapped[str]
    digest: Mapped[str] = mapped_column(unique=True)
    hint: Mapped[str]
    created_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]


class UsageRow(Base):
    """Requests added up; stays when the requests themselves are pruned."""

    __tablename__ = "usage"
    day: Mapped[str] = mapped_column(primary_key=True)
    tenant_id: Mapped[str] = mapped_column(primary_key=True)
    key_id: Mapped[str] = mapped_column(primary_key=True)
    model: Mapped[str] = mapped_column(primary_key=True)
    requests: Mapped[int] = mapped_column(BigInteger)
    input_tokens: Mapped[int] = mapped_column(BigInteger)
    output_tokens: Mapped[int] = mapped_column(BigInteger)
    cost_usd: Mapped[float]


METADATA = Base.metadata
"""All tables above."""
