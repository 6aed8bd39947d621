"""Whatever a record holds comes back the same from both databases."""

import math
from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from datetime import UTC, datetime, timedelta, timezone
from enum import Enum
from types import NoneType
from typing import Any, get_args, get_origin, get_type_hints

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.domain.catalog import ModelSpec
from core.domain.deployment import Deployment, Replica
from core.domain.fleet import Device, Price
from core.domain.ids import new_id
from core.domain.job import Job, JobState
from core.domain.profile import Profile
from core.domain.quality import Outcome, QualityEstimate, QuerySet
from core.domain.study import Study, Trial
from core.domain.traffic import RequestRecord
from core.domain.workload import ClassTraffic, Workload
from core.ports import UnitOfWork, UnitOfWorkFactory
from tests.contract import samples

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
INTEGERS = st.integers(-(2**31), 2**31 - 1)
BIG = st.integers(-(2**63), 2**63 - 1)
ZONES = st.sampled_from([UTC, timezone(timedelta(hours=9)), timezone(timedelta(hours=-3.5))])
YEAR = datetime(2026, 1, 1)
MOMENTS = st.datetimes(YEAR - timedelta(days=9000), YEAR + timedelta(days=9000), timezones=ZONES)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | FLOATS | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
PLAIN: dict[Any, st.SearchStrategy[Any]] = {
    str: TEXT,
    float: FLOATS,
    int: INTEGERS,
    bool: st.booleans(),
    datetime: MOMENTS,
    NoneType: st.none(),
}
# Fields with a rule of their own: big numbers, and what the domain refuses.
SPECIAL: dict[tuple[type, str], st.SearchStrategy[Any]] = {
    (Price, "usd_per_hour"): st.floats(1e-9, 1e6, exclude_max=True),
    (ClassTraffic, "rate_rps"): st.floats(1e-3, 1e6),
    (ClassTraffic, "output_tokens_mean"): st.floats(1, 1e6),
    (Study, "seed"): BIG,
}


def anything(hint: Any) -> st.SearchStrategy[Any]:
    """Return a strategy for any type that records are made of."""
    if hint in PLAIN:
        return PLAIN[hint]
    if is_dataclass(hint) and isinstance(hint, type):
        return record(hint)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return st.sampled_from(hint)
    inner = get_args(hint)
    if get_origin(hint) is dict:
        return st.dictionaries(TEXT, JSON_VALUES, max_size=3)
    if get_origin(hint) is tuple:
        some = st.lists(anything(inner[0]), min_size=1, max_size=3).map(tuple)
        return some if inner[-1] is Ellipsis else st.tuples(*map(anything, inner))
    return st.one_of(*map(anything, inner))


def record(kind: type) -> st.SearchStrategy[Any]:
    hints = get_type_hints(kind)
    names = [field.name for field in fields(kind)]
    return st.builds(kind, **{name: of_field(kind, name, hints[name]) for name in names})


def of_field(kind: type, name: str, hint: Any) -> st.SearchStrategy[Any]:
    if (kind, name) in SPECIAL:
        return SPECIAL[kind, name]
    if "bytes" in name:  # counted in 64 bits
        return BIG | st.none() if NoneType in get_args(hint) else BIG
    return anything(hint)


def save_trial(work: UnitOfWork, trial: Trial) -> None:
    work.studies.save(samples.study(trial.study_id))
    work.studies.save_trials([trial])


def add_estimate(work: UnitOfWork, estimate: QualityEstimate) -> None:
    work.outcomes.save_estimate(estimate)


