"""Quality, query sets and the classifier as pages show them."""

from collections.abc import Mapping
from typing import Any

import streamlit as st

from core.domain.ids import utc_now
from core.errors import InvalidInput
from core.quality.query_sets import EXAMPLE, parse_query_set
from core.quality.scorers import SCORERS
from core.services import quality
from ui import charts, components, components_routing, queries, tables
from ui.actions import attempt
from ui.context import uow
from ui.formatting import moment, percent

TEMPLATE = f"""{EXAMPLE}
{{"text": "What is 12 * 13 - 5?", "class": "hard", "reference": "151"}}
"""
SCORER_WORDS = {
    "numeric": "last number in the answer",
    "exact_match": "same text",
    "contains": "answer contains the reference",
    "multiple_choice": "letter of the option chosen",
    "bleu": "BLEU, likeness to the reference",
    "rouge_1": "ROUGE-1, words in common",
    "rouge_2": "ROUGE-2, pairs of words in common",
    "rouge_l": "ROUGE-L, longest common sequence",
}


def quality_results() -> None:
    """Draw quality per model and class with intervals."""
    known = queries.estimates()
    frame = tables.estimates_frame(known)
    with st.container(horizontal=True, vertical_alignment="center"):
        for source in sorted({e.provenance.value for e in known}, reverse=True):
            of_it = [e.measured_at for e in known if e.provenance.value == source]
            components.provenance(source, moment(max(of_it)))
        st.caption("Bars: mean score. Whiskers: 95 % interval.", width="content")
    st.plotly_chart(
        charts.quality_bars(frame),
        key="quality_bars",
        config={"displayModeBar": False},
        alt="Mean score per query class and model with 95 % intervals",
    )
    st.dataframe(
        frame,
        hide_index=True,
        alt="Quality per model and query class",
        column_config={
            "model": "Model",
            "query_class": "Query class",
            "mean": st.column_config.NumberColumn("Mean score", format="percent"),
            "lower": st.column_config.NumberColumn("At least", format="percent"),
            "upper": st.column_config.NumberColumn("At most", format="percent"),
            "n": st.column_config.NumberColumn("Answers", help="Number of scored answers"),
            "metric": st.column_config.TextColumn("Metric", help="What floors are in"),
            "source": "Source",
            "output_tokens": st.column_config.NumberColumn("Tokens per answer", format="%.0f"),
            "measured_at": st.column_config.DatetimeColumn("Measured", format="distance"),
        },
    )


def quality_form() -> None:
    """Ask for a quality measurement."""
    components.outcome("quality")
    models = [m.name for m in queries.models()]
    skus = queries.skus(queries.devices())
    sets = queries.query_sets()
    if not (models and skus and sets):
        components.empty_state(
            "Nothing to score yet: a model, a device and a query set are needed.",
            "Register a model first; query sets are uploaded on the next tab.",
            "models",
        )
        return
    with st.form("quality_form"):
        st.selectbox("Model", models, key="quality_model")
        st.selectbox("Query set", sets, key="quality_queries")
        st.selectbox("Device type", skus, key="quality_sku")
        with st.container(horizontal=True):
            st.number_input(
                "Queries per class", 1, 10_000, 100, key="quality_n", help="More narrows it"
            )
            st.number_input("Devices per replica (TP)", 1, 64, 1, key="quality_tp")
        st.form_submit_button(
            "Start scoring", key="quality_start", type="primary", on_click=_request_quality
        )


def classifier_panel() -> None:
    """Show what is known of the query classifier and let it be trained."""
    components.outcome("classifier")
    facts = queries.classifier_facts()
    if facts is None:
        st.markdown(
            "No classifier yet. It learns from scored answers which class a query belongs to; "
            "the gateway needs it to route queries with `model` set to `auto`."
        )
    else:
        _classifier_facts(facts)
    components_routing.classes_choice()
    st.button(
        "Train the classifier",
        key="classifier_train",
        icon=":material/school:",
        disabled=not queries.estimates(),
        on_click=_train,
    )


