"""The archive of a local search, compiled."""

from core.estimate.speed import Vector
from core.optimize.compiling import Flags, Integers, compiled

LATENCY_SLACK = 1.003
QUALITY_SLACK = 5e-4


@compiled
def offer_all(
    values: Vector,
    counts: Integers,
    shares: Vector,
    known: int,
    new_values: Vector,
    new_counts: Integers,
    new_shares: Vector,
    taken: Flags,
) -> int:
    """Add the new plans that no known one is as good as, and drop what they beat.

    Args:
        values: n x 3; objectives (all maximised) of plans; the first `known` rows count. Two plans
            are as good as each other within a small slack of latency and quality.
        counts: n x R; their replicas.
        shares: n x K x O; their routing.
        known: Rows in use; n must be at least as large as `known` and the new ones together.
        new_values: P x 3; -inf for a plan that breaks a limit.
        new_counts: P x R.
        new_shares: P x K x O.
        taken: P; gets whether the plan was added.

    Returns:
        Rows in use afterwards.
    """
    for p in range(len(new_values)):
        taken[p] = new_values[p, 1] > -1e300 and not _matched(values, known, new_values[p])
        if taken[p]:
            known = _without_beaten(values, counts, shares, known, new_values[p])
            values[known] = new_values[p]
            counts[known] = new_counts[p]
            shares[known] = new_shares[p]
            known += 1
    return known


@compiled
def _matched(values: Vector, known: int, value: Vector) -> bool:
    for i in range(known):
        if (
            values[i, 0] >= value[0]
            and values[i, 1] >= value[1] * LATENCY_SLACK
            and values[i, 2] >= value[2] - QUALITY_SLACK
        ):
            return True
    return False


@compiled
def _without_beaten(
    values: Vector, counts: Integers, shares: Vector, known: int, value: Vector
) -> int:
    kept = 0
    for i in range(known):
        beaten = values[i, 0] <= value[0] and values[i, 1] <= value[1] and values[i, 2] <= value[2]
        if not beaten:
            if kept < i:
                values[kept] = values[i]
                counts[kept] = counts[i]
                shares[kept] = shares[i]
            kept += 1
    return kept
