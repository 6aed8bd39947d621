"""Serving plans: what runs where, who answers what, and how good that is."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass

from core.domain.cascade import CascadeKey
from core.domain.profile import Provenance


@dataclass(frozen=True, slots=True, order=True)
class ReplicaKind:
    """A model on a device type: one vLLM server of this shape is a replica.

    Attributes:
        tp: Tensor-parallel ranks, inside one node.
        pp: Pipeline-parallel stages.
    """

    model: str
    sku: str
    tp: int = 1
    pp: int = 1

    @property
    def devices(self) -> int:
        """Devices one replica occupies."""
        return self.tp * self.pp

    @property
    def label(self) -> str:
        """Short text for people: `large on cpu-core, TP 2`."""
        parallel = (f", TP {self.tp}" if self.tp > 1 else "") + (
            f", PP {self.pp}" if self.pp > 1 else ""
        )
        return f"{self.model} on {self.sku}{parallel}"


@dataclass(frozen=True, slots=True, order=True)
class PlacedKind:
    """How many replicas of a kind run."""

    kind: ReplicaKind
    count: int


@dataclass(frozen=True, slots=True, order=True)
class Route:
    """The share (0..1) of a query class that a model answers, or that a cascade does.

    Attributes:
        model: Model that is asked first.
        escalate_to: Model that answers instead when the first one was unsure; empty: none does.
        threshold: Mean token log-probability (natural logarithm, at most 0) of the first answer
            below which it is thrown away and `escalate_to` is asked.
    """

    query_class: str
    model: str
    share: float
    escalate_to: str = ""
    threshold: float = 0.0

    @property
    def cascade(self) -> CascadeKey | None:
        """Key of its cascade; None for a plain route."""
        if not self.escalate_to:
            return None
        return self.query_class, self.model, self.escalate_to, self.threshold


@dataclass(frozen=True, slots=True)
class ServingPlan:
    """Placement and routing together. Both tuples are kept sorted by `make_plan`."""

    placement: tuple[PlacedKind, ...]
    routing: tuple[Route, ...]

    @property
    def plan_id(self) -> str:
        """Twelve hexadecimal digits that depend on the content only."""
        kinds = [(p.kind, p.count) for p in self.placement]
        placed = [[k.model, k.sku, k.tp, k.pp, count] for k, count in kinds]
        routed = [_identity(route) for route in self.routing]
        content = json.dumps([placed, routed])
        return hashlib.sha256(content.encode()).hexdigest()[:12]

    @property
    def devices(self) -> int:
        """Devices the placement occupies."""
        return sum(p.count * p.kind.devices for p in self.placement)

    @property
    def models(self) -> tuple[str, ...]:
        """Models that have at least one replica, sorted."""
        return tuple(sorted({p.kind.model for p in self.placement}))

    def shares(self, query_class: str) -> dict[str, float]:
        """Share per model asked first, for one class; empty when the class is not routed."""
        shares: dict[str, float] = {}
        for route in self.routes(query_class):
            shares[route.model] = shares.get(route.model, 0.0) + route.share
        return shares

    def routes(self, query_class: str) -> tuple[Route, ...]:
        """Routes of one class, cascades included, in canonical order."""
        return tuple([route for route in self.routing if route.query_class == query_class])

    @property
    def asked(self) -> frozenset[str]:
        """Models that some route asks, first or after another one."""
        called = {model for r in self.routing for model in (r.model, r.escalate_to)}
        return frozenset(called - {""})


def _identity(route: Route) -> list[str | float]:
    """What a plan's identity takes from a route: a plain one's has not changed over versions."""
    plain: list[str | float] = [route.query_class, route.model, round(route.share, 6)]
    return [*plain, route.escalate_to, route.threshold] if route.escalate_to else plain


def make_plan(
    placement: dict[ReplicaKind, int],
    routing: dict[str, dict[str, float]],
    cascades: Iterable[Route] = (),
) -> ServingPlan:
    """Build a plan from plain mappings, leaving out zeros, in canonical order.

    Args:
        placement: Replicas per kind.
        routing: Share per model that answers alone, per query class.
        cascades: Routes with `escalate_to`.
    """
    placed = sorted(PlacedKind(kind, count) for kind, count in placement.items() if count > 0)
    plain = [
        Route(query_class, model, share)
        for query_class, shares in routing.items()
        for model, share in shares.items()
        if share > 0
    ]
    routes = sorted([*plain, *(route for route in cascades if route.share > 0)])
    return ServingPlan(tuple(placed), tuple(routes))


@dataclass(frozen=True, slots=True)
class PlanScore:
    """How a plan does: predicted by an estimator or measured on replicas.

    Attributes:
        provenance: Predicted or measured.
        cost_usd_per_hour: Allocation cost of the placement.
        cost_usd_per_million_tokens: The same per million output tokens at the workload's rate.
        p50_e2e_s: Median end-to-end latency; None when the plan cannot keep up.
        p95_e2e_s: 95th percentile; None when the plan cannot keep up.
        p95_ttft_s: 95th percentile of the time to first token; None when unknown.
        quality_mean: Traffic-weighted mean quality.
        quality_lower: Traffic-weighted lower bound: what the hard limit uses.
        utilisation: Busiest pool's load as a fraction of its capacity; >= 1 cannot keep up.
        sla_attainment: Share of requests within the latency SLA; None when no SLA or unknown.
        violations: Hard limits broken, in words; empty for a feasible plan.
        p95_e2e_low_s: Lower end of a 90 % interval on `p95_e2e_s`; None when unknown.
        p95_e2e_high_s: Upper end; None when unknown, or when the plan may not keep up.
        estimator: What computed the latency: "analytic", "simulated" or "live"; may be empty.
    """

    provenance: Provenance
    cost_usd_per_hour: float
    cost_usd_per_million_tokens: float
    p50_e2e_s: float | None
    p95_e2e_s: float | None
    p95_ttft_s: float | None
    quality_mean: float
    quality_lower: float
    utilisation: float
    sla_attainment: float | None = None
    violations: tuple[str, ...] = ()
    p95_e2e_low_s: float | None = None
    p95_e2e_high_s: float | None = None
    estimator: str = ""

    @property
    def feasible(self) -> bool:
        """Whether every hard limit holds."""
        return not self.violations and self.p95_e2e_s is not None
