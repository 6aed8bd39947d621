"""The dashboard's one door to the rest of the product, opened once per process."""

import streamlit as st

from core.entrypoints.dashboard import Dashboard, build_dashboard
from core.ports import UnitOfWorkFactory
from core.settings import Settings


@st.cache_resource(show_spinner=False)
def dashboard() -> Dashboard:
    """Return what the composition root built."""
    return build_dashboard()


def uow() -> UnitOfWorkFactory:
    """Return the function that opens a transaction."""
    return dashboard().uow


def settings() -> Settings:
    """Return the settings of this process."""
    return dashboard().settings


def gateway_url() -> str:
    """Return where this host reaches the gateway; a wildcard address is not one to call."""
    host = settings().host
    return f"http://{'127.0.0.1' if host in {'0.0.0.0', '::'} else host}:{settings().gateway_port}"
