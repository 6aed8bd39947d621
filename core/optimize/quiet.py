"""Keeps what C libraries print out of our standard output."""

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet_stdout() -> Iterator[None]:
    """Send file descriptor 1 to nowhere for a moment.

    HiGHS, called by `scipy.optimize.milp`, sometimes prints a line of its own from C. On a
    standard output that carries JSON this breaks the reader.
    """
    sys.stdout.flush()
    saved = os.dup(1)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 1)
        yield
        ctypes.CDLL(None).fflush(None)
    finally:
        os.dup2(saved, 1)
        os.close(saved)
        os.close(nowhere)
