"""Why no plan meets the limits, and the least that would have to change."""

from dataclasses import dataclass
from enum import StrEnum

from core.domain.plan import PlanScore, ServingPlan


class Constraint(StrEnum):
    """What may be relaxed. In brackets: the unit of `Relaxation.now` and `needed`."""

    FLOOR = "quality floor"
    """(0..1)"""
    BUDGET = "budget"
    """($/h)"""
    LATENCY = "wanted P95 latency"
    """(s)"""
    DEVICES = "devices"
    """(devices of one type)"""
    TRAFFIC = "traffic"
    """(requests per second, in the workload's mix)"""


@dataclass(frozen=True, slots=True)
class Relaxation:
    """One limit, and how far it alone must give way for a plan to exist.

    Attributes:
        sku: Device type of `DEVICES`; else empty.
        now: The limit as it is.
        needed: The smallest change found that has a plan; None: changing this alone does not
            help, however far.
        plan: A plan that meets all limits once this one is `needed`; None like `needed`.
        score: Its score under the relaxed limits.
    """

    constraint: Constraint
    sku: str
    now: float
    needed: float | None
    plan: ServingPlan | None = None
    score: PlanScore | None = None

    @property
    def helps(self) -> bool:
        """Whether changing this alone is enough."""
        return self.needed is not None


@dataclass(frozen=True, slots=True)
class NearestPlan:
    """The plan that breaks the limits least.

    Attributes:
        score: Under the limits as they are; says which it breaks.
        violation: Sum over the limits of how far each is exceeded, as a fraction of the limit.
    """

    plan: ServingPlan
    score: PlanScore
    violation: float


@dataclass(frozen=True, slots=True)
class Infeasibility:
    """What stands between the limits and a plan.

    Attributes:
        latency_counts: Whether the wanted latency was treated as a hard limit too: there are
            plans, but none that is sure to keep it.
        relaxations: One per limit that is set, devices once per type.
        nearest: None when nothing can be placed at all.
    """

    latency_counts: bool
    relaxations: tuple[Relaxation, ...]
    nearest: NearestPlan | None

    @property
    def binding(self) -> tuple[Relaxation, ...]:
        """The limits each of which alone keeps every plan out."""
        return tuple(relaxation for relaxation in self.relaxations if relaxation.helps)
