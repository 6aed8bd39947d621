"""Profiles, workloads, query sets, outcomes, classifiers."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import delete, func, insert, select
from sqlalchemy.orm import Session

from core.domain.cascade import CascadeEstimate
from core.domain.observation import Observations
from core.domain.profile import Profile, most_trusted
from core.domain.quality import Outcome, QualityEstimate, QuerySet
from core.domain.trace import Trace
from core.domain.workload import Workload
from db.columns import packed, unpacked
from db.mapping import Mapper, storable
from db.models import (
    CascadeEstimateRow,
    ClassifierRow,
    ObservationRow,
    OutcomeRow,
    ProfileRow,
    QualityEstimateRow,
    QuerySetRow,
    TraceRow,
    WorkloadRow,
)
from db.repositories.base import Table

PROFILES = Mapper(Profile, ProfileRow, "levels", "step", "fit", "engine_limits")
WORKLOADS = Mapper(Workload, WorkloadRow, "classes")
QUERY_SETS = Mapper(QuerySet, QuerySetRow, "queries")
OUTCOMES = Mapper(Outcome, OutcomeRow)
ESTIMATES = Mapper(QualityEstimate, QualityEstimateRow)
CASCADES = Mapper(CascadeEstimate, CascadeEstimateRow)


class SqlProfiles:
    """`ProfileRepository` in SQL."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._table = Table(session, PROFILES)

    def save(self, profile: Profile) -> None:
        """Insert or replace."""
        self._table.upsert([profile])

    def get(self, profile_id: str) -> Profile | None:
        """Return one profile."""
        return self._table.one(self._table.query().where(ProfileRow.profile_id == profile_id))

    def all(self) -> list[Profile]:
        """Return every profile, newest first."""
        order = (ProfileRow.measured_at.desc(), ProfileRow.profile_id)
        return self._table.many(self._table.query().order_by(*order))

    def latest(self) -> list[Profile]:
        """Return the most trusted profile that has levels, per (model, SKU, TP, PP)."""
        return most_trusted(self.all())

    def save_observations(self, profile_id: str, load: str, seen: Observations) -> None:
        """Insert or replace what one load of a profile saw."""
        of_load = (ObservationRow.profile_id == profile_id, ObservationRow.load == load)
        self._session.execute(delete(ObservationRow).where(*of_load))
        columns = (seen.sent_at_s, seen.ttft_s, seen.e2e_s, seen.input_tokens, seen.output_tokens)
        row = {"profile_id": profile_id, "load": load, "content": packed(columns)}
        self._session.execute(insert(ObservationRow).values(row))

    def observations(self, profile_id: str) -> dict[str, Observations]:
        """Return what the loads of a profile saw, by load."""
        columns = select(ObservationRow.load, ObservationRow.content)
        rows = self._session.execute(
            columns.where(ObservationRow.profile_id == profile_id).order_by(ObservationRow.load)
        )
        return {row.load: Observations(*unpacked(row.content, "dddqq")) for row in rows}


class SqlWorkloads:
    """`WorkloadRepository` in SQL."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._table = Table(session, WORKLOADS)

    def save_trace(self, workload_id: str, trace: Trace) -> None:
        """Insert or replace the trace of a workload."""
        self._session.execute(delete(TraceRow).where(TraceRow.workload_id == workload_id))
        columns = (trace.arrived_at_s, trace.input_tokens, trace.output_tokens, trace.query_class)
        row = {"classes": list(trace.classes), "content": packed(columns)}
        self._session.execute(insert(TraceRow).values(workload_id=workload_id, **row))

    def trace(self, workload_id: str) -> Trace | None:
        """Return the trace of a workload; None when it has none."""
        columns = select(TraceRow.content, TraceRow.classes)
        row = self._session.execute(columns.where(TraceRow.workload_id == workload_id)).first()
        if row is None:
            return None
        arrived_at_s, input_tokens, output_tokens, query_class = unpacked(row.content, "dqqq")
        return Trace(arrived_at_s, input_tokens, output_tokens, query_class, tuple(row.classes))

    def save(self, workload: Workload) -> None:
        """Insert or replace."""
        self._table.upsert([workload])

    def get(self, workload_id: str) -> Workload | None:
        """Return one workload."""
        return self._table.one(self._table.query().where(WorkloadRow.workload_id == workload_id))

    def all(self) -> list[Workload]:
        """Return every workload, newest first."""
        order = (WorkloadRow.created_at.desc(), WorkloadRow.workload_id)
        return self._table.many(self._table.query().order_by(*order))


class SqlQuerySets:
    """`QuerySetRepository` in SQL."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._table = Table(session, QUERY_SETS)

    def save(self, query_set: QuerySet) -> None:
        """Insert or replace."""
        self._table.upsert([query_set])

    def get(self, name: str) -> QuerySet | None:
        """Return one query set."""
        return self._table.one(self._table.query().where(QuerySetRow.name == name))

    def names(self) -> list[str]:
        """Return every name, sorted."""
        return sorted(self._session.scalars(select(QuerySetRow.name)))


