"""Entry point of the dashboard: `streamlit run ui/app.py`."""

import streamlit as st

from ui import components, state

HELP = {
    "overview": "Where you are in the loop and the one thing to do next.",
    "inventory": "Devices of the fleet, who uses them, and what an hour of each costs.",
    "models": "Register models and measure how fast they run on your devices.",
    "workload": "Measure how good the answers are, and describe the traffic to plan for.",
    "optimise": "Search for plans and pick one on the Pareto front.",
    "whatif": "Change prices, traffic or limits and see what happens to every plan at once.",
    "deploy": "Make a plan real, watch its replicas, ask the gateway, go back.",
    "costs": "What was spent, per day and model, and what running all on one model would cost.",
}
SECTIONS = {
    "": ["overview"],
    "Fleet": ["inventory", "models"],
    "Optimise": ["workload", "optimise", "whatif"],
    "Serve": ["deploy"],
    "Reports": ["costs"],
}


def _page(key: str) -> st.Page:
    path, title, icon = components.PAGES[key]
    default = key == "overview"
    return st.Page(path, title=title, icon=icon, help=HELP[key], default=default)


st.set_page_config(page_title="BOute", page_icon=":material/route:", layout="wide")
page = st.navigation({name: [_page(key) for key in keys] for name, keys in SECTIONS.items()})
state.restore()
st.title(page.title, icon=page.icon)
page.run()
