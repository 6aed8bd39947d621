"""Small changes to plans: what a local search tries."""

from hashlib import blake2b

import numpy as np

from core.domain.plan import PlanScore, ServingPlan
from core.estimate.speed import Vector
from core.optimize.compiling import Flags, Integers
from core.optimize.decoder import Decoder
from core.optimize.move_kernels import neighbours


class Neighbourhood:
    """Random neighbours of plans; all of them keep every hard limit.

    Args:
        decoder: Repairs what a change broke.
        rng: Source of all randomness.
    """

    def __init__(self, decoder: Decoder, rng: np.random.Generator) -> None:
        self._decoder = decoder
        self._problem = decoder.problem
        self._rng = rng
        self._seen: set[bytes] = set()

    def of(self, plan: ServingPlan) -> tuple[ServingPlan, PlanScore] | None:
        """Return a valid neighbour and its score; None when the change does not fit."""
        known_counts, known_shares = self._problem.counts(plan), self._problem.shares(plan)
        counts, shares, fits = self._changed(known_counts[None], known_shares[None], 1)
        if not fits[0]:
            return None
        found = self._problem.plan_of(counts[0], shares[0])
        score = self._problem.score(found)
        return (found, score) if score.feasible else None

    def anywhere(self) -> tuple[ServingPlan, PlanScore]:
        """Return a valid plan decoded from a random vector, and its score."""
        plan = self._decoder.decode(self._decoder.encoding.random(self._rng))
        return plan, self._problem.score(plan)

    def batch(
        self, known_counts: Integers, known_shares: Vector, size: int
    ) -> tuple[Integers, Vector]:
        """Return at most `size` plans that no batch held before, as replicas P x R and shares
        P x K x O.

        Args:
            known_counts: n x R; replicas of plans to change, n at least 1.
            known_shares: n x K x O; their routing.
        """
        counts, shares, fits = self._changed(known_counts, known_shares, size)
        new = [i for i in np.flatnonzero(fits) if self._is_new(counts[i], shares[i])]
        return counts[new], shares[new]

    def _changed(
        self, known_counts: Integers, known_shares: Vector, size: int
    ) -> tuple[Integers, Vector, Flags]:
        rules = self._problem.rules
        counts = np.empty((size, known_counts.shape[1]), dtype=np.int64)
        shares = np.empty((size, *known_shares.shape[1:]))
        neighbours(
            rules.owner,
            rules.most,
            self._problem.options.asks,
            self._rng,
            known_counts,
            known_shares,
            counts,
            shares,
        )
        return counts, shares, self._decoder.repairs.all(counts, shares)

    def _is_new(self, counts: Integers, shares: Vector) -> bool:
        key = blake2b(counts.tobytes() + shares.tobytes(), digest_size=12).digest()
        known = key in self._seen
        self._seen.add(key)
        return not known
