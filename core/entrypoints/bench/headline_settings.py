"""The settings of the headline benchmark: rates x fleets x quality floors x wanted latencies.

A fleet is instances that a provider rents out at a published price, as many as stated; it is the
only source of devices. Rates are multiples of the trace's. Floors lie between what the small and
the large model are sure to reach alone, and wanted latencies are multiples of what the 95th
percentile would be if the large model answered every request of the trace alone on its fastest
replica of the fleet.
"""

from array import array
from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import numpy as np

from core.domain.plan import ReplicaKind
from core.domain.planning import PlanningFacts
from core.domain.profile import StepTime
from core.domain.study import Limits
from core.domain.trace import Trace
from core.domain.workload import Workload
from core.entrypoints.bench.headline_data import PRICES, TRACE, rows_of, trace_in
from core.entrypoints.bench.headline_quality import Bands, bands_of, questions_in
from core.entrypoints.bench.headline_speeds import (
    LARGE,
    MAX_NUM_SEQS,
    NOW,
    SMALL,
    Speed,
    speeds,
)
from core.errors import NotFound
from core.estimate.quality import mixture_quality
from core.estimate.speed import Vector
from core.estimate.traffic import requests_of, summarised

RATES = (1.0, 4.0, 16.0)
"""Multiples of the trace's 5.5 requests/s."""
FLOORS = {"low": 0.25, "medium": 0.5, "high": 0.75}
"""Where between the two models alone, 0..1."""
SLAS = {"tight": 2.0, "medium": 3.0, "loose": 6.0}
"""Multiples of the P95 alone on the fastest replica."""


@dataclass(frozen=True, slots=True)
class Rented:
    """`nodes` instances of `devices` GPUs each; provider and GPU as the price list spells them."""

    provider: str
    gpu: str
    sku: str
    devices: int
    nodes: int


FLEETS: Mapping[str, tuple[Rented, ...]] = {
    "Nebius": (
        Rented("Nebius", "L40S", "L40S", 1, 128),
        Rented("Nebius", "H100-SXM-80GB", "H100-SXM-80GB", 8, 16),
        Rented("Nebius", "B200", "B200-SXM-180GB", 8, 4),
    ),
    "Verda": (
        Rented("Verda", "A100-80GB", "A100-SXM-80GB", 4, 64),
        Rented("Verda", "H100-80GB", "H100-SXM-80GB", 1, 64),
        Rented("Verda", "H200", "H200-SXM-141GB", 2, 32),
    ),
    "mixed": (
        Rented("Nebius", "L40S", "L40S", 4, 16),
        Rented("RunPod", "A100-80GB", "A100-SXM-80GB", 8, 16),
        Rented("Hyperstack", "H100-SXM-80GB", "H100-SXM-80GB", 8, 2),
    ),
}
"""Two providers' own lists, and a fleet with few of the best GPU."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One problem.

    Attributes:
        rate: Multiple of the trace's rate.
        floor, sla: Names in `FLOORS` and `SLAS`.
    """

    fleet: str
    rate: float
    floor: str
    sla: str

    @property
    def name(self) -> str:
        """What it is, in words."""
        return f"{self.fleet}, {self.rate:g} x, {self.floor}, {self.sla}"


def settings(wanted: int) -> list[Setting]:
    """Return so many settings, or all; by fleet, rate, floor and latency.

    All 81 combinations are three orthogonal arrays of 27, in each of which every combination of
    levels of three factors occurs once; the first array is taken first. Fewer are spread over it.
    """
    fleets, rates, floors, slas = list(FLEETS), RATES, list(FLOORS), list(SLAS)
    every = sorted(product(range(3), repeat=4), key=lambda at: (sum(at) % 3, at))
    first = len(every) // 3
    if wanted >= first:
        chosen = every[:wanted]
    else:
        spread = np.linspace(0, first - 1, max(1, wanted)).round().astype(int)
        chosen = [every[i] for i in spread]
    return [Setting(fleets[i], rates[j], floors[k], slas[n]) for i, j, k, n in sorted(chosen)]


