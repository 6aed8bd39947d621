"""Scores a plan from measured profiles in well under a millisecond."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from core.domain.plan import PlanScore, ReplicaKind, Route, ServingPlan
from core.domain.planning import PlanningFacts
from core.domain.profile import Provenance
from core.estimate.flows import Flows, escalated, flows_of
from core.estimate.plan_times import Pool, plan_mixtures
from core.estimate.quality import mixture_quality
from core.estimate.speed import KindSpeed, Vector, answer_tokens
from core.estimate.step_speed import kind_speed
from core.estimate.validity import placement_of, validate

FLOOR_TOLERANCE = 1e-9
Routes = Mapping[str, tuple[Route, ...]]


class AnalyticEvaluator:
    """The cheapest `PlanEvaluator`: measured profiles, a queue per pool, known prices and quality.

    Args:
        facts: The problem. Profiles of every kind that has a price are compiled once.
    """

    def __init__(self, facts: PlanningFacts) -> None:
        self.facts = facts
        self._classes = [traffic.query_class for traffic in facts.workload.classes]
        self._rates: Vector = np.array([traffic.rate_rps for traffic in facts.workload.classes])
        self.speeds: dict[ReplicaKind, KindSpeed] = {
            kind: kind_speed(facts, kind) for kind in facts.profiles
        }
        self._tokens = {
            (model, traffic.query_class): answer_tokens(facts, model, traffic)
            for model in {kind.model for kind in facts.profiles}
            for traffic in facts.workload.classes
        }
        self._cascades = {cascade.key: cascade for cascade in facts.cascades}

    def evaluate(self, plan: ServingPlan, stretch: float = 1.0) -> PlanScore:
        """Score one plan; one that breaks limits is scored too, with what it breaks in words.

        Args:
            stretch: Known ratio of this plan's latencies to this evaluator's.
        """
        flows = self._flows(plan)
        pools = self._pools(plan, flows)
        routes = {name: plan.routes(name) for name in self._classes}
        mean, lower = self._quality(routes)
        cost = self._cost_usd_per_hour(plan)
        load = max((pool.load for pool in pools), default=0.0)
        times = _UNKNOWN
        if self._served(pools, flows):
            times = self._times(pools, flows, stretch)
        return PlanScore(
            provenance=Provenance.PREDICTED,
            cost_usd_per_hour=cost,
            cost_usd_per_million_tokens=cost / self._million_tokens_per_hour(routes),
            p50_e2e_s=times.p50_e2e_s,
            p95_e2e_s=times.p95_e2e_s,
            p95_ttft_s=times.p95_ttft_s,
            quality_mean=mean,
            quality_lower=lower,
            utilisation=load,
            sla_attainment=times.sla_attainment,
            violations=(*validate(plan, self.facts), *self._broken_limits(cost, lower, load)),
            estimator="analytic",
        )

    def pools(self, plan: ServingPlan) -> list[Pool]:
        """Split the traffic over pools: by the routing, then in proportion to capacity.

        Both calls of what a cascade escalates are traffic.
        """
        return self._pools(plan, self._flows(plan))

    def _flows(self, plan: ServingPlan) -> Flows:
        return flows_of(plan, self._classes, self._rates, self._cascades)

    def _pools(self, plan: ServingPlan, flows: Flows) -> list[Pool]:
        placement = placement_of(plan)
        nothing = np.zeros(len(self._classes))
        return [
            pool
            for model in plan.models
            for pool in self._pools_of(model, placement, flows.calls_rps.get(model, nothing))
        ]

    def _quality(self, routes: Routes) -> tuple[float, float]:
        routing = {
            name: {route.model: route.share for route in of_class if not route.escalate_to}
            for name, of_class in routes.items()
        }
        cascades = [
            (route.share, self._cascades[route.cascade])
            for of_class in routes.values()
            for route in of_class
            if route.escalate_to and route.cascade in self._cascades
        ]
        facts = self.facts
        return mixture_quality(facts.workload, facts.quality, routing, cascades)

    def _pools_of(
        self, model: str, placement: Mapping[ReplicaKind, int], rates: Vector
    ) -> list[Pool]:
        rate_rps = float(rates.sum())
        known = {k: n for k, n in placement.items() if k.model == model and k in self.speeds}
        if rate_rps <= 0 or not known:
            return []
        mix = rates / rate_rps
        capacity = {k: n * self.speeds[k].capacity_rps(mix) for k, n in known.items()}
        total = sum(capacity.values())
        return [
            Pool(kind, count, rate_rps * capacity[kind] / total, mix, rate_rps / total)
            for kind, count in known.items()
        ]

    def _served(self, pools: list[Pool], flows: Flows) -> bool:
        """Whether every request is answered in the end: only then latency means something."""
        served_rps = sum(pool.rate_rps for pool in pools) - flows.second_rps
        complete = abs(served_rps - self._rates.sum()) < 1e-6 * self._rates.sum()
        return complete and all(pool.load < 1 for pool in pools)

    def _times(self, pools: list[Pool], flows: Flows, stretch: float) -> "_Times":
        mixtures = plan_mixtures(self.speeds, pools, flows, float(self._rates.sum()))
        if mixtures is None:
            return _UNKNOWN
        e2e, ttft = mixtures
        p50_s, p95_s = e2e.quantiles_s([0.5, 0.95])
        sla_s = self.facts.limits.sla_p95_e2e_s
        return _Times(
            p50_e2e_s=stretch * p50_s,
            p95_e2e_s=stretch * p95_s,
            p95_ttft_s=stretch * ttft.quantiles_s([0.95])[0],
            sla_attainment=e2e.share_within(sla_s / stretch) if sla_s else None,
        )

    def _cost_usd_per_hour(self, plan: ServingPlan) -> float:
        prices = self.facts.price_usd_per_hour
        return sum(p.count * p.kind.devices * prices.get(p.kind.sku, 0.0) for p in plan.placement)

    def _million_tokens_per_hour(self, routes: Routes) -> float:
        """Of answers that clients get; what a cascade throws away is not sold."""
        per_s = 0.0
        for traffic in self.facts.workload.classes:
            for route in routes[traffic.query_class]:
                mean, goes_on = traffic.output_tokens_mean, 0.0
                if route.escalate_to:
                    goes_on = escalated(route, self._cascades)
                    length = self._tokens.get((route.escalate_to, traffic.query_class), mean)
                    per_s += traffic.rate_rps * route.share * goes_on * length
                length = self._tokens.get((route.model, traffic.query_class), mean)
                per_s += traffic.rate_rps * route.share * (1 - goes_on) * length
        # A plan that routes nothing generates nothing: price the tokens it should have.
        return (per_s or self._wanted_tokens_per_s()) * 3600 / 1e6

    def _wanted_tokens_per_s(self) -> float:
        return sum(t.rate_rps * t.output_tokens_mean for t in self.facts.workload.classes)

    def _broken_limits(self, cost: float, lower: float, load: float) -> list[str]:
        limits, broken = self.facts.limits, []
        if lower < limits.quality_floor - FLOOR_TOLERANCE:
            broken.append(
                f"Quality is at least {lower:.3f}, below the floor of {limits.quality_floor:.3f}."
            )
        budget = limits.budget_usd_per_hour
        if budget is not None and cost > budget * (1 + 1e-9):
            broken.append(f"Costs ${cost:.4g}/h, above the budget of ${budget:.4g}/h.")
        if load >= 1:
            broken.append(f"Cannot keep up: {load:.0%} of the capacity would be needed.")
        elif load > limits.max_utilisation + 1e-9:
            broken.append(
                f"Utilisation is {load:.0%}, above the limit of {limits.max_utilisation:.0%}."
            )
        return broken


@dataclass(frozen=True)
class _Times:
    p50_e2e_s: float | None
    p95_e2e_s: float | None
    p95_ttft_s: float | None
    sla_attainment: float | None


_UNKNOWN = _Times(None, None, None, None)
