"""`boute bench NAME`: benchmarks of BOute itself; each prints what docs/accuracy.md quotes.

A benchmark is a module here with `add_arguments(parser)`, `run(parsed, settings) -> dict` (JSON
types only) and `told(result) -> str`, the same for people. It is imported only when it runs.
"""

import argparse
import json
from importlib import import_module
from types import ModuleType

from core.settings import Settings

BENCHES: dict[str, str] = {}


def add_to(parser: argparse.ArgumentParser) -> None:
    """Add one subcommand per benchmark."""
    names = parser.add_subparsers(required=True, metavar="BENCHMARK", dest="bench")
    for name, text in BENCHES.items():
        bench = names.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        bench.add_argument("--json", action="store_true", help="print one JSON object on stdout")
        _module(name).add_arguments(bench)


def run(parsed: argparse.Namespace, settings: Settings) -> int:
    """Run the chosen benchmark and print its result."""
    bench = _module(parsed.bench)
    result = bench.run(parsed, settings)
    print(json.dumps(result, indent=2) if parsed.json else bench.told(result))
    return 0


def _module(name: str) -> ModuleType:
    return import_module(f"{__name__}.{name}")
