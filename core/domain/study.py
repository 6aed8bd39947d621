"""Studies: one search for good plans, and the trials it made."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from core.domain.plan import PlanScore, ServingPlan


class StudyState(StrEnum):
    """RUNNING -> DONE | INFEASIBLE | FAILED | CANCELLED; owner of every edge: the optimise job."""

    RUNNING = "running"
    DONE = "done"
    INFEASIBLE = "infeasible"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Origin(StrEnum):
    """How a trial came about."""

    SEED = "MILP seed"
    LOCAL_SEARCH = "local search"
    BAYES = "grey-box BO"
    BASELINE_LARGE = "baseline: all on the best model"
    BASELINE_SMALL = "baseline: all on the cheapest model"


@dataclass(frozen=True, slots=True)
class Limits:
    """What a plan must and should meet.

    Attributes:
        quality_floor: Hard: least lower bound of quality, 0..1.
        budget_usd_per_hour: Hard: most allocation cost; None for no limit.
        sla_p95_e2e_s: Soft: wanted 95th percentile of end-to-end latency; None for none.
        max_utilisation: Hard: most load as a fraction of capacity.
    """

    quality_floor: float = 0.0
    budget_usd_per_hour: float | None = None
    sla_p95_e2e_s: float | None = None
    max_utilisation: float = 0.9


@dataclass(frozen=True, slots=True)
class Study:
    """One search.

    Attributes:
        live_evaluations: Plans to measure on replicas; 0 for estimates only.
        message: Why it is infeasible or failed, in words with a remedy; else empty.
        reference: Hypervolume reference point (cost $/h, latency s, quality shortfall).
    """

    study_id: str
    name: str
    workload_id: str
    limits: Limits
    live_evaluations: int
    seed: int
    state: StudyState
    created_at: datetime
    finished_at: datetime | None = None
    message: str = ""
    reference: tuple[float, float, float] | None = None


@dataclass(frozen=True, slots=True)
class Trial:
    """One plan that a study looked at.

    Attributes:
        number: Order in the study, from 0.
        predicted: The estimator's score.
        measured: The live score; None when it was not measured.
        on_front: Whether it is on the study's final Pareto front.
    """

    study_id: str
    number: int
    plan: ServingPlan
    origin: Origin
    predicted: PlanScore
    measured: PlanScore | None = None
    on_front: bool = False

    @property
    def score(self) -> PlanScore:
        """The best knowledge there is: measured where it was measured."""
        return self.measured or self.predicted
