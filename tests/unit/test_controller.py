"""There is one controller per home, and the next one may come when it has gone."""

import subprocess
import sys
from pathlib import Path

import pytest

from core.entrypoints.controller import alone
from core.errors import Conflict

HOLD = (
    "import sys, time; from pathlib import Path; from core.entrypoints.controller import alone\n"
    "with alone(Path(sys.argv[1])): print('held', flush=True); time.sleep(600)"
)


def test_a_second_controller_is_refused_until_the_first_is_gone(tmp_path: Path) -> None:
    home = tmp_path / "home"
    command = [sys.executable, "-c", HOLD, str(home)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == b"held\n"
        with pytest.raises(Conflict, match="already works"), alone(home):
            pass
        first.kill()
        first.wait()
    with alone(home):
        pass
