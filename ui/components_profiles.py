"""Profiles as pages show them, and the forms that ask for one."""

import streamlit as st

from core.domain.ids import utc_now
from core.domain.profile import Profile
from core.services import catalog, profiles
from ui import charts, components, queries, tables
from ui.actions import attempt
from ui.context import uow
from ui.formatting import duration, moment

LEVELS = [1, 2, 4, 8, 16, 32, 64, 128]


def profile_results(known: list[Profile]) -> None:
    """Draw the newest profiles and say where each comes from."""
    measured = [p for p in known if p.levels]
    latency = st.segmented_control(
        "Latency",
        list(charts.LATENCY_AXES),
        default="E2E P95",
        required=True,
        key="profile_latency",
        help="E2E: whole answer. TTFT: time to first token. TPOT: time per further token.",
    )
    frame = tables.levels_frame(measured)
    st.plotly_chart(
        charts.profile_curves(frame, str(latency)),
        key="profile_curves",
        config={"displayModeBar": False},
        alt="Latency over throughput per replica kind; numbers are requests in flight",
    )
    st.caption("Numbers at the points: requests kept in flight.")
    for profile in measured:
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(f"**{tables.profile_name(profile)}**", width="content")
            components.provenance(profile.provenance.value, moment(profile.measured_at))
            started = duration(profile.startup_s)
            st.caption(
                f"{profile.engine} on {profile.host}, ready {started} after start",
                width="content",
            )
    _levels_table(frame)


def _levels_table(frame: object) -> None:
    number = st.column_config.NumberColumn
    st.dataframe(
        frame,
        hide_index=True,
        alt="Load levels of the newest profiles",
        column_config={
            "profile": st.column_config.TextColumn("Replica", pinned=True),
            "provenance": "Numbers are",
            "concurrency": number("In flight", help="Requests kept in flight"),
            "requests_per_s": number("Requests/s", format="%.2f"),
            "output_tokens_per_s": number("Tokens/s", format="%.0f"),
            "ttft_p50_ms": number("TTFT P50 (ms)", format="%.0f"),
            "ttft_p95_ms": number("TTFT P95 (ms)", format="%.0f"),
            "tpot_p50_ms": number("TPOT P50 (ms)", format="%.1f"),
            "tpot_p95_ms": number("TPOT P95 (ms)", format="%.1f"),
            "e2e_p50_ms": number("E2E P50 (ms)", format="%.0f"),
            "e2e_p95_ms": number("E2E P95 (ms)", format="%.0f"),
            "e2e_p99_ms": number("E2E P99 (ms)", format="%.0f"),
            "requests": "Requests",
            "errors": "Errors",
            "memory_gib": number("Memory (GiB)", format="%.2f"),
        },
    )


def profile_form() -> None:
    """Ask for a profile of a model on a device type."""
    components.outcome("profile")
    models = [m.name for m in queries.models()]
    skus = queries.skus(queries.devices())
    sets = queries.query_sets()
    if not (models and skus and sets):
        missing = "a model" if not models else "a device" if not skus else "a query set"
        page = "overview" if not models else "inventory" if not skus else "workload"
        components.empty_state(
            f"Nothing to measure yet: {missing} is missing.",
            "A profile drives a model on a device with the queries of a query set. Models are "
            "registered on the next tab, query sets uploaded on Workload & quality.",
            page,
        )
        return
    with st.form("profile_form"):
        st.selectbox("Model", models, key="profile_model")
        st.selectbox("Device type", skus, key="profile_sku")
        st.selectbox("Query set", sets, key="profile_queries", help="What is asked")
        st.multiselect(
            "Requests in flight", LEVELS, default=[1, 4, 16], key="profile_levels", help="Levels"
        )
        with st.container(horizontal=True):
            st.number_input(
                "Devices per replica (TP)",
                1,
                64,
                1,
                key="profile_tp",
                help="Tensor-parallel ranks",
            )
            st.number_input("Seconds per level", 1, 600, 8, key="profile_seconds")
        st.form_submit_button(
            "Start profile", key="profile_start", type="primary", on_click=_request_profile
        )


def model_form() -> None:
    """Register a model."""
    components.outcome("model")
    with st.form("model_form"):
        st.text_input("Name", key="model_name", help="As applications will call it", required=True)
        st.text_input(
            "Folder or Hugging Face id",
            key="model_path",
            required=True,
            placeholder="meta-llama/Llama-3.1-8B-Instruct",
            help="A folder on this machine with config.json and safetensors weights, or an id",
        )
        with st.container(horizontal=True):
            st.number_input("Longest sequence (tokens)", 1, 1_000_000, 1024, key="model_max_len")
            st.number_input("Most sequences in a batch", 1, 4096, 16, key="model_max_seqs")
        st.checkbox(
            "Run code that ships with the model",
            key="model_remote_code",
            help="Only for models you trust: their code runs on this machine",
        )
        st.form_submit_button(
            "Register model", key="model_save", type="primary", on_click=_register_model
        )


def models_table() -> None:
    """Show the registered models and a way to remove one."""
    components.outcome("model_remove")
    known = queries.models()
    st.dataframe(
        tables.models_frame(known),
        hide_index=True,
        alt="Registered models",
        column_config={
            "name": st.column_config.TextColumn("Model", pinned=True),
            "weights_mib": st.column_config.NumberColumn("Weights (MiB)", format="%.1f"),
            "kv_kib_per_token": st.column_config.NumberColumn(
                "Cache per token (KiB)", format="%.1f", help="Key/value cache"
            ),
            "max_model_len": "Longest sequence",
            "max_num_seqs": "Batch limit",
            "remote_code": st.column_config.CheckboxColumn("Own code"),
            "added_at": st.column_config.DatetimeColumn("Added", format="distance"),
            "path": st.column_config.TextColumn("Folder or id", width="medium"),
        },
    )
    with st.popover("Remove a model", icon=":material/delete:"):
        name = st.selectbox("Model", [m.name for m in known], key="model_remove_name")
        st.button(
            "Remove",
            key="model_remove",
            on_click=_remove_model,
            args=(name,),
        )


def _request_profile() -> None:
    chosen = st.session_state
    attempt(
        "profile",
        "The profile waits for its turn.",
        profiles.request_profile,
        uow(),
        chosen["profile_model"],
        chosen["profile_sku"],
        utc_now(),
        tp=int(chosen["profile_tp"]),
        query_set=chosen["profile_queries"],
        concurrencies=tuple(chosen["profile_levels"]),
        seconds_per_level=float(chosen["profile_seconds"]),
    )


def _register_model() -> None:
    chosen = st.session_state
    name = chosen["model_name"].strip()
    attempt(
        "model",
        f"{name} is registered. Profile it to plan with it.",
        catalog.register_model,
        uow(),
        name,
        chosen["model_path"].strip(),
        utc_now(),
        max_model_len=int(chosen["model_max_len"]),
        max_num_seqs=int(chosen["model_max_seqs"]),
        trust_remote_code=bool(chosen["model_remote_code"]),
    )


def _remove_model(name: str) -> None:
    attempt("model_remove", f"{name} is removed.", catalog.remove_model, uow(), name)
