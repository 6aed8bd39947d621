"""Scores a plan by simulating its replicas request by request, batch by batch.

What the analytic evaluator assumes away is played out here: bursts, the lengths of single
requests, prompts that hold up the decoding of others, full batches and full caches. Every plan
meets the same requests (common random numbers), so plans differ by what they are, not by luck.

A profile tells how much the speed of its replica varied between loads (`StepFit.speed_variation`).
Each seed is run at another quantile of it, the same one for all kinds: latency near saturation
grows faster than speed falls, so the typical speed alone would promise too much.

Which queries a cascade passes on is drawn, with the share that its estimate says; a query that
goes on arrives at the second model when the first one's answer is complete.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri, stdtrit

from core.domain.plan import PlanScore, ReplicaKind, ServingPlan
from core.domain.planning import PlanningFacts
from core.domain.trace import Trace
from core.domain.workload import Workload
from core.estimate.analytic import AnalyticEvaluator
from core.estimate.engine import engine_spec
from core.estimate.plan_calls import Requests, calls_made, requests_of, routes_taken
from core.estimate.simulator import simulate
from core.estimate.simulator.spec import (
    NOBODY,
    Arrivals,
    EngineSpec,
    Floats,
    Integers,
    Timeline,
)
from core.estimate.speed import answer_tokens, compile_profile
from core.estimate.traffic import arrivals_for
from core.estimate.uncertainty import Intervals

Flags = NDArray[np.bool_]

SEEDS = (1, 2, 3, 4, 5)
WARM_UP_SHARE = 0.1
LONGEST_WARM_UP_SHARE = 0.5
WARM_UP_STAYS = 2.0
PILING_UP = 0.02
"""Share of the arrivals that may stay behind before a plan counts as overloaded."""
SLOWING_DOWN = 1.3


@dataclass(frozen=True)
class Run:
    """n requests of one seed through a plan, in order of arrival.

    Attributes:
        arrived_at_s: n; arrivals.
        query_class: n; positions in the workload's classes.
        kind: n; whose answer it is; positions in `kinds`.
        ttft_s: n; time to first token; NaN for one that no replica can hold. Nothing of a
            cascade's first answer reaches the client before it is complete.
        e2e_s: n; end-to-end time; NaN likewise.
        output_tokens: n; answer lengths of the models that answered.
        preemptions: n; times a request lost its cache.
        went_on: n; whether a second model was asked.
        counted: n; False while the fleet was still filling up.
        kinds: Replica kinds of the plan.
    """

    arrived_at_s: Floats
    query_class: Integers
    kind: Integers
    ttft_s: Floats
    e2e_s: Floats
    output_tokens: Integers
    preemptions: Integers
    went_on: Flags
    counted: Flags
    kinds: tuple[ReplicaKind, ...]

    def counted_times_s(self) -> tuple[Floats, Floats]:
        """Return the counted TTFT and end-to-end times; infinite for a refused request."""
        kept = self.counted
        return _never(self.ttft_s[kept]), _never(self.e2e_s[kept])


class SimulatedEvaluator:
    """A `PlanEvaluator` that plays requests through the plan's replicas.

    Cost, quality and utilisation are the analytic evaluator's; the simulator adds the latency. A
    profile without a step-time model is simulated by one derived from its levels.

    Args:
        facts: The problem.
        trace: Requests to draw from; None draws them from the workload's description.
        requests: Per seed.
        seeds: One independent run each; their spread makes the interval.
    """

    def __init__(
        self,
        facts: PlanningFacts,
        *,
        trace: Trace | None = None,
        requests: int = 5000,
        seeds: Sequence[int] = SEEDS,
    ) -> None:
        self.facts = facts
        self.analytic = AnalyticEvaluator(facts)
        classes = facts.workload.classes
        self._classes = [traffic.query_class for traffic in classes]
        workload = _with_spread(facts)
        self._samples = [
            requests_of(arrivals_for(workload, trace, requests, seed), self._classes, seed)
            for seed in seeds
        ]
        self._cascades = {cascade.key: cascade for cascade in facts.cascades}
        self._longer = {
            model: np.array(
                [answer_tokens(facts, model, c) / c.output_tokens_mean for c in classes]
            )
            for model in {kind.model for kind in facts.profiles}
        }
        self._intervals = Intervals(facts)
        self._specs: dict[ReplicaKind, EngineSpec] = {}
        self._sigmas = [float(s) for s in ndtri((np.arange(len(seeds)) + 0.5) / len(seeds))]

    def evaluate(self, plan: ServingPlan, runs: Sequence[Run] | None = None) -> PlanScore:
        """Score one plan; a plan that cannot keep up has no latency, and says so.

        Percentiles are over all counted requests of all seeds. The interval on P95 covers 90 %:
        the seeds' own P95 make a Student interval on their mean logarithm, and what profiles do
        not know (`core.estimate.uncertainty`) is added in quadrature on the logarithmic scale.

        Args:
            runs: What `runs` gave for this plan, where that is known already.

        Raises:
            InvalidInput: Models pass queries on to each other in a circle.
        """
        score = replace(self.analytic.evaluate(plan), estimator="simulated")
        if score.p95_e2e_s is None:
            return score
        runs = self.runs(plan) if runs is None else runs
        if _overloaded(runs):
            text = "Cannot keep up: in the simulation more and more requests wait."
            return replace(_without_latency(score), violations=(*score.violations, text))
        return self._scored(score, plan, runs)

    def runs(self, plan: ServingPlan) -> list[Run]:
        """Return one run per seed of a plan that answers every class.

        Raises:
            InvalidInput: Models pass queries on to each other in a circle.
        """
        return [
            self._run(plan, sample, sigmas)
            for sample, sigmas in zip(self._samples, self._sigmas, strict=True)
        ]

    def _run(self, plan: ServingPlan, requests: Requests, sigmas: float) -> Run:
        kinds = tuple(p.kind for p in plan.placement for _ in range(p.count))
        taken = routes_taken(plan, self._classes, requests)
        calls = calls_made(plan, requests, taken, self._cascades, self._longer)
        timeline = simulate([self._spec(kind, plan.models, sigmas) for kind in kinds], calls)
        buffered = np.array([bool(route.escalate_to) for route in plan.routing])[taken]
        return _told(requests, calls, timeline, buffered, kinds)

    def _spec(self, kind: ReplicaKind, models: Sequence[str], sigmas: float) -> EngineSpec:
        if kind not in self._specs:
            self._specs[kind] = engine_spec(self.facts, kind, 0)
        spec, fit = self._specs[kind], self.facts.profiles[kind].fit
        slower = float(np.exp(sigmas * fit.speed_variation)) if fit else 1.0
        return replace(spec, pool=models.index(kind.model), step=spec.step.slowed(slower))

    def _scored(self, score: PlanScore, plan: ServingPlan, runs: Sequence[Run]) -> PlanScore:
        ttft_s, e2e_s = (np.concatenate(times) for times in _pairs(runs))
        p50_s, p95_s = (_quantile(e2e_s, share) for share in (0.5, 0.95))
        sla_s = self.facts.limits.sla_p95_e2e_s
        refused = float(np.mean(np.isinf(e2e_s)))
        text = f"{refused:.2%} of the requests need more cache than a replica has."
        timed = replace(
            score,
            p50_e2e_s=p50_s,
            p95_e2e_s=p95_s,
            p95_ttft_s=_quantile(ttft_s, 0.95),
            sla_attainment=float(np.mean(e2e_s <= sla_s)) if sla_s else None,
            violations=(*score.violations, text) if refused else score.violations,
        )
        return _widened(self._intervals.on(plan, timed), _sampling_error(runs))


def _with_spread(facts: PlanningFacts) -> Workload:
    """Return the workload; where it does not say how much lengths vary, profiles tell.

    Alone on a replica, a request's time is nearly proportional to its answer: the spread that a
    profile saw within a class at its lowest load is taken for that of answer lengths.
    """
    classes = facts.workload.classes
    if any(traffic.input_tokens_std or traffic.output_tokens_std for traffic in classes):
        return facts.workload
    tokens = [traffic.output_tokens_mean for traffic in classes]
    sigmas = [
        compile_profile(profile, classes, tokens).e2e_sigma[0]
        for profile in facts.profiles.values()
        if any(level.requests for level in profile.levels)
    ]
    variation = float(np.sqrt(np.expm1(np.median(sigmas) ** 2))) if sigmas else 0.0
    spread = (replace(t, output_tokens_std=variation * t.output_tokens_mean) for t in classes)
    return replace(facts.workload, classes=tuple(spread))


def _told(
    requests: Requests,
    calls: Arrivals,
    timeline: Timeline,
    buffered: Flags,
    kinds: Sequence[ReplicaKind],
) -> Run:
    """Put the calls of each request together.

    Args:
        buffered: n; whether its first answer is looked at before the client gets it.
    """
    n = len(buffered)
    on, last = calls.preceding[n:], np.arange(n)
    ttft_s = np.where(buffered, timeline.e2e_s[:n], timeline.ttft_s[:n])
    e2e_s, preemptions = timeline.e2e_s[:n].copy(), timeline.preemptions[:n].copy()
    ttft_s[on] = e2e_s[on] + timeline.ttft_s[n:]
    e2e_s[on] += timeline.e2e_s[n:]
    preemptions[on] += timeline.preemptions[n:]
    made = timeline.replica[n:] != NOBODY  # unless the first call was refused
    last[on[made]] = n + np.flatnonzero(made)
    distinct = tuple(dict.fromkeys(kinds))
    of_replica = np.array([distinct.index(kind) for kind in kinds], dtype=np.int64)
    return Run(
        arrived_at_s=requests.arrived_at_s,
        query_class=requests.query_class,
        kind=of_replica[timeline.replica[last]],
        ttft_s=ttft_s,
        e2e_s=e2e_s,
        output_tokens=calls.output_tokens[last],
        preemptions=preemptions,
        went_on=np.bincount(on, minlength=n) > 0,
        counted=_warmed_up(requests.arrived_at_s, e2e_s),
        kinds=distinct,
    )


def _warmed_up(arrived_at_s: Floats, e2e_s: Floats) -> Flags:
    """Leave out what arrived while the fleet filled up: a tenth of the requests, or two median
    stays where that is longer, but never more than half of the requests."""
    number = np.arange(len(arrived_at_s))
    share = number / len(number)
    stays_s = WARM_UP_STAYS * float(np.nanmedian(e2e_s)) if not np.isnan(e2e_s).all() else 0.0
    early = (share < WARM_UP_SHARE) | (arrived_at_s - arrived_at_s[0] < stays_s)
    counted: Flags = ~(early & (share < LONGEST_WARM_UP_SHARE))
    return counted


def _overloaded(runs: Sequence[Run]) -> bool:
    """Whether the backlog grows without end, as far as can be told.

    Requests pile up (the number in the system rises by more than a fiftieth of a request per
    arrival, on average over the seeds), and late ones take clearly longer in every run.
    """
    piling_up = float(np.mean([_growth(run) for run in runs]))
    return piling_up > PILING_UP and all(_slowdown(run) > SLOWING_DOWN for run in runs)


def _growth(run: Run) -> float:
    """Return the slope of the number in the system over the number of arrivals."""
    ends_s = np.sort(run.arrived_at_s + np.nan_to_num(run.e2e_s))  # refused: gone at once
    number = np.arange(len(ends_s))
    inside = number + 1 - np.searchsorted(ends_s, run.arrived_at_s, side="right")
    counted = number[run.counted]
    return float(np.polyfit(counted, inside[run.counted], 1)[0]) if len(counted) > 2 else 0.0


def _slowdown(run: Run) -> float:
    """Return the mean time of the later half over that of the earlier half."""
    times_s = run.e2e_s[run.counted]
    early, late = np.array_split(times_s[~np.isnan(times_s)], 2)
    return float(np.mean(late) / np.mean(early)) if len(early) and len(late) else 1.0


def _sampling_error(runs: Sequence[Run]) -> float:
    """Return half the 90 % interval of the logarithm of P95 that the seeds' spread makes."""
    p95_s = np.array([value for value in map(p95_of, runs) if value is not None])
    if len(p95_s) < 2:
        return 0.0
    spread = float(np.std(np.log(p95_s), ddof=1)) / np.sqrt(len(p95_s))
    return float(stdtrit(len(p95_s) - 1, 0.95) * spread)