def _classifier_facts(facts: Mapping[str, Any]) -> None:
    with st.grid(3, min_column_width=150, gap="small"):
        st.metric("Version", f"{facts.get('version', '')}", border=True)
        if "accuracy" in facts:
            st.metric(
                "Accuracy",
                percent(facts["accuracy"]),
                border=True,
                help="Share of queries it had not seen that got the right class",
            )
        else:
            st.metric("Classes", len(facts.get("classes", ())), border=True)
        st.metric(
            "Queries learned from", f"{facts.get('n', facts.get('n_train', ''))}", border=True
        )
    if facts.get("confusion") and facts.get("classes"):
        st.table(
            charts.confusion_table(facts["classes"], facts["confusion"]),
            width="content",
            alt="Confusion matrix of the classifier",
        )


def query_sets_panel() -> None:
    """List the query sets and take new ones."""
    components.outcome("query_set")
    names = queries.query_sets()
    if names:
        sets = [queries.query_set(name) for name in names]
        st.dataframe(
            {
                "Query set": names,
                "Queries": [len(s.queries) for s in sets],
                "Classes": [", ".join(s.classes) for s in sets],
                "Scored by": [s.scorer for s in sets],
                "Longest answer (tokens)": [s.max_tokens for s in sets],
            },
            hide_index=True,
            alt="Query sets",
        )
    else:
        components.empty_state(
            "No query set yet.",
            "Upload one below. The built-in start on the Overview brings one of its own.",
            "overview",
        )


def _request_quality() -> None:
    chosen = st.session_state
    attempt(
        "quality",
        "Scoring waits for its turn.",
        quality.request_quality,
        uow(),
        chosen["quality_model"],
        chosen["quality_sku"],
        utc_now(),
        tp=int(chosen["quality_tp"]),
        query_set=chosen["quality_queries"],
        per_class=int(chosen["quality_n"]),
    )


def _train() -> None:
    done = "Training waits for its turn."
    bands = components_routing.bands_chosen()
    attempt("classifier", done, quality.request_classifier, uow(), utc_now(), bands=bands)


def query_set_form() -> None:
    """Take a new query set as an uploaded file."""
    st.markdown("One JSON object per line: the question, its class, and the right answer.")
    st.code(TEMPLATE.strip(), language="json", wrap_lines=True)
    st.download_button(
        "Download this template",
        TEMPLATE,
        "queries.jsonl",
        "application/jsonl",
        key="query_set_template",
        icon=":material/download:",
        on_click="ignore",
    )
    with st.form("query_set_form"):
        st.text_input("Name", key="query_set_name", placeholder="support tickets")
        st.file_uploader("File (JSON lines)", type=["jsonl", "json", "txt"], key="query_set_file")
        with st.container(horizontal=True):
            st.selectbox(
                "Scored by",
                list(SCORERS),
                key="query_set_scorer",
                format_func=lambda name: SCORER_WORDS.get(name, name),
            )
            st.number_input("Longest answer (tokens)", 1, 100_000, 128, key="query_set_tokens")
        st.form_submit_button(
            "Save query set", key="query_set_save", type="primary", on_click=_save_query_set
        )


def _save_query_set() -> None:
    chosen = st.session_state

    def save() -> None:
        upload = chosen["query_set_file"]
        if upload is None:
            raise InvalidInput("No file was chosen.", "Choose a file of JSON lines.")
        parsed = parse_query_set(
            chosen["query_set_name"],
            upload.getvalue(),
            chosen["query_set_scorer"],
            int(chosen["query_set_tokens"]),
        )
        quality.save_query_set(uow(), parsed)

    name = chosen["query_set_name"].strip()
    attempt("query_set", f"{name} is saved. Profile and score models with it.", save)
