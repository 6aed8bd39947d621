"""What the operator has picked: a study and a plan in it, kept in the session and in the URL."""

from typing import Any

import streamlit as st

STUDY = "study_id"
PLAN = "trial_number"
URL_STUDY = "study"
URL_PLAN = "plan"


def restore() -> None:
    """Take the choice from the URL in a fresh session, then keep the URL in step with it.

    Streamlit drops query parameters when the page changes, so they are written on every run.
    """
    if STUDY not in st.session_state:
        plan = st.query_params.get(URL_PLAN, "")
        st.session_state[STUDY] = st.query_params.get(URL_STUDY)
        st.session_state[PLAN] = int(plan) if plan.isdigit() else None
    _write(URL_STUDY, st.session_state[STUDY])
    _write(URL_PLAN, st.session_state[PLAN])


def study_id() -> str | None:
    """Return the chosen study."""
    chosen: str | None = st.session_state.get(STUDY)
    return chosen


def trial_number() -> int | None:
    """Return the chosen plan's number in the chosen study."""
    chosen: int | None = st.session_state.get(PLAN)
    return chosen


def choose_study(chosen: str | None) -> None:
    """Choose a study; a plan of another study is no longer chosen."""
    if chosen != study_id():
        st.session_state[STUDY] = chosen
        st.session_state[PLAN] = None
    _write(URL_STUDY, study_id())
    _write(URL_PLAN, trial_number())


def choose_plan(number: int) -> None:
    """Choose a plan of the chosen study."""
    st.session_state[PLAN] = number
    _write(URL_PLAN, number)


def pick_from_chart(key: str) -> None:
    """Store the clicked point's plan. Any change of the figure empties the event later on, so
    nothing but this callback may read it."""
    points = _selection(key).get("points") or []
    if points and points[0].get("customdata") is not None:
        custom = points[0]["customdata"]
        choose_plan(int(custom[0] if isinstance(custom, list | tuple) else custom))


def pick_from_table(key: str, numbers: list[int]) -> None:
    """Store the plan of the selected row; `numbers` are the plans in the table's order."""
    rows = _selection(key).get("rows") or []
    if rows and rows[0] < len(numbers):
        choose_plan(numbers[rows[0]])


def _selection(key: str) -> dict[str, Any]:
    event = st.session_state.get(key) or {}
    selection: dict[str, Any] = event.get("selection") or {}
    return selection


def _write(name: str, value: object) -> None:
    if value is None:
        st.query_params.pop(name, None)
    elif st.query_params.get(name) != str(value):
        st.query_params[name] = str(value)
