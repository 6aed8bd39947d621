"""Costs: what was spent, per day and model, and against running all on the best model."""

import streamlit as st

from core.reporting.costs import why_not
from ui import components, components_costs, queries
from ui.formatting import moment

report = queries.cost_report()
why = why_not(report)
if why:
    page = "inventory" if report.rows else "overview"
    components.empty_state(why, "Device time is billed from the start of a replica on.", page)
    st.stop()

components_costs.missing_prices(report)
components_costs.totals(report)
components_costs.comparison(report.comparison)
st.subheader("Per day and model", anchor=False)
st.caption(
    f"Allocation cost: a device that a replica holds costs, busy or not. Until "
    f"{moment(report.made_at)}."
)
components_costs.spending(report)
st.subheader("Latest requests", anchor=False)
answered = components_costs.share_answered(report.by_model)
if answered:
    st.caption(f"Answered so far: {answered}.")
components_costs.latest_requests()
