"""Plans of a front that differ by less than the noise, folded under the one worth reading.

Two plans are compared in pairs, which tells much smaller differences than their intervals do:
both are simulated on the same requests, and both are made of the same profiles and the same
quality measurements, so that most of what is uncertain about either is the same for both.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from scipy.special import stdtrit

from core.domain.cascade import CascadeKey
from core.domain.plan import ServingPlan
from core.domain.planning import PlanningFacts
from core.domain.study import Trial
from core.estimate.speed import Vector

CONFIDENCE = 0.95
LEAST_NOISE = 0.02
"""Of a P95, as a fraction: nobody can tell two plans apart whose latencies differ by less."""
SAME_COST = 1e-9


def folded(
    facts: PlanningFacts,
    trials: Sequence[Trial],
    p95_by_seed_s: Mapping[int, Sequence[float | None]],
    least_noise: float = LEAST_NOISE,
) -> list[Trial]:
    """Return the trials; those of the front that another equals or beats but for noise say so.

    From the cheapest plan up, and of equally cheap ones from the fastest, a plan is shown by
    itself unless one that is already shown costs no more, and it is neither surely faster than
    that one nor surely better in quality.

    Args:
        p95_by_seed_s: P95 in s per simulated run, by trial number, the same seeds for all; None
            for a run without one. Plans that were not simulated may be left out.
        least_noise: Relative difference of two P95s below which they count as equal.
    """
    pairs = _Pairs(facts, p95_by_seed_s, least_noise)
    shown: list[Trial] = []
    alike: dict[int, int | None] = {}
    for trial in sorted((t for t in trials if t.on_front), key=_cheapest_first):
        over = [known for known in shown if not pairs.worth_more(trial, known)]
        alike[trial.number] = min(over, key=lambda k: _distance(trial, k)).number if over else None
        if not over:
            shown.append(trial)
    return [replace(trial, alike=alike.get(trial.number)) for trial in trials]


_Option = tuple[str, CascadeKey | tuple[()]]


class _Pairs:
    """Tells whether a plan is surely better than another that costs no more."""

    def __init__(
        self,
        facts: PlanningFacts,
        p95_by_seed_s: Mapping[int, Sequence[float | None]],
        least_noise: float,
    ) -> None:
        self._facts = facts
        self._runs: dict[int, Vector] = {
            number: np.array(seen, dtype=float)
            for number, seen in p95_by_seed_s.items()
            if None not in seen
        }
        self._least_noise = least_noise

    def worth_more(self, dear: Trial, cheap: Trial) -> bool:
        """Whether the dearer plan is surely faster or surely better in quality."""
        return self._faster(dear, cheap) or surely_better(self._facts, dear.plan, cheap.plan)

    def _faster(self, one: Trial, other: Trial) -> bool:
        mine_s, theirs_s = one.score.p95_e2e_s, other.score.p95_e2e_s
        if mine_s is None or theirs_s is None:
            return theirs_s is None and mine_s is not None
        gain = float(np.log(theirs_s / mine_s))
        return gain > max(self._least_noise, self._half_width(one, other))

    def _half_width(self, one: Trial, other: Trial) -> float:
        """One-sided half width of the mean difference of log P95 between paired runs (Student)."""
        mine_s, theirs_s = self._runs.get(one.number), self._runs.get(other.number)
        if mine_s is None or theirs_s is None or len(mine_s) < 2:
            return 0.0
        gains = np.log(theirs_s / mine_s)
        error = float(np.std(gains, ddof=1)) / np.sqrt(len(gains))
        return float(stdtrit(len(gains) - 1, CONFIDENCE) * error)


def surely_better(facts: PlanningFacts, one: ServingPlan, other: ServingPlan) -> bool:
    """Whether a plan's quality is above another's by more than the estimates' errors allow.

    The difference is linear in the estimates, with coefficients weight x (difference of shares):
    its lower bound is MOVER's (Zou, Huang & Zhang, Computational Statistics and Data Analysis 53,
    2009), as for a single plan in `core.estimate.quality`, from the same 95 % intervals; errors of
    cascades add up in full within a class. What both plans route alike drops out.
    """
    known = {cascade.key: cascade for cascade in facts.cascades}
    difference, variance = 0.0, 0.0
    for traffic in facts.workload.classes:
        name = traffic.query_class
        weight = facts.workload.weight(name)
        mine, theirs = _by_option(one, name), _by_option(other, name)
        alone, together = 0.0, 0.0
        for model, cascade in sorted(mine.keys() | theirs.keys()):
            estimate = known.get(cascade) if cascade else facts.quality.get((model, name))
            if estimate is not None:
                option = model, cascade
                more = weight * (mine.get(option, 0.0) - theirs.get(option, 0.0))
                end = estimate.lower if more > 0 else estimate.upper
                difference += more * estimate.mean
                error = more * (estimate.mean - end)
                variance += 0.0 if cascade else error**2
                alone += 0.0 if cascade else error**2
                together += error if cascade else 0.0
        variance += (2 * np.sqrt(alone) + together) * together
    return difference > 0 and difference > np.sqrt(variance)


def _by_option(plan: ServingPlan, query_class: str) -> dict[_Option, float]:
    """Return the shares of a class by first model and cascade, which is empty for none."""
    routes = plan.routes(query_class)
    return {(route.model, route.cascade or ()): route.share for route in routes}


def _cheapest_first(trial: Trial) -> tuple[float, float, float, int]:
    score = trial.score
    cost = round(score.cost_usd_per_hour / SAME_COST) * SAME_COST
    return cost, score.p95_e2e_s or np.inf, -trial.predicted.quality_mean, trial.number


def _distance(one: Trial, other: Trial) -> float:
    """How different two plans look: sums of relative differences in cost, latency and quality."""
    mine, theirs = one.score, other.score
    return float(
        abs(np.log(mine.cost_usd_per_hour / theirs.cost_usd_per_hour))
        + abs(np.log((mine.p95_e2e_s or 1.0) / (theirs.p95_e2e_s or 1.0)))
        + abs(one.predicted.quality_mean - other.predicted.quality_mean)
    )
