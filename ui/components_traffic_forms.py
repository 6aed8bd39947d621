"""The forms that new workloads come from: a file, a description, the gateway."""

from datetime import timedelta

import streamlit as st

from core.domain.ids import utc_now
from core.domain.workload import Workload
from core.errors import InvalidInput
from core.services import workloads
from core.services.workloads import Lengths
from ui import queries
from ui.actions import attempt
from ui.components_workloads import BURSTINESS_HELP, show_workload
from ui.context import uow

HOURS = {1: "last hour", 24: "last day", 168: "last week"}
FILE_TYPES = ["csv", "tsv", "txt", "jsonl", "ndjson", "json", "parquet"]
MOST_MIB = 64
TIME_UNITS = {"": "find out", "s": "seconds", "ms": "milliseconds", "us": "microseconds"}
LENGTHS = {
    "input_tokens_mean": "prompt tokens",
    "input_tokens_std": "± prompt",
    "output_tokens_mean": "answer tokens",
    "output_tokens_std": "± answer",
}
"""Fields of `Lengths` that can be given per class."""


def upload_form() -> None:
    """Import a trace from a file."""
    st.markdown(
        "CSV, JSON lines or Parquet with one request per row: arrival time, prompt tokens and "
        "answer tokens; also its query class, or the prompt, if the file has them. Columns of "
        "common traces (Azure, BurstGPT, Mooncake) are recognised by name."
    )
    with st.form("trace_form"):
        st.text_input("Name", key="trace_name", placeholder="The file's name")
        st.file_uploader("Trace", type=FILE_TYPES, key="trace_file", max_upload_size=MOST_MIB)
        with st.container(horizontal=True):
            st.selectbox(
                "Times are in",
                list(TIME_UNITS),
                format_func=TIME_UNITS.__getitem__,
                key="trace_unit",
                help="Found out: by the column's name, or as time since 1970; else seconds",
            )
            st.text_input(
                "Class of requests without one",
                "all",
                key="trace_class",
                help="Prompts are classified instead where a query classifier is trained",
            )
        st.form_submit_button("Import", key="trace_save", type="primary", on_click=_upload)


def describe_form() -> None:
    """Describe traffic by rates, lengths and burstiness."""
    classes = sorted({e.query_class for e in queries.estimates()})
    if not classes:
        st.caption("Query classes come from scored answers; score a model first (Quality tab).")
        return
    with st.form("workload_form"):
        st.text_input("Name", "My traffic", key="workload_name")
        with st.grid(4, min_column_width=150):
            for name in classes:
                st.number_input(
                    f"{name} (requests per second)",
                    min_value=0.0,
                    value=1.0,
                    step=0.1,
                    format="%.2f",
                    key=f"workload_rate_{name}",
                )
            st.number_input(
                "Burstiness",
                min_value=0.0,
                max_value=workloads.MOST_BURSTINESS,
                value=1.0,
                step=0.1,
                key="workload_burstiness",
                help=BURSTINESS_HELP,
            )
        with st.expander("Lengths", icon=":material/straighten:"):
            st.caption("Empty: means as measured, no deviation.")
            for name in classes:
                _lengths_row(name)
        st.form_submit_button(
            "Save workload",
            key="workload_save",
            type="primary",
            on_click=_describe,
            args=(classes,),
        )


def from_gateway_form() -> None:
    """Take traffic from the gateway's records."""
    if not queries.latest_requests(1):
        st.caption("The gateway has not seen a request yet.")
        return
    st.markdown("Requests as they came, one by one. Those without token counts count as arrivals.")
    with st.form("observed_form"):
        st.text_input("Name", "Observed traffic", key="observed_name")
        st.selectbox("Window", list(HOURS), format_func=HOURS.__getitem__, key="observed_hours")
        st.form_submit_button("Take it", key="observed_save", type="primary", on_click=_observe)


def _lengths_row(query_class: str) -> None:
    with st.grid(4, min_column_width=150):
        for field, words in LENGTHS.items():
            st.number_input(
                f"{query_class}: {words}",
                min_value=0.0,
                max_value=float(workloads.MOST_TOKENS),
                value=None,
                key=f"workload_{field}_{query_class}",
            )


def _upload() -> None:
    chosen = st.session_state

    def run() -> Workload:
        upload = chosen["trace_file"]
        if upload is None:
            raise InvalidInput("No file was chosen.", "Choose a CSV, JSONL or Parquet file.")
        return workloads.import_trace(
            uow(),
            chosen["trace_name"].strip() or upload.name,
            upload.getvalue(),
            upload.name,
            utc_now(),
            default_class=chosen["trace_class"],
            time_unit=chosen["trace_unit"] or None,
            classify=queries.prompt_classifier(),
        )

    attempt("workload", show_workload, run)


def _describe(classes: list[str]) -> None:
    chosen = st.session_state

    def run() -> Workload:
        return workloads.describe(
            uow(),
            chosen["workload_name"].strip() or "My traffic",
            {c: float(chosen[f"workload_rate_{c}"]) for c in classes},
            utc_now(),
            burstiness=float(chosen["workload_burstiness"]),
            lengths={c: _given_lengths(c) for c in classes},
        )

    attempt("workload", show_workload, run)


def _given_lengths(query_class: str) -> Lengths:
    given = {field: st.session_state[f"workload_{field}_{query_class}"] for field in LENGTHS}
    return Lengths(**{field: value for field, value in given.items() if value is not None})


def _observe() -> None:
    name = st.session_state["observed_name"].strip() or "Observed traffic"
    now = utc_now()
    start = now - timedelta(hours=int(st.session_state["observed_hours"]))
    attempt("workload", show_workload, workloads.from_gateway, uow(), name, start, now, now)
