"""Runs of the optimiser's benchmark: who plays, for how long, and what is kept of it."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from core.entrypoints.bench import peers_botorch, peers_controls, peers_tools
from core.entrypoints.bench.arena import Arena, Method, Reference, play
from core.entrypoints.bench.hidden_truth import World
from core.entrypoints.bench.instances import live_like
from core.entrypoints.bench.oracle_front import true_front
from core.entrypoints.bench.volume import true_values
from core.entrypoints.waiting import say

REPORT_EVERY = 25


@dataclass(frozen=True)
class Entrant:
    """A method of the table.

    Attributes:
        label: For people.
        role: "boute", "control" or "peer".
        slow: Whether a proposal takes seconds.
    """

    label: str
    role: str
    make: Callable[[Arena], Method]
    slow: bool = False


ENTRANTS: dict[str, Entrant] = {
    "boute": Entrant("BOute", "boute", peers_controls.Boute),
    "no-telemetry": Entrant(
        "BOute, replicas report nothing", "control", peers_controls.without_telemetry
    ),
    "no-learning": Entrant(
        "BOute, catalogue believed", "control", peers_controls.without_learning
    ),
    "no-surrogate": Entrant("predicted front in order", "control", peers_controls.PredictedFront),
    "random": Entrant("random valid plans", "control", peers_controls.RandomPlans),
    "nsga2": Entrant("NSGA-II (pymoo)", "peer", peers_tools.Nsga2),
    "optuna-tpe": Entrant("Optuna TPE", "peer", peers_tools.optuna_tpe),
    "optuna-gp": Entrant("Optuna GPSampler", "peer", peers_tools.optuna_gp, slow=True),
    "ax": Entrant("Ax, default", "peer", peers_tools.AxDefault, slow=True),
    "qlognehvi": Entrant(
        "qLogNEHVI, relaxed (BoTorch)", "peer", peers_botorch.RelaxedQlogNehvi, slow=True
    ),
    "qlognehvi-pool": Entrant(
        "qLogNEHVI, valid pool (BoTorch)", "peer", peers_botorch.PoolQlogNehvi, slow=True
    ),
    "trust-region": Entrant("TuRBO/MORBO-style", "peer", peers_botorch.TrustRegion, slow=True),
    "paper": Entrant("constrained qNEHVI (paper)", "peer", peers_controls.PaperMode, slow=True),
}


@dataclass(frozen=True)
class KeptFront:
    """The best plans known of one instance.

    Attributes:
        reference: Cost in $/h, P95 in s and quality.
        values: n x 3; the same of each plan.
        published: The same of the best plans that are valid by the published facts.
        searched: Evaluations of the long search.
    """

    seed: int
    searched: int
    reference: Reference
    values: list[list[float]]
    published: list[list[float]]


@dataclass(frozen=True)
class KeptRun:
    """What one method measured on one instance.

    Attributes:
        values: n x 3 true values in order of evaluation; None for a plan that is not feasible.
        proposal_cpu_s: Processor time of each proposal.
    """

    seed: int
    method: str
    warm: int
    values: list[list[float] | None]
    proposal_cpu_s: list[float]


Kept = TypeVar("Kept", KeptFront, KeptRun)


class Instances:
    """Instances by seed, made when they are needed.

    Args:
        keep: Folder with finished runs to go on with; None keeps nothing.
        searched: Evaluations of the long search.
        warm: Plans measured before any method may propose.
        optimism: Of the decoder.
    """

    def __init__(self, keep: Path | None, searched: int, warm: int, optimism: float = 0.0) -> None:
        self._keep = keep
        self._searched = searched
        self._warm = warm
        self._optimism = optimism
        self._worlds: dict[int, World] = {}
        self._arenas: dict[int, Arena] = {}

    def front(self, seed: int) -> KeptFront:
        """Return the front of an instance from a long search on its truth."""
        path = self._path(f"front-{seed}")
        if path and path.exists():
            kept = KeptFront(**json.loads(path.read_text()))
            if kept.searched >= self._searched:
                return kept
        say(f"Instance {seed}: searching the truth")
        found = true_front(self._world(seed), self._searched)
        values, published = map(true_values, (found.scores, found.published))
        kept = KeptFront(
            seed, self._searched, found.reference, values.tolist(), published.tolist()
        )
        return self._kept(path, kept)

    def run(self, seed: int, method: str, evaluations: int) -> KeptRun:
        """Return what a method measures on an instance."""
        suffix = f"-{self._optimism:g}" if self._optimism else ""
        path = self._path(f"run-{seed}-{method}{suffix}")
        if path and path.exists():
            kept = KeptRun(**json.loads(path.read_text()))
            if kept.warm == self._warm and len(kept.values) >= evaluations:
                return kept
        label = ENTRANTS[method].label

        def told(done: int) -> None:
            if done % REPORT_EVERY == 0:
                say(f"Instance {seed}: {label}, {done} of {evaluations} evaluations")

        world, arena = self._world(seed), self._arena(seed)
        played = play(world, arena, ENTRANTS[method].make, evaluations, told)
        values = true_values([world.truth(plan) for plan in played.plans])
        rows = [None if np.isnan(row[0]) else row.tolist() for row in values]
        return self._kept(path, KeptRun(seed, method, self._warm, rows, played.proposal_cpu_s))

    def _world(self, seed: int) -> World:
        if seed not in self._worlds:
            self._worlds = {seed: live_like(seed)}
        return self._worlds[seed]

    def _arena(self, seed: int) -> Arena:
        if seed not in self._arenas:
            cost, latency_s, quality = self.front(seed).reference
            facts = self._world(seed).facts
            reference = (cost, latency_s, quality)
            arena = Arena(facts, reference, self._warm, seed, self._optimism)
            self._arenas = {seed: arena}
        return self._arenas[seed]

    def _path(self, name: str) -> Path | None:
        return self._keep / f"{name}.json" if self._keep else None

    def _kept(self, path: Path | None, made: Kept) -> Kept:
        if path:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(asdict(made)))
        return made
