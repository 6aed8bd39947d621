"""Use cases of profiles: ask for a measurement, read what is known."""

from collections.abc import Sequence
from datetime import datetime

from core.domain.job import Job, JobKind
from core.domain.profile import Profile
from core.errors import InvalidInput, NotFound
from core.ports import UnitOfWorkFactory
from core.services.catalog import require_model_that_fits
from core.services.jobs import new_job

MAX_CONCURRENCY = 4096


def request_profile(
    uow: UnitOfWorkFactory,
    model: str,
    sku: str,
    now: datetime,
    *,
    query_set: str,
    tp: int = 1,
    concurrencies: Sequence[int] = (1, 4, 16),
    seconds_per_level: float = 8.0,
    group_id: str | None = None,
) -> Job:
    """Enqueue a profile of a model on a device type.

    Args:
        concurrencies: Requests in flight per load level.
        seconds_per_level: Length of the counted window of a level.

    Raises:
        InvalidInput: The model does not fit, or a level is not a usable number.
        NotFound: No such model, device type or query set.
    """
    levels = sorted(set(concurrencies))
    if not levels or levels[0] < 1 or levels[-1] > MAX_CONCURRENCY or seconds_per_level <= 0:
        raise InvalidInput(
            f"Load levels must be whole numbers from 1 to {MAX_CONCURRENCY}, of some seconds.",
            "1, 4 and 16 requests in flight for 8 seconds each are a good start.",
        )
    with uow() as work:
        require_model_that_fits(work, model, sku, tp)
        if query_set not in work.query_sets.names():
            raise NotFound(
                f"There is no query set {query_set!r}.", "Upload one on Workload & quality."
            )
        params = {
            "model": model,
            "sku": sku,
            "tp": tp,
            "query_set": query_set,
            "concurrencies": levels,
            "seconds_per_level": seconds_per_level,
        }
        title = f"Profile {model} on {tp} x {sku}"
        job = new_job(JobKind.PROFILE, title, params, now, group_id)
        work.jobs.add(job)
        work.commit()
    return job


def profiles(uow: UnitOfWorkFactory) -> list[Profile]:
    """Return every profile, newest first."""
    with uow() as work:
        return work.profiles.all()


def latest_profiles(uow: UnitOfWorkFactory) -> list[Profile]:
    """Return the newest profile per (model, SKU, TP, PP)."""
    with uow() as work:
        return work.profiles.latest()
