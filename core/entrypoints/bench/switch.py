"""Plan switches under load: does any request fail, does any stream break off?

Real controller, gateway, database and processes; the servers of most switches are processes that
behave like vLLM (`engine_stub`), those of the last ones are real vLLM replicas of the built-in
models on this machine's cores. Callers never try again: what fails, failed.
"""

import argparse
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from core.domain.ids import utc_now
from core.domain.plan import ServingPlan
from core.entrypoints.bench.live_load import Asked, LiveLoad, counts
from core.entrypoints.bench.live_product import (
    CORES,
    STUB,
    Fleet,
    Product,
    deploy_first,
    double_booked,
    orphans,
    running,
)
from core.entrypoints.waiting import say
from core.errors import EngineFailed, InvalidInput
from core.services import deployments
from core.settings import Settings

REQUESTS_BAR = 1000
SWITCHES_BAR = 20
REAL_BAR = 3

Shape = tuple[int, int, int]
"""Replicas of `small`, of `large`, and of `large` on two devices."""
STUB_SHAPES: tuple[Shape, ...] = (
    (1, 1, 0),
    (2, 1, 0),
    (2, 2, 0),
    (0, 2, 0),
    (0, 4, 0),
    (4, 0, 0),
    (2, 0, 1),
    (1, 0, 1),
    (0, 0, 2),
    (1, 3, 0),
)
"""Of four devices: some leave room for what comes, some do not."""
REAL_SHAPES: tuple[Shape, ...] = ((1, 0, 0), (1, 1, 0), (0, 1, 0), (1, 0, 0), (0, 1, 0), (1, 1, 0))
"""Of two cores, in this order: grow, shrink, change the model, and again."""


@dataclass(frozen=True, slots=True)
class Part:
    """A fleet and what it is put through.

    Attributes:
        shapes: The plans one after another; the first one is no switch.
        rate_rps: Requests per second.
    """

    fleet: Fleet
    shapes: tuple[Shape, ...]
    rate_rps: float
    seed: int


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--switches", type=int, default=20, help="in all")
    parser.add_argument("--real", type=int, default=3, help="of them with real vLLM replicas")
    parser.add_argument("--rate", type=float, default=10.0, help="requests/s before stubs")
    parser.add_argument("--real-rate", type=float, default=0.5, help="requests/s before vLLM")
    parser.add_argument("--seed", type=int, default=1)


def run(parsed: argparse.Namespace, _: Settings) -> dict[str, Any]:
    """Switch plans under load and count.

    Raises:
        InvalidInput: More real switches than switches, or more than are written down.
        EngineFailed: A switch did not end.
    """
    if not 0 <= parsed.real <= min(parsed.switches, len(REAL_SHAPES) - 1):
        raise InvalidInput(f"Real switches must be 0 to {len(REAL_SHAPES) - 1}.")
    shapes = random_walk(parsed.switches - parsed.real, parsed.seed)
    parts = {"stub": Part(STUB, shapes, parsed.rate, parsed.seed)}
    if parsed.real:
        real = REAL_SHAPES[: parsed.real + 1]
        parts["vllm"] = Part(CORES, real, parsed.real_rate, parsed.seed)
    seen = {name: _switch(part) for name, part in parts.items() if len(part.shapes) > 1}
    return {"seed": parsed.seed, **seen, "bars": bars(seen)}


def random_walk(switches: int, seed: int) -> tuple[Shape, ...]:
    """Return plans for so many switches, no two alike in a row."""
    dice = random.Random(seed)
    shapes = [STUB_SHAPES[0]]
    while len(shapes) <= switches:
        shapes.append(dice.choice([s for s in STUB_SHAPES if s != shapes[-1]]))
    return tuple(shapes)


def _switch(part: Part) -> dict[str, Any]:
    with TemporaryDirectory() as folder, running(part.fleet, Path(folder) / "home") as product:
        asked = Asked(product.settings.gateway_port, part.fleet.tokens, part.rate_rps, part.seed)
        plans = [part.fleet.plan(*shape) for shape in part.shapes]
        deploy_first(product, plans[0])
        switches = []
        with LiveLoad(asked) as load:
            for before, plan in pairwise(plans):
                began = len(load.fates)
                seconds = _deploy(product, plan)
                words = _difference(before, plan)
                bad = sum(bool(fate.problem) for fate in load.fates[began:])
                say(f"{words}: {seconds:.1f} s, {len(load.fates)} answers, {bad} bad")
                switches.append({"switch": words, "seconds": round(seconds, 1)})
            time.sleep(1.0)
        left = orphans(product)
        if left:
            raise EngineFailed(f"Processes that belong to no replica: {left}.")
        return {"switches": switches, **counts(load.fates)}


def _deploy(product: Product, plan: ServingPlan) -> float:
    deployments.deploy_plan(product.uow, plan, utc_now())

    def check() -> None:
        twice = double_booked(product.state()[1])
        if twice:
            raise EngineFailed(f"Devices held by two replicas: {twice}.")

    return product.wait_until_settled(check)


def _difference(before: ServingPlan, after: ServingPlan) -> str:
    def words(plan: ServingPlan) -> str:
        return " + ".join(
            f"{p.count} {p.kind.model}" + (f" TP {p.kind.tp}" if p.kind.tp > 1 else "")
            for p in plan.placement
        )

    return f"{words(before)} -> {words(after)}"


def bars(seen: dict[str, Any]) -> dict[str, bool]:
    """Return which bars are met."""
    parts: Sequence[dict[str, Any]] = list(seen.values())
    switches = sum(len(part["switches"]) for part in parts)
    real = len(seen["vllm"]["switches"]) if "vllm" in seen else 0
    return {
        f"{SWITCHES_BAR} switches": switches >= SWITCHES_BAR,
        f"{REAL_BAR} of them with vLLM": real >= REAL_BAR,
        f"{REQUESTS_BAR} requests": sum(part["requests"] for part in parts) >= REQUESTS_BAR,
        "0 failed": not any(part["failed"] for part in parts),
        "0 truncated": not any(part["truncated"] for part in parts),
    }


def told(result: dict[str, Any]) -> str:
    """Return the result for people."""
    lines = []
    for name in ("stub", "vllm"):
        if name not in result:
            continue
        part = result[name]
        lines.append(
            f"{name}: {len(part['switches'])} switches, {part['requests']} requests "
            f"({part['streaming']} streaming, up to {part['most_in_flight']} at once): "
            f"{part['failed']} failed, {part['truncated']} truncated {part['problems'] or ''}"
        )
        lines += [f"  {one['seconds']:>6.1f} s  {one['switch']}" for one in part["switches"]]
    lines += [f"{'met   ' if met else 'MISSED'} {bar}" for bar, met in result["bars"].items()]
    return "\n".join(lines)
