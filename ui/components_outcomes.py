"""The form that takes in answers which others scored, and what was understood of them."""

import streamlit as st

from core.domain.ids import utc_now
from core.errors import InvalidInput
from core.importing.outcomes import Given
from core.services.outcomes import TakenIn, import_outcomes
from ui import components, queries
from ui.actions import attempt
from ui.context import uow
from ui.formatting import markdown

LAST = "outcomes_last"
ROUND = "outcomes_round"
"""Counts imports that succeeded: the form begins empty after each, and is kept after an error."""
TYPES = ["csv", "tsv", "jsonl", "ndjson", "json", "parquet", "txt"]
MOST_MIB = 64
EXPLANATION = (
    "CSV, JSON lines or Parquet with a row per query and model (columns `query`, `model`, "
    "`score` from 0 to 1; also `query_class` and `output_tokens`), or with a row per query and "
    "columns like `score__MODEL`. Samples that lm-evaluation-harness logs "
    "(`--log_samples`) are read as they are; name the model for them. Quality that was measured "
    "here stands before imported quality."
)


def outcomes_form() -> None:
    """Ask for a file of scored answers, store them, and say what was understood."""
    st.markdown(EXPLANATION)
    components.outcome("outcomes")
    last: TakenIn | None = st.session_state.pop(LAST, None)
    if last is not None and last.notes:
        st.markdown("\n".join(f"- {markdown(note)}" for note in last.notes))
    with st.form("outcomes_form"):
        st.file_uploader("Scored answers", TYPES, key=_key("file"), max_upload_size=MOST_MIB)
        with st.container(horizontal=True):
            components.name_in_file(
                "Model",
                [model.name for model in queries.models()],
                _key("model"),
                "Which model answered, where the file does not say",
            )
            st.text_input(
                "Query class",
                key=_key("class"),
                placeholder="As the file says",
                help="Of queries without one; for the harness's samples the task",
            )
            st.text_input(
                "Metric",
                key=_key("metric"),
                placeholder="The first one",
                help="Which of several metrics to take; floors are in it",
            )
        st.form_submit_button(
            "Import scored answers", key="outcomes_start", type="primary", on_click=_import
        )


def _key(field: str) -> str:
    return f"outcomes_{field}_{st.session_state.get(ROUND, 0)}"


def _import() -> None:
    chosen = st.session_state

    def run() -> TakenIn:
        upload = chosen[_key("file")]
        if upload is None:
            raise InvalidInput("No file was chosen.", "Choose a file of scored answers.")
        given = Given(chosen[_key("model")] or "", chosen[_key("class")], chosen[_key("metric")])
        return import_outcomes(uow(), upload.name, upload.getvalue(), utc_now(), given)

    attempt("outcomes", _done, run)


def _done(taken: TakenIn) -> str:
    st.session_state[LAST] = taken
    st.session_state[ROUND] = st.session_state.get(ROUND, 0) + 1
    found = taken.found
    return (
        f"{len(found.outcomes):,} scored answers of {', '.join(found.models)} in "
        f"{len(found.classes)} query classes were taken in ({found.metric})."
    )
