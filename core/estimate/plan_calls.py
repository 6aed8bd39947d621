"""The calls that a plan's requests make to its models: what a simulation plays."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from core.domain.cascade import CascadeEstimate, CascadeKey
from core.domain.plan import ServingPlan
from core.domain.trace import Trace
from core.estimate.flows import escalated
from core.estimate.simulator.spec import NOBODY, Arrivals, Floats, Integers
from core.estimate.turns import turns


@dataclass(frozen=True)
class Requests:
    """n requests in order of arrival, whatever plan they meet.

    Attributes:
        arrived_at_s: n; arrivals.
        input_tokens: n; prompt lengths.
        output_tokens: n; answer lengths of the average model.
        query_class: n; positions in the workload's classes.
        luck: n; 0..1: a cascade passes a request on whose luck is below the share that goes on.
    """

    arrived_at_s: Floats
    input_tokens: Integers
    output_tokens: Integers
    query_class: Integers
    luck: Floats


def requests_of(trace: Trace, classes: Sequence[str], seed: int) -> Requests:
    """Read a trace into numpy, its classes by their position in the workload.

    Args:
        seed: Of the requests' luck.
    """
    positions = np.array([classes.index(name) for name in trace.classes], dtype=np.int64)
    return Requests(
        np.array(trace.arrived_at_s, dtype=np.float64),
        np.array(trace.input_tokens, dtype=np.int64),
        np.array(trace.output_tokens, dtype=np.int64),
        positions[np.array(trace.query_class, dtype=np.int64)],
        np.random.default_rng([seed, 1]).random(len(trace.arrived_at_s)),
    )


def routes_taken(plan: ServingPlan, classes: Sequence[str], requests: Requests) -> Integers:
    """Return n; the position in the plan's routing of the route that each request takes."""
    taken = np.full(len(requests.query_class), NOBODY, dtype=np.int64)
    for k, name in enumerate(classes):
        mine = np.flatnonzero(requests.query_class == k)
        routes = [i for i, route in enumerate(plan.routing) if route.query_class == name]
        shares = [plan.routing[i].share for i in routes]
        taken[mine] = np.array(routes)[turns(shares, len(mine))]
    return taken


def calls_made(
    plan: ServingPlan,
    requests: Requests,
    taken: Integers,
    cascades: Mapping[CascadeKey, CascadeEstimate],
    longer: Mapping[str, Floats],
) -> Arrivals:
    """Return the first call of each of n requests, then the second calls of those that go on.

    Pools are positions in the plan's models.

    Args:
        taken: n; see `routes_taken`.
        cascades: Those that are known; see `core.estimate.flows`.
        longer: Per model, and K classes each, its answers' length over the average model's.
    """
    goes_on = np.array([escalated(route, cascades) for route in plan.routing])
    on = np.flatnonzero(requests.luck < goes_on[taken])
    position = {model: m for m, model in enumerate(plan.models)} | {"": NOBODY}
    first = np.array([position[route.model] for route in plan.routing], dtype=np.int64)
    second = np.array([position[route.escalate_to] for route in plan.routing], dtype=np.int64)
    pool, number = np.concatenate([first[taken], second[taken[on]]]), np.arange(len(taken))
    request = np.concatenate([number, on])
    factors = np.array([longer[model] for model in plan.models])[
        pool, requests.query_class[request]
    ]
    lengths = np.rint(requests.output_tokens[request] * factors)
    return Arrivals(
        requests.arrived_at_s[request],
        requests.input_tokens[request],
        np.maximum(1, lengths).astype(np.int64),
        pool,
        np.zeros(len(pool), dtype=np.int64),
        np.concatenate([np.full(len(number), NOBODY, dtype=np.int64), on]),
    )
