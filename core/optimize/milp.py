"""Mixed-integer programs of the planning problem, solved by HiGHS.

Variables are shares x (K x M), replicas n (R, whole numbers) and the served fraction z of the
traffic. Quality's lower bound is mean minus a norm (see `core.estimate.quality`), a concave
function; it enters through tangent cuts, so a solution is optimal for the exact bound.
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp

from core.domain.plan import ReplicaKind
from core.estimate.packing import groups_per_sku, packs
from core.estimate.speed import Vector
from core.optimize.problem import Problem
from core.optimize.quiet import quiet_stdout

MAX_CUTS = 25
MAX_NODES = 2000
"""Binds before the time limit on any usual machine: the same problem gives the same plan."""
TIME_LIMIT_S = 30.0
QUALITY_MARGIN = 3e-5
ROUNDING = 2e-6
LOAD_MARGIN = 1e-5
CRUMB = 1e-5
"""Shares below this come from the solver's tolerance. The margins outweigh dropping them and
rounding what is left, so that a solution still meets the limits as a plan."""
TIE_BREAK = 1e-4


@dataclass(frozen=True)
class Goal:
    """What one program asks for.

    Attributes:
        floor: Least lower bound of quality.
        utilisation: Most load as a fraction of capacity.
        budget_usd_per_hour: Most cost; None for no limit.
        minimise: "cost" ($/h), "time" (seconds of service per request), or "unserved": then
            the fraction of the traffic that can be served is maximised, beyond 1 if it can.
    """

    floor: float
    utilisation: float
    budget_usd_per_hour: float | None = None
    minimise: str = "cost"


@dataclass(frozen=True)
class Solution:
    """Replicas per kind, shares K x M, and the fraction of the traffic that is served."""

    counts: dict[ReplicaKind, int]
    shares: Vector
    served: float


class Programs:
    """Builds and solves the programs of one problem; keeps quality cuts for the next one."""

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self._k, self._m = len(problem.classes), len(problem.models)
        self._gap = problem.weights[:, None] * (problem.mean - problem.lower)
        self._cuts = [self._tangent(np.full((self._k, self._m), 1 / self._m))]

    def solve(self, goal: Goal) -> Solution | None:
        """Return an optimal solution, or None when none was found within the node limit."""
        for _ in range(MAX_CUTS):
            found = self._solve_relaxed(goal)
            if found is None:
                return None
            _, lower = self._problem.quality(found.shares)
            if lower >= goal.floor + ROUNDING:
                return found
            self._cuts.append(self._tangent(found.shares))
        return None

    def _solve_relaxed(self, goal: Goal) -> Solution | None:
        forbidden: list[LinearConstraint] = []
        while True:
            with quiet_stdout():
                result = milp(
                    self._objective(goal),
                    integrality=self._integrality(),
                    bounds=self._bounds(goal),
                    constraints=[*self._constraints(goal), *forbidden],
                    options={
                        "node_limit": MAX_NODES,
                        "mip_rel_gap": 1e-4,
                        "time_limit": TIME_LIMIT_S,
                    },
                )
            if result.x is None:
                return None
            counts = self._counts(result.x)
            sku = self._unpackable(counts)
            if sku is None:
                return self._solution(result.x, counts)
            forbidden.append(self._fewer_of(sku, counts))

    def _solution(self, x: Vector, counts: dict[ReplicaKind, int]) -> Solution:
        shares = x[: self._k * self._m].reshape(self._k, self._m)
        kept = np.where(shares < CRUMB, 0.0, shares)
        routed = np.maximum(kept.sum(axis=1, keepdims=True), CRUMB)
        return Solution(counts, kept / routed, served=float(x[-1]))

    def _counts(self, x: Vector) -> dict[ReplicaKind, int]:
        replicas = np.round(x[self._k * self._m : -1]).astype(int)
        return {k: int(n) for k, n in zip(self._problem.kinds, replicas, strict=True) if n > 0}

    def _objective(self, goal: Goal) -> Vector:
        """Shares, replicas, served; ties go to less work, then to less cost."""
        p = self._problem
        time_s = self._service_time_s()
        objective = np.zeros(self._k * self._m + len(p.kinds) + 1)
        if goal.minimise == "unserved":
            objective[-1] = -1.0
            return objective
        cost_scale = 1 / max(p.price.max(), 1e-12)
        time_scale = 1 / max(time_s.max(), 1e-12)
        by_cost = goal.minimise == "cost"
        objective[: self._k * self._m] = (
            time_s.ravel() * time_scale * (TIE_BREAK if by_cost else 1)
        )
        objective[self._k * self._m : -1] = p.price * cost_scale * (1 if by_cost else TIE_BREAK)
        return objective

    def _service_time_s(self) -> Vector:
        """K x M; traffic-weighted time of an answer on a model's fastest kind, alone."""
        p = self._problem
        fastest = np.full((self._k, self._m), np.inf)
        for r, kind in enumerate(p.kinds):
            alone_s = p.evaluator.speeds[kind].e2e_s[0]
            fastest[:, p.owner[r]] = np.minimum(fastest[:, p.owner[r]], alone_s)
        weighted: Vector = p.weights[:, None] * fastest
        return weighted

    def _integrality(self) -> Vector:
        flags = np.zeros(self._k * self._m + len(self._problem.kinds) + 1)
        flags[self._k * self._m : -1] = 1
        return flags

    def _bounds(self, goal: Goal) -> Bounds:
        p = self._problem
        unserved = goal.minimise == "unserved"
        most = [
            sum(node // kind.tp for node in p.facts.devices_per_node[kind.sku]) // kind.pp
            for kind in p.kinds
        ]
        shares = np.full(self._k * self._m, np.inf if unserved else 1.0)
        top = np.concatenate([shares, most, [np.inf if unserved else 1.0]])
        least = np.zeros(len(top))
        least[-1] = 0.0 if unserved else 1.0
        return Bounds(least, top)

    def _constraints(self, goal: Goal) -> list[LinearConstraint]:
        rows = [self._all_routed(), self._capacity(goal.utilisation), *self._inventory()]
        rows += [self._quality(cut, goal.floor + QUALITY_MARGIN) for cut in self._cuts]
        if goal.minimise != "unserved":
            rows.append(self._replica_where_routed())
        if goal.budget_usd_per_hour is not None:
            row = np.concatenate([np.zeros(self._k * self._m), self._problem.price, [0.0]])
            rows.append(LinearConstraint(row, -np.inf, goal.budget_usd_per_hour))
        return rows

    def _all_routed(self) -> LinearConstraint:
        rows = np.zeros((self._k, self._k * self._m + len(self._problem.kinds) + 1))
        for k in range(self._k):
            rows[k, k * self._m : (k + 1) * self._m] = 1
        rows[:, -1] = -1
        return LinearConstraint(rows, 0, 0)

    def _capacity(self, utilisation: float) -> LinearConstraint:
        p = self._problem
        rows = np.zeros((self._m, self._k * self._m + len(p.kinds) + 1))
        for m in range(self._m):
            for k in range(self._k):
                rows[m, k * self._m + m] = p.rates[k] * p.work_s[k, m]
            rows[m, self._k * self._m : -1] = (
                -utilisation * (1 - LOAD_MARGIN) * p.strength * (p.owner == m)
            )
        return LinearConstraint(rows, -np.inf, 0)

    def _replica_where_routed(self) -> LinearConstraint:
        p = self._problem
        rows = np.zeros((self._k * self._m, self._k * self._m + len(p.kinds) + 1))
        rows[:, : self._k * self._m] = np.eye(self._k * self._m)
        for i in range(self._k * self._m):
            rows[i, self._k * self._m : -1] = -(p.owner == i % self._m).astype(float)
        return LinearConstraint(rows, -np.inf, 0)

    def _inventory(self) -> list[LinearConstraint]:
        """A group of s devices takes floor(s / a) slots of a devices or more; exact for 2, 4."""
        p = self._problem
        constraints = []
        for sku in sorted({kind.sku for kind in p.kinds}):
            nodes = p.facts.devices_per_node[sku]
            for size in sorted({1, *(kind.tp for kind in p.kinds if kind.sku == sku)}):
                row = np.zeros(self._k * self._m + len(p.kinds) + 1)
                for r, kind in enumerate(p.kinds):
                    if kind.sku == sku:
                        row[self._k * self._m + r] = kind.tp // size * kind.pp
                slots = sum(node // size for node in nodes)
                constraints.append(LinearConstraint(row, -np.inf, slots))
        return constraints

    def _quality(self, tangent: Vector, floor: float) -> LinearConstraint:
        gain = self._problem.weights[:, None] * self._problem.mean - tangent
        row = np.concatenate([gain.ravel(), np.zeros(len(self._problem.kinds)), [-floor]])
        return LinearConstraint(row, 0, np.inf)

    def _tangent(self, shares: Vector) -> Vector:
        """K x M; gradient of the norm sqrt(sum((gap x)^2)), which it never exceeds times x."""
        norm = float(np.linalg.norm(self._gap * shares))
        slope: Vector = self._gap**2 * shares / norm if norm > 0 else np.zeros_like(shares)
        return slope

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
        p = self._problem
        row = np.zeros(self._k * self._m + len(p.kinds) + 1)
        for r, kind in enumerate(p.kinds):
            if kind.sku == sku:
                row[self._k * self._m + r] = kind.devices
        used = sum(kind.devices * n for kind, n in counts.items() if kind.sku == sku)
        return LinearConstraint(row, -np.inf, used - 1)
