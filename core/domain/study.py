"""Studies: one search for good plans, and the trials it made."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from core.domain.comparison import Comparison
from core.domain.infeasibility import Infeasibility
from core.domain.plan import PlanScore, ReplicaKind, ServingPlan


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
    PAPER = "constrained qNEHVI"
    BASELINE_LARGE = "baseline: all on the best model"
    BASELINE_SMALL = "baseline: all on the cheapest model"


class Method(StrEnum):
    """How a study chooses the plans that are measured."""

    GREY_BOX = "grey box"
    PAPER = "constrained qNEHVI"


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
        method: How plans to measure are chosen.
        infeasibility: What would have to change, when no plan meets the limits, or none is sure
            to keep the wanted latency.
        comparisons: Savings mode and performance mode, beside the baselines.
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
    method: Method = Method.GREY_BOX
    infeasibility: Infeasibility | None = None
    comparisons: tuple[Comparison, ...] = ()


@dataclass(frozen=True, slots=True)
class KindTelemetry:
    """What replicas of one kind did while a plan was measured: means over their answers.

    Attributes:
        requests: Answers counted.
        tpot_mean_s: Time per output token after the first.
        ttft_mean_s: From sending to the first token, waiting included.
        e2e_mean_s: From sending to the last token, waiting included.
    """

    kind: ReplicaKind
    requests: int
    tpot_mean_s: float
    ttft_mean_s: float
    e2e_mean_s: float


@dataclass(frozen=True, slots=True)
class Measurement:
    """What measuring a plan gave.

    Attributes:
        telemetry: One entry per kind that answered; empty when replicas tell nothing.
    """

    score: PlanScore
    telemetry: tuple[KindTelemetry, ...] = ()


@dataclass(frozen=True, slots=True)
class Trial:
    """One plan that a study looked at.

    Attributes:
        number: Order in the study, from 0.
        predicted: The best prediction there is: an estimator's, corrected by what was measured.
        measured: The live score; None when it was not measured.
        on_front: Whether it is on the study's final Pareto front.
        telemetry: What its replicas did while it was measured, by kind; may be empty.
        failure: Why measuring it failed, in words; empty when it did not.
        evaluation: Place in the order in which plans were tried on replicas, from 0; None for
            one that was not.
        alike: Number of the plan of the front that this one differs from by less than the noise,
            or that beats it but for that; None for a plan that is shown by itself.
    """

    study_id: str
    number: int
    plan: ServingPlan
    origin: Origin
    predicted: PlanScore
    measured: PlanScore | None = None
    on_front: bool = False
    telemetry: tuple[KindTelemetry, ...] = ()
    failure: str = ""
    evaluation: int | None = None
    alike: int | None = None

    @property
    def score(self) -> PlanScore:
        """The best knowledge there is: measured where it was measured."""
        return self.measured or self.predicted

    @property
    def evaluated(self) -> bool:
        """Whether replicas were tried: measured, or failed."""
        return self.measured is not None or bool(self.failure)
