"""Figures of traffic: when requests arrive, and how long they are."""

import pandas as pd
import plotly.graph_objects as go

from ui.charts import SPLIT, layout

TIMES = {86400: "days", 3600: "hours", 60: "minutes", 1: "seconds"}
LONG_IN_UNITS = 3.0
"""A unit of time is used from this many of it on."""


def arrivals_bars(arrivals: pd.DataFrame) -> go.Figure:
    """Draw arrivals per second over time, stacked by query class.

    Args:
        arrivals: One row per class and bin, as `ui.tables_traffic.arrivals_frame` makes it.
    """
    bin_s = float(arrivals["bin_s"].iloc[0])
    end_s = float(arrivals["start_s"].max()) + bin_s
    unit_s = next((u for u in TIMES if end_s >= LONG_IN_UNITS * u), 1)
    figure = go.Figure()
    for name, rows in arrivals.groupby("query_class", sort=False):
        figure.add_bar(
            x=(rows["start_s"] + bin_s / 2) / unit_s,
            y=rows["rate_rps"],
            width=bin_s / unit_s,
            marker={"line": {"width": 0}},
            name=str(name),
            hovertemplate="%{y:.3g} requests/s<extra>%{fullData.name}</extra>",
        )
    figure.update_layout(barmode=SPLIT, bargap=0, hovermode="x unified")
    figure.update_xaxes(title=f"Time from the start ({TIMES[unit_s]})", rangemode="tozero")
    figure.update_yaxes(title="Arrivals (requests/s)", rangemode="tozero")
    return layout(figure, 320)


def lengths_scatter(lengths: pd.DataFrame) -> go.Figure:
    """Draw answer length over prompt length, one point per request, both logarithmic.

    Args:
        lengths: One row per request, as `ui.tables_traffic.lengths_frame` makes it.
    """
    figure = go.Figure()
    for name, rows in lengths.groupby("query_class", observed=False):
        figure.add_scatter(
            x=rows["input_tokens"],
            y=rows["output_tokens"],
            mode="markers",
            name=str(name),
            marker={"size": 5, "opacity": 0.45},
            hovertemplate="prompt %{x:,} tokens<br>answer %{y:,} tokens"
            "<extra>%{fullData.name}</extra>",
        )
    figure.update_xaxes(title="Prompt (tokens)", type="log")
    figure.update_yaxes(title="Answer (tokens)", type="log")
    figure.update_layout(legend={"itemsizing": "constant"})
    return layout(figure, 320)
