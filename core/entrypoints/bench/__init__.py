"""`boute bench NAME`: benchmarks of BOute itself; each prints what the docs quote.

A benchmark is a module here with `add_arguments(parser)`, `run(parsed, settings) -> dict` (JSON
types only) and `told(result) -> str`, the same for people. It is imported only when it runs.
"""

import argparse
import json
from importlib import import_module

from core.settings import Settings

BENCHES: dict[str, str] = {
    "simulator": "predictions against real vLLM on this machine's cores (about half an hour)",
    "estimates": "estimates against published measurements, before and after calibration",
    "speed": "speed of the simulator and of what-if",
    "search": "the search on estimates alone: exhaustive fronts, proven bounds, large fleets",
    "optimizer": "the optimiser against general-purpose ones on generated fleets (over an hour)",
    "headline": "joint plans against simpler ones for Llama 3.1 8B and 70B (a quarter of an hour)",
    "load": "BOute's load generator against GuideLLM's on one replica",
    "cascade": "a cascade of the built-in models against either alone (about 10 minutes)",
    "router": "how well queries are told apart, on published outcomes of two models",
    "floors": "how often an offered plan is below its quality floor in truth (minutes)",
    "gateway": "the gateway against direct calls, LiteLLM and vllm-router (about 5 minutes)",
    "gateway_fuzz": "whatever bytes arrive: no 5xx, no crash, memory flat",
    "switch": "plan switches under load: no request fails, no stream breaks off",
    "chaos": "kill -9 of every part at random moments under load (half an hour)",
}


def add_to(parser: argparse.ArgumentParser) -> None:
    """Let the command take a benchmark's name and leave the rest to the benchmark."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    listed = "\n".join(f"  {name:<13} {text}" for name, text in BENCHES.items())
    parser.epilog = f"benchmarks:\n{listed}\n\n`boute bench NAME --help` lists its options."
    parser.add_argument("name", choices=list(BENCHES), metavar="NAME")
    parser.add_argument(
        "options", nargs=argparse.REMAINDER, help="--json, and the benchmark's own"
    )


def run(parsed: argparse.Namespace, settings: Settings) -> int:
    """Run the chosen benchmark and print its result."""
    bench = import_module(f"{__name__}.{parsed.name}")
    text = BENCHES[parsed.name]
    parser = argparse.ArgumentParser(
        prog=f"boute bench {parsed.name}", description=text[0].upper() + text[1:] + "."
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    bench.add_arguments(parser)
    options = parser.parse_args(parsed.options)
    result = bench.run(options, settings)
    print(json.dumps(result, indent=2) if options.json else bench.told(result))
    return 0
