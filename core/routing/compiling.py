"""How the inner loops of classification are compiled: once per machine, then from the disk."""

from collections.abc import Callable
from typing import TypeVar, cast

from numba import njit

F = TypeVar("F", bound=Callable[..., object])


def compiled(function: F) -> F:
    """Compile a function; what it calls must stand in its own file, see `core.estimate.compiling`.

    It keeps the interpreter's lock: it takes microseconds, and giving it away would cost more.
    """
    return cast(F, njit(cache=True, error_model="numpy")(function))
