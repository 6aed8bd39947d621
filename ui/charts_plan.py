"""Figures about plans: the Pareto front one clicks on, and how a change moves it."""

from dataclasses import dataclass

import pandas as pd
import plotly.graph_objects as go

from ui.charts import layout

NEUTRAL = "#8A94A0"
RUNNING = "#E69F00"
CHOSEN = "#D55E00"
CHANGED = "#3B8FD0"
"""Colours that mean the same in every figure and are seen on white and on black."""
LOG_RATIO = 30.0
"""Latencies that differ by more than this are drawn on a logarithmic axis."""
SCALE: dict[str, object] = {
    "orientation": "h",
    "thickness": 10,
    "len": 0.5,
    "x": 1,
    "xanchor": "right",
    "y": 1,
    "yanchor": "bottom",
}
"""A colour bar above the plot, so that a phone keeps its width for the points."""
FRONT = "Pareto front"
FRONT_NOT_OFFERED = "Pareto front, not offered"
PERCENT: dict[str, object] = {"tickformat": ".0%"}
PLAN_HOVER = (
    "<b>Plan %{customdata[0]}</b> · %{customdata[1]}<br>%{customdata[5]:$.4f} per hour<br>"
    "P95 %{y:.2f} s (%{customdata[2]} %{customdata[6]})<br>quality %{customdata[3]:.1%}, "
    "at least %{customdata[4]:.1%}<extra></extra>"
)
HOVER_COLUMNS = [
    "number",
    "origin",
    "provenance",
    "quality",
    "quality_lower",
    "cost",
    "p95_interval",
]


@dataclass(frozen=True)
class View:
    """Which two objectives a front is drawn on; the third is its colour.

    Attributes:
        x: Column across.
        color: Column of the colour.
        scale: What the colour bar looks like.
    """

    x: str
    x_axis: dict[str, object]
    color: str
    scale: dict[str, object]


COST: dict[str, object] = {"title": "Cost ($ per hour)", "tickprefix": "$"}
QUALITY: dict[str, object] = {"title": "Quality (mean score)", "tickformat": ".1%"}
VIEWS = {
    "Cost and latency": View(
        "cost", COST, "quality", {**SCALE, "title": {"text": "Quality", "side": "top"}, **PERCENT}
    ),
    "Quality and latency": View(
        "quality", QUALITY, "cost", {**SCALE, "title": {"text": "$ per hour", "side": "top"}}
    ),
}
"""The second is the view for a fixed budget, and for a front whose plans all cost the same."""


def usual_view(trials: pd.DataFrame) -> str:
    """Return the view that spreads a front out: by quality when all its plans cost the same."""
    costs = trials.loc[trials["on_front"], "cost"]
    one_cost = bool(len(costs)) and float(costs.max() - costs.min()) <= 1e-9
    return "Quality and latency" if one_cost else "Cost and latency"


def pareto(
    trials: pd.DataFrame,
    chosen: int | None = None,
    sla_s: float | None = None,
    budget_usd_per_hour: float | None = None,
    view: str = "Cost and latency",
) -> go.Figure:
    """Draw two objectives of a front with the third as colour; every point is a plan to click on.

    Args:
        trials: One row per trial, as `ui.tables.trials_frame` makes it.
        chosen: Number of the plan to ring.
        sla_s: Wanted P95 latency, drawn as a line.
        budget_usd_per_hour: Most cost, drawn as a line where cost is an axis.
        view: A key of `VIEWS`.
    """
    shown = VIEWS[view]
    drawable = trials[trials["p95_s"].notna()].assign(x=trials[shown.x])
    plain = ~drawable["on_front"] & ~drawable["baseline"]
    figure = go.Figure()
    _plans(figure, drawable[plain], "Other plans", {"color": NEUTRAL, "size": 6, "opacity": 0.45})
    front = drawable[drawable["on_front"]]
    offered = front["not_offered"] == ""
    _front(figure, front[~offered], FRONT_NOT_OFFERED, shown.color, "diamond-tall")
    _front(figure, front[offered], FRONT, shown.color, "circle")
    baselines = drawable[drawable["baseline"]]
    look = {"symbol": "square-open", "color": NEUTRAL, "size": 15, "line": {"width": 2.5}}
    _plans(figure, baselines, "Baselines", look, labels=list(baselines["short_origin"]))
    look = {"symbol": "star-open", "color": RUNNING, "size": 22, "line": {"width": 2.5}}
    _plans(figure, drawable[drawable["running"]], "Running now", look)
    look = {"symbol": "circle-open", "color": CHOSEN, "size": 26, "line": {"width": 3}}
    _plans(figure, drawable[drawable["number"] == chosen], "Chosen", look)
    _limits(figure, sla_s, budget_usd_per_hour if shown.x == "cost" else None)
    _axes(figure, drawable["x"], drawable["p95_s"], shown.x_axis)
    # A scale of one value would only confuse.
    varies = front[shown.color].nunique() > 1
    figure.update_layout(coloraxis={"colorbar": shown.scale, "showscale": varies})
    return figure


