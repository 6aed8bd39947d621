"""Whose turn it is: the gateway's smooth weighted round robin, for a whole sequence at once."""

from collections.abc import Sequence

import numpy as np

from core.estimate.simulator.spec import Integers


def turns(shares: Sequence[float], count: int) -> Integers:
    """Return `count` positions in `shares`: which route each request takes.

    With every request each route earns its share of a turn; the one with most credit, the first
    on a tie, answers and pays one. The same arithmetic as `core.routing.policy.Router`, which a
    higher layer owns; a test holds both together.

    Args:
        shares: Share of each route of one query class, in the order of the plan; above zero.
    """
    weight = sum(shares)
    if len(shares) == 1:
        return np.zeros(count, dtype=np.int64)
    earned = [share / weight for share in shares]
    credit = [0.0] * len(shares)
    chosen = np.empty(count, dtype=np.int64)
    for number in range(count):
        credit = [have + more for have, more in zip(credit, earned, strict=True)]
        best = credit.index(max(credit))
        credit[best] -= 1
        chosen[number] = best
    return chosen
