"""Whose turn it is: the gateway's smooth weighted round robin, for a whole sequence at once."""

from collections.abc import Mapping

import numpy as np

from core.estimate.simulator.spec import Integers


def turns(shares: Mapping[str, float], count: int) -> Integers:
    """Return `count` positions in the sorted names of `shares`: who answers each request.

    With every request each model earns its share of a turn; the one with most credit, the first by
    name on a tie, answers and pays one. The same arithmetic as `core.routing.policy.Router`, which
    a higher layer owns; a test holds both together.

    Args:
        shares: Share per model of one query class; above zero.
    """
    names = sorted(shares)
    weight = sum(shares[name] for name in names)  # as a plan orders its routes
    if len(names) == 1:
        return np.zeros(count, dtype=np.int64)
    earned = [shares[name] / weight for name in names]
    credit = [0.0] * len(names)
    chosen = np.empty(count, dtype=np.int64)
    for number in range(count):
        credit = [have + more for have, more in zip(credit, earned, strict=True)]
        best = credit.index(max(credit))
        credit[best] -= 1
        chosen[number] = best
    return chosen
