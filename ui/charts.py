"""Figures about measurements and money: pure functions from frames to Plotly figures.

Colours come from the theme (`.streamlit/config.toml`) wherever a figure does not need one that
means the same in every figure.
"""

from collections.abc import Sequence

import pandas as pd
import plotly.graph_objects as go

SPLIT = "stack"


def layout(figure: go.Figure, height: int = 380) -> go.Figure:
    """Give every figure the same margins and a legend that stays below it on a phone."""
    figure.update_layout(
        height=height,
        margin={"l": 10, "r": 10, "t": 20, "b": 10},
        legend={"orientation": "h", "yanchor": "top", "y": -0.2, "x": 0, "title": None},
        hoverlabel={"align": "left"},
    )
    figure.update_xaxes(automargin=True)
    figure.update_yaxes(automargin=True)
    return figure


def quality_bars(estimates: pd.DataFrame) -> go.Figure:
    """Draw mean quality per class and model with its 95 % interval.

    Args:
        estimates: One row per (model, class), as `ui.tables.estimates_frame` makes it.
    """
    figure = go.Figure()
    for model, rows in estimates.groupby("model", sort=False):
        figure.add_bar(
            x=rows["query_class"],
            y=rows["mean"],
            name=str(model),
            error_y={
                "type": "data",
                "symmetric": False,
                "array": rows["upper"] - rows["mean"],
                "arrayminus": rows["mean"] - rows["lower"],
                "color": "#8A94A0",
                "thickness": 2,
            },
            customdata=rows[["lower", "upper", "n"]],
            hovertemplate="%{y:.1%} right (%{customdata[0]:.1%} to %{customdata[1]:.1%}, "
            "n = %{customdata[2]})<extra>%{fullData.name} on %{x}</extra>",
        )
    figure.update_layout(barmode="group")
    figure.update_yaxes(title="Mean score", range=[0, 1.05], tickformat=".0%")
    figure.update_xaxes(title="Query class")
    return layout(figure, 340)


def routing_bars(routes: pd.DataFrame) -> go.Figure:
    """Draw the share of each query class that each model answers.

    Args:
        routes: Columns `query_class`, `model`, `share` (0..1).
    """
    figure = go.Figure()
    for model, rows in routes.groupby("model"):
        figure.add_bar(
            y=rows["query_class"],
            x=rows["share"],
            name=str(model),
            orientation="h",
            text=[f"{share:.0%}" for share in rows["share"]],
            textposition="inside",
            insidetextanchor="middle",
            hovertemplate="%{x:.0%} of %{y} queries<extra>%{fullData.name}</extra>",
        )
    figure.update_layout(barmode=SPLIT)
    figure.update_xaxes(title=None, tickformat=".0%", range=[0, 1.02], nticks=6)
    names = sorted(routes["query_class"].unique())
    figure.update_yaxes(
        title=None, autorange="reversed", categoryorder="array", categoryarray=names
    )
    layout(figure, 110 + 45 * len(names))
    figure.update_layout(margin={"t": 5}, legend={"y": -0.5 / max(1, len(names))}, bargap=0.35)
    return figure


def confusion_table(classes: Sequence[str], counts: Sequence[Sequence[int]]) -> pd.DataFrame:
    """Return a confusion matrix as a frame: true classes down, predicted across."""
    return pd.DataFrame(
        counts,
        index=[f"is {name}" for name in classes],
        columns=[f"taken for {name}" for name in classes],
    )


def cost_bars(days: pd.DataFrame) -> go.Figure:
    """Draw allocation cost per day, stacked by what it was spent on.

    Args:
        days: Columns `day`, `what`, `usd`.
    """
    figure = go.Figure()
    for what, rows in days.groupby("what", sort=False):
        figure.add_bar(
            x=rows["day"],
            y=rows["usd"],
            name=str(what),
            hovertemplate="$%{y:.4f} on %{x}<extra>%{fullData.name}</extra>",
        )
    figure.update_layout(barmode=SPLIT)
    figure.update_xaxes(title="Day (UTC)", type="category")
    figure.update_yaxes(title="Allocation cost ($)", tickprefix="$", rangemode="tozero")
    return layout(figure, 340)
