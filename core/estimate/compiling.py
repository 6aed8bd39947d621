"""How inner loops are compiled: once per machine, then read from the disk."""

from collections.abc import Callable
from typing import TypeVar, cast

from numba import njit

F = TypeVar("F", bound=Callable[..., object])


def compiled(function: F) -> F:
    """Compile a function.

    Numba notices on the disk that this function's file has changed, or the types of its
    arguments, but not that other files have: what a function calls must stand in its own file.
    """
    return cast(F, njit(cache=True, nogil=True, error_model="numpy")(function))
