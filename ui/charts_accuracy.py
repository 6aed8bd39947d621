"""Figures about predictions that met reality; pure functions."""

from collections.abc import Sequence

import pandas as pd
import plotly.graph_objects as go

from core.services.accuracy import Pair
from ui.charts import layout
from ui.charts_plan import NEUTRAL, p95_interval
from ui.formatting import placement_short


def pairs_frame(pairs: Sequence[Pair]) -> pd.DataFrame:
    """Return one row per pair; times in seconds, errors as fractions."""
    return pd.DataFrame(
        {
            "plan": pair.plan.plan_id[:6],
            "placement": placement_short(pair.plan),
            "source": pair.source.value,
            "estimator": pair.predicted.estimator or "analytic",
            "p50_predicted_s": pair.predicted.p50_e2e_s,
            "p50_measured_s": pair.p50_e2e_s,
            "p95_predicted_s": pair.predicted.p95_e2e_s,
            "p95_low_s": pair.predicted.p95_e2e_low_s,
            "p95_high_s": pair.predicted.p95_e2e_high_s,
            "p95_measured_s": pair.p95_e2e_s,
            "p95_error": pair.p95_error,
            "load": pair.load,
            "requests": pair.requests,
            "at": pair.at,
        }
        for pair in pairs
    )


def predicted_over_measured(pairs: pd.DataFrame) -> go.Figure:
    """Draw predicted over measured P95 latency with the predicted intervals.

    Args:
        pairs: As `pairs_frame` makes it.
    """
    figure = go.Figure()
    drawable = pairs[pairs["p95_predicted_s"].notna()]
    for source, rows in drawable.groupby("source", sort=False):
        figure.add_scatter(
            x=rows["p95_measured_s"],
            y=rows["p95_predicted_s"],
            mode="markers",
            name=str(source),
            marker={"size": 11},
            error_y=p95_interval(rows.rename(columns={"p95_predicted_s": "p95_s"})),
            customdata=rows[["plan", "placement", "p95_error"]],
            hovertemplate="<b>Plan %{customdata[0]}</b><br>%{customdata[1]}<br>predicted "
            "%{y:.3f} s, measured %{x:.3f} s (%{customdata[2]:+.1%})<extra></extra>",
        )
    most = float(drawable[["p95_predicted_s", "p95_measured_s"]].to_numpy().max(initial=0.0))
    figure.add_scatter(
        x=[0, most * 1.1],
        y=[0, most * 1.1],
        mode="lines",
        name="predicted = measured",
        line={"color": NEUTRAL, "dash": "dot"},
        hoverinfo="skip",
    )
    figure.update_xaxes(title="Measured P95 latency (s)", rangemode="tozero")
    figure.update_yaxes(title="Predicted P95 latency (s)", rangemode="tozero")
    return layout(figure)
