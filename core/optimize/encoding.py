"""Plans as real vectors: replicas per kind, then one routing logit per class and model."""

import numpy as np

from core.domain.plan import ReplicaKind, ServingPlan
from core.estimate.speed import Vector
from core.estimate.validity import placement_of
from core.optimize.problem import Problem

SMALLEST_SHARE = 1e-3
LARGEST_LOGIT = 30.0


class Encoding:
    """The vector space of one problem: R + K * M numbers.

    Attributes:
        size: Length of a vector.
    """

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self._shape = (len(problem.classes), len(problem.models))
        self.most = np.array([_most_replicas(problem, kind) for kind in problem.kinds])
        self.size = len(problem.kinds) + self._shape[0] * self._shape[1]

    def write(self, plan: ServingPlan) -> Vector:
        """Return the vector of a plan."""
        placement = placement_of(plan)
        counts = [float(placement.get(kind, 0)) for kind in self._problem.kinds]
        shares = np.maximum(self._problem.shares(plan), SMALLEST_SHARE)
        return np.concatenate([counts, np.log(shares).ravel()])

    def read(self, vector: Vector) -> tuple[dict[ReplicaKind, int], Vector]:
        """Return replicas per kind and shares (K x M) a vector stands for, repairing nothing
        but numbers that are not finite.
        """
        finite = np.nan_to_num(np.asarray(vector, dtype=float), posinf=1e6, neginf=-1e6)
        kinds = len(self._problem.kinds)
        counts = np.clip(np.round(finite[:kinds]), 0, self.most).astype(int)
        logits = np.clip(finite[kinds:], -LARGEST_LOGIT, LARGEST_LOGIT).reshape(self._shape)
        weight = np.exp(logits - logits.max(axis=1, keepdims=True))
        shares = weight / weight.sum(axis=1, keepdims=True)
        placed = {k: int(n) for k, n in zip(self._problem.kinds, counts, strict=True) if n > 0}
        return placed, shares

    def random(self, rng: np.random.Generator) -> Vector:
        """Return a random vector that covers empty to full fleets and mixed to pure routings."""
        counts = rng.uniform(-0.5, 1, len(self.most)) * rng.uniform(0, self.most + 0.5)
        logits = rng.normal(0, rng.choice([1.0, 4.0, 12.0]), self._shape[0] * self._shape[1])
        return np.concatenate([counts, logits])


def _most_replicas(problem: Problem, kind: ReplicaKind) -> int:
    nodes = problem.facts.devices_per_node[kind.sku]
    return sum(node // kind.tp for node in nodes) // kind.pp
