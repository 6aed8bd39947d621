"""Figures about what a study found."""

import pandas as pd
import plotly.graph_objects as go

from core.domain.comparison import Aim
from ui.charts import layout
from ui.charts_plan import CHANGED, NEUTRAL

AXES = {
    Aim.SAVINGS: ("Cost ($ per hour)", "${:.4g}"),
    Aim.LATENCY: ("P95 end-to-end latency (s)", "{:.3g} s"),
    Aim.THROUGHPUT: ("Sustained requests per second", "{:.3g}"),
}


def comparison_bars(contenders: pd.DataFrame, aim: Aim) -> go.Figure:
    """Draw what the contenders reach, the joint optimum in colour; hatched: misses a limit.

    Args:
        contenders: As `ui.tables_studies.comparison_frame` makes it; those without a plan have no
            bar.
    """
    title, form = AXES[aim]
    drawn = contenders.dropna(subset=["value"])
    figure = go.Figure()
    figure.add_bar(
        y=drawn["approach"],
        x=drawn["value"],
        orientation="h",
        marker={
            "color": [CHANGED if ours else NEUTRAL for ours in drawn["ours"]],
            "pattern": {"shape": ["" if meets else "/" for meets in drawn["meets"]]},
        },
        text=[_label(form, row) for row in drawn.itertuples()],
        textposition="outside",
        cliponaxis=False,
        customdata=drawn[["placement", "note"]],
        hovertemplate="%{y}<br>%{customdata[0]}<br>%{customdata[1]}<extra></extra>",
        showlegend=False,
    )
    # Room for the text beside the longest bar.
    figure.update_xaxes(title=title, range=[0, 1.2 * float(drawn["value"].max() or 1.0)])
    figure.update_yaxes(title=None, autorange="reversed")
    layout(figure, 90 + 42 * max(1, len(drawn)))
    return figure


def _label(form: str, row: object) -> str:
    value = form.format(getattr(row, "value"))  # noqa: B009 - a row of a frame, typed as a tuple
    return value if getattr(row, "meets") else f"{value}, misses a limit"  # noqa: B009
