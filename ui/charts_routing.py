"""Figures about the router: how right its predictions are, and what quality they buy."""

from collections.abc import Sequence

import pandas as pd
import plotly.graph_objects as go

from core.domain.router_report import BandRow, Example, Point, Reliability
from ui.charts import layout
from ui.charts_plan import NEUTRAL


def points_frame(points: Sequence[Point]) -> pd.DataFrame:
    """Return one row per share of strong calls."""
    return pd.DataFrame(
        {
            "share": point.share,
            "threshold": point.threshold,
            "router": point.router,
            "random": point.random,
            "oracle": point.oracle,
        }
        for point in points
    )


def cost_quality(points: pd.DataFrame, chosen: Point, strong: str) -> go.Figure:
    """Draw quality over the share of queries that the strong model answers.

    Args:
        points: As `points_frame` makes it.
        chosen: The point to mark.
        strong: Name of the strong model.
    """
    figure = go.Figure()
    looks = {
        "oracle": ("all outcomes known", {"dash": "dot", "color": NEUTRAL}),
        "router": ("this router", {"width": 3}),
        "random": ("at random", {"dash": "dash", "color": NEUTRAL}),
    }
    for column, (name, line) in looks.items():
        figure.add_scatter(
            x=points["share"],
            y=points[column],
            name=name,
            mode="lines",
            line=line,
            hovertemplate="%{y:.1%} at %{x:.0%}<extra>%{fullData.name}</extra>",
        )
    figure.add_scatter(
        x=[chosen.share],
        y=[chosen.router],
        name="chosen",
        mode="markers",
        marker={"size": 12, "symbol": "diamond"},
        hovertemplate="%{y:.1%} at %{x:.0%}<extra>chosen</extra>",
    )
    figure.update_xaxes(title=f"Queries answered by {strong}", tickformat=".0%", range=[0, 1.02])
    figure.update_yaxes(title="Mean score", tickformat=".0%")
    return layout(figure, 340)


def reliability(models: Sequence[Reliability]) -> go.Figure:
    """Draw how often queries were answered well over what was predicted, in bins."""
    figure = go.Figure()
    figure.add_scatter(
        x=[0, 1],
        y=[0, 1],
        mode="lines",
        name="as predicted",
        line={"dash": "dash", "color": NEUTRAL},
        hoverinfo="skip",
    )
    for its in models:
        figure.add_scatter(
            x=[part.predicted for part in its.bins],
            y=[part.scored for part in its.bins],
            customdata=[part.count for part in its.bins],
            mode="lines+markers",
            name=its.model,
            hovertemplate="predicted %{x:.1%}, scored %{y:.1%} (%{customdata} queries)"
            "<extra>%{fullData.name}</extra>",
        )
    figure.update_xaxes(title="Predicted score", tickformat=".0%", range=[0, 1.02])
    figure.update_yaxes(title="Mean score", tickformat=".0%", range=[0, 1.02])
    return layout(figure, 340)


def bands_frame(bands: Sequence[BandRow]) -> pd.DataFrame:
    """Return one row per class made of predictions; scores by model, predicted and real."""
    return pd.DataFrame(
        {
            "class": band.name,
            "queries": band.count,
            **{f"{model} predicted": mean for model, mean in band.predicted.items()},
            **{f"{model} scored": mean for model, mean in band.scored.items()},
        }
        for band in bands
    )


def examples_frame(examples: Sequence[Example], weak: str, strong: str) -> pd.DataFrame:
    """Return one row per query close to a threshold."""
    return pd.DataFrame(
        {
            "query": example.query,
            "gain": example.gain,
            "goes to": strong if example.goes_strong else weak,
            weak: example.weak_score,
            strong: example.strong_score,
        }
        for example in examples
    )
