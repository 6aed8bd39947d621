"""What `boute bench chaos` kills, and how it finds it."""

import contextlib
import random
import time
from dataclasses import dataclass

import psutil

from core.domain.deployment import Replica
from core.entrypoints.bench.live_product import Product
from core.entrypoints.bench.postgres import Postgres
from core.errors import EnvironmentFailed
from core.serving import process_group
from core.serving.launcher import LocalLauncher

CONTROLLER, GATEWAY, REPLICA = "controller", "gateway", "replica"
ENGINE, DATABASE = "engine core", "database"
TARGETS = (CONTROLLER, REPLICA, GATEWAY, ENGINE, DATABASE, REPLICA)
DOWN_S = (0.0, 4.0)
"""For how long PostgreSQL stays away."""
ENGINES = ("EngineCore", "Worker", "sleep")
"""In the names of vLLM's processes, and of the one that stands for them in a stub; vLLM starts
others that it can do without, such as Python's tracker of shared memory."""
PROGRAMS = {
    CONTROLLER: ("core.entrypoints.bench.stub_fleet", "controller"),
    GATEWAY: ("gateway",),
}


@dataclass
class Kill:
    """One kill.

    Attributes:
        at_s: Monotonic seconds.
        detail: Process id and the like.
        replica_id: Whose process it was; empty when no replica's.
        slack_s: Bytes that were sent before may still arrive so long after.
        repaired_s: After how long all was well again; None: not waited for.
    """

    target: str
    at_s: float
    detail: str
    replica_id: str = ""
    slack_s: float = 0.5
    repaired_s: float | None = None


class Killer:
    """Kills parts of a running product."""

    def __init__(self, product: Product, database: Postgres, dice: random.Random) -> None:
        self._product = product
        self._database = database
        self._dice = dice
        self._launcher = LocalLauncher(product.settings)

    def kill(self, target: str) -> Kill:
        """Kill a part; one that is not there just now is waited for."""
        if target == DATABASE:
            away_s = self._dice.uniform(*DOWN_S)
            at_s = time.monotonic()
            self._database.restart(away_s)
            return Kill(target, at_s, f"away for {away_s:.1f} s")
        if target in PROGRAMS:
            process = self._program(target)
            at_s = time.monotonic()
            process.kill()
            return Kill(target, at_s, f"pid {process.pid}")
        replica, process = self._replica_process(target)
        at_s = time.monotonic()
        with contextlib.suppress(psutil.Error):
            process.kill()
        return Kill(target, at_s, f"{replica.kind.label} pid {process.pid}", replica.replica_id)

    def _program(self, target: str) -> psutil.Process:
        while True:
            for child in psutil.Process().children():
                with contextlib.suppress(psutil.Error):
                    words = child.cmdline()
                    if any(name in words for name in PROGRAMS[target]):
                        return child
            time.sleep(0.1)

    def _replica_process(self, target: str) -> tuple[Replica, psutil.Process]:
        """Choose a live replica and its leader, or a process of its engine."""
        while True:
            found = []
            for replica in self._live():
                members = process_group.members(self._launcher.marks(replica))
                found += [(replica, p) for p in members if is_meant(target, replica, p)]
            if found:
                return self._dice.choice(found)
            time.sleep(0.1)

    def _live(self) -> list[Replica]:
        with contextlib.suppress(EnvironmentFailed):
            replicas = self._product.state()[1]
            live = [r for r in replicas if r.live and r.pid is not None]
            return sorted(live, key=lambda r: r.replica_id)
        return []


def is_meant(target: str, replica: Replica, process: psutil.Process) -> bool:
    """Whether a process of a replica is what a target names: its leader, or an engine process."""
    if target == REPLICA:
        return process.pid == replica.pid
    with contextlib.suppress(psutil.Error):
        return process.pid != replica.pid and any(e in process.name() for e in ENGINES)
    return False
