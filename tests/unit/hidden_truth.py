"""Replicas that behave otherwise than their profiles say."""

from dataclasses import replace

import numpy as np

from core.domain.plan import PlanScore, ReplicaKind, ServingPlan
from core.domain.planning import PlanningFacts
from core.domain.profile import Provenance
from core.domain.study import KindTelemetry, Measurement
from core.estimate import AnalyticEvaluator
from core.estimate.queueing import pool_latency
from core.optimize import Effort

QUICK = Effort(evaluations=500, cpu_seconds=20)
TOKENS = 40.0


class HiddenTruth:
    """Stands for real replicas: the larger model is slower than predicted, answers are noisy.

    Args:
        noise: Standard deviation of the logarithm of a measured P95.
    """

    def __init__(self, facts: PlanningFacts, noise: float = 0.04, seed: int = 0) -> None:
        self._analytic = AnalyticEvaluator(facts)
        self._noise = noise
        self._seed = seed
        self.asked: list[ServingPlan] = []

    def log_bias(self, plan: ServingPlan) -> float:
        loads = {p.kind.model: p.load for p in self._analytic.pools(plan)}
        return 0.25 + 0.8 * loads.get("large", loads.get("m1", 0.0))

    def truth(self, plan: ServingPlan, noise: float = 0.0) -> PlanScore:
        score = self._analytic.evaluate(plan)
        factor = float(np.exp(self.log_bias(plan) + noise))
        return replace(score, provenance=Provenance.MEASURED, p95_e2e_s=score.p95_e2e_s * factor)

    def evaluate(self, plan: ServingPlan) -> PlanScore:
        self.asked.append(plan)
        rng = np.random.default_rng([self._seed, len(self.asked)])
        return self.truth(plan, rng.normal(0, self._noise))


class SlowReplicas:
    """Replicas that take a factor longer over everything than their profiles say, by kind."""

    def __init__(
        self,
        facts: PlanningFacts,
        log_factors: dict[ReplicaKind, float],
        noise: float = 0.05,
        tells: bool = True,
    ) -> None:
        evaluator = AnalyticEvaluator(facts)
        for kind, log_factor in log_factors.items():
            speed, factor = evaluator.speeds[kind], float(np.exp(log_factor))
            evaluator.speeds[kind] = replace(
                speed, ttft_s=factor * speed.ttft_s, e2e_s=factor * speed.e2e_s
            )
        self._evaluator = evaluator
        self._noise = noise
        self._tells = tells
        self.asked: list[ServingPlan] = []

    def truth(self, plan: ServingPlan) -> PlanScore:
        return replace(self._evaluator.evaluate(plan), provenance=Provenance.MEASURED)

    def evaluate(self, plan: ServingPlan) -> Measurement:
        self.asked.append(plan)
        score, rng = self.truth(plan), np.random.default_rng(len(self.asked))
        if score.p95_e2e_s is not None:
            noisy_s = score.p95_e2e_s * float(np.exp(rng.normal(0, self._noise)))
            score = replace(score, p95_e2e_s=noisy_s)
        return Measurement(score, self._telemetry(plan, rng) if self._tells else ())

    def _telemetry(self, plan: ServingPlan, rng: np.random.Generator) -> tuple[KindTelemetry, ...]:
        told = []
        for pool in self._evaluator.pools(plan):
            latency = pool_latency(
                self._evaluator.speeds[pool.kind], pool.count, pool.rate_rps, pool.mix
            )
            if latency is None:
                continue
            ttft_s = float(latency.weight @ latency.ttft_s @ pool.mix)
            e2e_s = float(latency.weight @ latency.e2e_s @ pool.mix)
            tpot_s = (e2e_s - ttft_s) / (TOKENS - 1) * float(np.exp(rng.normal(0, 0.02)))
            answers = max(1, int(100 * pool.rate_rps))
            told.append(KindTelemetry(pool.kind, answers, tpot_s, ttft_s, e2e_s))
        return tuple(told)