# Kind of record -> (its key, how to store it, how to list it).
Store = Callable[[UnitOfWork, Any], None]
Listed = Callable[[UnitOfWork, Any], list[Any]]
KINDS: dict[type, tuple[str, Store, Listed]] = {
    Device: ("device_id", lambda w, r: w.devices.upsert([r]), lambda w, _: w.devices.all()),
    Price: ("sku", lambda w, r: w.prices.add(r), lambda w, _: w.prices.all()),
    ModelSpec: ("name", lambda w, r: w.models.save(r), lambda w, _: w.models.all()),
    Profile: ("profile_id", lambda w, r: w.profiles.save(r), lambda w, _: w.profiles.all()),
    Workload: ("workload_id", lambda w, r: w.workloads.save(r), lambda w, _: w.workloads.all()),
    QuerySet: (
        "name",
        lambda w, r: w.query_sets.save(r),
        lambda w, r: [w.query_sets.get(r.name)],
    ),
    Outcome: (
        "job_id",
        lambda w, r: w.outcomes.add([r]),
        lambda w, r: w.outcomes.by_job(r.job_id),
    ),
    QualityEstimate: ("model", add_estimate, lambda w, _: w.outcomes.estimates()),
    Study: ("study_id", lambda w, r: w.studies.save(r), lambda w, _: w.studies.all()),
    Trial: ("study_id", save_trial, lambda w, r: w.studies.trials(r.study_id)),
    Deployment: (
        "deployment_id",
        lambda w, r: w.deployments.add(r),
        lambda w, _: w.deployments.all(),
    ),
    Replica: ("replica_id", lambda w, r: w.replicas.add(r), lambda w, _: w.replicas.all()),
    Job: ("job_id", lambda w, r: w.jobs.add(r), lambda w, _: w.jobs.all()),
    RequestRecord: (
        "request_id",
        lambda w, r: w.requests.add([r]),
        lambda w, _: w.requests.latest(10**6),
    ),
}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@settings(
    max_examples=10,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_every_field_survives(sql_uow: UnitOfWorkFactory, kind: type, data: st.DataObject) -> None:
    key, store, listed = KINDS[kind]
    made = replace(data.draw(record(kind)), **{key: new_id()})
    with sql_uow() as work:
        store(work, made)
        work.commit()
    with sql_uow() as work:
        assert made in listed(work, made)


@pytest.mark.parametrize("number", [math.inf, -math.inf, math.nan])
def test_numbers_that_are_not_finite_are_refused(
    any_uow: UnitOfWorkFactory, number: float
) -> None:
    score = replace(samples.SCORE, p95_e2e_s=number)
    with any_uow() as work:
        work.studies.save(samples.study())
        with pytest.raises(ValueError, match="finite"):
            work.studies.save_trials([samples.trial(predicted=score)])
        with pytest.raises(ValueError, match="finite"):
            work.requests.add([samples.request(e2e_ms=number)])
        with pytest.raises(ValueError, match="finite"):
            work.jobs.add(samples.job(params={"deep": [{"down": number}]}))
        with pytest.raises(ValueError, match="finite"):
            work.classifiers.add(b"", {"accuracy": number}, samples.NOW)


def test_moments_without_a_zone_are_refused(any_uow: UnitOfWorkFactory) -> None:
    naive = samples.NOW.replace(tzinfo=None)
    with any_uow() as work:
        with pytest.raises(ValueError, match="time zone"):
            work.jobs.add(samples.job(created_at=naive))
        work.jobs.add(samples.job(state=JobState.RUNNING))
        with pytest.raises(ValueError, match="time zone"):
            work.jobs.report("j1", 0.5, "half", naive)


def test_text_no_database_takes_does_not_keep_a_batch_out(sql_uow: UnitOfWorkFactory) -> None:
    odd = samples.request("odd", 0, requested_model="a\ud800b", prompt="nul\0here")
    with sql_uow() as work:
        work.requests.add([odd, samples.request("even", 1)])
        work.query_sets.save(samples.query_set(scorer="x\0"))
        work.jobs.add(samples.job(params={"text\0": ["\udfff"]}))
        work.commit()
    with sql_uow() as work:
        even, stored = work.requests.latest()
        assert even == samples.request("even", 1)
        assert stored == replace(odd, requested_model="a?b", prompt="nul\ufffdhere")
        found = work.jobs.get("j1")
        assert found is not None
        assert found.params == {"text\ufffd": ["?"]}
