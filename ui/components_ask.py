"""The box that asks the gateway a question and shows which decision it took."""

import streamlit as st

from core.errors import BOuteError
from ui import components, queries
from ui.context import gateway_url, settings
from ui.formatting import markdown, milliseconds
from ui.gateway_client import GatewayAnswer, ask

LAST = "last_answer"
EXAMPLE = "What is 3 + 4?"


def ask_box() -> None:
    """Ask through the gateway, as an application would, and show answer and decision."""
    with st.form("ask_form", border=True):
        question = st.text_input(
            "Question", EXAMPLE, key="ask_text", help="Sent with model set to auto"
        )
        key = ""
        if settings().keys_required:
            key = st.text_input("API key", type="password", key="ask_key", help="See Access")
        sent = st.form_submit_button("Ask the gateway", key="ask_send", icon=":material/send:")
    if sent and question.strip():
        with st.spinner("Waiting for the answer"):
            _ask(question.strip(), key.strip())
    answer: GatewayAnswer | BOuteError | None = st.session_state.get(LAST)
    if isinstance(answer, BOuteError):
        components.show_error(answer)
    elif answer:
        _show(answer)


def _ask(question: str, key: str) -> None:
    try:
        st.session_state[LAST] = ask(gateway_url(), question, key=key)
    except BOuteError as error:
        st.session_state[LAST] = error
    queries.refresh()


def _show(answer: GatewayAnswer) -> None:
    with st.container(border=True, key="ask_answer"):
        st.caption(markdown(answer.question))
        st.text(answer.text)
        with st.container(horizontal=True, gap="xsmall"):
            for name in ("class", "model", "plan", "replica"):
                if name in answer.decision:
                    st.badge(markdown(f"{name}: {answer.decision[name][:12]}"), color="blue")
            st.badge(f"took {milliseconds(answer.e2e_ms)}", color="gray")
