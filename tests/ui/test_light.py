"""The dashboard's process stays light: it shows, it never computes."""

import json
import subprocess
import sys

from core.settings import REPOSITORY

HEAVY = ["torch", "vllm", "ray", "pynvml", "sklearn", "botorch", "transformers", "core.optimize"]


def test_no_page_loads_anything_heavy() -> None:
    modules = [
        ".".join(path.relative_to(REPOSITORY).with_suffix("").parts)
        for path in sorted((REPOSITORY / "ui").glob("*.py"))
        if path.name != "app.py"
    ]
    pages = [p.read_text() for p in sorted((REPOSITORY / "ui" / "app_pages").glob("*.py"))]
    imports = [line for text in pages for line in text.splitlines() if line.startswith("from ")]
    one_line = [line for line in imports if "(" not in line]
    code = "\n".join(
        [
            "import importlib, json, sys",
            f"for name in {modules!r}: importlib.import_module(name)",
            *one_line,
            "import core.entrypoints.dashboard",
            f"print(json.dumps([m for m in {HEAVY!r} if m in sys.modules]))",
        ]
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout.splitlines()[-1]) == []
