"""Workloads that check predictions: synthetic requests of known lengths, sent to real replicas."""

import string
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count

import numpy as np
from numpy.typing import NDArray

from core.domain.deployment import Replica
from core.profiling.client import Answer, ask, open_session
from core.profiling.load import Sent, open_loop
from core.routing.policy import in_turn, pick_replica

Vector = NDArray[np.float64]
ALPHABET = string.digits + " +-*=?"


@dataclass(frozen=True)
class Lengths:
    """Uniform ranges of prompt and answer lengths in tokens, ends included; one is drawn."""

    name: str
    ranges: tuple[tuple[tuple[int, int], tuple[int, int]], ...]


SHORT = Lengths("short", (((10, 40), (10, 40)),))
LONG_PROMPTS = Lengths("long prompts", (((80, 170), (10, 40)),))
LONG_ANSWERS = Lengths("long answers", (((10, 40), (60, 120)),))
MIXED = Lengths("mixed", (((10, 40), (60, 120)), ((80, 170), (10, 40)), ((10, 40), (10, 40))))
PROFILED = Lengths("profiled", (((10, 150), (10, 90)),))
PROBE = Lengths("long prompts, few tokens", (((130, 180), (2, 4)),))


@dataclass(frozen=True)
class Case:
    """One validation workload.

    Attributes:
        load: Arrival rate as a fraction of what the replicas sustain.
        replicas: Replicas that share it.
        burstiness: Coefficient of variation of the gaps between arrivals; 1 is Poisson.
    """

    lengths: Lengths
    load: float
    replicas: int = 1
    burstiness: float = 1.0

    @property
    def name(self) -> str:
        """What it is, in words."""
        burst = f", bursty (CV {self.burstiness:g})" if self.burstiness != 1 else ""
        many = f", {self.replicas} replicas" if self.replicas > 1 else ""
        return f"{self.lengths.name} at {self.load:.0%}{burst}{many}"


LOADS = (0.5, 0.75, 0.9)
CASES = (
    *(Case(lengths, load) for lengths in (SHORT, LONG_PROMPTS) for load in (0.5, 0.9)),
    Case(LONG_ANSWERS, 0.75),
    *(Case(MIXED, load) for load in LOADS),
    *(Case(MIXED, load, burstiness=2.0) for load in (0.5, 0.75)),
    *(Case(MIXED, load, replicas=2) for load in LOADS),
    Case(MIXED, 0.6, replicas=2, burstiness=2.0),
)


@dataclass(frozen=True)
class Request:
    """One question: random text of so many characters, an answer of exactly so many tokens."""

    text: str
    output_tokens: int


def requests_of(lengths: Lengths, number: int, seed: int, round_number: int) -> list[Request]:
    """Draw requests: lengths by the seed, random text anew in every round.

    So a workload repeats exactly, and no prefix is ever found in the cache.
    """
    by_length, by_text = np.random.default_rng(seed), np.random.default_rng([seed, round_number])
    made = []
    for _ in range(number):
        inputs, outputs = lengths.ranges[by_length.integers(len(lengths.ranges))]
        size = int(by_length.integers(inputs[0], inputs[1] + 1))
        output_tokens = int(by_length.integers(outputs[0], outputs[1] + 1))
        made.append(Request("".join(by_text.choice(list(ALPHABET), size=size)), output_tokens))
    return made


def arrivals_s(rate_rps: float, number: int, burstiness: float, seed: int) -> Vector:
    """Return arrival times from 0 with gamma-distributed gaps of a mean and a CV."""
    rng = np.random.default_rng(seed)
    shape = 1 / burstiness**2
    gaps = rng.gamma(shape, 1 / (rate_rps * shape), number)
    times: Vector = np.cumsum(gaps) - gaps[0]
    return times


async def drive(
    replicas: Sequence[Replica], requests: Sequence[Request], times_s: Sequence[float]
) -> list[Sent]:
    """Send each request at its time to the replica that the gateway would choose."""
    outstanding: Counter[str] = Counter()
    turns = count()
    async with open_session() as session:

        async def ask_one(request: Request) -> Answer:
            replica = pick_replica(in_turn(replicas, next(turns)), outstanding)
            outstanding[replica.replica_id] += 1
            try:
                return await ask(
                    session,
                    replica.base_url,
                    replica.kind.model,
                    request.text,
                    request.output_tokens,
                    exact=True,
                )
            finally:
                outstanding[replica.replica_id] -= 1

        answers = await open_loop(ask_one, requests, times_s, lambda _, __: None)
    return [Sent(at_s, answer) for at_s, answer in zip(times_s, answers, strict=True)]
