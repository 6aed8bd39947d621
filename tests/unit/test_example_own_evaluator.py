"""The example that plugs in a user's own evaluator runs and finds out what it was not told."""

import re
import subprocess
import sys
from statistics import fmean

from core.settings import REPOSITORY


def test_the_example_runs() -> None:
    done = subprocess.run(
        [sys.executable, "examples/own_evaluator.py"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("  measured ") == 8
    assert "8 measured on replicas" in done.stdout
    found: dict[str, list[float]] = {}
    for sku, factor in re.findall(r" on ([\w-]+)[^\n]* takes ([\d.]+) x", done.stdout):
        found.setdefault(sku, []).append(float(factor))
    assert fmean(found["L40S"]) > 1.1
    assert fmean(found["H100-SXM-80GB"]) < 1.0
