"""Use cases of studies: start one, read what it found."""

import math
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime

from core.domain.ids import new_id
from core.domain.job import Job, JobKind, JobState
from core.domain.study import Limits, Method, Study, StudyState, Trial
from core.errors import InvalidInput, NotFound
from core.ports import UnitOfWork, UnitOfWorkFactory
from core.services.jobs import new_job
from core.services.planning import facts_of

MAX_LIVE_EVALUATIONS = 200
ENDED_WITHOUT_RESULT = {
    JobState.FAILED: StudyState.FAILED,
    JobState.CANCELLED: StudyState.CANCELLED,
}


def create_study(
    uow: UnitOfWorkFactory,
    name: str,
    workload_id: str,
    limits: Limits,
    now: datetime,
    *,
    live_evaluations: int = 0,
    seed: int = 0,
    method: Method = Method.GREY_BOX,
    group_id: str | None = None,
) -> Study:
    """Store a study and enqueue the job that runs it.

    Args:
        live_evaluations: Plans to measure on real replicas; 0 for estimates only.
        seed: Makes the search repeatable.
        method: How plans to measure are chosen.

    Raises:
        InvalidInput: A limit makes no sense.
        NotFound: There is no such workload.
        NotReady: Something was not measured yet.
    """
    _require_sensible(limits, live_evaluations)
    study = Study(
        study_id=new_id(),
        name=name.strip() or "Study",
        workload_id=workload_id,
        limits=limits,
        live_evaluations=live_evaluations,
        seed=seed,
        state=StudyState.RUNNING,
        created_at=now,
        method=method,
    )
    params = {"study_id": study.study_id, "live_evaluations": live_evaluations}
    with uow() as work:
        facts_of(work, workload_id, limits, now)
        work.studies.save(study)
        work.jobs.add(new_job(JobKind.OPTIMISE, f"Optimise: {study.name}", params, now, group_id))
        work.commit()
    return study


def studies(uow: UnitOfWorkFactory) -> list[Study]:
    """Return every study, newest first."""
    with uow() as work:
        jobs = work.jobs.all()
        return [_as_it_is(study, jobs) for study in work.studies.all()]


def study(uow: UnitOfWorkFactory, study_id: str) -> Study:
    """Return one study.

    Raises:
        NotFound: There is no such study.
    """
    with uow() as work:
        return _as_it_is(require_study(work, study_id), work.jobs.all())


def require_study(work: UnitOfWork, study_id: str) -> Study:
    """Return one study as stored.

    Raises:
        NotFound: There is no such study.
    """
    found = work.studies.get(study_id)
    if found is None:
        raise NotFound("There is no such study.", "Pick one on the Optimise page.")
    return found


def trials(uow: UnitOfWorkFactory, study_id: str) -> list[Trial]:
    """Return the trials of a study by number."""
    with uow() as work:
        return work.studies.trials(study_id)


def front(uow: UnitOfWorkFactory, study_id: str) -> list[Trial]:
    """Return the trials on a study's Pareto front, cheapest first."""
    on_front = [trial for trial in trials(uow, study_id) if trial.on_front]
    return sorted(on_front, key=lambda trial: trial.score.cost_usd_per_hour)


def _as_it_is(study: Study, jobs: Iterable[Job]) -> Study:
    """A killed job cannot tell its study; a study that still seems to run ended with its job."""
    if study.state is not StudyState.RUNNING:
        return study
    mine = [job for job in jobs if job.params.get("study_id") == study.study_id]
    newest = max(mine, key=lambda job: job.created_at, default=None)
    if newest is None or newest.state not in ENDED_WITHOUT_RESULT:
        return study
    return replace(
        study,
        state=ENDED_WITHOUT_RESULT[newest.state],
        message=f"{newest.message} {newest.hint}".strip(),
        finished_at=newest.finished_at,
    )


def _require_sensible(limits: Limits, live_evaluations: int) -> None:
    if not 0 <= limits.quality_floor <= 1:
        raise InvalidInput(
            f"The quality floor must be from 0 to 1, not {limits.quality_floor}.",
            "0.85 means: on average at least 85 % of a perfect score.",
        )
    for value, what in [
        (limits.budget_usd_per_hour, "budget"),
        (limits.sla_p95_e2e_s, "wanted latency"),
    ]:
        if value is not None and not (value > 0 and math.isfinite(value)):
            raise InvalidInput(
                f"The {what} must be above zero, not {value}.", "Leave it empty for no limit."
            )
    if not 0.05 <= limits.max_utilisation < 1:
        raise InvalidInput(
            f"The utilisation limit must be from 0.05 to below 1, not {limits.max_utilisation}.",
            "0.9 leaves a tenth of the capacity for bursts.",
        )
    if not 0 <= live_evaluations <= MAX_LIVE_EVALUATIONS:
        raise InvalidInput(
            f"Live evaluations must be from 0 to {MAX_LIVE_EVALUATIONS}, not {live_evaluations}.",
            "Each takes up to some minutes; 0 uses estimates only.",
        )
