"""From a search on formulas to a plan chosen by simulation.

The analytic evaluator finds which plans are worth a look, the simulator chooses among them: on a
few requests first, and on fresh ones in the end, so that luck with the requests is not taken for
merit. How far the formulas are off near the target is learnt on the way.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np

from core.domain.plan import PlanScore, ServingPlan
from core.domain.planning import PlanningFacts
from core.domain.study import Limits
from core.domain.trace import Trace
from core.optimize.rescoring import Rescorer
from core.optimize.trade_off import Target, TradeOff

SEARCH_SEEDS = (11, 12)
"""Of the requests that plans are chosen on; they are shown with others."""
ROUNDS = 3
SIMULATIONS = 30
"""Per round, at most."""
CONFIRMED = 10
"""Plans scored on fresh requests before the search gives up, at most."""
FASTEST_CONFIRMED = 6
NEAR_MISS = 1.02
HOPEFUL = 1.1
OVERLOADED = 3.0
PER_COST = 3
REMEMBERED = 7


class Judge:
    """Scores of plans, simulated and remembered.

    Args:
        facts: The problem without budget and wanted latency.
        sure: Whether the upper end of the P95's interval is held against a wanted latency, not
            the estimate.
    """

    def __init__(self, facts: PlanningFacts, trace: Trace | None, *, sure: bool) -> None:
        self._facts, self._trace, self._sure = facts, trace, sure
        self._quick = Rescorer(facts, trace, seeds=SEARCH_SEEDS)
        self._rescorers: dict[Limits, Rescorer] = {}
        self._seen: dict[ServingPlan, PlanScore] = {}
        self._scores: dict[tuple[ServingPlan, Limits], PlanScore] = {}

    def quick(self, plan: ServingPlan) -> PlanScore:
        """Return the score on the requests of the search."""
        if plan not in self._seen:
            self._seen[plan] = self._quick.score(plan)
        return self._seen[plan]

    def seen(self, plan: ServingPlan) -> bool:
        """Whether a plan was simulated already."""
        return plan in self._seen

    def score(self, plan: ServingPlan, limits: Limits) -> PlanScore:
        """Return the score under limits on fresh requests."""
        if limits not in self._rescorers:
            facts = replace(self._facts, limits=limits)
            self._rescorers[limits] = Rescorer(facts, self._trace)
        key = (plan, limits)
        if key not in self._scores:
            self._scores[key] = self._rescorers[limits].score(plan)
        return self._scores[key]

    def held_s(self, score: PlanScore) -> float:
        """Return the latency that is held against a wanted one; infinite without a bound."""
        high_s = score.p95_e2e_high_s if self._sure else score.p95_e2e_s
        return np.inf if high_s is None or not score.feasible else high_s


def estimate_s(score: PlanScore) -> float:
    """Return the P95 of a score; infinite for a plan that cannot be used."""
    return np.inf if score.p95_e2e_s is None or not score.feasible else score.p95_e2e_s


class Settling:
    """Chooses plans of one trade-off.

    Args:
        evaluations: Neighbours tried by formula per choice.
    """

    def __init__(self, trade_off: TradeOff, judge: Judge, evaluations: int) -> None:
        self._plans = trade_off
        self._judge = judge
        self._evaluations = evaluations
        self._ratios: list[float] = []

    def cheapest(self, limits: Limits) -> ServingPlan | None:
        """Return the cheapest plan that keeps the limits' wanted latency; None without one."""
        sla_s = limits.sla_p95_e2e_s or np.inf
        for _ in range(ROUNDS):
            self._plans.explore(Target(sla_s / self._ratio()), self._evaluations // ROUNDS)
            self._simulate_from_the_cheapest(sla_s)
        passing = [p for p in self._simulated() if self._held_s(p) <= NEAR_MISS * sla_s]
        by_cost = sorted(passing, key=lambda p: (self._plans.cost(p), self._held_s(p)))
        for plan in by_cost[:CONFIRMED]:
            if self._judge.held_s(self._judge.score(plan, limits)) <= sla_s:
                return plan
        return None

    def fastest(self, limits: Limits, *, surely: bool = False) -> ServingPlan | None:
        """Return the plan within the limits' budget with the least latency; None without any.

        Args:
            surely: Whether to make least what is held against a wanted latency, not the estimate.
        """

        def late(score: PlanScore) -> tuple[float, float]:
            return (self._judge.held_s(score) if surely else 0.0), estimate_s(score)

        budget = limits.budget_usd_per_hour
        for _ in range(ROUNDS):
            self._plans.explore(Target(0.0, budget), self._evaluations // ROUNDS)
            if not self._plans.within(budget):
                return None
            self._simulate_the_fastest(budget)
        known = [plan for plan in self._plans.within(budget) if self._judge.seen(plan)]
        best = sorted(known, key=lambda p: (late(self._judge.quick(p)), self._plans.cost(p)))
        return min(
            best[:FASTEST_CONFIRMED],
            key=lambda plan: late(self._judge.score(plan, limits)),
            default=None,
        )

    def _simulate_from_the_cheapest(self, sla_s: float) -> None:
        """Simulate by rising cost what may be fast enough, until one is."""
        attempts: dict[float, int] = {}
        left = SIMULATIONS
        for plan in sorted(self._plans.scores, key=self._by_cost):
            if not self._judge.seen(plan) and left and self._hopeful(plan, sla_s, attempts):
                left -= 1
                self._simulate(plan)
            if self._judge.seen(plan) and self._held_s(plan) <= sla_s:
                return

    def _hopeful(self, plan: ServingPlan, sla_s: float, attempts: dict[float, int]) -> bool:
        """Whether a plan may be fast enough, and not too many as dear as it were tried."""
        cost = round(self._plans.cost(plan), 9)
        if self._plans.p95_s(plan) * self._ratio() > HOPEFUL * sla_s:
            return False
        attempts[cost] = attempts.get(cost, 0) + 1
        return attempts[cost] <= PER_COST

    def _simulate_the_fastest(self, budget_usd_per_hour: float | None) -> None:
        per_placement: dict[object, int] = {}
        left = SIMULATIONS
        for plan in self._plans.within(budget_usd_per_hour):
            tried = per_placement.get(plan.placement, 0)
            if not left:
                return
            if not self._judge.seen(plan) and tried < PER_COST:
                per_placement[plan.placement] = tried + 1
                left -= 1
                self._simulate(plan)

    def _simulate(self, plan: ServingPlan) -> None:
        self._judge.quick(plan)
        ratio = self._held_s(plan) / self._plans.p95_s(plan)
        self._ratios = [*self._ratios[1 - REMEMBERED :], min(ratio, OVERLOADED)]

    def _ratio(self) -> float:
        """What the latest simulations say of the latency that is held, over the analytic one."""
        return float(np.median(self._ratios)) if self._ratios else 1.0

    def _simulated(self) -> Iterable[ServingPlan]:
        return (plan for plan in self._plans.scores if self._judge.seen(plan))

    def _held_s(self, plan: ServingPlan) -> float:
        return self._judge.held_s(self._judge.quick(plan))

    @property
    def _by_cost(self) -> Callable[[ServingPlan], tuple[float, float, str]]:
        return lambda plan: (self._plans.cost(plan), self._plans.p95_s(plan), plan.plan_id)
