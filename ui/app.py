"""Entry point of the dashboard: `streamlit run ui/app.py`."""

from pathlib import Path

import streamlit as st

from ui import components, state

LOGO = Path(__file__).parent / "logo.svg"
HELP = {
    "overview": "Where you are in the loop and the one thing to do next.",
    "inventory": "Devices of the fleet, who uses them, and what an hour of each costs.",
    "models": "Register models and measure how fast they run on your devices.",
    "workload": "Measure how good the answers are, and describe the traffic to plan for.",
    "optimise": "Search for plans and pick one on the Pareto front.",
    "whatif": "Change prices, traffic or limits and see what happens to every plan at once.",
    "deploy": "Make a plan real, watch its replicas, ask the gateway, go back.",
    "access": "Tenants, their limits and API keys for the gateway, and what they used.",
    "accuracy": "What was predicted beside what really happened.",
    "costs": "What was spent, per day and model, and what running all on one model would cost.",
}
SECTIONS = {
    "": ["overview"],
    "Fleet": ["inventory", "models"],
    "Optimise": ["workload", "optimise", "whatif"],
    "Serve": ["deploy", "access"],
    "Reports": ["accuracy", "costs"],
}


def _page(key: str) -> st.Page:
    path, title, icon = components.PAGES[key]
    default = key == "overview"
    return st.Page(path, title=title, icon=icon, help=HELP[key], default=default)


st.set_page_config(page_title="BOute", page_icon=":material/route:", layout="wide")
st.logo(str(LOGO), size="large")
page = st.navigation({name: [_page(key) for key in keys] for name, keys in SECTIONS.items()})
state.restore()
st.title(page.title, icon=page.icon)
page.run()