class Published:
    """The published data, made ready to be planned with.

    Raises:
        NotFound: A file is not in the folder, or a price not in its file.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        self.speeds: Mapping[ReplicaKind, Speed] = speeds(folder)
        self._questions = questions_in(folder)
        self.bands: Bands = bands_of(self._questions, seed)
        counts = self.bands.known[:, 0]
        self.trace = in_classes(trace_in(folder), self.bands.names, counts, seed)
        self.workload = summarised(self.trace, "Azure conversations", "azure", NOW, source=TRACE)
        self.trace_rate_rps = self.workload.rate_rps
        self._prices = rows_of(folder / PRICES)

    def split_anew(self, seed: int) -> "Published":
        """Return the same data with other questions known, and others traffic."""
        other = copy(self)
        other.bands = bands_of(self._questions, seed)
        return other

    def facts(self, setting: Setting) -> PlanningFacts:
        """Return the problem without its latency, which is `sla_s`."""
        fleet = FLEETS[setting.fleet]
        skus = {rented.sku for rented in fleet}
        return PlanningFacts(
            workload=at_rate(self.workload, setting.rate),
            limits=Limits(quality_floor=self.floor(setting.floor)),
            profiles={k: s.profile for k, s in self.speeds.items() if k.sku in skus},
            quality=self.bands.estimates,
            price_usd_per_hour={rented.sku: self.price_usd_per_hour(rented) for rented in fleet},
            devices_per_node={rented.sku: (rented.devices,) * rented.nodes for rented in fleet},
            max_num_seqs=dict.fromkeys((SMALL, LARGE), MAX_NUM_SEQS),
        )

    def price_usd_per_hour(self, rented: Rented) -> float:
        """Return the price of one GPU of an instance; the least where it is listed twice.

        Raises:
            NotFound: It is not in the list.
        """
        wanted = (rented.provider, rented.gpu, str(rented.devices))
        found = [
            float(row["usd_per_h_per_gpu"])
            for row in self._prices
            if (row["provider"], row["gpu"], row["n_gpus"]) == wanted
        ]
        if not found:
            raise NotFound(
                f"{PRICES} has no price of {rented.devices} x {rented.gpu} at {rented.provider}.",
                "Use the published file; docs/optimizer.md says where it comes from.",
            )
        return min(found)

    def floor(self, name: str) -> float:
        """Return a quality floor, 0..1."""
        small, large = self.alone(SMALL), self.alone(LARGE)
        return small + FLOORS[name] * (large - small)

    def alone(self, model: str) -> float:
        """Return the lower bound of quality with one model for everything, 0..1."""
        routing = {name: {model: 1.0} for name in self.bands.names}
        return mixture_quality(self.workload, self.bands.estimates, routing)[1]

    def sla_s(self, setting: Setting) -> float:
        """Return the wanted P95 of end-to-end times in s."""
        skus = {rented.sku: rented.devices for rented in FLEETS[setting.fleet]}
        fitting = [
            speed.profile.step
            for kind, speed in self.speeds.items()
            if kind.model == LARGE and kind.tp <= skus.get(kind.sku, 0)
        ]
        alone_s = min(p95_alone_s(step, self.trace) for step in fitting if step is not None)
        return SLAS[setting.sla] * alone_s


def in_classes(trace: Trace, names: Sequence[str], counts: Vector, seed: int) -> Trace:
    """Return the trace with query classes drawn at random: it has no texts to classify.

    Args:
        names: K classes.
        counts: K; in proportion to the classes' shares.
    """
    drawn = np.random.default_rng(seed).choice(len(counts), len(trace), p=counts / counts.sum())
    classes = array("q", drawn.astype(np.int64).tobytes())
    return replace(trace, query_class=classes, classes=tuple(names))


def at_rate(workload: Workload, factor: float) -> Workload:
    """Return the workload with every rate multiplied."""
    faster = (replace(t, rate_rps=factor * t.rate_rps) for t in workload.classes)
    return replace(workload, classes=tuple(faster))


def p95_alone_s(step: StepTime, trace: Trace) -> float:
    """Return the 95th percentile of end-to-end times in s if every request were alone."""
    requests = requests_of(trace)
    inputs, outputs = requests.input_tokens, requests.output_tokens
    decoding_s: Vector = (
        step.fixed_s + step.per_sequence_s + step.per_context_token_s * (inputs + outputs / 2)
    )
    alone_s = outputs * decoding_s + inputs * step.per_prefill_token_s
    return float(np.quantile(alone_s, 0.95))


def by_problem(chosen: Sequence[Setting]) -> Iterator[list[Setting]]:
    """Yield settings that differ in the wanted latency only."""
    groups: dict[Setting, list[Setting]] = {}
    for setting in chosen:
        groups.setdefault(replace(setting, sla=""), []).append(setting)
    yield from groups.values()
