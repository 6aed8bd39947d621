"""Which few plans of a front say most of it, compiled."""

import numpy as np

from core.estimate.speed import Vector
from core.optimize.compiling import Integers, compiled


@compiled
def pick_by_volume(values: Vector, first: Integers, most: int, least_gain: float) -> Integers:
    """Pick rows one by one, each the one that adds most hypervolume to those before it.

    A greedy choice holds at least 1 - 1/e of the volume of the best one of its size (Nemhauser,
    Wolsey & Fisher 1978); on fronts nearly all. A gain can only fall as more is picked, so it is
    computed anew only for the row that leads (Minoux 1978).

    Args:
        values: n x 3; above the reference point, which is the origin; to be maximised.
        first: Rows to begin with.
        most: Rows to pick at most.
        least_gain: Stop where a row adds less than this share of all so far.

    Returns:
        Picked rows in order.
    """
    picked = np.empty(most, dtype=np.int64)
    count, total = 0, 0.0
    gains = values[:, 0] * values[:, 1] * values[:, 2]
    known_at = np.zeros(len(values), dtype=np.int64)
    for row in first:
        if count < most and gains[row] >= 0:
            total += max(0.0, _gain(values, picked[:count], row))
            picked[count] = row
            count += 1
            gains[row] = -1.0
    known_at[:] = -1
    while count < most:
        row = int(np.argmax(gains))
        if gains[row] <= least_gain * total:
            break
        if known_at[row] == count:
            picked[count] = row
            count += 1
            total += gains[row]
            gains[row] = -1.0
        else:
            gains[row] = _gain(values, picked[:count], row)
            known_at[row] = count
    return picked[:count]


@compiled
def _gain(values: Vector, picked: Integers, row: int) -> float:
    """Volume that a row covers and no picked one does."""
    box = values[row]
    clipped = np.empty((len(picked), 3))
    for i in range(len(picked)):
        for j in range(3):
            clipped[i, j] = min(values[picked[i], j], box[j])
    return float(box[0] * box[1] * box[2] - volume(clipped))


@compiled
def volume(corners: Vector) -> float:
    """Volume of a union of boxes from the origin to corners (n x 3, none negative).

    Slices by the third coordinate, falling; the first two of what is met so far make a staircase,
    kept by falling first coordinate.
    """
    order = np.argsort(-corners[:, 2])
    steps = np.zeros((len(corners), 2))
    size, area, total = 0, 0.0, 0.0
    for position in range(len(order)):
        corner = corners[order[position]]
        size = _insert(steps, size, corner[0], corner[1])
        area = 0.0
        for i in range(size):
            width = steps[i, 0] - (steps[i + 1, 0] if i + 1 < size else 0.0)
            area += width * steps[i, 1]
        following = corners[order[position + 1], 2] if position + 1 < len(order) else 0.0
        total += area * (corner[2] - following)
    return total


@compiled
def _insert(steps: Vector, size: int, x: float, y: float) -> int:
    """Put a corner into a staircase (x falls, y rises) and drop what it covers."""
    at = 0
    while at < size and steps[at, 0] > x:
        at += 1
    if (at > 0 and steps[at - 1, 1] >= y) or (
        at < size and steps[at, 0] == x and steps[at, 1] >= y
    ):
        return size
    last = at
    while last < size and steps[last, 1] <= y:
        last += 1
    removed = last - at
    if removed == 0:
        for i in range(size, at, -1):
            steps[i] = steps[i - 1]
    else:
        for i in range(last, size):
            steps[i - removed + 1] = steps[i]
    steps[at, 0], steps[at, 1] = x, y
    return size - removed + 1