def _front(figure: go.Figure, rows: pd.DataFrame, name: str, color: str, symbol: str) -> None:
    """Add plans of the front with their intervals."""
    look = {"color": rows[color], "coloraxis": "coloraxis", "size": 14, "symbol": symbol}
    _plans(figure, rows, name, {**look, "line": {"width": 1, "color": NEUTRAL}})
    figure.update_traces(selector={"name": name}, error_y=p95_interval(rows))


def p95_interval(rows: pd.DataFrame) -> dict[str, object]:
    """Return error bars from `p95_s`, `p95_low_s` and `p95_high_s`; unknown ends are left out."""
    middle = rows["p95_s"].astype(float)
    return {
        "type": "data",
        "symmetric": False,
        "array": (rows["p95_high_s"].astype(float) - middle).fillna(0.0),
        "arrayminus": (middle - rows["p95_low_s"].astype(float)).fillna(0.0),
        "color": NEUTRAL,
        "thickness": 1.2,
        "width": 3,
    }


def whatif_fronts(plans: pd.DataFrame, chosen: int | None = None) -> go.Figure:
    """Draw a front before and after a change, joined plan by plan.

    Args:
        plans: Columns `number`, `cost_before`, `p95_before`, `cost_after`, `p95_after`,
            `feasible_after`; latencies in seconds.
        chosen: Number of the plan to ring.
    """
    figure = go.Figure()
    for row in plans.dropna(subset=["p95_before", "p95_after"]).itertuples():
        figure.add_scatter(
            x=[row.cost_before, row.cost_after],
            y=[row.p95_before, row.p95_after],
            mode="lines",
            line={"color": NEUTRAL, "width": 1, "dash": "dot"},
            hoverinfo="skip",
            showlegend=False,
        )
    kept, broken = plans[plans["feasible_after"]], plans[~plans["feasible_after"]]
    _moved(figure, plans, "before", "As optimised", {"symbol": "circle-open", "color": NEUTRAL})
    _moved(figure, kept, "after", "After the change", {"color": CHANGED, "size": 13})
    _moved(figure, broken, "after", "No longer feasible", {"symbol": "x", "color": CHOSEN})
    ring = {"symbol": "circle-open", "color": RUNNING, "size": 26, "line": {"width": 3}}
    _moved(figure, plans[plans["number"] == chosen], "after", "Chosen", ring)
    costs = pd.concat([plans["cost_before"], plans["cost_after"]])
    latencies_s = pd.concat([plans["p95_before"], plans["p95_after"]]).dropna()
    _axes(figure, costs, latencies_s, COST)
    return figure


def _plans(
    figure: go.Figure,
    rows: pd.DataFrame,
    name: str,
    marker: dict[str, object],
    labels: list[str] | None = None,
) -> None:
    if rows.empty:
        return
    figure.add_scatter(
        x=rows["x"],
        y=rows["p95_s"],
        mode="markers+text" if labels else "markers",
        text=labels,
        textposition="top center",
        name=name,
        marker=marker,
        customdata=rows[HOVER_COLUMNS],
        hovertemplate=PLAN_HOVER,
        # A click selects; without this the plans that were not clicked fade away.
        unselected={"marker": {"opacity": marker.get("opacity", 1.0)}},
    )


def _moved(
    figure: go.Figure, rows: pd.DataFrame, when: str, name: str, marker: dict[str, object]
) -> None:
    drawable = rows.dropna(subset=[f"p95_{when}"])
    if drawable.empty:
        return
    figure.add_scatter(
        x=drawable[f"cost_{when}"],
        y=drawable[f"p95_{when}"],
        mode="markers",
        name=name,
        marker={"size": 11, **marker},
        customdata=drawable[["number"]],
        hovertemplate="Plan %{customdata[0]}<br>%{x:$.4f} per hour<br>P95 %{y:.2f} s"
        "<extra>%{fullData.name}</extra>",
    )


def _limits(figure: go.Figure, sla_s: float | None, budget: float | None) -> None:
    line = {"dash": "dash", "width": 1.5, "color": NEUTRAL}
    if sla_s is not None:
        text = f"wanted P95 {sla_s:g} s"
        figure.add_hline(sla_s, line=line, annotation_text=text, annotation_position="top right")
    if budget is not None:
        text = f"budget {budget:g} $/h"
        figure.add_vline(budget, line=line, annotation_text=text, annotation_position="top left")


def _axes(
    figure: go.Figure, across: pd.Series, latencies_s: pd.Series, x_axis: dict[str, object]
) -> None:
    wide = bool(len(latencies_s) and latencies_s.max() > LOG_RATIO * latencies_s.min() > 0)
    figure.update_xaxes(**x_axis, range=_padded(across, 0.12))
    figure.update_yaxes(title="P95 end-to-end latency (s)", type="log" if wide else "linear")
    if not wide:
        # Fitted to the plans: a wanted latency far away must not press them together.
        figure.update_yaxes(range=_padded(latencies_s, 0.15))
    figure.update_layout(clickmode="event+select", dragmode=False)
    layout(figure, 480)


def _padded(values: pd.Series, share: float) -> list[float] | None:
    if values.empty:
        return None
    low, high = float(values.min()), float(values.max())
    pad = share * (high - low) or 0.1 * abs(high) or 1.0
    return [low - pad, high + pad]
