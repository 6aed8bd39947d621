"""The bill as pages show it."""

import streamlit as st

from core.domain.cost import Purpose
from core.reporting.costs import Comparison, CostReport, Totals, cost_csv
from ui import charts, queries, tables
from ui.components import provenance
from ui.formatting import NONE, change, duration, markdown, percent, usd

MONEY = "$%.4f"


def totals(report: CostReport) -> None:
    """Show what was spent so far, and on what."""
    total = report.total
    provenance("measured", "device time held, times the price then in force")
    with st.grid(4, min_column_width=160, gap="small"):
        st.metric(
            "Spent so far",
            markdown(usd(total.cost_usd)),
            border=True,
            height="stretch",
            help="Allocation cost: device time held by replicas, times the price then in force",
        )
        st.metric(
            "For serving",
            markdown(usd(report.by_purpose[Purpose.SERVING])),
            border=True,
            height="stretch",
        )
        st.metric(
            "For measuring",
            markdown(usd(report.by_purpose[Purpose.MEASURING])),
            border=True,
            height="stretch",
            help="Profiles, quality and live studies",
        )
        st.metric(
            "Per million answer tokens",
            markdown(usd(total.usd_per_million_tokens)),
            border=True,
            height="stretch",
            help="Serving cost, idle time included, over the answer tokens of "
            f"{total.requests:,} requests",
        )


def missing_prices(report: CostReport) -> None:
    """Say which device time could not be billed."""
    for sku, device_s in report.unpriced_device_seconds.items():
        st.warning(
            f"{duration(device_s)} of {markdown(sku)} had no price in force and are not in the "
            "sums. Set a price on the Inventory page for the time from now on.",
            title="Part of the time has no price",
            icon=":material/payments:",
        )


def comparison(compared: Comparison | None) -> None:
    """Show the bill against running everything on the best model."""
    if compared is None:
        st.caption("Deploy a plan of a study to compare with running all on the best model.")
        return
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown("**Against running everything on the best model**", width="content")
            provenance("predicted", "counterfactual")
        with st.grid(3, min_column_width=160, gap="small"):
            st.metric("Serving really cost", markdown(usd(compared.actual_usd)))
            st.metric("It would have cost", markdown(usd(compared.baseline_usd)))
            saved = compared.saving_usd
            st.metric(
                "Saved" if saved is None or saved >= 0 else "Cost more by",
                markdown(usd(abs(saved))) if saved is not None else NONE,
                change(compared.actual_usd, compared.baseline_usd) if saved else None,
                delta_color="inverse",
            )
        notes = "; ".join(compared.notes) or "all on the best model"
        left_out = (
            f" {duration(compared.hours_without * 3600)} served by plans without such a "
            "prediction are left out."
            if compared.hours_without
            else ""
        )
        st.caption(
            markdown(
                f"The same {duration(compared.hours * 3600)}, predicted by the same estimator at "
                f"the same traffic: {notes}.{left_out}"
            )
        )


def spending(report: CostReport) -> None:
    """Draw spending per day and list it per model."""
    days = tables.costs_frame(report.rows)
    st.plotly_chart(
        charts.cost_bars(days),
        key="cost_bars",
        config={"displayModeBar": False},
        alt="Allocation cost per day, stacked by model and purpose",
    )
    st.dataframe(
        tables.totals_frame(report.by_model),
        hide_index=True,
        alt="Cost per model",
        column_config={
            "name": "Model",
            "device_hours": st.column_config.NumberColumn("Device hours", format="%.2f"),
            "serving_usd": st.column_config.NumberColumn("Serving", format=MONEY),
            "measuring_usd": st.column_config.NumberColumn("Measuring", format=MONEY),
            "requests": "Requests answered",
            "output_tokens": "Answer tokens",
            "usd_per_million_tokens": st.column_config.NumberColumn(
                "$ per million answer tokens", format="$%.3f"
            ),
        },
    )
    st.download_button(
        "Download as CSV",
        cost_csv(report),
        "boute-costs.csv",
        "text/csv",
        key="costs_csv",
        icon=":material/download:",
        on_click="ignore",
    )


def latest_requests() -> None:
    """List what the gateway saw last."""
    records = queries.latest_requests()
    if not records:
        st.caption("The gateway has not seen a request yet.")
        return
    st.dataframe(
        tables.requests_frame(records),
        hide_index=True,
        alt="Latest requests through the gateway",
        column_config={
            "at": st.column_config.DatetimeColumn(
                "When (UTC)", format="YYYY-MM-DD HH:mm:ss", timezone="UTC"
            ),
            "query_class": "Query class",
            "model": "Answered by",
            "status": "HTTP status",
            "ttft_ms": st.column_config.NumberColumn("First token (ms)", format="%.0f"),
            "e2e_ms": st.column_config.NumberColumn("Whole answer (ms)", format="%.0f"),
            "input_tokens": "Prompt tokens",
            "output_tokens": "Answer tokens",
            "asked_for": "Asked for",
        },
    )


def share_answered(totals_by_model: dict[str, Totals]) -> str:
    """Return which model answered how much, in words."""
    answered = sum(t.requests for t in totals_by_model.values())
    return ", ".join(
        f"{model} {percent(t.requests / answered, 0)}"
        for model, t in totals_by_model.items()
        if answered and t.requests
    )
