"""Checks of live traffic as pages show them."""

import streamlit as st

from core.domain.check import Drift
from core.services import checks
from ui import queries
from ui.formatting import markdown


def drift_alert() -> None:
    """Say where live quality is not what plans were made with; nothing where all is well."""
    for its in queries.drifts():
        if its.breached:
            st.error(markdown(checks.drift_in_words(its)), icon=":material/trending_down:")


def drift_panel() -> None:
    """Show how live answers agree with the best model's; nothing before there are checks."""
    found = queries.drifts()
    if not found:
        return
    st.subheader("Live checks", anchor=False)
    st.caption(
        "A share of live queries (`BOUTE_CHECK_SHARE`) is also put to the best model of a class. "
        "Two right answers agree, so at least the share that both answered right when they were "
        "scored has to. The interval holds at every moment with 95 %."
    )
    st.dataframe(
        [_row(its) for its in found],
        hide_index=True,
        alt="Agreement of live answers with the best model's, per class and model",
        column_config={
            name: st.column_config.NumberColumn(name, format="percent")
            for name in ("Agreement", "At least", "At most", "Expected")
        },
    )


def _row(its: Drift) -> dict[str, object]:
    return {
        "Model": its.model,
        "Query class": its.query_class,
        "Compared with": its.best,
        "Checks": its.n,
        "Agreement": its.agreement,
        "At least": its.lower,
        "At most": its.upper,
        "Expected": its.expected,
        "State": "below" if its.breached else "as expected" if its.expected else "not known",
    }
