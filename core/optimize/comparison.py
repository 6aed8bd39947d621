"""Savings mode and performance mode, each beside what operators do without an optimiser.

One `Contest` answers for many wanted latencies and budgets of the same facts and keeps what it has
found. Every contender is held to the same limits, searched with the same means and scored by the
same simulator on the same fresh requests.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from core.domain.comparison import Aim, Approach, Comparison, Contender
from core.domain.offer import broken_limits
from core.domain.plan import PlanScore, ServingPlan
from core.domain.planning import PlanningFacts
from core.domain.study import Limits
from core.domain.trace import Trace
from core.optimize import approaches
from core.optimize.decoder import Decoder
from core.optimize.milp import Goal
from core.optimize.search import problem_of
from core.optimize.seeds import SeedPlanner, best_quality_shares
from core.optimize.settling import Judge, Settling
from core.optimize.throughput import most_throughput_plan, throughput_rps
from core.optimize.trade_off import TradeOff
from core.optimize.variation import Variation

EVALUATIONS = 3000
"""Neighbours tried by formula per approach and question."""
SEED_HEADROOMS = (1.0, 0.85, 0.7, 0.55, 0.42, 0.3, 0.2, 0.12)
BUDGET_STEPS = (1.0, 1.25, 1.6, 2.2, 3.2)
"""Budgets to plan starting points for, as multiples of the least cost."""
OPEN = {
    Approach.JOINT: (True, True),
    Approach.ROUTING_ONLY: (False, True),
    Approach.PLACEMENT_ONLY: (True, False),
    Approach.ROUTING_THEN_PLACEMENT: (True, False),
}
"""What the search may change: placement, routing."""
BASELINES = tuple(approach for approach in Approach if approach is not Approach.JOINT)


class Contest:
    """Best plans of every approach for one set of facts.

    Args:
        facts: The problem. Of its limits the quality floor and the utilisation count; the wanted
            latency and the budget are given with each question.
        seed: Of all that is random: same facts, same seed, same questions, same answers.
        trace: The workload's requests; None draws them from its description.
        evaluations: Plans tried by formula per approach and question.
        sure: Whether the upper end of the P95's interval (95 % confidence) has to keep the wanted
            latency; else the estimate.

    Raises:
        NotReady: Nothing can be placed at all.
    """

    def __init__(
        self,
        facts: PlanningFacts,
        *,
        seed: int = 0,
        trace: Trace | None = None,
        evaluations: int = EVALUATIONS,
        sure: bool = False,
    ) -> None:
        open_limits = replace(facts.limits, budget_usd_per_hour=None, sla_p95_e2e_s=None)
        self._facts = replace(facts, limits=open_limits)
        self._problem = problem_of(self._facts)
        self._planner = SeedPlanner(self._problem)
        self._best_shares = best_quality_shares(self._problem)
        self._seed, self._evaluations, self._sure = seed, evaluations, sure
        self._judge = Judge(self._facts, trace, sure=sure)
        self._trade_offs: dict[Approach, TradeOff] = {}

    def cheapest(self, sla_s: float | None) -> Comparison:
        """Savings mode: least cost at the facts' quality floor.

        Args:
            sla_s: P95 end-to-end latency in s to keep; None for none.
        """
        limits = replace(self._facts.limits, sla_p95_e2e_s=sla_s)

        def choose(settling: Settling) -> ServingPlan | None:
            return settling.cheapest(limits) or settling.fastest(limits, surely=True)

        return self._compare(Aim.SAVINGS, limits, choose)

    def fastest(self, budget_usd_per_hour: float | None) -> Comparison:
        """Performance mode: least P95 end-to-end latency at the facts' quality floor.

        Args:
            budget_usd_per_hour: Most cost; None for what the fleet costs.
        """
        limits = replace(self._facts.limits, budget_usd_per_hour=budget_usd_per_hour)
        return self._compare(Aim.LATENCY, limits, lambda found: found.fastest(limits))

    def most_throughput(self, budget_usd_per_hour: float | None) -> Comparison:
        """Performance mode: most traffic sustained at the facts' quality floor.

        Throughput is the rate in the workload's mix at which the busiest pool reaches the
        utilisation limit. Latency plays no part; the scores say what it is at the workload's rate.

        Args:
            budget_usd_per_hour: Most cost; None for what the fleet costs.
        """
        limits = replace(self._facts.limits, budget_usd_per_hour=budget_usd_per_hour)
        plans = {
            approach: most_throughput_plan(self._problem, self._planner, approach, limits)
            for approach in (*BASELINES, Approach.JOINT)
        }
        return self._comparison(Aim.THROUGHPUT, limits, plans)

    def joint_optimum(self, limits: Limits, *, fast: bool) -> ServingPlan | None:
        """Return what the joint search finds by itself: the cheapest plan that keeps the limits'
        wanted latency, or the surely fastest within their budget; None when there is none."""
        settling = self._settling(Approach.JOINT)
        return settling.fastest(limits, surely=True) if fast else settling.cheapest(limits)

    def _compare(
        self, aim: Aim, limits: Limits, choose: Callable[[Settling], ServingPlan | None]
    ) -> Comparison:
        plans: dict[Approach, ServingPlan | None] = {}
        for approach in BASELINES:
            plans[approach] = choose(self._settling(approach))
        joint = self._settling(Approach.JOINT)
        self._trade_offs[Approach.JOINT].add(plan for plan in plans.values() if plan)
        plans[Approach.JOINT] = choose(joint)
        return self._comparison(aim, limits, plans)

    def _comparison(
        self, aim: Aim, limits: Limits, plans: dict[Approach, ServingPlan | None]
    ) -> Comparison:
        by_approach = {
            approach: self._contender(approach, plan, aim, limits)
            for approach, plan in plans.items()
        }
        comparison = Comparison(
            aim,
            limits.quality_floor,
            limits.sla_p95_e2e_s,
            limits.budget_usd_per_hour,
            self._sure,
            tuple(by_approach[approach] for approach in Approach),
        )
        return self._with_the_best_first(comparison)

    def _with_the_best_first(self, comparison: Comparison) -> Comparison:
        """A baseline's plan is a joint plan too: if it is better on fresh requests, it is ours."""
        best = min(comparison.contenders, key=lambda c: self._rank(comparison, c))
        ours = replace(best, approach=Approach.JOINT)
        return replace(comparison, contenders=(ours, *comparison.baselines))

    def _rank(self, comparison: Comparison, contender: Contender) -> tuple[bool, float]:
        """Plans that meet the targets first, by the aim; then by how near they come."""
        value = comparison.value(contender)
        if value is None or contender.score is None:
            return True, np.inf
        if not contender.meets:
            return True, self._judge.held_s(contender.score)
        return False, -value if comparison.aim is Aim.THROUGHPUT else value

    def _contender(
        self, approach: Approach, plan: ServingPlan | None, aim: Aim, limits: Limits
    ) -> Contender:
        if plan is None:
            note = "No plan of this kind keeps the hard limits."
            return Contender(approach, None, None, None, meets=False, note=note)
        score = self._judge.score(plan, limits)
        misses = self._misses(score, limits) if aim is not Aim.THROUGHPUT else ()
        rate_rps = throughput_rps(self._problem, plan)
        return Contender(approach, plan, score, rate_rps, not misses, "; ".join(misses))

    def _misses(self, score: PlanScore, limits: Limits) -> Sequence[str]:
        broken, sla_s = broken_limits(score, limits), limits.sla_p95_e2e_s
        if broken or sla_s is None or self._judge.held_s(score) <= sla_s:
            return broken
        which = "may be above" if self._sure else "is above"
        return (f"Its P95 {which} {sla_s:.3g} s.",)

    def _settling(self, approach: Approach) -> Settling:
        if approach not in self._trade_offs:
            self._trade_offs[approach] = self._trade_off(approach)
        return Settling(self._trade_offs[approach], self._judge, self._evaluations)

    def _trade_off(self, approach: Approach) -> TradeOff:
        rng = np.random.default_rng([self._seed, list(Approach).index(approach)])
        plans = self._starting_points(approach)
        made = TradeOff(self._problem, self._vary(approach, plans, rng), rng)
        made.add(plans)
        return made

    def _vary(
        self, approach: Approach, plans: Sequence[ServingPlan], rng: np.random.Generator
    ) -> Callable[[ServingPlan], ServingPlan | None]:
        """What the search may do to a plan of an approach."""
        if approach not in OPEN or not plans:
            return lambda _: None
        placement, routing = OPEN[approach]
        variation = Variation(self._problem, rng, placement=placement, routing=routing)
        decoder, best = Decoder(self._problem, plans[0], self._best_shares), self._best_shares
        return lambda plan: variation.repaired(plan, decoder, best)

    def _starting_points(self, approach: Approach) -> list[ServingPlan]:
        problem, planner = self._problem, self._planner
        if approach is Approach.ONE_MODEL_ONE_SKU:
            return approaches.one_model_one_sku(problem)
        if approach is Approach.ROUTING_ONLY:
            return approaches.routing_only(problem, planner)
        if approach is Approach.PLACEMENT_ONLY:
            return approaches.placement_only(problem, planner)
        if approach is Approach.ROUTING_THEN_PLACEMENT:
            return approaches.routing_then_placement(problem, planner)
        others = [plan for made in self._trade_offs.values() for plan in made.front]
        return [*self._joint_seeds(), *others, *approaches.one_model_one_sku(problem)]

    def _joint_seeds(self) -> list[ServingPlan]:
        """Optimal plans of the fluid model: least cost by headroom, least time by budget."""
        limits, least = self._facts.limits, None
        plans: dict[ServingPlan, None] = {}
        for headroom in SEED_HEADROOMS:
            goal = Goal(limits.quality_floor, headroom * limits.max_utilisation)
            if (plan := self._solved(goal)) is None:
                break
            plans[plan] = None
            least = least or self._problem.score(plan).cost_usd_per_hour
        for step in BUDGET_STEPS if least else ():
            for headroom in (1.0, 0.6):
                load = headroom * limits.max_utilisation
                goal = Goal(limits.quality_floor, load, step * (least or 0.0), "time")
                if plan := self._solved(goal):
                    plans[plan] = None
        return list(plans)

    def _solved(self, goal: Goal) -> ServingPlan | None:
        found = self._planner.solve(goal)
        return self._problem.plan(found.counts, found.shares) if found else None
