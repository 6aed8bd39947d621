"""Tenants and API keys as the page shows them, with the ways to change them."""

from collections.abc import Sequence
from typing import Any

import streamlit as st

from core.domain.ids import utc_now
from core.domain.tenant import ApiKey, Tenant
from core.services import tenants as service
from core.services.tenants import IssuedKey, Limits
from ui import components, queries, tables_access
from ui.actions import attempt
from ui.context import settings, uow

TENANTS = "tenants"
KEYS = "keys"
SECRET = "issued_secret"


def whether_keys_are_needed() -> None:
    """Say what the gateway asks of callers, and how to change it."""
    if settings().keys_required:
        st.caption("The gateway answers only requests with a working key.")
    else:
        st.caption(
            "The gateway answers without a key; a known key still says whose request it is. "
            "Start BOute with `BOUTE_API_KEYS=on` to ask for keys."
        )


def tenants_table(known: Sequence[Tenant]) -> None:
    """List tenants; the first column lets their keys in."""
    frame = tables_access.tenants_frame(known, queries.api_keys(), queries.usage_of_month())
    st.data_editor(
        frame,
        key="tenants_editor",
        hide_index=True,
        disabled=[name for name in frame.columns if name != "enabled"],
        on_change=_enable,
        args=([tenant.tenant_id for tenant in known],),
        alt="Tenants with their limits and this month's usage",
        column_config={
            "name": "Tenant",
            "enabled": st.column_config.CheckboxColumn("Let in"),
            "keys": st.column_config.NumberColumn("Keys", help="That work"),
            "requests": st.column_config.NumberColumn("Requests", help="Answered, this month"),
            "tokens": st.column_config.NumberColumn("Tokens", help="In and out, this month"),
            "spent_usd": st.column_config.NumberColumn(
                "Spent ($)",
                format="$%.4f",
                help="This month: device time of the answers on fully used replicas",
            ),
            "budget_usd": st.column_config.NumberColumn("Budget ($/month)", format="$%.2f"),
            "requests_per_minute": "Requests/min",
            "tokens_per_minute": "Tokens/min",
            "quality_floor": st.column_config.NumberColumn("Quality floor", format="%.2f"),
        },
    )


def tenant_form(known: Sequence[Tenant]) -> None:
    """Make a tenant, or set the limits of one."""
    names = {tenant.tenant_id: tenant.name for tenant in known}
    with st.form("tenant_form"):
        chosen = st.selectbox(
            "Tenant",
            ["", *names],
            format_func=lambda tenant_id: names.get(tenant_id, "A new tenant"),
            key="tenant_chosen",
        )
        st.text_input("Name of a new tenant", key="tenant_name", disabled=bool(chosen))
        st.number_input("Budget ($ per month)", value=None, key="tenant_budget")
        st.number_input("Requests per minute", value=None, step=1, key="tenant_requests")
        st.number_input("Tokens per minute", value=None, step=1, key="tenant_tokens")
        st.number_input(
            "Quality floor (0 to 1)",
            value=None,
            key="tenant_floor",
            help="Its `auto` requests go to models whose quality is at least this, surely",
        )
        st.caption("What is left empty has no limit.")
        st.form_submit_button("Save tenant", key="tenant_save", type="primary", on_click=_save)


def key_form(known: Sequence[Tenant]) -> None:
    """Make a key, and show it once."""
    components.outcome(KEYS)
    if secret := st.session_state.get(SECRET):
        st.code(secret, language=None)
        st.caption("Copy it now: only a digest of it is kept, so nobody can show it again.")
        st.button("I have copied it", key="key_copied", on_click=_forget)
    names = {tenant.tenant_id: tenant.name for tenant in known}
    with st.form("key_form"):
        st.selectbox("Tenant", list(names), format_func=names.__getitem__, key="key_tenant")
        st.text_input("What the key is for", key="key_name", placeholder="web shop, staging")
        st.form_submit_button("Make a key", key="key_make", type="primary", on_click=_issue)


def keys_table(known: Sequence[Tenant]) -> None:
    """List every key, newest first, with a way to revoke one."""
    keys = queries.api_keys()[::-1]
    if not keys:
        st.caption("No key was made yet.")
        return
    st.dataframe(
        tables_access.keys_frame(keys, known),
        hide_index=True,
        alt="API keys, newest first",
        column_config={
            "tenant": "Tenant",
            "name": "For",
            "key": "Key",
            "created_at": _moment("Made (UTC)"),
            "revoked_at": _moment("Revoked (UTC)"),
        },
    )
    _revoking([key for key in keys if key.revoked_at is None])


def _revoking(working: Sequence[ApiKey]) -> None:
    labels = {key.key_id: f"{key.name} (…{key.hint})" for key in working}
    if labels:
        with st.container(horizontal=True, vertical_alignment="bottom"):
            st.selectbox("Key", list(labels), format_func=labels.__getitem__, key="key_to_revoke")
            st.button("Revoke it", key="key_revoke", on_click=_revoke)


def _moment(label: str) -> Any:
    return st.column_config.DatetimeColumn(label, format="YYYY-MM-DD HH:mm", timezone="UTC")


def _save() -> None:
    given = st.session_state
    limits = Limits(
        requests_per_minute=given["tenant_requests"],
        tokens_per_minute=given["tenant_tokens"],
        budget_usd_per_month=given["tenant_budget"],
        quality_floor=given["tenant_floor"],
    )
    if chosen := given["tenant_chosen"]:
        attempt(TENANTS, _saved, service.set_limits, uow(), chosen, limits)
    else:
        name = given["tenant_name"]
        attempt(TENANTS, _saved, service.create_tenant, uow(), name, limits, utc_now())


def _saved(tenant: Tenant) -> str:
    return f"{tenant.name} is saved."


def _issue() -> None:
    tenant_id, name = st.session_state["key_tenant"], st.session_state["key_name"]
    attempt(KEYS, _issued, service.issue_key, uow(), tenant_id, name, utc_now())


def _issued(issued: IssuedKey) -> str:
    st.session_state[SECRET] = issued.secret
    return f"This is the key for {issued.key.name}."


def _forget() -> None:
    st.session_state.pop(SECRET, None)


def _revoke() -> None:
    done = "The key no longer works."
    attempt(KEYS, done, service.revoke_key, uow(), st.session_state["key_to_revoke"], utc_now())


def _enable(tenant_ids: list[str]) -> None:
    for row, changes in st.session_state["tenants_editor"]["edited_rows"].items():
        if "enabled" in changes:
            word = "are let in" if changes["enabled"] else "are turned away"
            done = f"Keys of this tenant {word}."
            tenant_id = tenant_ids[int(row)]
            attempt(TENANTS, done, service.set_enabled, uow(), tenant_id, changes["enabled"])
