"""Workload & quality: how good the answers are, and which traffic to plan for."""

import streamlit as st

from core.domain.ids import utc_now
from ui import (
    components,
    components_cascades,
    components_checks,
    components_jobs,
    components_judge,
    components_outcomes,
    components_quality,
    components_routing,
    components_traffic_forms,
    components_workloads,
    queries,
)

components_jobs.watch_active_jobs()
components_jobs.failures(queries.all_jobs(), utc_now())

quality_tab, sets_tab, traffic_tab = st.tabs(
    ["Quality", "Query sets", "Traffic"], key="workload_tabs", on_change="rerun"
)
if quality_tab.open:
    with quality_tab:
        if queries.estimates():
            components_quality.quality_results()
        else:
            components.empty_state(
                "No answer was scored yet: quality is unknown.",
                "Score each model on a query set whose answers are known; plans are held to the "
                "lower bound of what you measure here.",
            )
        scoring, classifier = st.columns(2)
        with scoring:
            st.subheader("Score a model", anchor=False)
            components_quality.quality_form()
        with classifier:
            st.subheader("Query classifier", anchor=False)
            components_quality.classifier_panel()
        with st.expander("Have answers judged", icon=":material/balance:"):
            components_judge.judge_form()
        with st.expander("Import scored answers", icon=":material/upload_file:"):
            components_outcomes.outcomes_form()
        components_checks.drift_alert()
        components_checks.drift_panel()
        components_cascades.cascades_panel()
        components_routing.router_panel()
if sets_tab.open:
    with sets_tab:
        components_quality.query_sets_panel()
        st.subheader("Upload a query set", anchor=False)
        components_quality.query_set_form()
if traffic_tab.open:
    with traffic_tab:
        components_workloads.workloads_table()
        components_workloads.workload_detail()
        st.subheader("Add traffic", anchor=False)
        uploaded, described, observed = st.tabs(
            ["Upload a trace", "Describe it", "From the gateway"], key="traffic_tabs"
        )
        with uploaded:
            components_traffic_forms.upload_form()
        with described:
            components_traffic_forms.describe_form()
        with observed:
            components_traffic_forms.from_gateway_form()
