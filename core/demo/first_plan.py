"""The job that turns measurements of the built-in models into a workload and a first study."""

from typing import Any

from core.domain.ids import utc_now
from core.domain.job import Job
from core.domain.profile import Profile
from core.domain.study import Limits
from core.errors import NotReady
from core.ports import JobContext
from core.services.studies import create_study
from core.services.workloads import describe

SLA_FACTOR = 4.0
"""Wanted P95 as a multiple of the unloaded median of the larger model."""


class FirstPlanJob:
    """Body of `JobKind.CHARACTERISE`.

    Parameters: `name` of the workload, `mix` (share per class), `load` (arrivals as a multiple of
    what one replica of `model` sustains) and `quality_floor` of the study that follows.
    """

    def steps(self, job: Job) -> list[str]:
        """One step: it takes no time."""
        return ["characterise"]

    def run(self, step: str, context: JobContext) -> dict[str, Any]:
        """Store the workload and enqueue the study; return both ids."""
        params, now = context.job.params, utc_now()
        context.progress(0.1, "Reading the profiles")
        profile = _newest_profile(context, params["model"])
        rate_rps = params["load"] * max(level.requests_per_s for level in profile.levels)
        rates = {name: share * rate_rps for name, share in params["mix"].items()}
        workload = describe(context.uow, params["name"], rates, now)
        limits = Limits(
            quality_floor=params["quality_floor"],
            sla_p95_e2e_s=round(SLA_FACTOR * profile.levels[0].e2e_ms.p50 / 1000, 2),
        )
        study = create_study(
            context.uow,
            "First plan",
            workload.workload_id,
            limits,
            now,
            group_id=context.job.group_id,
        )
        return {"workload_id": workload.workload_id, "study_id": study.study_id}


def _newest_profile(context: JobContext, model: str) -> Profile:
    with context.uow() as work:
        found = next((p for p in work.profiles.latest() if p.model == model), None)
    if found is None:
        raise NotReady(f"{model} was not profiled yet.", "Profile it on Models & profiling.")
    return found
