"""Which load a profile measures next: pure functions of what it has measured so far.

What was measured is in the database, so a job that was interrupted goes on where it stopped.

A profile climbs: one request in flight, then twice as many, until throughput hardly grows any
more. Two short probes follow where the queries' own lengths vary too little to tell what a
prompt token costs from what an answer token costs. Then it measures a level inside the gap in
which the knee lies, and Poisson arrivals at two fractions of what the replica sustains.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from core.domain.profile import LoadLevel

GROWTH = 0.08
"""Twice the requests in flight must bring so much more throughput, or the climb is over."""
AT_KNEE = 0.95
"""Of the best throughput: the knee is the fewest in flight that reach it."""
WIDE_GAP = 1.75
"""Ratio of neighbouring levels about the knee that asks for one between them."""
OPEN_LOADS = (0.6, 0.85)
"""Fractions of the highest measured throughput at which Poisson arrivals are sent."""
LONG_PROMPTS = "long-prompts"
LONG_ANSWERS = "long-answers"


class LoadKind(StrEnum):
    """How requests are sent: a number kept in flight, Poisson arrivals, or synthetic lengths."""

    CLOSED = "closed"
    OPEN = "open"
    PROBE = "probe"


@dataclass(frozen=True, slots=True)
class Load:
    """One load to measure.

    Attributes:
        in_flight: Requests kept in flight; of an open loop 0.
        rate_rps: Poisson arrivals per second of an open loop; else 0.
        probe: What a probe is of: `LONG_PROMPTS` or `LONG_ANSWERS`; else empty.
        name: What to call it instead of what it is; empty for that.
    """

    kind: LoadKind
    in_flight: int = 0
    rate_rps: float = 0.0
    probe: str = ""
    name: str = ""

    @property
    def key(self) -> str:
        """Name of the load in the profile's observations: `closed:4`, `open:2.5`."""
        if self.kind is LoadKind.CLOSED:
            return f"closed:{self.in_flight}"
        return f"open:{self.rate_rps:.4g}" if self.kind is LoadKind.OPEN else f"probe:{self.probe}"

    @property
    def told(self) -> str:
        """The load in words."""
        if self.name:
            return self.name
        if self.kind is LoadKind.CLOSED:
            return f"Level {self.in_flight}"
        if self.kind is LoadKind.OPEN:
            return f"Poisson arrivals at {self.rate_rps:.2f} req/s"
        return f"Probe with {self.probe.replace('-', ' ')}"


@dataclass(frozen=True, slots=True)
class LevelPlan:
    """What a profile may measure.

    Attributes:
        most_in_flight: Where the climb ends.
        chosen: Requests in flight per level when the operator chose them; None to climb.
        probes: Probes wanted, once the first level is there to tell.
        latency_budget_s: P95 end-to-end time beyond which the climb is over; None for no limit.
        max_seconds: Measured seconds after which no further load begins.
    """

    most_in_flight: int
    chosen: tuple[int, ...] | None
    probes: tuple[str, ...]
    latency_budget_s: float | None
    max_seconds: float


@dataclass(frozen=True, slots=True)
class Progress:
    """What was measured so far.

    Attributes:
        levels: Levels that were answered.
        tried: Keys of all loads that were run, failed ones included.
        spent_s: Seconds they took together.
    """

    levels: tuple[LoadLevel, ...]
    tried: frozenset[str]
    spent_s: float

    @property
    def closed(self) -> list[LoadLevel]:
        """Closed-loop levels by rising concurrency."""
        found = [level for level in self.levels if level.rate_rps is None]
        return sorted(found, key=lambda level: level.concurrency)

    @property
    def closed_tried(self) -> list[int]:
        """Requests in flight of every closed loop that was run, rising."""
        names = [key.partition(":") for key in self.tried]
        return sorted(int(value) for kind, _, value in names if kind == LoadKind.CLOSED)

    @property
    def climb_broke(self) -> bool:
        """Whether a level was run that nothing answered."""
        return len(self.closed_tried) > len(self.closed)


