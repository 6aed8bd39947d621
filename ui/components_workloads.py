"""Workloads as pages show them: a list, a picture of one, and copies of it."""

import streamlit as st

from core.domain.ids import utc_now
from core.domain.workload import Workload
from core.services import workloads
from ui import charts_traffic, components, queries, tables, tables_traffic
from ui.actions import attempt
from ui.context import uow
from ui.formatting import NONE, duration, markdown, moment

SHOWN = "workload_shown"
NO_TOOLS = {"displayModeBar": False}
BURSTINESS_HELP = (
    "Coefficient of variation of the gaps between arrivals: 0 is even, 1 is random (Poisson), "
    "more comes in bursts"
)
PAIRS_HELP = "Of the logarithms of prompt and answer length: 1, long prompts get long answers"


def workloads_table() -> None:
    """List the workloads, or say why there is none."""
    components.outcome("workload")
    known = queries.all_workloads()
    if not known:
        components.empty_state(
            "No traffic is described yet.",
            "A study plans for a workload: how many requests of each class arrive per second, "
            "and how long they are. Upload a trace below, describe the traffic, or take it from "
            "the gateway's records.",
        )
        return
    st.dataframe(
        tables.workloads_frame(known),
        hide_index=True,
        placeholder=NONE,
        alt="Workloads with rate, burstiness and trace",
        column_config={
            "workload": st.column_config.TextColumn("Workload", pinned=True),
            "source": st.column_config.TextColumn(
                "Numbers are", help="measured by the gateway, or imported: given by a person"
            ),
            "rate_rps": st.column_config.NumberColumn("Requests/s", format="%.3g"),
            "classes": "Query classes",
            "burstiness": st.column_config.NumberColumn(
                "Burstiness", format="%.2f", help=BURSTINESS_HELP
            ),
            "requests": st.column_config.NumberColumn("Requests in trace", format="localized"),
            "span": "Length of trace",
            "created_at": st.column_config.DatetimeColumn("Made", format="distance"),
        },
    )


def workload_detail() -> None:
    """Show one workload of the list: arrivals, lengths, classes; and make copies of it."""
    known = {w.workload_id: w for w in queries.all_workloads()}
    if not known:
        return
    if st.session_state.get(SHOWN) not in known:
        st.session_state[SHOWN] = next(iter(known))
    chosen = st.selectbox("Show", list(known), format_func=lambda key: known[key].name, key=SHOWN)
    workload = known[chosen]
    _where_from(workload)
    _picture(workload)
    _classes(workload)
    with st.expander("Make a copy", key="workload_copy", icon=":material/content_copy:"):
        scaling, cutting = st.columns(2)
        with scaling:
            _scale_form(workload)
        with cutting:
            _window_form(workload)


def show_workload(workload: Workload) -> str:
    """Let a workload that was just stored be the one shown; return what was done, in words."""
    st.session_state[SHOWN] = workload.workload_id
    return f"{workload.name} is saved. Plan for it on the Optimise page."


def _where_from(workload: Workload) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        components.provenance(workload.provenance.value, moment(workload.created_at))
        if workload.source:
            st.caption(markdown(workload.source), width="content")


def _picture(workload: Workload) -> None:
    if not workload.trace_requests:
        with st.container(horizontal=True, vertical_alignment="center"):
            components.provenance("predicted")
            st.caption(
                "An example drawn from the description: there is no trace.", width="content"
            )
    arrivals, lengths = queries.traffic_picture(workload)
    over_time, pairs = st.columns(2)
    with over_time:
        st.plotly_chart(
            charts_traffic.arrivals_bars(arrivals),
            key="workload_arrivals",
            config=NO_TOOLS,
            alt="Arrivals per second over time, by query class",
        )
    with pairs:
        st.plotly_chart(
            charts_traffic.lengths_scatter(lengths),
            key="workload_lengths",
            config=NO_TOOLS,
            alt="Answer length over prompt length of single requests, by query class",
        )


def _classes(workload: Workload) -> None:
    tokens = st.column_config.NumberColumn
    st.dataframe(
        tables_traffic.classes_frame(workload),
        hide_index=True,
        placeholder=NONE,
        alt=f"Query classes of {workload.name}",
        column_config={
            "query_class": st.column_config.TextColumn("Query class", pinned=True),
            "rate_rps": st.column_config.NumberColumn("Requests/s", format="%.3g"),
            "share": st.column_config.ProgressColumn("Share", format="percent"),
            "input_tokens": tokens("Prompt tokens", format="%.0f", help="Mean"),
            "input_std": tokens("± prompt", format="%.0f", help="Standard deviation"),
            "output_tokens": tokens("Answer tokens", format="%.0f", help="Mean"),
            "output_std": tokens("± answer", format="%.0f", help="Standard deviation"),
            "correlation": tokens("Correlation", format="%.2f", help=PAIRS_HELP),
        },
    )


def _scale_form(workload: Workload) -> None:
    st.markdown("**More or less of it**")
    with st.form("scale_form"):
        st.text_input("Name", f"{workload.name}, scaled", key=_key("scale_name", workload))
        st.number_input(
            "Times its rate",
            min_value=0.01,
            max_value=1000.0,
            value=2.0,
            step=0.1,
            key=_key("scale_factor", workload),
        )
        st.form_submit_button("Save the copy", key="scale_save", on_click=_scale, args=(workload,))


def _window_form(workload: Workload) -> None:
    st.markdown("**A part of its trace**")
    if not workload.trace_requests:
        st.caption("It has no trace to take a part of.")
        return
    end_s = workload.trace_span_s
    st.caption(f"The trace is {end_s:,.0f} s long ({duration(end_s)}).")
    with st.form("window_form"):
        st.text_input("Name", f"{workload.name}, part", key=_key("window_name", workload))
        with st.container(horizontal=True):
            st.number_input("From (s)", 0.0, value=0.0, key=_key("window_start", workload))
            st.number_input("To (s)", 0.0, value=end_s / 2, key=_key("window_end", workload))
        st.form_submit_button(
            "Save the copy", key="window_save", on_click=_window, args=(workload,)
        )


def _key(field: str, workload: Workload) -> str:
    """Return a widget's key that forgets its value when another workload is shown."""
    return f"{field}_{workload.workload_id}"


def _scale(workload: Workload) -> None:
    name = st.session_state[_key("scale_name", workload)].strip() or f"{workload.name}, scaled"
    factor = float(st.session_state[_key("scale_factor", workload)])
    wanted = uow(), workload.workload_id, factor, name, utc_now()
    attempt("workload", show_workload, workloads.scaled_copy, *wanted)


def _window(workload: Workload) -> None:
    name = st.session_state[_key("window_name", workload)].strip() or f"{workload.name}, part"
    start_s, end_s = (
        float(st.session_state[_key(field, workload)]) for field in ("window_start", "window_end")
    )
    wanted = uow(), workload.workload_id, start_s, end_s, name, utc_now()
    attempt("workload", show_workload, workloads.windowed_copy, *wanted)
