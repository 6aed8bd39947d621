"""`kill -9` of every part at random moments under load: does the fleet come back every time?

Controller, gateway, a replica, its engine process, and the PostgreSQL server are killed in a
random order, some while a plan is being switched and some while the last kill is being repaired.
The servers are `engine_stub` processes, then real vLLM replicas of the built-in models. Callers do
as OpenAI's clients do: while nothing of an answer came, they try again. What remains bad has to be
a stream that the killed process was sending.
"""

import argparse
import random
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from core.domain.ids import utc_now
from core.entrypoints.bench.chaos_kills import GATEWAY, TARGETS, Kill, Killer
from core.entrypoints.bench.chaos_watch import Watch
from core.entrypoints.bench.live_load import Asked, Fate, LiveLoad, counts
from core.entrypoints.bench.live_product import (
    CORES,
    STUB,
    Fleet,
    Product,
    deploy_first,
    orphans,
    running,
)
from core.entrypoints.bench.postgres import Postgres
from core.entrypoints.waiting import say
from core.errors import EngineFailed, EnvironmentFailed, InvalidInput
from core.services import deployments
from core.settings import Settings

KILLS_BAR = 60
REAL_BAR = 10
LONGEST_PAUSE_S = 5.0
SWITCHING = 0.3
"""Share of kills that come during a plan switch."""
IN_A_ROW = 0.3
"""Share of kills that do not wait for the repair of the last one."""
ORPHANS_S = 20.0

Shape = tuple[int, int, int]
STUB_SHAPES: tuple[Shape, ...] = ((2, 2, 0), (3, 3, 0), (2, 0, 2), (3, 1, 1), (0, 5, 0))
REAL_SHAPES: tuple[Shape, ...] = ((1, 1, 0),)


@dataclass(frozen=True, slots=True)
class Part:
    """A fleet and what it is put through."""

    fleet: Fleet
    shapes: tuple[Shape, ...]
    kills: int
    asked: Asked


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--kills", type=int, default=60, help="in all")
    parser.add_argument("--real", type=int, default=10, help="of them with real vLLM replicas")
    parser.add_argument("--rate", type=float, default=6.0, help="requests/s before stubs")
    parser.add_argument("--real-rate", type=float, default=0.5, help="requests/s before vLLM")
    parser.add_argument("--seed", type=int, default=1)


def run(parsed: argparse.Namespace, _: Settings) -> dict[str, Any]:
    """Kill, wait, look.

    Raises:
        InvalidInput: More real kills than kills.
        EngineFailed: The fleet did not come back, or something was left behind.
    """
    if not 0 <= parsed.real <= parsed.kills:
        raise InvalidInput("There cannot be more real kills than kills.")
    stub = Asked(0, STUB.tokens, parsed.rate, parsed.seed, retry_s=60.0)
    real = Asked(0, CORES.tokens, parsed.real_rate, parsed.seed, retry_s=300.0)
    wide = Fleet(STUB.sku, 6, STUB.tokens, STUB.max_num_seqs)
    parts = {
        "stub": Part(wide, STUB_SHAPES, parsed.kills - parsed.real, stub),
        "vllm": Part(CORES, REAL_SHAPES, parsed.real, real),
    }
    seen = {name: _run(part, parsed.seed) for name, part in parts.items() if part.kills}
    return {"seed": parsed.seed, **seen, "bars": bars(seen)}


def _run(part: Part, seed: int) -> dict[str, Any]:
    with (
        TemporaryDirectory() as folder,
        Postgres(Path(folder) / "postgres") as database,
        running(part.fleet, Path(folder) / "home", database.url) as product,
    ):
        chaos = _Chaos(part, product, database, random.Random(seed))
        return chaos.run()


