"""The router as pages show it: how right it is, what it buys, what a threshold means."""

import streamlit as st

from core.domain.router_report import RouterReport
from core.services import routing
from ui import charts_routing, queries
from ui.formatting import markdown, percent

GIVEN, PREDICTED = "those of the query sets", "bands of what is predicted"
QUIET = {"displayModeBar": False}


def classes_choice() -> None:
    """Ask which classes the classifier is to tell apart."""
    st.radio(
        "Query classes",
        [GIVEN, PREDICTED],
        key="classifier_classes",
        horizontal=True,
        help="Bands need no classes in the query sets: queries with the same expected gain from "
        "the best model are one class. Plan for a workload of the gateway's own records or of "
        "imported prompts afterwards: their classes are the bands.",
    )


def bands_chosen() -> bool:
    """Whether bands were asked for."""
    return st.session_state.get("classifier_classes") == PREDICTED


def router_panel() -> None:
    """Show what is known of the router; nothing without a classifier."""
    if queries.classifier_facts() is None:
        return
    st.subheader("What the router can tell", anchor=False)
    report = queries.router_report()
    if report is None:
        st.markdown(
            "Unknown: two models have to be scored on the same queries, at least 20 of them. "
            "Train the classifier again afterwards."
        )
        return
    _figures(report)
    _threshold(report)
    _calibration(report)


def _figures(report: RouterReport) -> None:
    with st.grid(3, min_column_width=190, gap="small"):
        st.metric(
            "Gap recovered (APGR)",
            "no gap" if report.apgr is None else f"{report.apgr:.2f}",
            border=True,
            help="Mean over all shares of strong calls of how much of the gap between both models "
            "is recovered. Random routing: 0.50.",
        )
        st.metric(
            f"Calls of {markdown(report.strong)} for half the gap",
            percent(report.cpt_50, 0),
            border=True,
            help="CPT(50 %). Random routing: 50 %.",
        )
        st.metric(
            "Compared on",
            f"{report.queries} queries",
            border=True,
            help="Each predicted by models that did not learn from it",
        )


def _threshold(report: RouterReport) -> None:
    share = (
        st.slider(
            f"Share of queries for {markdown(report.strong)}",
            0,
            100,
            50,
            step=2,
            format="%d %%",
            key="router_share",
        )
        / 100
    )
    st.plotly_chart(
        charts_routing.cost_quality(
            charts_routing.points_frame(report.points), report.at(share), report.strong
        ),
        key="router_curve",
        config=QUIET,
        alt="Mean score over the share of queries answered by the strong model, for this router, "
        "a random one and one that knows all outcomes",
    )
    st.markdown(markdown(routing.in_words(report, share)))
    near = routing.examples_at(report, share)
    if near:
        st.caption(f"Queries next to the threshold at {near[0].share:.0%}, the clearest first")
        st.dataframe(
            charts_routing.examples_frame(near, report.weak, report.strong),
            hide_index=True,
            alt="Queries on both sides of the threshold",
            column_config={
                "query": st.column_config.TextColumn("Query", width="large"),
                "gain": st.column_config.NumberColumn("Expected gain", format="percent"),
                "goes to": "Goes to",
                report.weak: st.column_config.NumberColumn(
                    f"{report.weak} scored", format="percent"
                ),
                report.strong: st.column_config.NumberColumn(
                    f"{report.strong} scored", format="percent"
                ),
            },
        )


def _calibration(report: RouterReport) -> None:
    st.plotly_chart(
        charts_routing.reliability(report.models),
        key="router_reliability",
        config=QUIET,
        alt="Mean score over predicted score per model; on the diagonal predictions are right",
    )
    errors = ", ".join(f"{its.model} {percent(its.error)}" for its in report.models)
    st.caption(markdown(f"On the diagonal, predicted scores come true. Mean deviation: {errors}."))
    if report.bands:
        frame = charts_routing.bands_frame(report.bands)
        scores = [name for name in frame.columns if name not in ("class", "queries")]
        st.dataframe(
            frame,
            hide_index=True,
            alt="Predicted and real scores per query class",
            column_config={
                "class": "Query class",
                "queries": "Queries",
                **{name: st.column_config.NumberColumn(format="percent") for name in scores},
            },
        )
