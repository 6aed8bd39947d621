"""What-if: change prices, traffic or limits and see every plan of the front move at once."""

import streamlit as st

from core.errors import BOuteError
from core.services.whatif import Change
from ui import components, components_front, components_studies, components_whatif, queries, state

study = components_studies.study_picker()
trials = queries.trials(study.study_id) if study else []
front = [trial for trial in trials if trial.on_front]
if study is None or not front:
    components.empty_state(
        "No study with a front yet: there is nothing to play with.",
        "A study finds the plans that this page re-scores.",
        "optimise",
        "Create a study",
    )
    st.stop()

owned = components_whatif.owned_devices()
change = components_whatif.controls(study, owned)
try:
    scores = queries.what_if(study, front, change)
except BOuteError as error:
    components.show_error(error)
    st.stop()

with st.container(horizontal=True, vertical_alignment="center"):
    components.provenance("predicted", "by the estimator, from measured profiles")
    st.caption(
        "Nothing is changed yet: move a control."
        if change == Change()
        else f"Compared with the study's {len(front)} plans as optimised.",
        width="content",
    )
components_whatif.fronts(front, scores, state.trial_number())

chosen = queries.trial(study.study_id, state.trial_number())
if chosen not in front:
    chosen = components_front.cheapest_within_sla(trials, study.limits.sla_p95_e2e_s)
    st.caption("No plan of the front is chosen; this is the cheapest within the wanted latency.")
if chosen in front:
    components_whatif.chosen_plan(chosen, scores[front.index(chosen)])
with st.container(horizontal=True, vertical_alignment="center"):
    components_whatif.export(study, chosen, change)
    components.link("optimise", "Choose another plan")
