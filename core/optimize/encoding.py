"""Plans as real vectors: replicas per kind, then one routing logit per class and option."""

import numpy as np

from core.domain.plan import ServingPlan
from core.estimate.speed import Vector
from core.optimize.compiling import Integers
from core.optimize.problem import Problem

LARGEST_LOGIT = 30.0
"""Far enough apart that the share of the lower one rounds to nothing."""


class Encoding:
    """The vector space of one problem: R + K * O numbers.

    Attributes:
        size: Length of a vector.
        most: R; replicas of each kind that the empty fleet holds.
    """

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self._shape = (len(problem.classes), len(problem.options))
        self.most = problem.rules.most
        self.size = len(problem.kinds) + self._shape[0] * self._shape[1]

    def write(self, plan: ServingPlan) -> Vector:
        """Return the vector of a plan; decoding it gives the plan again."""
        shares = self._problem.shares(plan)
        logits = np.log(np.maximum(shares, np.exp(-LARGEST_LOGIT)))
        return np.concatenate([self._problem.counts(plan), logits.ravel()])

    def read(self, vector: Vector) -> tuple[Integers, Vector]:
        """Return the replicas (R) and shares (K x O) a vector stands for, repairing nothing but
        numbers that are not finite or beyond the fleet.
        """
        finite = np.nan_to_num(np.asarray(vector, dtype=float), posinf=1e6, neginf=-1e6)
        kinds = len(self._problem.kinds)
        counts = np.clip(np.round(finite[:kinds]), 0, self.most).astype(np.int64)
        logits = np.clip(finite[kinds:], -LARGEST_LOGIT, LARGEST_LOGIT).reshape(self._shape)
        weight = np.exp(logits - logits.max(axis=1, keepdims=True))
        return counts, self._problem.options.plain(weight / weight.sum(axis=1, keepdims=True))

    def random(self, rng: np.random.Generator) -> Vector:
        """Return a random vector that covers empty to full fleets and mixed to pure routings."""
        counts = rng.uniform(-0.5, 1, len(self.most)) * rng.uniform(0, self.most + 0.5)
        logits = rng.normal(0, rng.choice([1.0, 4.0, 12.0]), self._shape[0] * self._shape[1])
        return np.concatenate([counts, logits])
