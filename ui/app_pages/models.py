"""Models & profiling: what can be served, and how fast it runs."""

import streamlit as st

from core.domain.ids import utc_now
from ui import (
    components,
    components_estimates,
    components_import,
    components_jobs,
    components_models,
    components_profiles,
    queries,
)

components_jobs.watch_active_jobs()
jobs = queries.all_jobs()
components_jobs.failures(jobs, utc_now())

profiles_tab, models_tab, jobs_tab = st.tabs(
    ["Profiles", "Models", "Jobs"], key="models_tabs", on_change="rerun"
)
if profiles_tab.open:
    with profiles_tab:
        profiles = queries.latest_profiles()
        if profiles:
            components_profiles.profile_results(profiles)
        else:
            components.empty_state(
                "No profile yet: nothing is known about speed.",
                "Measure a model on a device type below; it takes a few minutes per model.",
            )
        st.subheader("Measure a profile", anchor=False)
        components_profiles.profile_form()
        components_estimates.estimate_form()
        st.subheader("Import measurements", anchor=False)
        components_import.import_form()
if models_tab.open:
    with models_tab:
        if queries.models():
            components_models.models_table()
        else:
            components.empty_state(
                "No model is registered.",
                "Register one below, or start with the built-in models on the Overview.",
                "overview",
            )
        st.subheader("Register a model", anchor=False)
        components_models.model_form()
if jobs_tab.open:
    with jobs_tab:
        if jobs:
            components_jobs.jobs_table(jobs)
        else:
            components.empty_state(
                "No job was ever started.",
                "Profiles, quality measurements and studies run as jobs and are listed here.",
            )
