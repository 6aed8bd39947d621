"""Parts that pages share: outcomes, empty states, provenance, links between pages."""

from collections.abc import Sequence

import streamlit as st

from core.domain.profile import Provenance
from core.errors import BOuteError
from ui import actions
from ui.formatting import markdown

PROVENANCE = {
    Provenance.MEASURED.value: ("green", ":material/straighten:", "Measured on real replicas"),
    Provenance.PREDICTED.value: ("blue", ":material/calculate:", "Predicted by the estimator"),
    Provenance.IMPORTED.value: ("gray", ":material/input:", "Given by a person or a file"),
}
PAGES = {
    "overview": ("app_pages/overview.py", "Overview", ":material/home:"),
    "inventory": ("app_pages/inventory.py", "Inventory", ":material/memory:"),
    "models": ("app_pages/models.py", "Models & profiling", ":material/speed:"),
    "workload": ("app_pages/workload.py", "Workload & quality", ":material/fact_check:"),
    "optimise": ("app_pages/optimise.py", "Optimise", ":material/scatter_plot:"),
    "whatif": ("app_pages/whatif.py", "What-if", ":material/tune:"),
    "deploy": ("app_pages/deploy.py", "Deploy", ":material/rocket_launch:"),
    "access": ("app_pages/access.py", "Access", ":material/key:"),
    "accuracy": ("app_pages/accuracy.py", "Accuracy", ":material/target:"),
    "costs": ("app_pages/costs.py", "Costs", ":material/payments:"),
}
"""Key -> file, title and icon; also what `ui.app` builds its navigation from."""


def show_error(error: BOuteError) -> None:
    """Show what went wrong and what to do about it."""
    st.error(
        markdown(error.hint) or "See the controller's log for details.",
        title=markdown(error.message),
        icon=":material/error:",
    )


def outcome(where: str) -> None:
    """Show how the last write from this place went; once."""
    last = actions.take_outcome(where)
    if last is None:
        return
    if last.ok:
        st.success(markdown(last.text), icon=":material/check_circle:")
    else:
        st.error(
            markdown(last.hint or "Nothing was changed."),
            title=markdown(last.text),
            icon=":material/error:",
        )


def name_in_file(label: str, known: Sequence[str], key: str, help_text: str) -> None:
    """Ask for a name that an imported file may not say: a known one or a new one."""
    st.selectbox(
        label,
        known,
        index=None,
        accept_new_options=True,
        key=key,
        placeholder="As the file says",
        help=help_text,
    )


def link(page: str, label: str | None = None, icon: str | None = None) -> None:
    """Link to a page of the dashboard by its key."""
    path, title, own_icon = PAGES[page]
    st.page_link(path, label=label or title, icon=icon or own_icon)


def empty_state(why: str, next_step: str, page: str | None = None, label: str = "") -> None:
    """Say why there is nothing to see, and what to do next."""
    with st.container(border=True):
        st.markdown(f":material/inbox: **{markdown(why)}**")
        st.markdown(markdown(next_step))
        if page:
            link(page, label or None)


def provenance(kind: str, detail: str = "") -> None:
    """Label where numbers come from: measured, predicted or imported."""
    color, icon, explanation = PROVENANCE[str(kind)]
    text = f"{kind} · {markdown(detail)}" if detail else str(kind)
    st.badge(text, icon=icon, color=color, help=explanation)  # type: ignore[arg-type]


def provenance_word(kind: str) -> str:
    """The same label for running Markdown text."""
    color, icon, _ = PROVENANCE[str(kind)]
    return f":{color}-badge[{icon} {kind}]"
