"""BOute's optimiser against general-purpose ones, on fleets that differ from their catalogue."""

import argparse
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_limits

from core.entrypoints.bench.optimizer_figures import CHECKPOINTS, figures
from core.entrypoints.bench.optimizer_runs import ENTRANTS, Instances, KeptFront, KeptRun
from core.errors import InvalidInput
from core.settings import Settings

SEARCHED = 15_000
OWN_EVALUATIONS = 100
QUICK = ("boute", "no-surrogate", "nsga2", "optuna-tpe", "qlognehvi-pool")
QUICK_SEEDS, QUICK_EVALUATIONS = 3, 50


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add which instances, which methods and how long."""
    parser.add_argument("--seeds", type=int, default=10, help="instances, each drawn by a seed")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--evaluations", type=int, default=200, help="that a peer may spend")
    parser.add_argument(
        "--slow-seeds", type=int, default=3, help="instances for peers that take seconds to choose"
    )
    parser.add_argument(
        "--methods", default=",".join(ENTRANTS), help="names, separated by commas: %(default)s"
    )
    parser.add_argument("--warm", type=int, default=5, help="common first plans, counted")
    parser.add_argument("--searched", type=int, default=SEARCHED, help="plans of the long search")
    parser.add_argument(
        "--optimism",
        type=float,
        default=0.0,
        help="let plans through the decoder that would keep up if replicas were exp(x) times as "
        "fast as catalogued",
    )
    parser.add_argument(
        "--keep", type=Path, help="folder for finished runs; a second call goes on from there"
    )
    parser.add_argument(
        "--quick", action="store_true", help="3 instances, 50 evaluations and five methods"
    )


def run(parsed: argparse.Namespace, _: Settings) -> dict[str, Any]:
    """Play all methods on all instances.

    Raises:
        InvalidInput: A method has an unknown name.
        EnvironmentFailed: A tool that BOute is compared with is not installed.
    """
    if parsed.quick:
        parsed.seeds, parsed.evaluations = QUICK_SEEDS, QUICK_EVALUATIONS
        parsed.methods = ",".join(QUICK)
    methods = _methods(parsed.methods)
    # One thread for everybody: proposals are small, and their times are compared.
    with threadpool_limits(1):
        fronts, runs = _played(parsed, methods)
    return {
        "seeds": [front.seed for front in fronts],
        "warm": parsed.warm,
        "searched": parsed.searched,
        "optimism": parsed.optimism,
        **figures(fronts, runs),
    }


def _played(
    parsed: argparse.Namespace, methods: list[str]
) -> tuple[list[KeptFront], list[KeptRun]]:
    instances = Instances(parsed.keep, parsed.searched, parsed.warm, parsed.optimism)
    fronts, runs = [], []
    for place in range(parsed.seeds):
        seed = parsed.first_seed + place
        fronts.append(instances.front(seed))
        for name in methods:
            entrant = ENTRANTS[name]
            most = parsed.evaluations if entrant.role == "peer" else OWN_EVALUATIONS
            if not entrant.slow or place < parsed.slow_seeds:
                runs.append(instances.run(seed, name, min(most, parsed.evaluations)))
    return fronts, runs


def _methods(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in ENTRANTS]
    if unknown or not names:
        raise InvalidInput(
            f"Unknown methods: {', '.join(unknown) or 'none given'}.",
            f"Choose among {', '.join(ENTRANTS)}.",
        )
    return names


def told(result: dict[str, Any]) -> str:
    """Return the table and the bars as text."""
    reached = [n for n in map(str, CHECKPOINTS) if result["oracle"][n]]
    head = "".join(f"{'at ' + n:>20}" for n in reached)
    lines = [
        f"{len(result['seeds'])} instances; hypervolume of the measured plans at their true "
        "values over that of the best n plans: median (quartiles)",
        f"{'':<34}{head}{'s/proposal':>12}{'instances':>11}",
        *(_line(row, reached) for row in result["methods"].values()),
        "the best n plans, of the whole front: "
        + ", ".join(f"{result['oracle'][n]['median']:.3f} at {n}" for n in reached),
        f"all plans that the catalogue allows: {_cell(result['published'])} of the whole front",
        "",
        *(_bar_line(bar) for bar in result["bars"]),
    ]
    return "\n".join(lines)


def _line(row: dict[str, Any], reached: list[str]) -> str:
    cells = "".join(f"{_cell(row['of_oracle'][n]):>20}" for n in reached)
    time_s = row["proposal_cpu_s"]
    spent = "" if time_s is None else f"{time_s:.3f}"
    return f"{row['label']:<34}{cells}{spent:>12}{row['instances']:>11}"


def _cell(found: dict[str, float] | None) -> str:
    if found is None:
        return ""
    return f"{found['median']:.3f} ({found['low']:.2f}-{found['high']:.2f})"


def _bar_line(bar: dict[str, Any]) -> str:
    verdict = "met   " if bar["met"] else "MISSED"
    wins = f", ahead on {bar['ahead_on']} of {bar['instances']}" if "ahead_on" in bar else ""
    return f"{verdict} {bar['text']}: {bar['value']:+.3f} (bar {bar['bar']:.2f}){wins}"
