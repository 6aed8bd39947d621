"""What a simulation says of each query class and of each replica kind."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from core.domain.plan import ReplicaKind, ServingPlan
from core.estimate.simulated import Run, SimulatedEvaluator
from core.estimate.simulator.spec import Floats
from core.estimate.validity import placement_of

PERCENTILES = (50, 95, 99)


@dataclass(frozen=True)
class ClassSummary:
    """Latency of the requests of one query class, or of all.

    Attributes:
        query_class: Its name; "all" for all of them together.
        requests: Counted requests over all seeds.
        ttft_s: Time to first token by percentile; None for a percentile that was refused.
        tpot_s: Time per token after the first, by percentile; answers of one token have none.
        e2e_s: End-to-end time by percentile.
        sla_attainment: Share within the wanted latency; None without one.
        went_on: Share that a second model was asked.
    """

    query_class: str
    requests: int
    ttft_s: Mapping[str, float | None]
    tpot_s: Mapping[str, float | None]
    e2e_s: Mapping[str, float | None]
    sla_attainment: float | None
    went_on: float


@dataclass(frozen=True)
class KindSummary:
    """What the replicas of one kind did.

    Attributes:
        replicas: How many there are.
        utilisation: Load of its model's pool as a fraction of its capacity (analytic).
        requests_share: Share of all requests that they answered; a first answer that a cascade
            threw away is another one's.
        preempted_share: Share of these that lost their cache on the way.
    """

    kind: ReplicaKind
    replicas: int
    utilisation: float
    requests_share: float
    preempted_share: float


def class_summaries(
    runs: Sequence[Run], classes: Sequence[str], sla_s: float | None
) -> list[ClassSummary]:
    """Return one summary for all requests, then one per class that has any."""
    together = [np.concatenate(columns) for columns in zip(*map(_columns, runs), strict=True)]
    of_class = together[0].astype(np.int64)
    everything = np.ones(len(of_class), dtype=bool)
    named = [("all", everything), *((name, of_class == k) for k, name in enumerate(classes))]
    return [
        _summary(name, [column[mine] for column in together[1:]], sla_s)
        for name, mine in named
        if mine.any()
    ]


def kind_summaries(
    evaluator: SimulatedEvaluator, plan: ServingPlan, runs: Sequence[Run]
) -> list[KindSummary]:
    """Return one summary per replica kind of the plan."""
    loads = {pool.kind: pool.load for pool in evaluator.analytic.pools(plan)}
    counts = placement_of(plan)
    kind = np.concatenate([run.kind[run.counted] for run in runs])
    preempted = np.concatenate([run.preemptions[run.counted] > 0 for run in runs])
    return [
        KindSummary(
            kind=of_kind,
            replicas=counts[of_kind],
            utilisation=loads.get(of_kind, 0.0),
            requests_share=float(np.mean(kind == number)),
            preempted_share=float(np.mean(preempted[kind == number]))
            if np.any(kind == number)
            else 0.0,
        )
        for number, of_kind in enumerate(runs[0].kinds)
    ]


def _columns(run: Run) -> tuple[Floats, ...]:
    """Return class, TTFT, TPOT (NaN where there is none), end-to-end time and whether a second
    model was asked; counted only.
    """
    ttft_s, e2e_s = run.counted_times_s()
    further = run.output_tokens[run.counted] - 1
    decoding_s = run.e2e_s[run.counted] - run.ttft_s[run.counted]
    tpot_s = np.where(further > 0, decoding_s / np.maximum(further, 1), np.nan)
    of_class, went_on = (x[run.counted].astype(np.float64) for x in (run.query_class, run.went_on))
    return of_class, ttft_s, tpot_s, e2e_s, went_on


def _summary(name: str, columns: Sequence[Floats], sla_s: float | None) -> ClassSummary:
    ttft_s, tpot_s, e2e_s, went_on = columns
    return ClassSummary(
        query_class=name,
        requests=len(e2e_s),
        ttft_s=_percentiles(ttft_s),
        tpot_s=_percentiles(tpot_s[~np.isnan(tpot_s)]),
        e2e_s=_percentiles(e2e_s),
        sla_attainment=float(np.mean(e2e_s <= sla_s)) if sla_s else None,
        went_on=float(np.mean(went_on)),
    )


def _percentiles(times_s: Floats) -> dict[str, float | None]:
    if not len(times_s):
        return {f"p{share}": None for share in PERCENTILES}
    values = np.percentile(times_s, PERCENTILES, method="higher")
    return {
        f"p{share}": float(value) if np.isfinite(value) else None
        for share, value in zip(PERCENTILES, values, strict=True)
    }
