"""What was predicted beside what really happened: from studies and from traffic."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from core.domain.cost import serving_spans
from core.domain.deployment import Deployment
from core.domain.plan import PlanScore, ServingPlan
from core.domain.traffic import RequestRecord
from core.ports import UnitOfWork, UnitOfWorkFactory

FEWEST_REQUESTS = 30
LONGEST = timedelta(days=1)
"""Of one deployment's traffic that is looked at, the newest: enough for percentiles."""


class Source(StrEnum):
    """Where the measured side of a pair comes from."""

    STUDY = "live evaluation"
    TRAFFIC = "gateway traffic"


@dataclass(frozen=True, slots=True)
class Pair:
    """A prediction and what became of it.

    Attributes:
        plan: What was predicted and ran.
        at: When it was measured, or began to serve (UTC).
        predicted: The estimator's score.
        requests: Answers that were measured; None when a study does not tell.
        p50_e2e_s: Measured median.
        p95_e2e_s: Measured 95th percentile.
        load: Measured arrival rate over the planned one; None when unknown. A prediction is for
            a load of 1.
    """

    source: Source
    plan: ServingPlan
    at: datetime
    predicted: PlanScore
    requests: int | None
    p50_e2e_s: float
    p95_e2e_s: float
    load: float | None

    @property
    def p95_error(self) -> float | None:
        """Predicted over measured P95, less one; None for a plan predicted not to keep up."""
        predicted_s = self.predicted.p95_e2e_s
        return None if predicted_s is None else predicted_s / self.p95_e2e_s - 1

    @property
    def inside(self) -> bool | None:
        """Whether the measured P95 lies in the predicted 90 % interval; None without one."""
        low_s, high_s = self.predicted.p95_e2e_low_s, self.predicted.p95_e2e_high_s
        if low_s is None:
            return None
        return low_s <= self.p95_e2e_s <= (high_s if high_s is not None else float("inf"))


def pairs(uow: UnitOfWorkFactory, now: datetime) -> list[Pair]:
    """Return every prediction that has met reality, newest first."""
    with uow() as work:
        found = [*_from_studies(work), *_from_traffic(work, now)]
    return sorted(found, key=lambda pair: pair.at, reverse=True)


def why_not(found: Sequence[Pair]) -> str | None:
    """Why there is nothing to compare; None when there is."""
    if found:
        return None
    return (
        f"No prediction has met reality yet: no plan served {FEWEST_REQUESTS} requests, and no "
        "study measured a plan on replicas."
    )


def _from_studies(work: UnitOfWork) -> list[Pair]:
    return [
        Pair(
            source=Source.STUDY,
            plan=trial.plan,
            at=study.finished_at or study.created_at,
            predicted=trial.predicted,
            requests=None,
            p50_e2e_s=trial.measured.p50_e2e_s,
            p95_e2e_s=trial.measured.p95_e2e_s,
            load=1.0,
        )
        for study in work.studies.all()
        for trial in work.studies.trials(study.study_id)
        if trial.measured and trial.measured.p50_e2e_s and trial.measured.p95_e2e_s
    ]


def _from_traffic(work: UnitOfWork, now: datetime) -> list[Pair]:
    spans = serving_spans(work.deployments.all(), now)
    found = [_of_deployment(work, *span) for span in spans]
    return [pair for pair in found if pair is not None]


def _of_deployment(
    work: UnitOfWork, deployment: Deployment, start: datetime, end: datetime
) -> Pair | None:
    if deployment.predicted is None:
        return None
    start = max(start, end - LONGEST)
    seen = [
        r
        for r in work.requests.between(start, end)
        if r.plan_id == deployment.plan.plan_id and r.status < 400
    ]
    if len(seen) < FEWEST_REQUESTS:
        return None
    times_s = sorted(r.e2e_ms / 1000 for r in seen)
    return Pair(
        source=Source.TRAFFIC,
        plan=deployment.plan,
        at=start,
        predicted=deployment.predicted,
        requests=len(seen),
        p50_e2e_s=_percentile(times_s, 0.50),
        p95_e2e_s=_percentile(times_s, 0.95),
        load=_load(work, deployment, seen),
    )


def _load(work: UnitOfWork, deployment: Deployment, seen: Sequence[RequestRecord]) -> float | None:
    """Rate while requests came, from the first to the last one, over the planned rate."""
    study = work.studies.get(deployment.study_id) if deployment.study_id else None
    workload = work.workloads.get(study.workload_id) if study else None
    span_s = (max(r.at for r in seen) - min(r.at for r in seen)).total_seconds()
    if workload is None or span_s <= 0:
        return None
    return (len(seen) - 1) / span_s / workload.rate_rps


def _percentile(rising: Sequence[float], share: float) -> float:
    """Linear interpolation between the two nearest of a rising sample."""
    position = share * (len(rising) - 1)
    below = int(position)
    above = min(below + 1, len(rising) - 1)
    return rising[below] + (position - below) * (rising[above] - rising[below])
