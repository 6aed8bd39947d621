"""Comparisons: the best plan for one aim, beside what operators do without an optimiser."""

from dataclasses import dataclass
from enum import StrEnum

from core.domain.plan import PlanScore, ServingPlan


class Aim(StrEnum):
    """What is made as good as can be; everything else is a limit."""

    SAVINGS = "least cost at the wanted latency and quality"
    LATENCY = "least P95 latency within the budget at the wanted quality"
    THROUGHPUT = "most throughput within the budget at the wanted quality"


class Approach(StrEnum):
    """How a plan is made."""

    JOINT = "routing and placement together"
    ONE_MODEL_ONE_SKU = "one model on one device type"
    ROUTING_ONLY = "routing only"
    PLACEMENT_ONLY = "placement only"
    ROUTING_THEN_PLACEMENT = "routing, then placement"


@dataclass(frozen=True, slots=True)
class Contender:
    """The best plan that one approach finds.

    Attributes:
        plan: None when the approach has no plan within the hard limits at all.
        score: By the best estimator there is; the same for every contender.
        throughput_rps: Traffic in the workload's mix that it sustains at the utilisation limit.
        meets: Whether the plan meets every target. Where it does not, it is the closest found.
        note: What it falls short of, in words; else empty.
    """

    approach: Approach
    plan: ServingPlan | None
    score: PlanScore | None
    throughput_rps: float | None
    meets: bool
    note: str = ""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Contenders under the same targets, evaluator and requests.

    Attributes:
        quality_floor: Least lower bound of quality, 0..1.
        sla_p95_e2e_s: Most P95 latency; None for no limit.
        budget_usd_per_hour: Most cost; None for no limit but the fleet.
        sure: Whether the upper end of the P95's interval has to keep the SLA, not the estimate.
        contenders: The joint optimum first, then the baselines.
    """

    aim: Aim
    quality_floor: float
    sla_p95_e2e_s: float | None
    budget_usd_per_hour: float | None
    sure: bool
    contenders: tuple[Contender, ...]

    @property
    def best(self) -> Contender:
        """The joint optimum."""
        return self.contenders[0]

    @property
    def baselines(self) -> tuple[Contender, ...]:
        """All others."""
        return self.contenders[1:]

    def value(self, contender: Contender) -> float | None:
        """Return what the aim is about: $/h, P95 in s, or requests per second."""
        if contender.score is None:
            return None
        if self.aim is Aim.SAVINGS:
            return contender.score.cost_usd_per_hour
        if self.aim is Aim.LATENCY:
            return contender.score.p95_e2e_s
        return contender.throughput_rps

    def gain(self, contender: Contender) -> float | None:
        """Return what the joint optimum gains over a baseline; None unless both meet the targets.

        Savings: the share of the baseline's cost that is saved, 1 - ours / theirs. Latency: how
        much faster, theirs / ours - 1. Throughput: how much more, ours / theirs - 1.
        """
        ours, theirs = self.value(self.best), self.value(contender)
        if not (ours and theirs and self.best.meets and contender.meets):
            return None
        if self.aim is Aim.SAVINGS:
            return 1 - ours / theirs
        return theirs / ours - 1 if self.aim is Aim.LATENCY else ours / theirs - 1
