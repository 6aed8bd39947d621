"""Cascades as pages show them: which there are, what they buy, what a threshold means."""

import streamlit as st

from core.domain.cascade import CascadeEstimate
from core.services import cascades
from ui import charts_cascades, queries
from ui.formatting import markdown, percent

QUIET = {"displayModeBar": False}
SEEN_HOURS = 24.0


def cascades_panel() -> None:
    """Show the cascades a plan may use; nothing before two models are scored."""
    quality = {(e.model, e.query_class): e for e in queries.estimates()}
    if len({model for model, _ in quality}) < 2:
        return
    st.subheader("Cascades", anchor=False)
    st.markdown(
        "One model answers first. When it was unsure (its tokens were improbable on average), its "
        "answer is thrown away and a better model answers. Both calls are in a plan's cost and "
        "latency; plans use cascades whose calls cost less than the better model's alone."
    )
    known = queries.known_cascades()
    if not known:
        st.markdown(
            "None is worth having so far. Score two models on the same queries, at least 30 per "
            "class; a cascade is offered where the better model is right when the other is unsure."
        )
        return
    _table(known)
    _seen()
    chosen = _choose(known)
    same = [its for its in known if its.key[:3] == chosen.key[:3]]
    st.plotly_chart(
        charts_cascades.cascade_quality(same, quality),
        key="cascade_curve",
        config=QUIET,
        alt="Mean score of cascades over the share of queries that go on, with 95 % intervals, "
        "against drawing by lot",
    )
    st.plotly_chart(
        charts_cascades.confidence_histogram(
            queries.confident_answers(chosen.query_class, chosen.model), chosen.threshold
        ),
        key="cascade_confidence",
        config=QUIET,
        alt=f"How sure {chosen.model} was of right and of wrong answers, and the threshold",
    )
    st.markdown(markdown(cascades.in_words(chosen, quality)))


def _table(known: list[CascadeEstimate]) -> None:
    st.dataframe(
        charts_cascades.cascades_frame(known),
        hide_index=True,
        alt="Cascades per query class",
        column_config={
            "query_class": "Query class",
            "route": "Asked",
            "threshold": st.column_config.NumberColumn(
                "Unsure below",
                format="%.4f",
                help="Mean log-probability of the answer's tokens, natural logarithm; 0 is sure",
            ),
            "escalated": st.column_config.NumberColumn("Go on", format="percent"),
            "mean": st.column_config.NumberColumn("Mean score", format="percent"),
            "lower": st.column_config.NumberColumn(
                "At least",
                format="percent",
                help="95 % bound that holds although the threshold is chosen by it",
            ),
            "n": st.column_config.NumberColumn("Queries", help="Answered by both models"),
        },
    )


def _seen() -> None:
    """Say how many queries went on lately, where any was judged."""
    seen = cascades.observed(queries.requests_since(SEEN_HOURS))
    told = [
        f"{query_class or 'unclassified'} queries, {model} first: "
        f"{percent(its.escalated / its.judged, 0)} of {its.judged} went on"
        for (query_class, model), its in sorted(seen.items())
    ]
    if told:
        st.caption(markdown(f"Seen by the gateway in the last 24 h: {'; '.join(told)}."))


def _choose(known: list[CascadeEstimate]) -> CascadeEstimate:
    keys = [its.key for its in known]
    picked = st.selectbox(
        "What a threshold means",
        range(len(keys)),
        key="cascade_chosen",
        format_func=lambda place: (
            f"{known[place].query_class}: {known[place].model}, else {known[place].escalate_to}, "
            f"below {known[place].threshold:.4f}"
        ),
    )
    return known[picked if picked < len(known) else 0]
