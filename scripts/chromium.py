"""Make sure that the browser tests find Debian's Chromium; say how to get it otherwise.

As root on a Debian-like system it is installed. Elsewhere the browser tests are skipped with the
same instruction, except under `CI=true`, where a missing browser is an error.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

ADVICE = "browser tests need Chromium: `sudo apt-get install chromium`, then run this again."


def main() -> int:
    """Return 0 when tests may start."""
    if shutil.which("chromium") is None and _may_install():
        print("Installing Chromium for the browser tests ...", flush=True)
        _apt("update")
        _apt("install", "--yes", "--no-install-recommends", "chromium")
    if shutil.which("chromium"):
        return 0
    print(f"boute: {ADVICE}", file=sys.stderr)
    return 1 if os.environ.get("CI", "").lower() in {"1", "true"} else 0


def _may_install() -> bool:
    return os.geteuid() == 0 and shutil.which("apt-get") is not None


def _apt(*arguments: str) -> None:
    """Run apt-get; a failure is seen by the caller, who looks for the browser."""
    done = subprocess.run(
        ["apt-get", "-qq", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
    )
    if done.returncode:
        print(done.stderr.strip(), file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
