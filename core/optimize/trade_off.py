"""Cost against latency at one quality floor: the search behind savings and performance mode.

A `TradeOff` holds every valid plan that one approach may use and that was looked at. The search
mutates plans near the target: around the wanted latency where cost is made small, around the
budget where latency is. Latency is the analytic evaluator's; `core.optimize.settling` simulates.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from core.domain.plan import PlanScore, ServingPlan
from core.optimize.problem import Problem

FAR_AWAY = 0.15
"""Share of the mutated plans that are not near the target."""
NEAR = 3.0
PATIENCE = 300


@dataclass(frozen=True)
class Target:
    """What the search is near to.

    Attributes:
        p95_s: Wanted latency by the analytic evaluator; infinite when only cost matters, 0 when
            nothing is fast enough.
        budget_usd_per_hour: Most cost; None for no limit.
    """

    p95_s: float
    budget_usd_per_hour: float | None = None


class TradeOff:
    """Valid plans of one approach, and the search for better ones.

    Args:
        vary: Makes a plan's neighbour within what the approach leaves open, or None when a change
            does not fit.
        rng: Source of all randomness.
    """

    def __init__(
        self,
        problem: Problem,
        vary: Callable[[ServingPlan], ServingPlan | None],
        rng: np.random.Generator,
    ) -> None:
        self._problem = problem
        self._vary = vary
        self._rng = rng
        self.scores: dict[ServingPlan, PlanScore] = {}
        self._front: list[tuple[float, float, ServingPlan]] = []

    def add(self, plans: Iterable[ServingPlan]) -> None:
        """Look at plans; those that break a hard limit are left out."""
        for plan in plans:
            self._offer(plan)

    def _offer(self, plan: ServingPlan) -> bool:
        """Look at a plan; whether it is on the front."""
        score = self._problem.score(plan)
        if plan in self.scores or not score.feasible or score.p95_e2e_s is None:
            return False
        self.scores[plan] = score
        cost, p95_s = score.cost_usd_per_hour, score.p95_e2e_s
        if any(c <= cost and p <= p95_s for c, p, _ in self._front):
            return False
        kept = [known for known in self._front if known[0] < cost or known[1] < p95_s]
        self._front = sorted([*kept, (cost, p95_s, plan)], key=lambda known: known[:2])
        return True

    @property
    def front(self) -> list[ServingPlan]:
        """Plans that no other beats in cost and latency, cheapest first."""
        return [plan for _, _, plan in self._front]

    def explore(self, target: Target, evaluations: int) -> None:
        """Try neighbours of plans near the target, until nothing was found for a long time."""
        fruitless = 0
        for _ in range(evaluations if self._front else 0):
            found = self._vary(self._parent(target))
            fruitless = 0 if found is not None and self._offer(found) else fruitless + 1
            if fruitless > PATIENCE:
                return

    def _parent(self, target: Target) -> ServingPlan:
        size = len(self._front)
        if self._rng.random() < FAR_AWAY:
            return self._front[self._rng.integers(size)][2]
        at = self._crossing(target) + round(float(self._rng.laplace(0, NEAR)))
        return self._front[min(max(at, 0), size - 1)][2]

    def _crossing(self, target: Target) -> int:
        """Position on the front of the cheapest plan that is fast enough, or of the fastest that
        is cheap enough, whichever comes first."""
        budget = target.budget_usd_per_hour
        fast = [i for i, (_, p95_s, _) in enumerate(self._front) if p95_s <= target.p95_s]
        cheap = [i for i, (_, _, plan) in enumerate(self._front) if self._affords(plan, budget)]
        return min(fast[0] if fast else len(self._front) - 1, cheap[-1] if cheap else 0)

    def within(self, budget_usd_per_hour: float | None) -> list[ServingPlan]:
        """Return plans within a budget, those with the least latency first."""
        cheap = (plan for plan in self.scores if self._affords(plan, budget_usd_per_hour))
        return sorted(cheap, key=lambda plan: (self.p95_s(plan), self.cost(plan), plan.plan_id))

    def _affords(self, plan: ServingPlan, budget_usd_per_hour: float | None) -> bool:
        return budget_usd_per_hour is None or (self.cost(plan) <= budget_usd_per_hour * (1 + 1e-9))

    def p95_s(self, plan: ServingPlan) -> float:
        """Return the analytic P95 of a plan that was looked at."""
        return self.scores[plan].p95_e2e_s or np.inf

    def cost(self, plan: ServingPlan) -> float:
        """Return the cost in $/h of a plan that was looked at."""
        return self.scores[plan].cost_usd_per_hour
