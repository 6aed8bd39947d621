"""The best of plans that are scored one by one, by whatever means."""

import numpy as np

from core.domain.plan import PlanScore, ServingPlan
from core.optimize.archive_kernels import LATENCY_SLACK, QUALITY_SLACK
from core.optimize.pareto import objectives


class Archive:
    """Plans that none beats by more than a small slack; bounded in size by that slack."""

    def __init__(self) -> None:
        self.plans: list[ServingPlan] = []
        self.scores: list[PlanScore] = []
        self._values = np.empty((0, 3))
        self._seen: set[ServingPlan] = set()

    def is_new(self, plan: ServingPlan) -> bool:
        """Whether a plan was not offered before; remembers it."""
        known = plan in self._seen
        self._seen.add(plan)
        return not known

    def offer(self, plan: ServingPlan, score: PlanScore) -> bool:
        """Add a feasible plan unless one in the archive is as good; drop what it beats."""
        value = objectives([score])[0]
        slack = np.array([value[0], value[1] * LATENCY_SLACK, value[2] - QUALITY_SLACK])
        if np.any(np.all(self._values >= slack, axis=1)):
            return False
        kept = np.flatnonzero(~np.all(self._values <= value, axis=1))
        self.plans = [self.plans[i] for i in kept] + [plan]
        self.scores = [self.scores[i] for i in kept] + [score]
        self._values = np.vstack([self._values[kept], value])
        return True
