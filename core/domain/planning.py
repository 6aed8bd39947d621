"""Everything a planner must know, gathered in one value."""

from collections.abc import Mapping
from dataclasses import dataclass

from core.domain.cascade import CascadeEstimate
from core.domain.plan import ReplicaKind
from core.domain.profile import Profile
from core.domain.quality import QualityEstimate
from core.domain.study import Limits
from core.domain.workload import Workload


@dataclass(frozen=True)
class PlanningFacts:
    """The problem, stated once; estimators and optimisers take nothing else.

    Attributes:
        workload: Traffic to plan for.
        limits: Hard and soft limits.
        profiles: Newest profile per replica kind; only these kinds can be placed.
        quality: Estimate per (model, query class).
        price_usd_per_hour: Price in force per SKU.
        devices_per_node: Schedulable devices per SKU, one count per node.
        max_num_seqs: Batch limit per model.
        cascades: The only cascades a plan may have.
    """

    workload: Workload
    limits: Limits
    profiles: Mapping[ReplicaKind, Profile]
    quality: Mapping[tuple[str, str], QualityEstimate]
    price_usd_per_hour: Mapping[str, float]
    devices_per_node: Mapping[str, tuple[int, ...]]
    max_num_seqs: Mapping[str, int]
    cascades: tuple[CascadeEstimate, ...] = ()

    @property
    def models(self) -> tuple[str, ...]:
        """Models that have a profile and a quality estimate for every class, sorted."""
        classes = [t.query_class for t in self.workload.classes]
        profiled = {kind.model for kind in self.profiles}
        return tuple(sorted(m for m in profiled if all((m, c) in self.quality for c in classes)))

    @property
    def models_by_quality(self) -> tuple[str, ...]:
        """Models by falling traffic-weighted mean quality: the safest first."""

        def mean(model: str) -> float:
            classes = [t.query_class for t in self.workload.classes]
            return sum(self.workload.weight(c) * self.quality[model, c].mean for c in classes)

        return tuple(sorted(self.models, key=mean, reverse=True))

    def cost_usd_per_hour(self, placement: Mapping[ReplicaKind, int]) -> float:
        """Allocation cost of a placement: device-hours x price in force."""
        return sum(
            count * kind.devices * self.price_usd_per_hour[kind.sku]
            for kind, count in placement.items()
        )
