"""Every write of the dashboard: call a service once, remember how it went, refresh the reads.

Callbacks run before the page is drawn, so the outcome waits in the session until the page draws
it where the control is (`outcome` in `ui.components`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import streamlit as st

from core.errors import BOuteError
from ui import queries

OUTCOMES = "outcomes"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a write went.

    Attributes:
        ok: Whether it was done.
        text: What was done, or the error's message.
        hint: What to do about an error; else empty.
    """

    ok: bool
    text: str
    hint: str = ""


def attempt(
    where: str,
    success: str | Callable[[Any], str],
    action: Callable[..., object],
    *args: object,
    **kwargs: object,
) -> bool:
    """Do a write and keep its outcome for the place `where`; False when it was refused.

    Args:
        success: What was done, in words; may be made from what the action returned.
    """
    try:
        result = action(*args, **kwargs)
    except BOuteError as error:
        _keep(where, Outcome(ok=False, text=error.message, hint=error.hint))
        return False
    queries.refresh()
    _keep(where, Outcome(ok=True, text=success(result) if callable(success) else success))
    return True


def take_outcome(where: str) -> Outcome | None:
    """Return an outcome that was not shown yet."""
    waiting: dict[str, Outcome] = st.session_state.get(OUTCOMES, {})
    return waiting.pop(where, None)


def _keep(where: str, outcome: Outcome) -> None:
    st.session_state.setdefault(OUTCOMES, {})[where] = outcome
