"""Jobs: long work with progress, run by the controller."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any


class JobKind(StrEnum):
    """What a job does. Parameters (JSON) per kind:

    PROFILE      {"model", "sku", "tp", "query_set", "seconds_per_level": float,
                  "concurrencies": [int] | None, "max_seconds": float,
                  "latency_budget_s": float | None}       None: climb; no limit
    QUALITY      {"model", "sku", "tp", "query_set", "per_class": int, "classes": [str]}
    JUDGE        {"model", "sku", "tp", "query_set", "per_class", "classes", "judge":
                  {"base_url", "model", "input_usd_per_million", "output_usd_per_million"}}
    CLASSIFIER   {"bands": bool}          trains the query classifier from all outcomes; bands:
                                          its classes are predictions', not the query sets'
    CHARACTERISE {"name", "mix", "load", "model", "quality_floor"}; see `core.demo.first_plan`
    OPTIMISE     {"study_id", "live_evaluations": int}   runs a study that is in the database
    """

    PROFILE = "profile"
    QUALITY = "quality"
    JUDGE = "judge"
    CLASSIFIER = "classifier"
    CHARACTERISE = "characterise"
    OPTIMISE = "optimise"


class JobState(StrEnum):
    """QUEUED (services) -> RUNNING (controller) -> SUCCEEDED | FAILED | CANCELLED (controller).

    QUEUED -> CANCELLED is a service's edge: nothing had started.
    """

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


ACTIVE_JOB_STATES = (JobState.QUEUED, JobState.RUNNING)


@dataclass(frozen=True, slots=True)
class Job:
    """One piece of long work.

    Attributes:
        group_id: Jobs started by one click share it; a failed one cancels those after it.
        progress: Done fraction, 0..1.
        message: What it is doing now, or how it ended.
        hint: What to do about a failure; else empty.
        cancel_requested: The operator asked to stop; the controller makes it so.
        heartbeat_at: Last sign of life while running.
    """

    job_id: str
    kind: JobKind
    title: str
    params: dict[str, Any]
    state: JobState
    created_at: datetime
    group_id: str | None = None
    progress: float = 0.0
    message: str = ""
    hint: str = ""
    result: dict[str, Any] = field(default_factory=dict)
    cancel_requested: bool = False
    started_at: datetime | None = None
    heartbeat_at: datetime | None = None
    finished_at: datetime | None = None

    @property
    def active(self) -> bool:
        """Whether it still may change."""
        return self.state in ACTIVE_JOB_STATES

    def eta_s(self, now: datetime) -> float | None:
        """Return the seconds left at the pace so far; None while there is no pace yet."""
        if self.started_at is None or not 0.03 <= self.progress < 1:
            return None
        elapsed_s = (now - self.started_at).total_seconds()
        return elapsed_s * (1 - self.progress) / self.progress
