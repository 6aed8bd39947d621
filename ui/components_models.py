"""The models that may be served: registering, listing and removing them."""

import streamlit as st

from core.domain.ids import utc_now
from core.services import catalog
from ui import components, queries, tables
from ui.actions import attempt
from ui.context import uow


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