class _Chaos:
    """One part under way."""

    def __init__(
        self, part: Part, product: Product, database: Postgres, dice: random.Random
    ) -> None:
        self._part = part
        self._product = product
        self._database = database
        self._dice = dice
        self._shape = part.shapes[0]
        self._killer = Killer(product, database, dice)
        self._kills: list[Kill] = []

    def run(self) -> dict[str, Any]:
        """Return what happened."""
        deploy_first(self._product, self._part.fleet.plan(*self._shape))
        asked = self._part.asked
        port = self._product.settings.gateway_port
        mine = Asked(port, asked.tokens, asked.rate_rps, asked.seed, asked.retry_s)
        with Watch(self._product) as watch, LiveLoad(mine) as load:
            time.sleep(LONGEST_PAUSE_S)
            for number in range(self._part.kills):
                self._one(number)
                self._require(watch, load)
            self._repair()
            time.sleep(LONGEST_PAUSE_S)
        self._require(watch, None)
        return {**figures(load.fates, self._kills), "looks": watch.looks}

    def _one(self, number: int) -> None:
        """Kill something at a random moment, and mostly wait until all is well again."""
        if len(self._part.shapes) > 1 and self._dice.random() < SWITCHING:
            self._deploy(self._dice.choice([s for s in self._part.shapes if s != self._shape]))
        time.sleep(self._dice.uniform(0.0, LONGEST_PAUSE_S))
        kill = self._killer.kill(TARGETS[number % len(TARGETS)])
        self._kills.append(kill)
        if self._dice.random() >= IN_A_ROW:
            self._repair()
        took = f"{kill.repaired_s:.1f} s" if kill.repaired_s is not None else "not waited for"
        say(f"kill {number + 1}: {kill.target} {kill.detail}, repaired: {took}")

    def _deploy(self, shape: Shape) -> None:
        self._shape = shape
        plan = self._part.fleet.plan(*shape)
        deadline_s = time.monotonic() + 60.0
        while True:  # as an operator would, when the database is away
            try:
                deployments.deploy_plan(self._product.uow, plan, utc_now())
                return
            except EnvironmentFailed:
                if time.monotonic() > deadline_s:
                    raise
                time.sleep(0.5)

    def _repair(self) -> None:
        """Wait until controller and gateway work, and the desired plan runs and nothing else.

        Raises:
            EngineFailed: It does not come to that.
        """
        self._product.wait_until_up()
        self._product.wait_until_over({kill.replica_id for kill in self._kills})
        self._product.wait_until_settled()
        deadline_s = time.monotonic() + ORPHANS_S
        while left := orphans(self._product):
            if time.monotonic() > deadline_s:
                raise EngineFailed(f"Processes that belong to no replica: {left}.")
            time.sleep(0.5)
        for kill in self._kills:
            if kill.repaired_s is None:
                kill.repaired_s = time.monotonic() - kill.at_s

    @staticmethod
    def _require(watch: Watch, load: LiveLoad | None) -> None:
        if watch.problems:
            raise EngineFailed(f"The ledger is broken: {watch.problems}.")
        if load is not None and not load.alive:
            raise EngineFailed("The load has ended by itself.")


def figures(fates: list[Fate], kills: list[Kill]) -> dict[str, Any]:
    """Return what a part saw; a bad request is explained by a kill of what was sending it."""
    bad = [fate for fate in fates if fate.problem]
    unexplained = [fate for fate in bad if not any(cut(fate, kill) for kill in kills)]
    repairs = sorted(kill.repaired_s for kill in kills if kill.repaired_s is not None)
    return {
        "kills": {t: sum(k.target == t for k in kills) for t in dict.fromkeys(TARGETS)},
        "repair_s": {
            "median": round(repairs[len(repairs) // 2], 1),
            "worst": round(repairs[-1], 1),
        },
        **counts(fates),
        "cut_with_the_killed": len(bad) - len(unexplained),
        "others_affected": len(unexplained),
        "others": [f"{f.problem} after {f.attempts[-2:]}" for f in unexplained[:20]],
    }


def cut(fate: Fate, kill: Kill) -> bool:
    """Whether a stream was under way from the process that was killed."""
    if not (fate.truncated and fate.first_s and fate.first_s <= kill.at_s + kill.slack_s):
        return False
    if fate.ended_s < kill.at_s:
        return False
    return kill.target == GATEWAY or kill.replica_id == fate.replica != ""


def bars(seen: dict[str, Any]) -> dict[str, bool]:
    """Return which bars are met; a fleet that does not come back raises before."""
    kills = {name: sum(part["kills"].values()) for name, part in seen.items()}
    return {
        f"{KILLS_BAR} kills": sum(kills.values()) >= KILLS_BAR,
        f"{REAL_BAR} of them with vLLM": kills.get("vllm", 0) >= REAL_BAR,
        "only streams of the killed affected": not any(
            part["others_affected"] for part in seen.values()
        ),
    }


def told(result: dict[str, Any]) -> str:
    """Return the result for people."""
    lines = [f"seed {result['seed']}"]
    for name in ("stub", "vllm"):
        if name not in result:
            continue
        part = result[name]
        killed = ", ".join(f"{number} x {target}" for target, number in part["kills"].items())
        lines.append(f"{name}: killed {killed}")
        lines.append(
            f"  repaired after {part['repair_s']['median']} s (median), at most "
            f"{part['repair_s']['worst']} s; {part['looks']} looks at the ledger"
        )
        lines.append(
            f"  {part['requests']} requests, {part['sent_again']} sent again, "
            f"{part['cut_with_the_killed']} streams cut with the process that sent them, "
            f"{part['others_affected']} others {part['others'] or ''}"
        )
        lines.append(f"  first answers that did not do: {part['first_answers']}")
    lines += [f"{'met   ' if met else 'MISSED'} {bar}" for bar, met in result["bars"].items()]
    return "\n".join(lines)
