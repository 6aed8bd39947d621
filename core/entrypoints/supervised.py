"""A supervisor at work while a block runs, for commands that need the product for a while."""

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator

from core.entrypoints.supervisor import StopRequest, Supervisor
from core.entrypoints.waiting import say
from core.errors import BOuteError


@contextlib.contextmanager
def supervised(supervisor: Supervisor) -> Iterator[None]:
    """Run a supervisor from a thread while the block runs; leave nothing.

    Raises:
        BOuteError: What ended the supervisor early, after the block.
    """
    stop, failures = StopRequest(), list[BOuteError]()

    def supervise() -> None:
        try:
            supervisor.run(stop, lambda: say("Controller and gateway are up."))
        except BOuteError as error:
            failures.append(error)

    thread = threading.Thread(target=supervise)
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    thread.start()
    try:
        yield
    finally:
        stop(signal.SIGTERM, None)
        thread.join()
        signal.signal(signal.SIGTERM, before)
    if failures:
        raise failures[0]
