"""What measured plans say about how fast every kind of replica is: a Bayesian linear model.

By what factor a kind is slower than its profile is the product of effects, so its logarithm is a
sum: one of the whole fleet, of the model, of the SKU, of the pair, of the kind (its TP and PP),
and a slope per SKU over how much of their nodes other replicas use (memory bandwidth, host cores
and power are shared). All effects have normal priors around zero, so a kind that was never
measured borrows from those that share its model or its SKU, and what nothing speaks about stays
as its profile says, within the prior's spread.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from core.domain.plan import ReplicaKind
from core.estimate.speed import Vector

PRIOR_SIGMA = {"fleet": 0.15, "model": 0.15, "sku": 0.15, "pair": 0.22, "kind": 0.08}
"""Together .36: what is known of a speed before it is measured is within a factor of 2, 95 %."""
SHARED_NODE_SIGMA = 0.15
"""Of the logarithm of the slowdown when all else on a node is in use."""
STRETCH_SIGMA = 0.3
"""Of the logarithm of what stretches all latencies alike without keeping replicas busier."""


@dataclass(frozen=True)
class Observed:
    """A linear combination of effects that was seen, with noise.

    Attributes:
        row: D; weight of each effect.
        value: What it was.
        deviation: Standard deviation of its noise.
    """

    row: Vector
    value: float
    deviation: float


class Effects:
    """Numbers the effects of a fleet, and says which act on a kind.

    Attributes:
        rows: R x D; effects of each kind alone on its nodes. The last column is no kind's: it
            stretches latencies, and keeps plans that are only slow from being taken for busy.
        prior: D; standard deviations.
    """

    def __init__(self, kinds: Sequence[ReplicaKind]) -> None:
        self.kinds = list(kinds)
        self.index = {kind: r for r, kind in enumerate(self.kinds)}
        names: dict[tuple[str, ...], int] = {}
        of_kind = []
        for kind in self.kinds:
            levels = {
                "fleet": ("fleet",),
                "model": ("model", kind.model),
                "sku": ("sku", kind.sku),
                "pair": ("pair", kind.model, kind.sku),
                "kind": ("kind", kind.label),
            }
            of_kind.append([names.setdefault(name, len(names)) for name in levels.values()])
        skus = sorted({kind.sku for kind in self.kinds})
        self.shared = np.array([len(names) + skus.index(kind.sku) for kind in self.kinds])
        self.rows = np.zeros((len(self.kinds), len(names) + len(skus) + 1))
        for r, columns in enumerate(of_kind):
            self.rows[r, columns] = 1.0
        sigmas = [PRIOR_SIGMA[name[0]] for name in names]
        self.prior = np.array([*sigmas, *([SHARED_NODE_SIGMA] * len(skus)), STRETCH_SIGMA])

    def row(self, kind: ReplicaKind, others: float) -> Vector:
        """Return D weights of the effects on a kind whose nodes are used by others to a share."""
        r = self.index[kind]
        row: Vector = self.rows[r].copy()
        row[self.shared[r]] = others
        return row


class Belief:
    """Normal posterior of the effects, given what was seen."""

    def __init__(self, effects: Effects, seen: Sequence[Observed]) -> None:
        self.effects = effects
        self.informed = bool(seen)
        precision = np.diag(effects.prior**-2)
        pull = np.zeros(len(effects.prior))
        for one in seen:
            precision += np.outer(one.row, one.row) / one.deviation**2
            pull += one.row * (one.value / one.deviation**2)
        self.covariance = np.linalg.inv(precision)
        self.mean = self.covariance @ pull

    def log_factors(self, others: Vector, effects: Vector | None = None) -> Vector:
        """Return P x R log factors of the kinds in P placements.

        Args:
            others: P x R; see `used_by_others`.
            effects: D; a draw of the effects; None for the expected ones.
        """
        given = self.mean if effects is None else effects
        factors: Vector = self.effects.rows @ given + others * given[self.effects.shared]
        return factors

    def draws(self, n: int, rng: np.random.Generator) -> Vector:
        """Return n x D effects drawn from the belief."""
        drawn: Vector = rng.multivariate_normal(self.mean, self.covariance, n, method="cholesky")
        return drawn

    def paired_draws(self, n: int, rng: np.random.Generator) -> Vector:
        """Return n x D draws (n even), in pairs around what is expected."""
        half = self.draws(n // 2, rng)
        return np.vstack([half, 2 * self.mean - half])

    def combined(self, slopes: Vector, others: Vector) -> Vector:
        """Return P x D weights of the effects in P sums over kinds of slope x log factor.

        Args:
            slopes, others: P x R.
        """
        rows: Vector = slopes @ self.effects.rows
        for r, column in enumerate(self.effects.shared):
            rows[:, column] += slopes[:, r] * others[:, r]
        return rows

    def deviations(self, rows: Vector) -> Vector:
        """Return the standard deviations of P weighted sums of effects (P x D)."""
        spread: Vector = np.sqrt(np.einsum("pd,de,pe->p", rows, self.covariance, rows))
        return spread


def used_by_others(
    placement: Mapping[ReplicaKind, int], devices_per_node: Mapping[str, tuple[int, ...]]
) -> dict[ReplicaKind, float]:
    """Return per kind which share of their nodes others use, on average over its replicas.

    Groups are packed as a cluster does it: the largest first, each on the fullest node with room.
    """
    shares: dict[ReplicaKind, float] = {}
    for sku in {kind.sku for kind in placement}:
        nodes = devices_per_node.get(sku, ())
        free = list(nodes)
        homes: dict[ReplicaKind, list[int]] = {}
        for kind in sorted((k for k in placement if k.sku == sku), key=lambda k: (-k.tp, k)):
            homes[kind] = []
            for _ in range(placement[kind] * kind.pp):
                able = [i for i, room in enumerate(free) if room >= kind.tp]
                if able:
                    home = min(able, key=lambda i: free[i])
                    free[home] -= kind.tp
                    homes[kind].append(home)
        for kind, on in homes.items():
            used = [(nodes[i] - free[i] - kind.tp) / nodes[i] for i in on]
            shares[kind] = float(np.mean(used)) if used else 0.0
    return shares
