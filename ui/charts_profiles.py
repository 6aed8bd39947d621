"""Figures about profiles: what was measured, and what the fitted model says to it."""

import pandas as pd
import plotly.graph_objects as go

from ui.charts import layout
from ui.charts_plan import NEUTRAL

LATENCY_AXES = {
    "E2E mean": ("e2e_mean_ms", "Mean end-to-end latency (ms)"),
    "TTFT mean": ("ttft_mean_ms", "Mean time to first token (ms)"),
    "TPOT mean": ("tpot_mean_ms", "Mean time per output token (ms)"),
    "E2E P95": ("e2e_p95_ms", "P95 end-to-end latency (ms)"),
    "TTFT P95": ("ttft_p95_ms", "P95 time to first token (ms)"),
}
COLOURS = ("#3B8FD0", "#E69F00", "#009E73", "#CC79A7", "#8C6BB1", "#D55E00", "#A6761D", "#56B4E9")
"""Seen on white and on black; one per replica kind, again from the start after the last."""
WITHIN = 0.1
"""Half the band about zero that a good prediction stays in."""


def profile_curves(levels: pd.DataFrame, predicted: pd.DataFrame, latency: str) -> go.Figure:
    """Draw latency over throughput: a point per load level, a line per fitted model.

    Points of a kind without a fitted model are joined instead, as are percentiles, which the
    model's mean values say nothing about.

    Args:
        levels: One row per load level, as `ui.tables_profiles.levels_frame` makes it.
        predicted: As `ui.tables_profiles.predicted_frame` makes it.
        latency: A key of `LATENCY_AXES`.
    """
    column, title = LATENCY_AXES[latency]
    figure = go.Figure()
    for number, (name, rows) in enumerate(levels.groupby("profile", sort=False)):
        colour = COLOURS[number % len(COLOURS)]
        line = _line_of(predicted, str(name), column)
        if line is not None:
            _predicted(figure, line, column, str(name), colour)
        _measured(figure, rows[~rows["opened"]], column, str(name), colour, line is None)
        _poisson(figure, rows[rows["opened"]], column, str(name), colour)
    figure.update_xaxes(title="Throughput of one replica (output tokens/s)", rangemode="tozero")
    figure.update_yaxes(title=title, rangemode="tozero")
    return layout(figure, 420)


def residuals(answers: pd.DataFrame) -> go.Figure:
    """Draw how far the fitted model is off, one point per measured answer.

    Args:
        answers: Columns `load`, `measured_s`, `error` (predicted / measured - 1), `input_tokens`
            and `output_tokens`.
    """
    figure = go.Figure()
    for number, (load, rows) in enumerate(answers.groupby("load", sort=False)):
        figure.add_scatter(
            x=rows["measured_s"],
            y=rows["error"],
            mode="markers",
            name=str(load),
            marker={"size": 6, "opacity": 0.7, "color": COLOURS[number % len(COLOURS)]},
            customdata=rows[["input_tokens", "output_tokens"]],
            hovertemplate="measured %{x:.2f} s, predicted %{y:+.0%}<br>%{customdata[0]} prompt, "
            "%{customdata[1]} answer tokens<extra>%{fullData.name}</extra>",
        )
    figure.add_hrect(y0=-WITHIN, y1=WITHIN, line_width=0, fillcolor=NEUTRAL, opacity=0.15)
    figure.add_hline(y=0, line={"color": NEUTRAL, "width": 1})
    figure.update_xaxes(title="Measured end-to-end latency (s)", rangemode="tozero")
    figure.update_yaxes(title="Predicted against measured", tickformat="+.0%")
    return layout(figure, 360)


def _line_of(predicted: pd.DataFrame, name: str, column: str) -> pd.DataFrame | None:
    if predicted.empty or column not in predicted.columns:
        return None
    rows = predicted[predicted["profile"] == name]
    return None if rows.empty else rows


def _measured(
    figure: go.Figure, rows: pd.DataFrame, column: str, name: str, colour: str, joined: bool
) -> None:
    if rows.empty:
        return
    figure.add_scatter(
        x=rows["output_tokens_per_s"],
        y=rows[column],
        mode="lines+markers+text" if joined else "markers+text",
        name=f"{name}, {rows['provenance'].iloc[0]}",
        text=[str(c) for c in rows["concurrency"]],
        textposition="top center",
        marker={"size": 9, "color": colour},
        line={"color": colour},
        customdata=rows[["concurrency", "requests_per_s"]],
        hovertemplate="%{customdata[0]} requests in flight<br>%{x:.0f} output tokens/s "
        "(%{customdata[1]:.2f} requests/s)<br>%{y:.0f} ms<extra>%{fullData.name}</extra>",
    )


def _predicted(figure: go.Figure, line: pd.DataFrame, column: str, name: str, colour: str) -> None:
    figure.add_scatter(
        x=line["output_tokens_per_s"],
        y=line[column],
        mode="lines",
        name=f"{name}, fitted model",
        line={"color": colour, "width": 2, "dash": "dot"},
        customdata=line[["concurrency"]],
        hovertemplate="%{customdata[0]:.1f} requests in flight<br>%{x:.0f} output tokens/s"
        "<br>%{y:.0f} ms<extra>%{fullData.name}</extra>",
    )


def _poisson(figure: go.Figure, rows: pd.DataFrame, column: str, name: str, colour: str) -> None:
    if rows.empty:
        return
    figure.add_scatter(
        x=rows["output_tokens_per_s"],
        y=rows[column],
        mode="markers",
        name=f"{name}, Poisson arrivals",
        marker={"size": 10, "color": colour, "symbol": "diamond-open", "line": {"width": 2}},
        customdata=rows[["rate_rps"]],
        hovertemplate="%{customdata[0]:.2f} arrivals/s<br>%{x:.0f} output tokens/s"
        "<br>%{y:.0f} ms<extra>%{fullData.name}</extra>",
    )
