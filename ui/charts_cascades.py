"""Figures about cascades: what quality they buy by how many queries go on."""

import math
from collections.abc import Mapping, Sequence

import pandas as pd
import plotly.graph_objects as go

from core.domain.cascade import CascadeEstimate
from core.domain.quality import QualityEstimate
from ui.charts import layout
from ui.charts_plan import CHANGED, CHOSEN, NEUTRAL


def cascades_frame(known: Sequence[CascadeEstimate]) -> pd.DataFrame:
    """Return one row per cascade."""
    return pd.DataFrame(
        {
            "query_class": its.query_class,
            "route": f"{its.model}, else {its.escalate_to}",
            "threshold": its.threshold,
            "escalated": its.escalated,
            "mean": its.mean,
            "lower": its.lower,
            "n": its.n,
        }
        for its in known
    )


def cascade_quality(
    known: Sequence[CascadeEstimate], quality: Mapping[tuple[str, str], QualityEstimate]
) -> go.Figure:
    """Draw the mean score over the share of queries that go on, from one model to the other.

    Args:
        known: Cascades of one query class and one pair of models.
        quality: Per (model, class); gives both ends, where known.
    """
    ordered = sorted(known, key=lambda its: its.escalated)
    first = ordered[0]
    ends = [quality.get((model, first.query_class)) for model in (first.model, first.escalate_to)]
    figure = go.Figure()
    if ends[0] and ends[1]:
        figure.add_scatter(
            x=[0, 1],
            y=[ends[0].mean, ends[1].mean],
            name="drawn by lot",
            mode="lines+markers",
            line={"dash": "dash", "color": NEUTRAL},
            text=[f"{first.model} alone", f"{first.escalate_to} alone"],
            hovertemplate="%{text}: %{y:.1%}<extra></extra>",
        )
    figure.add_scatter(
        x=[its.escalated for its in ordered],
        y=[its.mean for its in ordered],
        name="cascade",
        mode="lines+markers",
        error_y={
            "type": "data",
            "symmetric": False,
            "array": [its.upper - its.mean for its in ordered],
            "arrayminus": [its.mean - its.lower for its in ordered],
            "color": NEUTRAL,
            "thickness": 2,
        },
        customdata=[(its.lower, its.upper, its.threshold) for its in ordered],
        hovertemplate="%{y:.1%} (%{customdata[0]:.1%} to %{customdata[1]:.1%}) when %{x:.0%} go on"
        "<br>threshold %{customdata[2]:.4f}<extra></extra>",
    )
    figure.update_xaxes(title="Queries that go on", tickformat=".0%", range=[-0.02, 1.02])
    figure.update_yaxes(title="Mean score", tickformat=".0%", range=[0, 1.05])
    return layout(figure, 340)


def confidence_histogram(answers: Sequence[tuple[float, float]], threshold: float) -> go.Figure:
    """Draw how sure a model was when it was right and when it was wrong.

    Args:
        answers: Mean token log-probability and score of each answer; right is half or more.
        threshold: Below it, answers are thrown away.
    """
    figure = go.Figure()
    for name, color, right in (("right", CHANGED, True), ("wrong", CHOSEN, False)):
        figure.add_histogram(
            x=[math.exp(sure) for sure, score in answers if (score >= 0.5) is right],
            name=name,
            marker={"color": color},
            xbins={"start": 0, "end": 1.0001, "size": 0.025},
            hovertemplate="%{y} answers with tokens of %{x}<extra>%{fullData.name}</extra>",
        )
    figure.add_vline(x=math.exp(threshold), line={"dash": "dash", "color": NEUTRAL})
    figure.update_layout(barmode="stack")
    figure.update_xaxes(title="Probability of its tokens, geometric mean", tickformat=".0%")
    figure.update_yaxes(title="Answers")
    return layout(figure, 280)