def next_load(plan: LevelPlan, done: Progress) -> Load | None:
    """Return the load to measure next; None when the profile is complete."""
    if done.spent_s >= plan.max_seconds:
        return None
    steps = (_next_closed, _next_probe, _between, _next_open)
    return next((load for step in steps if (load := step(plan, done)) is not None), None)


def most_remaining(plan: LevelPlan, done: Progress) -> int:
    """Return how many loads may still follow; never grows from one load to the next."""
    probes = sum(Load(LoadKind.PROBE, probe=p).key not in done.tried for p in plan.probes)
    if plan.chosen is not None:
        closed = 0 if done.climb_broke else len(set(plan.chosen) - set(done.closed_tried))
        return closed + probes
    opened = sum(key.startswith(LoadKind.OPEN) for key in done.tried)
    if opened:
        return max(0, len(OPEN_LOADS) - opened)
    if not _climb_over(plan, done):
        top = max(done.closed_tried, default=0)
        return _doublings(top, plan.most_in_flight) + probes + 1 + len(OPEN_LOADS)
    return probes + (_between(plan, done) is not None) + len(OPEN_LOADS)


def knee(levels: Sequence[LoadLevel]) -> LoadLevel | None:
    """Return the closed-loop level with the fewest in flight that is about as fast as the best."""
    closed = [level for level in levels if level.rate_rps is None]
    if not closed:
        return None
    best = max(level.requests_per_s for level in closed)
    fast = [level for level in closed if level.requests_per_s >= AT_KNEE * best]
    return min(fast, key=lambda level: level.concurrency)


def _next_closed(plan: LevelPlan, done: Progress) -> Load | None:
    if plan.chosen is not None:
        left = sorted(set(plan.chosen) - set(done.closed_tried))
        return Load(LoadKind.CLOSED, left[0]) if left and not done.climb_broke else None
    if _climb_over(plan, done):
        return None
    top = max(done.closed_tried, default=0)
    return Load(LoadKind.CLOSED, min(2 * top, plan.most_in_flight) if top else 1)


def _climb_over(plan: LevelPlan, done: Progress) -> bool:
    tried, closed = done.closed_tried, done.closed
    if not tried:
        return False
    if done.climb_broke or tried[-1] >= plan.most_in_flight:
        return True
    top = closed[-1]
    if plan.latency_budget_s is not None and top.e2e_ms.p95 > 1000 * plan.latency_budget_s:
        return True
    below = [level for level in closed if 2 * level.concurrency <= top.concurrency]
    return bool(below) and top.requests_per_s < (1 + GROWTH) * below[-1].requests_per_s


def _next_probe(plan: LevelPlan, done: Progress) -> Load | None:
    if not done.closed:
        return None
    in_flight = {LONG_PROMPTS: 1, LONG_ANSWERS: min(4, plan.most_in_flight)}
    loads = [Load(LoadKind.PROBE, in_flight[probe], probe=probe) for probe in plan.probes]
    return next((load for load in loads if load.key not in done.tried), None)


def _between(plan: LevelPlan, done: Progress) -> Load | None:
    """Return a level inside the gap below the knee, where throughput bends."""
    at_knee = knee(done.closed)
    if plan.chosen is not None or at_knee is None:
        return None
    below = [x.concurrency for x in done.closed if x.concurrency < at_knee.concurrency]
    if not below or at_knee.concurrency < WIDE_GAP * below[-1]:
        return None
    load = Load(LoadKind.CLOSED, round(math.sqrt(below[-1] * at_knee.concurrency)))
    inside = below[-1] < load.in_flight < at_knee.concurrency
    return load if inside and load.key not in done.tried else None


def _next_open(plan: LevelPlan, done: Progress) -> Load | None:
    if plan.chosen is not None or not done.closed:
        return None
    run = sum(key.startswith(LoadKind.OPEN) for key in done.tried)
    if run >= len(OPEN_LOADS):
        return None
    sustained = max(level.requests_per_s for level in done.closed)
    return Load(LoadKind.OPEN, rate_rps=OPEN_LOADS[run] * sustained)


def _doublings(top: int, most: int) -> int:
    """Return how many levels lie above `top`: each twice the one before, the last one `most`."""
    if not top:
        return 1 + _doublings(1, most)
    return math.ceil(math.log2(most / top)) if most > top else 0
