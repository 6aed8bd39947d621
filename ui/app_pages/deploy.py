"""Deploy: make a plan real, watch it, ask it, go back."""

import streamlit as st

from ui import components, components_ask, components_deploy, components_serving, queries, state

components.outcome(components_deploy.PLACE)
deployment = queries.current_deployment()
chosen = queries.trial(state.study_id(), state.trial_number())

wanted, running = st.columns(2)
with wanted:
    st.subheader("Chosen plan", anchor=False)
    if chosen is None:
        components.empty_state(
            "No plan is chosen.",
            "Click a point of a Pareto front on the Optimise page, then come back.",
            "optimise",
            "Choose a plan",
        )
    else:
        components_deploy.chosen_plan(chosen, str(state.study_id()))
with running:
    st.subheader("Running plan", anchor=False)
    if deployment is None:
        components.empty_state(
            "Nothing is served.",
            "The gateway answers 503 until a plan is active. Choose a plan and deploy it.",
        )
    components_deploy.running_plan(deployment)

if deployment:
    st.subheader("Ask the gateway", anchor=False)
    box, how = st.columns(2)
    with box:
        components_ask.ask_box()
    with how:
        components_serving.gateway_addresses()
    with st.container(horizontal=True, vertical_alignment="center"):
        st.subheader("Last hour: measured against predicted", anchor=False, width="content")
        st.button("Refresh", key="live_refresh", type="tertiary", on_click=queries.refresh)
    components_deploy.live_against_predicted(deployment)

if queries.all_deployments():
    st.subheader("History", anchor=False)
    components_deploy.history()
