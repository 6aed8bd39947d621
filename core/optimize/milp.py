"""Mixed-integer programs of the planning problem, solved by HiGHS.

Variables are shares x (K x O), replicas n (R, whole numbers) and the served fraction z of the
traffic. Quality's lower bound is mean minus an error (see `core.estimate.quality`), a concave
function; it enters through tangent cuts, so a solution is optimal for the exact bound. Capacity
enters through linear constraints (see `core.optimize.linear`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, OptimizeResult, milp

from core.domain.plan import PlacedKind, ReplicaKind
from core.estimate.packing import groups_per_sku, packs
from core.estimate.quality import error_slope, routing_error
from core.estimate.speed import Vector
from core.optimize.linear import Capacity, exact_at
from core.optimize.problem import Problem
from core.optimize.quiet import quiet_stdout

MAX_CUTS = 25
TIME_LIMIT_S = 30.0
QUALITY_MARGIN = 3e-5
ROUNDING = 2e-6
LOAD_MARGIN = 1e-5
CRUMB = 1e-5
"""Shares below this come from the solver's tolerance. The margins outweigh dropping them and
rounding what is left, so that a solution still meets the limits as a plan."""
TIE_BREAK = 1e-4
FEASIBILITY = 1e-6
"""HiGHS's own tolerance of a constraint."""


@dataclass(frozen=True)
class Goal:
    """What one program asks for.

    Attributes:
        floor: Least lower bound of quality.
        utilisation: Most load as a fraction of capacity.
        budget_usd_per_hour: Most cost; None for no limit.
        minimise: "cost" ($/h), "time" (seconds of service per request), or "unserved": then
            the fraction of the traffic that can be served is maximised, beyond 1 if it can.
        routing: K x O; the shares, when only placement is open. They are not held against the
            floor.
        placement: Replicas per kind, when only routing is open.
        gap: Relative distance from the optimum that is good enough.
        nodes: Most branches to look at; binds before the time limit on any usual machine, so that
            the same problem gives the same plan.
    """

    floor: float
    utilisation: float
    budget_usd_per_hour: float | None = None
    minimise: str = "cost"
    routing: tuple[tuple[float, ...], ...] | None = None
    placement: tuple[PlacedKind, ...] | None = None
    gap: float = 1e-4
    nodes: int = 2000


@dataclass(frozen=True)
class Solution:
    """Replicas per kind, shares K x O, and the fraction of the traffic that is served."""

    counts: dict[ReplicaKind, int]
    shares: Vector
    served: float


