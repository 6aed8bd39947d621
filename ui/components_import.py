"""The form that imports measurements of other tools, and what was understood of them."""

import streamlit as st

from core.domain.ids import utc_now
from core.domain.profile import Profile
from core.errors import InvalidInput
from core.importing.formats import ImportedProfiles
from core.services import imports
from ui import components, queries, tables
from ui.actions import attempt
from ui.context import uow
from ui.formatting import markdown

LAST = "import_last"
ROUND = "import_round"
"""Counts imports that succeeded: the form begins empty after each, and is kept after an error."""
TYPES = ["json", "jsonl", "csv", "txt"]
EXPLANATION = (
    "Results of `vllm bench serve`, GuideLLM, AIPerf and AIBrix throughput grids as JSON, or a "
    "CSV table of your own. They are labelled imported; a profile measured here stands before "
    "them."
)


def import_form() -> None:
    """Ask for files of one tool, store the profiles in them, and say what was understood."""
    st.markdown(EXPLANATION)
    components.outcome("import")
    last: ImportedProfiles | None = st.session_state.pop(LAST, None)
    if last is not None:
        _understood(last)
    with st.form("import_form"):
        st.file_uploader(
            "Files of one tool",
            TYPES,
            accept_multiple_files=True,
            key=_key("files"),
            help="Several files, such as one per concurrency, are joined",
        )
        with st.container(horizontal=True):
            _names()
        st.form_submit_button("Import", key="import_start", type="primary", on_click=_import)


def _names() -> None:
    components.name_in_file(
        "Model",
        [model.name for model in queries.models()],
        _key("model"),
        "Name in BOute, where the file says none or another one",
    )
    components.name_in_file(
        "Device type",
        queries.skus(queries.devices()),
        _key("sku"),
        "Most tools do not write down which device they measured",
    )
    st.number_input("TP", 1, 64, 1, key=_key("tp"), help="Devices per stage: tensor parallel")
    st.number_input("PP", 1, 64, 1, key=_key("pp"), help="Stages: pipeline parallel")


def _key(field: str) -> str:
    return f"import_{field}_{st.session_state.get(ROUND, 0)}"


def _understood(found: ImportedProfiles) -> None:
    with st.container(border=True):
        for profile in found.profiles:
            with st.container(horizontal=True, vertical_alignment="center"):
                st.markdown(f"**{markdown(tables.profile_name(profile))}**", width="content")
                components.provenance(profile.provenance.value, found.format)
                st.caption(_levels(profile), width="content")
        if found.notes:
            st.markdown("\n".join(f"- {markdown(note)}" for note in found.notes))


def _levels(profile: Profile) -> str:
    closed = [level.concurrency for level in profile.levels if level.rate_rps is None]
    rates = [level.rate_rps for level in profile.levels if level.rate_rps is not None]
    parts = []
    if closed:
        loops = _count(len(closed), "closed-loop level")
        parts.append(f"{loops} ({_span(closed)} in flight)")
    if rates:
        parts.append(f"{_count(len(rates), 'open-loop level')} ({_span(rates)} requests/s)")
    return ", ".join(parts)


def _span(values: list[int] | list[float]) -> str:
    low, high = min(values), max(values)
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"


def _import() -> None:
    chosen = st.session_state

    def run() -> ImportedProfiles:
        files = [(upload.name, upload.getvalue()) for upload in chosen[_key("files")]]
        if not files:
            raise InvalidInput("No file was chosen.", "Choose the files a tool has written.")
        return imports.import_profiles(
            uow(),
            files,
            utc_now(),
            model=(chosen[_key("model")] or "").strip(),
            gpu=(chosen[_key("sku")] or "").strip(),
            tp=int(chosen[_key("tp")]),
            pp=int(chosen[_key("pp")]),
        )

    attempt("import", _done, run)


def _done(found: ImportedProfiles) -> str:
    st.session_state[LAST] = found
    st.session_state[ROUND] = st.session_state.get(ROUND, 0) + 1
    levels = sum(len(profile.levels) for profile in found.profiles)
    made, of = _count(levels, "load level"), _count(len(found.profiles), "profile")
    return f"Imported from {found.format}: {made} in {of}."


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
