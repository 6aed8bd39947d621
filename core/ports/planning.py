"""Ports to what plans are made of: devices, prices, models, measurements, studies."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

from core.domain.cascade import CascadeEstimate
from core.domain.catalog import ModelSpec
from core.domain.check import Judgement, LiveCheck
from core.domain.fleet import Device, Price
from core.domain.observation import Observations
from core.domain.profile import Profile
from core.domain.quality import Outcome, QualityEstimate, QuerySet
from core.domain.study import Study, Trial
from core.domain.trace import Trace
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

    def replace_cascades(
        self, query_classes: Collection[str], cascades: Sequence[CascadeEstimate]
    ) -> None:
        """Drop the cascades of some classes and store others, with different keys."""

    def cascades(self) -> list[CascadeEstimate]:
        """Return every cascade that a plan may use, by class, models and threshold."""


class CheckRepository(Protocol):
    """Answers judged in pairs, and live queries that were also put to the best model."""

    def add_judgements(self, judgements: Sequence[Judgement]) -> None:
        """Append judgements."""

    def judgements(self, job_id: str) -> list[Judgement]:
        """Return the judgements of one job, oldest first."""

    def add_live(self, checks: Sequence[LiveCheck]) -> None:
        """Append checks of live traffic."""

    def live(self, since: datetime) -> list[LiveCheck]:
        """Return the checks of live traffic from a moment on, oldest first."""

    def prune_live(self, before: datetime) -> int:
        """Remove checks of live traffic before a moment; returns how many."""


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
