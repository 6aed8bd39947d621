"""The method of the paper (arXiv 2602.10729): latency against quality within a budget.

Replicas per kind and routing thresholds are the variables, relaxed to a cube and repaired to valid
plans. Gaussian processes model latency, quality and the constraints as black boxes, and
constrained noisy expected hypervolume improvement (qNEHVI: Daulton et al., "Parallel Bayesian
Optimization of Multiple Noisy Objectives with Expected Hypervolume Improvement", NeurIPS 2021)
says what to measure. Kept for comparison: it knows nothing of prices or of how queues behave, and
every model answers alone.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from core.domain.plan import PlanScore
from core.domain.planning import PlanningFacts
from core.domain.study import Measurement, Origin, Trial
from core.errors import Conflict
from core.estimate.speed import Vector
from core.optimize.pareto import non_dominated, objectives
from core.optimize.search import Search
from core.optimize.study import Proposal
from core.optimize.surrogates import fitted
from core.optimize.thresholds import ThresholdSpace

FIRST_PLANS = 5
"""Quasi-random plans before a model is fitted."""
SAMPLES = 64
RESTARTS = 4
RAW_SAMPLES = 64
MAX_ITERATIONS = 50
WORSE_THAN_WORST = 1.5
"""Reference latency over the worst measured one; a plan that broke down counts as that slow."""


class PaperStudy:
    """Asks and tells like `Study`; proposals depend on facts, seed and trials only.

    Args:
        facts: The problem. Without a budget in its limits, the whole fleet's price is the budget.
        seed: Of all that is random; 0 or above.
        trials: Of an earlier study to go on with; only those that were measured or failed count.

    Raises:
        NotReady: Nothing can be placed at all.
        Infeasible: No plan keeps the hard limits.
    """

    def __init__(
        self, facts: PlanningFacts, *, seed: int = 0, trials: Sequence[Trial] = ()
    ) -> None:
        self._facts = with_budget(replace(facts, cascades=()))
        self._search = Search(self._facts)
        self._space = ThresholdSpace(self._search.decoder)
        self._seed = seed
        self._trials = [trial for trial in trials if trial.evaluated]
        self._pending: list[Proposal] = []

    @property
    def trials(self) -> list[Trial]:
        """Every plan that was measured or failed, in order."""
        return list(self._trials)

    def ask(self, n: int = 1) -> list[Proposal]:
        """Return the n plans most worth measuring next; those asked for earlier are counted."""
        for _ in range(n):
            plan = self._space.plan(self._next())
            taken = [t.number for t in self._trials] + [p.number for p in self._pending]
            number = 1 + max(taken, default=-1)
            self._pending.append(Proposal(number, plan, self._search.problem.score(plan)))
        return self._pending[-n:] if n else []

    def tell(self, proposal: Proposal, result: Measurement | PlanScore) -> None:
        """Record what measuring a proposed plan gave.

        Raises:
            Conflict: This trial has its result already.
        """
        measurement = result if isinstance(result, Measurement) else Measurement(result)
        told = replace(
            self._closed(proposal), measured=measurement.score, telemetry=measurement.telemetry
        )
        self._trials.append(told)

    def fail(self, proposal: Proposal, reason: str) -> None:
        """Record that a proposed plan could not be measured: it counts as very slow.

        Raises:
            Conflict: This trial has its result already.
        """
        self._trials.append(replace(self._closed(proposal), failure=reason or "It failed."))

    def front(self) -> list[Trial]:
        """Return the measured plans within the limits that no other beats in latency and
        quality, fastest first.
        """
        feasible = [t for t in self._trials if t.measured and t.measured.feasible]
        values = objectives([t.score for t in feasible])[:, 1:]
        best = [feasible[i] for i in np.flatnonzero(non_dominated(values))]
        return sorted(
            (replace(t, on_front=True) for t in best), key=lambda t: t.score.p95_e2e_s or 0.0
        )

    def _closed(self, proposal: Proposal) -> Trial:
        if any(trial.number == proposal.number for trial in self._trials):
            raise Conflict(f"Trial {proposal.number} of this study has its result already.")
        self._pending = [p for p in self._pending if p.number != proposal.number]
        return Trial(
            "",
            proposal.number,
            proposal.plan,
            Origin.PAPER,
            proposal.predicted,
            evaluation=len(self._trials),
        )

    def _next(self) -> Vector:
        made = len(self._trials) + len(self._pending)
        if made < FIRST_PLANS or len(self._trials) < 2:
            return _quasi_random(self._space.size, self._seed, made)
        units = np.array([self._space.unit(t.plan) for t in self._trials])
        pending = np.array([self._space.unit(p.plan) for p in self._pending])
        outcomes = _outcomes(self._facts, self._trials)
        return _best_point(units, outcomes, pending, self._seed + 1000 * made)


def paper_study(facts: PlanningFacts, seed: int = 0, trials: Sequence[Trial] = ()) -> PaperStudy:
    """Return a study by the paper's method, new or going on from stored trials."""
    return PaperStudy(facts, seed=seed, trials=trials)


