"""Optimise: search for plans and pick one on the Pareto front."""

import streamlit as st

from core.domain.study import StudyState
from ui import (
    components,
    components_comparison,
    components_front,
    components_infeasible,
    components_jobs,
    components_plan,
    components_scenarios,
    components_studies,
    queries,
    state,
)

components_jobs.watch_active_jobs()
study = components_studies.study_picker()
with st.expander(
    "New study", expanded=study is None, icon=":material/add:", key="new_study", on_change="rerun"
) as form:
    if form.open or study is None:
        components_studies.study_form()
with st.expander("Import a scenario file", icon=":material/upload_file:", key="import_scenario"):
    components_scenarios.import_form()
components.outcome("study")
if study is None:
    components.empty_state(
        "No study yet: there are no plans to choose from.",
        "Start one above. It takes under a minute when nothing is measured live.",
    )
    st.stop()

components_studies.study_limits(study)
components_studies.study_state(study)
components_infeasible.infeasibility(study)
trials = queries.trials(study.study_id)
if not any(trial.on_front or trial.measured for trial in trials):
    if study.state == StudyState.DONE:
        components.empty_state("This study found no plan.", "Relax its limits in a new study.")
    st.stop()

with st.container(horizontal=True, vertical_alignment="center"):
    components_front.front_in_words(trials)
    every_plan = st.toggle("Show every plan tried", key="every_plan")
components_front.front_picker(study, trials, every_plan)
components_comparison.modes(study, trials)

chosen = queries.trial(study.study_id, state.trial_number())
if chosen is None:
    best = components_front.cheapest_within_sla(trials, study.limits.sla_p95_e2e_s)
    with st.container(border=True, horizontal=True, vertical_alignment="center"):
        st.markdown("No plan is chosen yet.", width="stretch")
        if best:
            st.button(
                "Choose the cheapest that meets the wanted latency",
                key="choose_cheapest",
                on_click=state.choose_plan,
                args=(best.number,),
            )
    st.stop()

with st.container(border=True, key="plan_detail"):
    baseline = components_front.best_model_baseline(trials)
    components_plan.plan_detail(chosen, baseline, study.limits, trials)
    with st.container(horizontal=True):
        if st.button(
            "Deploy this plan",
            key="go_deploy",
            type="primary",
            icon=":material/rocket_launch:",
            disabled=not chosen.score.feasible,
        ):
            st.switch_page(components.PAGES["deploy"][0])
        if st.button("What if ...", key="go_whatif", icon=":material/tune:"):
            st.switch_page(components.PAGES["whatif"][0])
