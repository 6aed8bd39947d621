"""How far a plan's latency may be from what is predicted: an interval on its P95.

What is uncertain is how fast replicas are: the times of every profile carry one standard deviation
of their logarithm, `Profile.relative_error`. A plan is evaluated with all its times shorter, and
with all longer, by the factor that 90 % of errors stay within. All kinds move together: errors of
profiles made by one estimator or one load client go the same way, and where they do not, the
interval is on the wide side. Queues make it lopsided: slower replicas are busier too. It says
nothing of traffic that turns out different.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property

from core.domain.plan import PlanScore, ReplicaKind, ServingPlan
from core.domain.planning import PlanningFacts
from core.domain.profile import LoadLevel, Profile, Provenance, Spread
from core.estimate.analytic import AnalyticEvaluator

Z90 = 1.6448536269514722
DEFAULT_ERROR = {
    Provenance.MEASURED: 0.05,
    Provenance.IMPORTED: 0.10,
    Provenance.PREDICTED: 0.50,
}
"""Where a profile does not state its own. Measured: replicas of one kind differ by a few percent
from run to run. Imported: engine version and lengths may differ too; repeated public measurements
of one pair scatter about so. Predicted: the roofline without calibration against published times
of several vendors (`boute bench estimates`)."""


def relative_error(profile: Profile) -> float:
    """Return one standard deviation of the logarithm of a profile's times over the truth."""
    if profile.relative_error is None:
        return DEFAULT_ERROR[profile.provenance]
    return profile.relative_error


class Intervals:
    """Puts intervals on scores of many plans of one problem."""

    def __init__(self, facts: PlanningFacts) -> None:
        self._facts = facts

    @cached_property
    def _evaluators(self) -> tuple[AnalyticEvaluator, ...]:
        """With all times as they are, as short as they may be, and as long."""
        return tuple(
            AnalyticEvaluator(replace(self._facts, profiles=_moved(self._facts.profiles, sigmas)))
            for sigmas in (0, -Z90, Z90)
        )

    def on(self, plan: ServingPlan, score: PlanScore) -> PlanScore:
        """Return the score with a 90 % interval on the 95th percentile of end-to-end time.

        The interval is carried over as factors: whatever estimator made the score, it holds the
        score's own value. The upper end is None when the plan cannot keep up if replicas are as
        slow as they may be; both are None when it has no latency at all.
        """
        if score.p95_e2e_s is None:
            return score
        middle, low, high = (one.evaluate(plan).p95_e2e_s for one in self._evaluators)
        if middle is None or low is None:
            return score
        return replace(
            score,
            p95_e2e_low_s=score.p95_e2e_s * low / middle,
            p95_e2e_high_s=None if high is None else score.p95_e2e_s * high / middle,
        )


def with_interval(facts: PlanningFacts, plan: ServingPlan, score: PlanScore) -> PlanScore:
    """Return what `Intervals` says of one plan."""
    used = {p.kind: facts.profiles[p.kind] for p in plan.placement if p.kind in facts.profiles}
    return Intervals(replace(facts, profiles=used)).on(plan, score)


def _moved(profiles: Mapping[ReplicaKind, Profile], sigmas: float) -> dict[ReplicaKind, Profile]:
    return {
        kind: slowed(profile, math.exp(sigmas * relative_error(profile)))
        for kind, profile in profiles.items()
    }


def slowed(profile: Profile, factor: float) -> Profile:
    """Return a profile whose times are all a factor longer; throughput is lower by the same."""
    return replace(
        profile,
        levels=tuple(_slowed_level(level, factor) for level in profile.levels),
        step=None if profile.step is None else profile.step.slowed(factor),
    )


def _slowed_level(level: LoadLevel, factor: float) -> LoadLevel:
    return replace(
        level,
        duration_s=level.duration_s * factor,
        ttft_ms=_slowed_spread(level.ttft_ms, factor),
        tpot_ms=_slowed_spread(level.tpot_ms, factor),
        e2e_ms=_slowed_spread(level.e2e_ms, factor),
    )


def _slowed_spread(spread: Spread, factor: float) -> Spread:
    parts = (spread.mean, spread.p50, spread.p95, spread.p99)
    return Spread(*(factor * part for part in parts))