class SqlOutcomes:
    """`OutcomeRepository` in SQL."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._outcomes = Table(session, OUTCOMES)
        self._estimates = Table(session, ESTIMATES)
        self._cascades = Table(session, CASCADES)

    def add(self, outcomes: Sequence[Outcome]) -> None:
        """Append outcomes."""
        self._outcomes.insert(outcomes)

    def remove_job(self, job_id: str, query_class: str) -> None:
        """Drop what a step of a job had stored."""
        of_step = (OutcomeRow.job_id == job_id, OutcomeRow.query_class == query_class)
        self._session.execute(delete(OutcomeRow).where(*of_step))

    def all(self) -> list[Outcome]:
        """Return every outcome in the order it was stored."""
        return self._outcomes.many(self._outcomes.query().order_by(OutcomeRow.outcome_id))

    def by_job(self, job_id: str) -> list[Outcome]:
        """Return the outcomes of one job."""
        of_job = self._outcomes.query().where(OutcomeRow.job_id == job_id)
        return self._outcomes.many(of_job.order_by(OutcomeRow.outcome_id))

    def save_estimate(self, estimate: QualityEstimate) -> None:
        """Insert or replace."""
        self._estimates.upsert([estimate])

    def estimates(self) -> list[QualityEstimate]:
        """Return every estimate by model and class."""
        order = (QualityEstimateRow.model, QualityEstimateRow.query_class)
        return self._estimates.many(self._estimates.query().order_by(*order))

    def replace_cascades(
        self, query_classes: Collection[str], cascades: Sequence[CascadeEstimate]
    ) -> None:
        """Drop the cascades of some classes and store others."""
        of_classes = CascadeEstimateRow.query_class.in_(sorted(query_classes))
        self._session.execute(delete(CascadeEstimateRow).where(of_classes))
        self._cascades.insert(cascades)

    def cascades(self) -> list[CascadeEstimate]:
        """Return every cascade by class, models and threshold."""
        row = CascadeEstimateRow
        order = (row.query_class, row.model, row.escalate_to, row.threshold)
        return self._cascades.many(self._cascades.query().order_by(*order))


class SqlClassifiers:
    """`ClassifierRepository` in SQL."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def add(self, content: bytes, facts: Mapping[str, Any], created_at: datetime) -> int:
        """Store a classifier and return its version."""
        numbered = insert(ClassifierRow).returning(ClassifierRow.version)
        values = {
            "content": content,
            "facts": storable("facts", dict(facts)),
            "created_at": created_at,
        }
        return self._session.execute(numbered, values).scalar_one()

    def latest(self) -> tuple[int, bytes, dict[str, Any]] | None:
        """Return version, content and facts of the newest."""
        newest = select(ClassifierRow).order_by(ClassifierRow.version.desc()).limit(1)
        row = self._session.scalars(newest).first()
        return None if row is None else (row.version, row.content, dict(row.facts))

    def latest_version(self) -> int | None:
        """Return the newest version."""
        return self._session.scalar(select(func.max(ClassifierRow.version)))
