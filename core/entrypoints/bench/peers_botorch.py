"""BoTorch's own recipes on three black-box objectives, told the plans that really ran."""

from typing import Any

import numpy as np

from core.domain.plan import ServingPlan
from core.domain.study import Measurement
from core.entrypoints.bench.arena import Arena
from core.entrypoints.bench.volume import volume
from core.estimate.speed import Vector
from core.optimize.moves import Neighbourhood
from core.optimize.pareto import non_dominated
from core.optimize.surrogates import fitted

SAMPLES = 64
RESTARTS = 4
RAW_SAMPLES = 64
MAX_ITERATIONS = 50
POOL_MUTATIONS = 150
CANDIDATES = 200


class _Surrogate:
    """Observations of an instance on the unit cube."""

    def __init__(self, arena: Arena) -> None:
        self._arena = arena
        self._plans: list[ServingPlan] = []
        self._units: list[Vector] = []
        self._gains: list[Vector] = []

    def tell(self, plan: ServingPlan, measured: Measurement) -> None:
        """Remember the point that stands for the plan, and its three gains."""
        self._plans.append(plan)
        self._units.append(self._arena.box.unit(plan))
        self._gains.append(self._arena.gain(measured.score))

    def _model(self) -> Any:
        return fitted(np.array(self._units), np.array(self._gains))

    def _acquisition(self) -> Any:
        import torch
        from botorch.acquisition.multi_objective.logei import (
            qLogNoisyExpectedHypervolumeImprovement,
        )
        from botorch.sampling.normal import SobolQMCNormalSampler

        sampler = SobolQMCNormalSampler(torch.Size([SAMPLES]), seed=self._arena.seed)
        return qLogNoisyExpectedHypervolumeImprovement(
            self._model(),
            ref_point=[0.0, 0.0, 0.0],
            X_baseline=torch.tensor(np.array(self._units), dtype=torch.float64),
            sampler=sampler,
            prune_baseline=True,
        )

    def _front(self) -> list[int]:
        return [int(i) for i in np.flatnonzero(non_dominated(np.array(self._gains)))]


class RelaxedQlogNehvi(_Surrogate):
    """qLogNEHVI optimised by gradients over the relaxed cube; the optimum is then repaired."""

    def ask(self) -> ServingPlan:
        """Return the plan at the acquisition's maximum."""
        import torch
        from botorch.optim import optimize_acqf

        torch.manual_seed(1000 * self._arena.seed + len(self._units))
        bounds = torch.stack([torch.zeros(self._arena.box.size), torch.ones(self._arena.box.size)])
        best, _ = optimize_acqf(
            self._acquisition(),
            bounds=bounds.double(),
            q=1,
            num_restarts=RESTARTS,
            raw_samples=RAW_SAMPLES,
            options={"maxiter": MAX_ITERATIONS, "batch_limit": RESTARTS},
        )
        return self._arena.box.plan(best[0].detach().numpy())


class PoolQlogNehvi(_Surrogate):
    """qLogNEHVI over valid plans: the predicted front and mutations of the best measured ones."""

    def __init__(self, arena: Arena) -> None:
        super().__init__(arena)
        self._rng = arena.rng(17)
        self._neighbourhood = Neighbourhood(arena.decoder, self._rng)

    def ask(self) -> ServingPlan:
        """Return the plan of the pool with the largest acquisition value."""
        import torch

        pool = self._pool()
        units = torch.tensor(np.array([self._arena.box.unit(plan) for plan in pool]))
        acquisition = self._acquisition()
        with torch.no_grad():
            worth = acquisition(units.double().unsqueeze(1))
        return pool[int(worth.argmax())]

    def _pool(self) -> list[ServingPlan]:
        front = self._front()
        pool = {t.plan: None for t in self._arena.catalogue if t.predicted.feasible}
        for _ in range(POOL_MUTATIONS):
            found = self._neighbourhood.of(self._plans[front[self._rng.integers(len(front))]])
            if found:
                pool[found[0]] = None
        known = set(self._plans)
        return [plan for plan in pool if plan not in known] or self._plans


class TrustRegion(_Surrogate):
    """Thompson sampling in a trust region around a measured plan that matters.

    After TuRBO (Eriksson et al., 2019) and MORBO (Daulton et al., 2022), with one region: its
    centre is the plan that adds most volume, a candidate changes a few of the centre's numbers
    within the region, and the one whose sampled objectives add most is measured. Three
    improvements in a row double the region, five failures halve it, a tiny one starts anew.
    """

    def __init__(self, arena: Arena) -> None:
        super().__init__(arena)
        self._rng = arena.rng(19)
        self._length, self._wins, self._losses, self._best = 0.8, 0, 0, 0.0

    def tell(self, plan: ServingPlan, measured: Measurement) -> None:
        """Remember, and resize the region."""
        super().tell(plan, measured)
        covered = volume(np.maximum(np.array(self._gains), 0.0))
        if covered > self._best * (1 + 1e-3):
            self._wins, self._losses = self._wins + 1, 0
        else:
            self._wins, self._losses = 0, self._losses + 1
        self._best = max(self._best, covered)
        if self._wins == 3:
            self._length, self._wins = min(1.6, 2 * self._length), 0
        if self._losses == 5:
            self._length, self._losses = self._length / 2, 0
        if self._length < 0.5**7:
            self._length = 0.8

    def ask(self) -> ServingPlan:
        """Return the candidate whose sampled objectives add most volume."""
        import torch

        torch.manual_seed(1000 * self._arena.seed + len(self._units))
        plans = list(dict.fromkeys(self._arena.box.plan(unit) for unit in self._candidates()))
        units = torch.tensor(np.array([self._arena.box.unit(plan) for plan in plans]))
        model = self._model()
        with torch.no_grad():
            sampled = model.posterior(units.double()).rsample(torch.Size([1]))[0].numpy()
        known = np.maximum(np.array(self._gains), 0.0)
        added = [volume(np.vstack([known, np.maximum(row, 0.0)])) for row in sampled]
        return plans[int(np.argmax(added))]

    def _candidates(self) -> Vector:
        centre = self._units[self._centre()]
        size = self._arena.box.size
        changed = self._rng.random((CANDIDATES, size)) < min(1.0, 20 / size)
        changed[np.arange(CANDIDATES), self._rng.integers(size, size=CANDIDATES)] = True
        low = np.clip(centre - self._length / 2, 0, 1)
        high = np.clip(centre + self._length / 2, 0, 1)
        inside = low + self._rng.random((CANDIDATES, size)) * (high - low)
        candidates: Vector = np.where(changed, inside, centre)
        return candidates

    def _centre(self) -> int:
        """Return the measured plan without which most volume would be lost."""
        known = np.maximum(np.array(self._gains), 0.0)
        lost = [self._best - volume(np.delete(known, i, axis=0)) for i in self._front()]
        return self._front()[int(np.argmax(lost))]