def p95_of(run: Run) -> float | None:
    """Return the 95th percentile of a run's end-to-end times in s; None for a refused request."""
    return _quantile(run.counted_times_s()[1], 0.95)


def _widened(score: PlanScore, log_half_width: float) -> PlanScore:
    """Return the score with an independent error added to both sides of its interval."""
    p95_s, low_s, high_s = score.p95_e2e_s, score.p95_e2e_low_s, score.p95_e2e_high_s
    if p95_s is None or low_s is None:
        return score
    below = np.exp(np.hypot(np.log(p95_s / low_s), log_half_width))
    above = high_s and np.exp(np.hypot(np.log(high_s / p95_s), log_half_width))
    return replace(
        score,
        p95_e2e_low_s=float(p95_s / below),
        p95_e2e_high_s=float(p95_s * above) if above else None,
    )


def _pairs(runs: Sequence[Run]) -> tuple[list[Floats], list[Floats]]:
    """Return the runs' counted times to first token, and their end-to-end times."""
    both = [run.counted_times_s() for run in runs]
    return [ttft_s for ttft_s, _ in both], [e2e_s for _, e2e_s in both]


def _quantile(times_s: Floats, share: float) -> float | None:
    """Return a quantile that was really seen; None when it is one of the refused."""
    value = float(np.quantile(times_s, share, method="higher"))
    return value if np.isfinite(value) else None


def _never(times_s: Floats) -> Floats:
    endless: Floats = np.where(np.isnan(times_s), np.inf, times_s)
    return endless


def _without_latency(score: PlanScore) -> PlanScore:
    return replace(
        score,
        p50_e2e_s=None,
        p95_e2e_s=None,
        p95_ttft_s=None,
        sla_attainment=None,
        p95_e2e_low_s=None,
        p95_e2e_high_s=None,
    )