def with_budget(facts: PlanningFacts) -> PlanningFacts:
    """Return facts with a budget: their own, or the price of every device of the fleet."""
    if facts.limits.budget_usd_per_hour is not None:
        return facts
    whole = sum(
        facts.price_usd_per_hour.get(sku, 0.0) * sum(nodes)
        for sku, nodes in facts.devices_per_node.items()
    )
    return replace(facts, limits=replace(facts.limits, budget_usd_per_hour=whole))


@dataclass(frozen=True)
class _Outcomes:
    """Observed columns: two objectives to maximise, then three constraints to keep at 0 or less.

    Attributes:
        values: n x 5; -log P95, quality, cost over budget - 1, floor - lower bound of quality,
            load - limit.
        reference: 2; what an objective must exceed to count.
    """

    values: Vector
    reference: Vector


def _outcomes(facts: PlanningFacts, trials: Sequence[Trial]) -> _Outcomes:
    limits = facts.limits
    budget = limits.budget_usd_per_hour or 1.0
    slowest_s = WORSE_THAN_WORST * max(
        (t.measured.p95_e2e_s or 0.0 for t in trials if t.measured), default=0.0
    )
    slowest_s = slowest_s or 1.0
    rows = []
    for trial in trials:
        score = trial.score
        latency_s = score.p95_e2e_s if trial.measured and score.p95_e2e_s else slowest_s
        load = max(score.utilisation, 1.0) if trial.failure else score.utilisation
        rows.append(
            (
                -np.log(latency_s),
                score.quality_mean,
                score.cost_usd_per_hour / budget - 1,
                limits.quality_floor - score.quality_lower,
                load - limits.max_utilisation,
            )
        )
    values = np.array(rows)
    reference = np.array([-np.log(slowest_s), min(limits.quality_floor, values[:, 1].min())])
    return _Outcomes(values, reference)


def _quasi_random(size: int, seed: int, number: int) -> Vector:
    """Return one point of a scrambled Sobol sequence."""
    from torch.quasirandom import SobolEngine

    engine: Any = SobolEngine
    drawn = engine(size, scramble=True, seed=seed).draw(number + 1)
    point: Vector = drawn[-1].double().numpy()
    return point


def _best_point(units: Vector, outcomes: _Outcomes, pending: Vector, seed: int) -> Vector:
    """Return the point of the cube with the largest acquisition value."""
    import torch
    from botorch.optim import optimize_acqf

    torch.manual_seed(seed)
    acquisition = _acquisition(units, outcomes, seed)
    if len(pending):
        acquisition.set_X_pending(torch.tensor(pending, dtype=torch.float64))
    corners = torch.stack([torch.zeros(units.shape[1]), torch.ones(units.shape[1])]).double()
    best, _ = optimize_acqf(
        acquisition,
        bounds=corners,
        q=1,
        num_restarts=RESTARTS,
        raw_samples=RAW_SAMPLES,
        options={"maxiter": MAX_ITERATIONS, "batch_limit": RESTARTS},
    )
    point: Vector = best[0].detach().numpy()
    return point


def _acquisition(units: Vector, outcomes: _Outcomes, seed: int) -> Any:
    import torch
    from botorch.acquisition.multi_objective.monte_carlo import (
        qNoisyExpectedHypervolumeImprovement,
    )
    from botorch.acquisition.multi_objective.objective import IdentityMCMultiOutputObjective
    from botorch.exceptions.warnings import BotorchWarning
    from botorch.sampling.normal import SobolQMCNormalSampler

    model = fitted(units, outcomes.values)
    # BoTorch advises the logarithm of this criterion, and compiles it with the machine's C++
    # compiler on first use; the paper has the plain one.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BotorchWarning)
        return qNoisyExpectedHypervolumeImprovement(
            model,
            ref_point=outcomes.reference.tolist(),
            X_baseline=torch.tensor(units, dtype=torch.float64),
            sampler=SobolQMCNormalSampler(torch.Size([SAMPLES]), seed=seed),
            objective=IdentityMCMultiOutputObjective(outcomes=[0, 1], num_outcomes=5),
            constraints=[lambda z, column=column: z[..., column] for column in (2, 3, 4)],
            prune_baseline=True,
        )
