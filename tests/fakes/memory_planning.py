"""Repositories in memory: what plans are made of."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from core.domain.cascade import CascadeEstimate
from core.domain.catalog import ModelSpec
from core.domain.check import Judgement, LiveCheck
from core.domain.fleet import Device, Price
from core.domain.observation import Observations
from core.domain.profile import Profile, most_trusted
from core.domain.quality import Outcome, QualityEstimate, QuerySet
from core.domain.study import Study, Trial
from core.domain.trace import Trace
from core.domain.workload import Workload
from core.errors import Conflict
from tests.fakes.memory_store import Table, Transaction, newest_first


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
        self._cascades = Table(transaction, "cascades", lambda c: c.key)

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

    def replace_cascades(
        self, query_classes: Collection[str], cascades: Sequence[CascadeEstimate]
    ) -> None:
        self._cascades.remove(lambda c: c.query_class in query_classes)
        for cascade in cascades:
            self._cascades.add(cascade)

    def cascades(self) -> list[CascadeEstimate]:
        return sorted(self._cascades.all())


class MemoryChecks:
    def __init__(self, transaction: Transaction) -> None:
        self._judgements = Table(transaction, "judgements")
        self._live = Table(transaction, "live_checks")

    def add_judgements(self, judgements: Sequence[Judgement]) -> None:
        for judgement in judgements:
            self._judgements.add(judgement)

    def judgements(self, job_id: str) -> list[Judgement]:
        return [its for its in self._judgements.all() if its.job_id == job_id]

    def add_live(self, checks: Sequence[LiveCheck]) -> None:
        for check in checks:
            self._live.add(check)

    def live(self, since: datetime) -> list[LiveCheck]:
        return [check for check in self._live.all() if check.at >= since]

    def prune_live(self, before: datetime) -> int:
        count = len(self._live.all())
        self._live.remove(lambda check: check.at < before)
        return count - len(self._live.all())


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