class Programs:
    """Builds and solves the programs of one problem; keeps quality cuts for the next one.

    Args:
        problem: What to plan.
        capacity: Constraints that say whether models keep up; by default those that are exact for
            the mix of the whole traffic. They may be replaced between programs.
    """

    def __init__(self, problem: Problem, capacity: Sequence[Capacity] | None = None) -> None:
        self._problem = problem
        self._k, self._o = len(problem.classes), len(problem.options)
        everything = np.tile(problem.weights, (len(problem.models), 1))
        self.capacity = exact_at(problem, everything) if capacity is None else capacity
        self._routes = self._k * self._o
        self._size = self._routes + len(problem.kinds) + 1
        self._cuts = [self._tangent(np.full((self._k, self._o), 1 / self._o))]
        self._learnt: set[tuple[float, float]] = set()
        self._fixed = [self._all_routed(), *self._inventory()]
        self._served_by = self._replica_where_routed()

    def solve(self, goal: Goal) -> Solution | None:
        """Return an optimal solution, or None when none was found within the node limit."""
        self._learn_cuts(goal)
        forbidden: list[LinearConstraint] = []
        for _ in range(MAX_CUTS):
            x = self._run(goal, forbidden).x
            if x is None:
                return None
            found = self._solution(x)
            sku = self._unpackable(found.counts)
            if sku is not None:
                forbidden.append(self._fewer_of(sku, found.counts))
            elif goal.routing is not None or not self._cut_off(found.shares, goal.floor):
                return found
        return None

    def relaxed(self, goal: Goal) -> tuple[Vector, Vector] | None:
        """Solve without whole numbers, which takes milliseconds.

        Returns:
            Replicas (R, fractions) and shares (K x O); None when there is no solution at all.
        """
        self._learn_cuts(goal)
        x = self._run(goal, (), whole=False).x
        if x is None:
            return None
        return x[self._routes : -1], self._solution(x).shares

    def bound_usd_per_hour(self, goal: Goal) -> float | None:
        """Return a cost that no plan goes below: what HiGHS proved, margins taken off.

        Only as good as the capacity constraints: with `necessary` ones it holds for every plan.

        Returns:
            None when the program has no solution at all, or nothing was proved.
        """
        near_enough = goal.floor - 2 * ROUNDING
        self._learn_cuts(goal, margin=0.0)
        bound: float | None = None
        for _ in range(MAX_CUTS):
            result = self._run(goal, (), margin=0.0)
            proved = getattr(result, "mip_dual_bound", None)
            if proved is None or result.x is None:
                return bound
            found_usd = float(proved - self._tie_break_usd()) * self._cost_scale
            bound = max(bound or 0.0, found_usd * (1 - FEASIBILITY))
            if not self._cut_off(self._solution(result.x).shares, near_enough):
                return bound
        return bound

    def _learn_cuts(self, goal: Goal, margin: float = 1.0) -> None:
        """Find most quality cuts on the program without whole numbers, which is quick."""
        if goal.routing is not None or (goal.floor, margin) in self._learnt:
            return
        self._learnt.add((goal.floor, margin))
        enough = goal.floor - 2 * ROUNDING * (1 - margin)
        for _ in range(MAX_CUTS):
            x = self._run(goal, (), margin, whole=False).x
            if x is None or not self._cut_off(self._solution(x).shares, enough):
                return

    def _cut_off(self, shares: Vector, floor: float) -> bool:
        """Add the cut that forbids a routing below the floor; False when it is not below."""
        lower = float((self._problem.weights[:, None] * self._problem.mean * shares).sum())
        lower -= routing_error(shares, self._problem.gap, len(self._problem.models))
        if lower >= floor + ROUNDING:
            return False
        self._cuts.append(self._tangent(shares))
        return True

    def _run(
        self,
        goal: Goal,
        forbidden: Sequence[LinearConstraint],
        margin: float = 1.0,
        whole: bool = True,
    ) -> OptimizeResult:
        options = {"node_limit": goal.nodes, "mip_rel_gap": goal.gap, "time_limit": TIME_LIMIT_S}
        rows = [*self._constraints(goal, margin), *forbidden]
        sizes = [np.atleast_2d(row.A).shape[0] for row in rows]
        together = LinearConstraint(
            np.vstack([row.A for row in rows]),
            np.concatenate([np.broadcast_to(r.lb, n) for r, n in zip(rows, sizes, strict=True)]),
            np.concatenate([np.broadcast_to(r.ub, n) for r, n in zip(rows, sizes, strict=True)]),
        )
        with quiet_stdout():
            return milp(
                self._objective(goal),
                integrality=self._integrality() * whole,
                bounds=self._bounds(goal),
                constraints=together,
                options=options,
            )

    def _solution(self, x: Vector) -> Solution:
        shares = x[: self._routes].reshape(self._k, self._o)
        kept = np.where(shares < CRUMB, 0.0, shares)
        routed = np.maximum(kept.sum(axis=1, keepdims=True), CRUMB)
        replicas = np.round(x[self._routes : -1]).astype(int)
        return Solution(self._problem.placed(replicas), kept / routed, served=float(x[-1]))

    @property
    def _cost_scale(self) -> float:
        """$/h that one unit of the objective stands for."""
        return float(max(self._problem.price.max(), 1e-12))

    def _tie_break_usd(self) -> float:
        """Most that the tie break adds to the objective of a routing."""
        time_s = self._service_time_s()
        return TIE_BREAK * float((time_s / max(time_s.max(), 1e-12)).max(axis=1).sum())

    def _objective(self, goal: Goal) -> Vector:
        """Shares, replicas, served; ties go to less work, then to less cost."""
        p = self._problem
        time_s = self._service_time_s()
        objective = np.zeros(self._size)
        if goal.minimise == "unserved":
            objective[-1] = -1.0
            return objective
        by_cost = goal.minimise == "cost"
        time_scale = 1 / max(time_s.max(), 1e-12)
        objective[: self._routes] = time_s.ravel() * time_scale * (TIE_BREAK if by_cost else 1)
        objective[self._routes : -1] = p.price / self._cost_scale * (1 if by_cost else TIE_BREAK)
        return objective

    def _service_time_s(self) -> Vector:
        """K x O; traffic-weighted time of an answer on the models' fastest kinds, alone."""
        weighted: Vector = self._problem.weights[:, None] * self._problem.alone_s
        return weighted

    def _integrality(self) -> Vector:
        flags = np.zeros(self._size)
        flags[self._routes : -1] = 1
        return flags

    def _bounds(self, goal: Goal) -> Bounds:
        unserved = goal.minimise == "unserved"
        options = self._problem.options
        there = (options.stands_for == np.arange(self._o)).ravel()
        shares = np.where(there, np.inf if unserved else 1.0, 0.0)
        top = np.concatenate([shares, self._problem.rules.most, [np.inf if unserved else 1.0]])
        least = np.zeros(len(top))
        least[-1] = 0.0 if unserved else 1.0
        if goal.placement is not None:
            given = {placed.kind: placed.count for placed in goal.placement}
            exactly = [given.get(kind, 0) for kind in self._problem.kinds]
            top[self._routes : -1] = least[self._routes : -1] = exactly
        return Bounds(least, top)

    def _constraints(self, goal: Goal, margin: float) -> list[LinearConstraint]:
        """Rows of the program.

        Args:
            margin: 1 to stay away from limits by what rounding takes, 0 to meet them exactly.
        """
        rows = [*self._fixed, self._keeping_up(goal.utilisation * (1 - margin * LOAD_MARGIN))]
        if goal.routing is None:
            rows.append(self._quality(goal.floor + margin * QUALITY_MARGIN))
        else:
            rows.append(self._routed_as(goal.routing))
        if goal.minimise != "unserved":
            rows.append(self._served_by)
        if goal.budget_usd_per_hour is not None:
            row = np.concatenate([np.zeros(self._routes), self._problem.price, [0.0]])
            rows.append(LinearConstraint(row, -np.inf, goal.budget_usd_per_hour))
        return rows

    def _all_routed(self) -> LinearConstraint:
        rows = np.zeros((self._k, self._size))
        for k in range(self._k):
            rows[k, k * self._o : (k + 1) * self._o] = 1
        rows[:, -1] = -1
        return LinearConstraint(rows, 0, 0)

    def _routed_as(self, routing: tuple[tuple[float, ...], ...]) -> LinearConstraint:
        rows = np.zeros((self._routes, self._size))
        rows[:, : self._routes] = np.eye(self._routes)
        rows[:, -1] = -np.array(routing).ravel()
        return LinearConstraint(rows, 0, 0)

    def _keeping_up(self, utilisation: float) -> LinearConstraint:
        rows = np.zeros((len(self.capacity), self._size))
        for row, capacity in zip(rows, self.capacity, strict=True):
            scale = 1 / capacity.work_s.max()
            work = scale * self._problem.rates * capacity.work_s
            calls = self._problem.options.calls[:, :, capacity.model]
            row[: self._routes] = (work[:, None] * calls).ravel()
            row[self._routes : -1] = -scale * utilisation * capacity.strength
        return LinearConstraint(rows, -np.inf, 0)

    def _replica_where_routed(self) -> LinearConstraint:
        """A share needs replicas of the model asked first, and of the second if there is one."""
        options, owner = self._problem.options, self._problem.owner
        route, asked = np.arange(self._routes), np.tile(options.first, self._k)
        second = np.tile(options.second, self._k)
        both = np.concatenate([route, route[second >= 0]])
        models = np.concatenate([asked, second[second >= 0]])
        rows = np.zeros((len(both), self._size))
        rows[np.arange(len(both)), both] = 1
        rows[:, self._routes : -1] = -(owner[None, :] == models[:, None]).astype(float)
        return LinearConstraint(rows, -np.inf, 0)

    def _inventory(self) -> list[LinearConstraint]:
        """A group of s devices takes floor(s / a) slots of a devices or more; exact for 2, 4."""
        p = self._problem
        constraints = []
        for sku in sorted({kind.sku for kind in p.kinds}):
            nodes = p.facts.devices_per_node[sku]
            for size in sorted({1, *(kind.tp for kind in p.kinds if kind.sku == sku)}):
                row = np.zeros(self._size)
                for r, kind in enumerate(p.kinds):
                    if kind.sku == sku:
                        row[self._routes + r] = kind.tp // size * kind.pp
                slots = sum(node // size for node in nodes)
                constraints.append(LinearConstraint(row, -np.inf, slots))
        return constraints

    def _quality(self, floor: float) -> LinearConstraint:
        mean = self._problem.weights[:, None] * self._problem.mean
        rows = np.zeros((len(self._cuts), self._size))
        for row, tangent in zip(rows, self._cuts, strict=True):
            row[: self._routes] = (mean - tangent).ravel()
        rows[:, -1] = -floor
        return LinearConstraint(rows, 0, np.inf)

    def _tangent(self, shares: Vector) -> Vector:
        """K x O; gradient of the error of quality, which it never exceeds times x."""
        return error_slope(shares, self._problem.gap, len(self._problem.models))

    def _unpackable(self, counts: dict[ReplicaKind, int]) -> str | None:
        nodes = self._problem.facts.devices_per_node
        for sku, groups in groups_per_sku(counts).items():
            if not packs(groups, nodes[sku]):
                return sku
        return None

    def _fewer_of(self, sku: str, counts: dict[ReplicaKind, int]) -> LinearConstraint:
        """Cut off placements on a device type with at least as many of everything.

        Replicas are weighed by devices, so one device less in total; sizes that do not divide
        each other (TP 2 and 3) are rare enough for such a blunt cut.
        """
        row = np.zeros(self._size)
        for r, kind in enumerate(self._problem.kinds):
            if kind.sku == sku:
                row[self._routes + r] = kind.devices
        used = sum(kind.devices * n for kind, n in counts.items() if kind.sku == sku)
        return LinearConstraint(row, -np.inf, used - 1)
