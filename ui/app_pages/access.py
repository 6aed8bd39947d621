"""Access: who may use the gateway, how much, and with which keys."""

import streamlit as st

from ui import components, components_access, queries

components_access.whether_keys_are_needed()
known = queries.all_tenants()
components.outcome(components_access.TENANTS)
if known:
    components_access.tenants_table(known)
else:
    components.empty_state(
        "No tenant yet.",
        "A tenant is who pays: a team, a product, a customer. It has keys, limits and a budget.",
    )

tenant, keys = st.columns(2)
with tenant:
    st.subheader("Tenant and limits", anchor=False)
    components_access.tenant_form(known)
with keys:
    st.subheader("API keys", anchor=False)
    if known:
        components_access.key_form(known)
        components_access.keys_table(known)
    else:
        st.caption("Keys belong to a tenant: make one first.")
