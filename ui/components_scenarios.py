"""Scenario files as pages show them: take one in."""

import streamlit as st

from core.domain.ids import utc_now
from core.services import scenarios
from ui import components
from ui.actions import attempt
from ui.context import uow

OUTCOME = "scenario"


def import_form() -> None:
    """Ask for a scenario file, and say what came of the last one."""
    components.outcome(OUTCOME)
    st.caption(
        "Adds its workload, profiles and quality to what is known here. Nothing that was measured "
        "here is replaced, models and devices are not added. The What-if page writes such files."
    )
    with st.form("scenario_form", clear_on_submit=True):
        st.file_uploader("Scenario (YAML)", ["yaml", "yml"], key="scenario_file")
        st.form_submit_button("Import", key="scenario_import", on_click=_import)


def _import() -> None:
    uploaded = st.session_state["scenario_file"]

    def store() -> scenarios.ImportSummary:
        content = uploaded.getvalue() if uploaded else b""
        return scenarios.import_scenario(uow(), content, utc_now())

    attempt(OUTCOME, lambda summary: str(summary.in_words), store)
