"""Scores a plan from measured profiles in well under a millisecond."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from core.domain.plan import PlanScore, ReplicaKind, ServingPlan
from core.domain.planning import PlanningFacts
from core.domain.profile import Provenance
from core.estimate.mixture import LognormalMixture
from core.estimate.quality import mixture_quality
from core.estimate.queueing import PoolLatency, pool_latency
from core.estimate.speed import KindSpeed, Vector, answer_tokens
from core.estimate.step_speed import kind_speed
from core.estimate.validity import placement_of, validate

FLOOR_TOLERANCE = 1e-9


@dataclass(frozen=True)
class Pool:
    """Equal replicas and what arrives at them.

    Attributes:
        mix: K; share of each query class in the arrivals.
        load: Arrivals as a fraction of the capacity.
    """

    kind: ReplicaKind
    count: int
    rate_rps: float
    mix: Vector
    load: float


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

    def evaluate(self, plan: ServingPlan, stretch: float = 1.0) -> PlanScore:
        """Score one plan; one that breaks limits is scored too, with what it breaks in words.

        Args:
            stretch: Known ratio of this plan's latencies to this evaluator's.
        """
        routing = {name: plan.shares(name) for name in self._classes}
        pools = self.pools(plan)
        mean, lower = mixture_quality(self.facts.workload, self.facts.quality, routing)
        cost = self._cost_usd_per_hour(plan)
        load = max((pool.load for pool in pools), default=0.0)
        times = self._times(pools, stretch) if self._served(plan, pools) else _UNKNOWN
        return PlanScore(
            provenance=Provenance.PREDICTED,
            cost_usd_per_hour=cost,
            cost_usd_per_million_tokens=cost / self._million_tokens_per_hour(routing),
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
        """Split the traffic over pools: by the routing, then in proportion to capacity."""
        placement = placement_of(plan)
        return [
            pool
            for model in plan.models
            for pool in self._pools_of(model, placement, self._class_rates(plan, model))
        ]

    def _class_rates(self, plan: ServingPlan, model: str) -> Vector:
        shares = {r.query_class: r.share for r in plan.routing if r.model == model}
        of_model: Vector = np.array([shares.get(name, 0.0) for name in self._classes])
        rates: Vector = self._rates * of_model
        return rates

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

    def _served(self, plan: ServingPlan, pools: list[Pool]) -> bool:
        """Whether every request is answered in the end: only then latency means something."""
        served_rps = sum(pool.rate_rps for pool in pools)
        complete = abs(served_rps - self._rates.sum()) < 1e-6 * self._rates.sum()
        return complete and all(pool.load < 1 for pool in pools)

    def _times(self, pools: list[Pool], stretch: float) -> "_Times":
        mixtures = self._mixtures(pools)
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

    def _mixtures(self, pools: list[Pool]) -> tuple[LognormalMixture, LognormalMixture] | None:
        """Return end-to-end time and time to first token over all traffic."""
        latencies = []
        for pool in pools:
            speed = self.speeds[pool.kind]
            latency = pool_latency(speed, pool.count, pool.rate_rps, pool.mix)
            if latency is None:
                return None
            latencies.append(latency)
        shares = np.concatenate(list(map(self._shares, pools, latencies)))
        e2e = _mixture(shares, [(x.e2e_s, x.e2e_sigma) for x in latencies])
        return e2e, _mixture(shares, [(x.ttft_s, x.ttft_sigma) for x in latencies])

    def _shares(self, pool: Pool, latency: PoolLatency) -> Vector:
        """Return B * K; share in all traffic of each (group of states, class) of a pool."""
        of_pool = pool.rate_rps / self._rates.sum()
        shares: Vector = (latency.weight[:, None] * pool.mix * of_pool).ravel()
        return shares

    def _cost_usd_per_hour(self, plan: ServingPlan) -> float:
        prices = self.facts.price_usd_per_hour
        return sum(p.count * p.kind.devices * prices.get(p.kind.sku, 0.0) for p in plan.placement)

    def _million_tokens_per_hour(self, routing: Mapping[str, Mapping[str, float]]) -> float:
        per_s = 0.0
        for traffic in self.facts.workload.classes:
            for model, share in routing[traffic.query_class].items():
                length = self._tokens.get((model, traffic.query_class), traffic.output_tokens_mean)
                per_s += traffic.rate_rps * share * length
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


def _mixture(shares: Vector, parts: list[tuple[Vector, Vector]]) -> LognormalMixture:
    """Join pools: means B x K and spreads B each, in the order of `shares`; drops empty parts."""
    means = np.concatenate([mean.ravel() for mean, _ in parts])
    sigmas = np.concatenate([np.repeat(sigma, mean.shape[1]) for mean, sigma in parts])
    used = shares > 0
    return LognormalMixture(shares[used], means[used], sigmas[used])
