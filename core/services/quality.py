"""Use cases of quality: query sets, measurements, the classifier."""

from datetime import datetime
from typing import Any

from core.domain.job import Job, JobKind
from core.domain.quality import Outcome, QualityEstimate, QuerySet
from core.errors import InvalidInput, NotFound
from core.ports import UnitOfWork, UnitOfWorkFactory
from core.services.catalog import require_model_that_fits
from core.services.jobs import enqueue, new_job


def save_query_set(uow: UnitOfWorkFactory, query_set: QuerySet) -> None:
    """Store a query set, replacing one of the same name.

    Raises:
        InvalidInput: It has no queries.
    """
    if not query_set.queries:
        raise InvalidInput(
            f"The query set {query_set.name!r} is empty.", "Give it at least one query per class."
        )
    with uow() as work:
        work.query_sets.save(query_set)
        work.commit()


def query_sets(uow: UnitOfWorkFactory) -> list[str]:
    """Return the names of the query sets."""
    with uow() as work:
        return work.query_sets.names()


def query_set(uow: UnitOfWorkFactory, name: str) -> QuerySet:
    """Return one query set.

    Raises:
        NotFound: There is none of that name.
    """
    with uow() as work:
        return _query_set(work, name)


def _query_set(work: UnitOfWork, name: str) -> QuerySet:
    found = work.query_sets.get(name)
    if found is None:
        raise NotFound(f"There is no query set {name!r}.", "Upload one on Workload & quality.")
    return found


def asking(
    work: UnitOfWork, model: str, sku: str, tp: int, query_set: str, per_class: int
) -> dict[str, Any]:
    """Return the parameters of a job that asks a model a query set.

    Raises:
        InvalidInput: The model does not fit.
        NotFound: No such model, device type or query set.
    """
    require_model_that_fits(work, model, sku, tp)
    return {
        "model": model,
        "sku": sku,
        "tp": tp,
        "query_set": query_set,
        "per_class": per_class,
        "classes": list(_query_set(work, query_set).classes),
    }


def request_quality(
    uow: UnitOfWorkFactory,
    model: str,
    sku: str,
    now: datetime,
    *,
    query_set: str,
    tp: int = 1,
    per_class: int = 100,
    group_id: str | None = None,
) -> Job:
    """Enqueue a quality measurement of a model on a query set.

    Raises:
        InvalidInput: The model does not fit, or `per_class` is below 1.
        NotFound: No such model, device type or query set.
    """
    if per_class < 1:
        raise InvalidInput("Ask at least one query per class.", "100 gives an interval of +-10 %.")
    with uow() as work:
        params = asking(work, model, sku, tp, query_set, per_class)
        job = new_job(JobKind.QUALITY, f"Score {model} on {query_set}", params, now, group_id)
        work.jobs.add(job)
        work.commit()
    return job


def request_classifier(
    uow: UnitOfWorkFactory, now: datetime, group_id: str | None = None, *, bands: bool = False
) -> Job:
    """Enqueue training of the query classifier from all outcomes.

    Args:
        bands: Make classes of what is predicted of each query, instead of those that the query
            sets give.
    """
    title, params = "Train the query classifier", {"bands": bands}
    return enqueue(uow, JobKind.CLASSIFIER, title, params, now, group_id)


def estimates(uow: UnitOfWorkFactory) -> list[QualityEstimate]:
    """Return the newest estimate per (model, class)."""
    with uow() as work:
        return work.outcomes.estimates()


def outcomes(uow: UnitOfWorkFactory) -> list[Outcome]:
    """Return every scored answer."""
    with uow() as work:
        return work.outcomes.all()


def classifier_facts(uow: UnitOfWorkFactory) -> dict[str, Any] | None:
    """Return what is known of the newest classifier, its version included; None without one."""
    with uow() as work:
        newest = work.classifiers.latest()
    if newest is None:
        return None
    version, _, facts = newest
    return {"version": version, **facts}
