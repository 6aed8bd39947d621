"""Predicted against measured as pages show it."""

from collections.abc import Sequence
from statistics import median

import streamlit as st

from core.services.accuracy import Pair
from ui import charts_accuracy
from ui.formatting import percent

COMPARABLE_LOAD = (0.8, 1.25)
"""A prediction is for the planned traffic; far from it latency is another one."""


def summary(pairs: Sequence[Pair]) -> None:
    """Show how far predictions were off, over the pairs that ran at about the planned load."""
    fair = [p for p in pairs if _comparable(p)]
    errors = [abs(p.p95_error) for p in fair if p.p95_error is not None]
    inside = [p.inside for p in fair if p.inside is not None]
    with st.grid(3, min_column_width=190, gap="small"):
        st.metric(
            "Median error of P95",
            percent(median(errors)) if errors else "unknown",
            border=True,
            height="stretch",
            help="Predicted P95 end-to-end latency against the measured one",
        )
        st.metric(
            "Inside the predicted interval",
            f"{sum(inside)} of {len(inside)}" if inside else "unknown",
            border=True,
            height="stretch",
            help="Nine of ten should be, if the intervals are honest",
        )
        st.metric(
            "Compared",
            f"{len(fair)} of {len(pairs)}",
            border=True,
            height="stretch",
            help="Plans whose traffic was between 80 % and 125 % of what was planned for",
        )


def scatter(pairs: Sequence[Pair]) -> None:
    """Draw predicted over measured P95."""
    st.plotly_chart(
        charts_accuracy.predicted_over_measured(charts_accuracy.pairs_frame(pairs)),
        key="accuracy_scatter",
        config={"displayModeBar": False},
        alt="Predicted over measured P95 latency; on the diagonal the prediction was right",
    )
    st.caption(
        "On the diagonal the prediction was right; above it the plan was faster than predicted. "
        "Bars are the predicted 90 % intervals."
    )


def table(pairs: Sequence[Pair]) -> None:
    """List every pair."""
    seconds = st.column_config.NumberColumn
    st.dataframe(
        charts_accuracy.pairs_frame(pairs),
        hide_index=True,
        alt="Predicted beside measured, newest first",
        column_order=[
            "plan",
            "placement",
            "source",
            "estimator",
            "p50_predicted_s",
            "p50_measured_s",
            "p95_predicted_s",
            "p95_measured_s",
            "p95_error",
            "load",
            "requests",
            "at",
        ],
        column_config={
            "plan": st.column_config.TextColumn("Plan", pinned=True, width="small"),
            "placement": st.column_config.TextColumn("Runs", width="medium"),
            "source": "Measured by",
            "estimator": st.column_config.TextColumn(
                "Predicted by", help="analytic: queueing formulas; simulated: request by request"
            ),
            "p50_predicted_s": seconds("P50 predicted (s)", format="%.3f"),
            "p50_measured_s": seconds("P50 measured (s)", format="%.3f"),
            "p95_predicted_s": seconds("P95 predicted (s)", format="%.3f"),
            "p95_measured_s": seconds("P95 measured (s)", format="%.3f"),
            "p95_error": st.column_config.NumberColumn(
                "P95 error", format="percent", help="Predicted over measured, less one"
            ),
            "load": st.column_config.NumberColumn(
                "Traffic", format="%.2f x", help="Arrivals, times what was planned for"
            ),
            "requests": st.column_config.NumberColumn("Requests", help="Measured answers"),
            "at": st.column_config.DatetimeColumn("When", format="distance"),
        },
    )


def _comparable(pair: Pair) -> bool:
    low, high = COMPARABLE_LOAD
    return pair.load is not None and low <= pair.load <= high
