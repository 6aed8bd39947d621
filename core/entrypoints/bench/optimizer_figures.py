"""Figures of the optimiser's benchmark: fractions of what perfect knowledge reaches, and bars.

Pure functions of what was kept. The best-known front of an instance is that of its long search
and of everything any method measured there, so that no fraction exceeds 1.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from core.entrypoints.bench.optimizer_runs import ENTRANTS, KeptFront, KeptRun
from core.entrypoints.bench.volume import best_subset, gains, volume
from core.estimate.speed import Vector
from core.optimize.pareto import non_dominated

CHECKPOINTS = (25, 50, 100, 200)
EARLY, LATE, LAST = 25, 100, 200
BARS = {"oracle_at_25": 0.90, "oracle_at_100": 0.95, "time_ratio": 0.1}
FEWEST_SEEDS = 3
"""Instances that two methods must share before one counts as ahead."""
Covered = dict[tuple[str, int], dict[int, float]]


def figures(fronts: Sequence[KeptFront], runs: Sequence[KeptRun]) -> dict[str, Any]:
    """Return the table, the oracle and the bars."""
    oracle: dict[int, dict[int, float]] = {}
    published: list[float] = []
    covered: Covered = {}
    for front in fronts:
        mine = [run for run in runs if run.seed == front.seed]
        oracle[front.seed], of_runs, ceiling = _of_instance(front, mine)
        published.append(ceiling)
        covered |= {(name, front.seed): found for name, found in of_runs.items()}
    return {
        "oracle": {
            str(n): _quartiles([of[n] for of in oracle.values() if n in of]) for n in CHECKPOINTS
        },
        "published": _quartiles(published),
        "methods": {
            name: _row(name, covered, oracle, runs)
            for name in ENTRANTS
            if any(method == name for method, _ in covered)
        },
        "bars": _bars(covered, oracle, runs),
    }


def _of_instance(
    front: KeptFront, runs: Sequence[KeptRun]
) -> tuple[dict[int, float], dict[str, dict[int, float]], float]:
    """Return, as fractions of the best-known front, the best n plans, what each method has, and
    all plans that the published facts allow.
    """
    reference = (front.reference[0], front.reference[1], front.reference[2])
    measured = {run.method: gains(_rows(run.values), reference) for run in runs}
    known = np.vstack([gains(np.array(front.values), reference), *measured.values()])
    best = np.ascontiguousarray(known[non_dominated(known)])
    whole = volume(best)
    longest = max((len(run.values) for run in runs), default=0)
    reached = [n for n in CHECKPOINTS if n <= longest]
    oracle = {n: volume(best[best_subset(best, n)]) / whole for n in reached}
    covered = {
        name: {n: volume(rows[:n]) / whole for n in reached if n <= len(rows)}
        for name, rows in measured.items()
    }
    published = gains(np.array(front.published).reshape(-1, 3), reference)
    return oracle, covered, volume(published) / whole


def _rows(values: Sequence[Sequence[float] | None]) -> Vector:
    return np.array([row or (np.nan,) * 3 for row in values], dtype=float).reshape(-1, 3)


def _row(
    name: str,
    covered: Covered,
    oracle: Mapping[int, Mapping[int, float]],
    runs: Sequence[KeptRun],
) -> dict[str, Any]:
    mine = {seed: found for (method, seed), found in covered.items() if method == name}
    times = _times(name, runs)
    return {
        "label": ENTRANTS[name].label,
        "role": ENTRANTS[name].role,
        "instances": len(mine),
        "of_oracle": {
            str(n): _quartiles([f[n] / oracle[seed][n] for seed, f in mine.items() if n in f])
            for n in CHECKPOINTS
        },
        "of_front": {
            str(n): _quartiles([f[n] for f in mine.values() if n in f]) for n in CHECKPOINTS
        },
        "proposal_cpu_s": float(np.median(times)) if times else None,
    }


def _times(name: str, runs: Sequence[KeptRun]) -> list[float]:
    """Times of proposals up to the late checkpoint, so that methods are compared at equal size."""
    return [t for run in runs if run.method == name for t in run.proposal_cpu_s[:LATE]]


def _quartiles(values: Sequence[float]) -> dict[str, float] | None:
    if not values:
        return None
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
    return {"median": float(middle), "low": float(low), "high": float(high), "n": len(values)}


def _bars(
    covered: Covered, oracle: Mapping[int, Mapping[int, float]], runs: Sequence[KeptRun]
) -> list[dict[str, Any]]:
    bars = [
        _of_oracle(covered, oracle, EARLY, BARS["oracle_at_25"]),
        _of_oracle(covered, oracle, LATE, BARS["oracle_at_100"]),
    ]
    peers = [
        name
        for name, entrant in ENTRANTS.items()
        if entrant.role == "peer" and any(method == name for method, _ in covered)
    ]
    for peer in peers:
        bars += [_ahead(covered, peer, n, n) for n in (EARLY, 50, LATE)]
        bars.append(_ahead(covered, peer, EARLY, LAST))
    bars += [_quicker(runs, peer) for peer in peers if peer.startswith("qlognehvi")]
    return [bar for bar in bars if bar["value"] is not None]


def _of_oracle(
    covered: Covered, oracle: Mapping[int, Mapping[int, float]], n: int, bar: float
) -> dict[str, Any]:
    values = [
        found[n] / oracle[seed][n]
        for (method, seed), found in covered.items()
        if method == "boute" and n in found
    ]
    median = float(np.median(values)) if values else None
    return {
        "text": f"fraction of the {n}-point oracle after {n} evaluations",
        "value": median,
        "bar": bar,
        "met": median is not None and median >= bar,
    }


def _ahead(covered: Covered, peer: str, mine: int, theirs: int) -> dict[str, Any]:
    """Compare on the instances both have played."""
    pairs = [
        (found[mine], covered[peer, seed][theirs])
        for (method, seed), found in covered.items()
        if method == "boute" and mine in found and theirs in covered.get((peer, seed), {})
    ]
    lead = [ours - other for ours, other in pairs]
    median = float(np.median(lead)) if len(lead) >= FEWEST_SEEDS else None
    return {
        "text": f"BOute at {mine} over {ENTRANTS[peer].label} at {theirs}",
        "value": median,
        "bar": 0.0,
        "met": median is not None and median > 0,
        "ahead_on": sum(x > 0 for x in lead),
        "instances": len(lead),
    }


def _quicker(runs: Sequence[KeptRun], peer: str) -> dict[str, Any]:
    ours, theirs = _times("boute", runs), _times(peer, runs)
    ratio = float(np.median(ours) / np.median(theirs)) if ours and theirs else None
    return {
        "text": f"proposal time over that of {ENTRANTS[peer].label}",
        "value": ratio,
        "bar": BARS["time_ratio"],
        "met": ratio is not None and ratio <= BARS["time_ratio"],
    }
