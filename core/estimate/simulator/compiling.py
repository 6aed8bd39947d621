"""How the simulator's inner loops are compiled: once per machine, then read from the disk."""

from collections.abc import Callable
from typing import Any, TypeVar, cast

from numba import njit

F = TypeVar("F", bound=Callable[..., Any])

LEAN = {"error_model": "numpy", "_nrt": False}
"""No checks of divisors, and no reference counts: nothing compiled here allocates, and counting
would take most of the time."""


def compiled(function: F) -> F:
    """Compile what is called from outside.

    Numba notices on the disk that this function's file has changed, or the types of its
    arguments, but not that other files have: what a function calls must stand in its own file.
    """
    return cast(F, njit(**LEAN, cache=True, nogil=True)(function))


def compiled_part(function: F) -> F:
    """Compile what only compiled functions of the same file call; it becomes part of them."""
    options = {"forceinline": True, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
    return cast(F, njit(**LEAN, **options)(function))
