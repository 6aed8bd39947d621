"""Traffic as pages show it: describe it, or take it from what the gateway saw."""

from datetime import timedelta

import streamlit as st

from core.domain.ids import utc_now
from core.services import workloads
from ui import components, queries, tables
from ui.actions import attempt
from ui.context import uow

HOURS = {1: "last hour", 24: "last day", 168: "last week"}


def workloads_table() -> None:
    """List the workloads, or say why there is none."""
    components.outcome("workload")
    known = queries.all_workloads()
    if not known:
        components.empty_state(
            "No traffic is described yet.",
            "A study plans for a workload: how many requests of each class arrive per second. "
            "Describe one below, or take it from the gateway's records.",
        )
        return
    st.dataframe(
        tables.workloads_frame(known),
        hide_index=True,
        alt="Workloads with their query classes",
        column_config={
            "workload": st.column_config.TextColumn("Workload", pinned=True),
            "source": st.column_config.TextColumn(
                "Numbers are", help="measured by the gateway, or imported: given by a person"
            ),
            "query_class": "Query class",
            "rate_rps": st.column_config.NumberColumn("Requests/s", format="%.3f"),
            "share": st.column_config.ProgressColumn("Share", format="percent"),
            "input_tokens": st.column_config.NumberColumn("Prompt tokens", format="%.0f"),
            "output_tokens": st.column_config.NumberColumn("Answer tokens", format="%.0f"),
            "created_at": st.column_config.DatetimeColumn("Made", format="distance"),
        },
    )


def describe_form() -> None:
    """Describe traffic by a rate per class."""
    classes = sorted({e.query_class for e in queries.estimates()})
    st.markdown("**Describe it**")
    if not classes:
        st.caption("Query classes come from scored answers; score a model first (Quality tab).")
        return
    with st.form("workload_form"):
        st.text_input("Name", "My traffic", key="workload_name")
        for name in classes:
            st.number_input(
                f"{name} (requests per second)",
                min_value=0.0,
                value=1.0,
                step=0.1,
                format="%.2f",
                key=f"workload_rate_{name}",
            )
        st.form_submit_button(
            "Save workload",
            key="workload_save",
            type="primary",
            on_click=_describe,
            args=(classes,),
        )


def from_gateway_form() -> None:
    """Take traffic from the gateway's records."""
    st.markdown("**Take it from the gateway**")
    if not queries.latest_requests(1):
        st.caption("The gateway has not seen a request yet.")
        return
    with st.form("observed_form"):
        st.text_input("Name", "Observed traffic", key="observed_name")
        st.selectbox("Window", list(HOURS), format_func=HOURS.__getitem__, key="observed_hours")
        st.form_submit_button("Take it", key="observed_save", on_click=_observe)


def _describe(classes: list[str]) -> None:
    name = st.session_state["workload_name"].strip() or "My traffic"
    rates = {c: float(st.session_state[f"workload_rate_{c}"]) for c in classes}
    done = f"{name} is saved. Plan for it on the Optimise page."
    attempt("workload", done, workloads.describe, uow(), name, rates, utc_now())


def _observe() -> None:
    name = st.session_state["observed_name"].strip() or "Observed traffic"
    now = utc_now()
    start = now - timedelta(hours=int(st.session_state["observed_hours"]))
    done = f"{name} is saved. Plan for it on the Optimise page."
    attempt("workload", done, workloads.from_gateway, uow(), name, start, now, now)
