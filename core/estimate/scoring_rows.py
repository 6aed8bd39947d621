"""What the compiled scoring of plans reads, and what it passes on: arrays side by side."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from core.estimate.speed import Vector

Integers = NDArray[np.int64]


class Fleet(NamedTuple):
    """R replica kinds with up to J levels and K query classes, as `KindSpeed` describes them, and
    O ways to answer a query, as `Options` describes them.

    Attributes:
        owner: R; index of the kind's model.
        levels: R; how many of the J levels count.
        concurrency: R x J.
        efficiency: R x J.
        e2e_s: R x J x K.
        e2e_sigma: R x J.
        rates_rps: K; arrivals of the query classes.
        edges: Cumulative probabilities at which a new group of states begins.
        models: M; how many models there are; the first M options are models alone.
        first: O; model that is asked first.
        second: O; model that is asked when the first is unsure; -1 for none.
        goes_on: K x O; share of the queries that go on to it.
    """

    owner: Integers
    levels: Integers
    concurrency: Vector
    efficiency: Vector
    e2e_s: Vector
    e2e_sigma: Vector
    rates_rps: Vector
    edges: Vector
    models: int
    first: Integers
    second: Integers
    goes_on: Vector


class Flows(NamedTuple):
    """Calls to M models by K query classes.

    Attributes:
        mixes: M x K; share of each class in the calls to a model.
        rates_rps: M; calls per second.
        answers: M x K; share of the calls whose answer is given.
        traffic_rps: Queries per second.
    """

    mixes: Vector
    rates_rps: Vector
    answers: Vector
    traffic_rps: float


class Groups(NamedTuple):
    """What calls meet in all pools, in G groups of states.

    Attributes:
        kind: G; whose pool it is.
        share: G; the pool's calls per query of all traffic.
        weight: G; probability of the group among the pool's calls.
        times_s: G x K; mean end-to-end time.
        sigma: G; log-normal spread around it.
    """

    kind: Integers
    share: Vector
    weight: Vector
    times_s: Vector
    sigma: Vector
