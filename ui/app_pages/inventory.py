"""Inventory: devices, who uses them, and what an hour of each costs."""

import streamlit as st

from core.domain.ids import utc_now
from ui import components, components_inventory, queries
from ui.formatting import ago, markdown

STALE_S = 120
"""Silence of the controller that is worth a word."""

devices = queries.devices()
if not devices:
    components.empty_state(
        "No devices yet: the controller has not reported any.",
        "It looks at this machine when it starts and then every few seconds. Start it with "
        "`boute up`; on a GPU node without devices here, check that `nvidia-smi` works.",
    )
    st.stop()

components.outcome("devices")
prices = queries.current_prices()
newest = max(device.seen_at for device in devices)
silent_s = (utc_now() - newest).total_seconds()
if silent_s > STALE_S:
    st.warning(
        "The controller refreshes this every few seconds. Is it running (`boute up`)?",
        title=f"These numbers are old: last seen {ago(newest, utc_now())}",
        icon=":material/sync_problem:",
    )
else:
    st.caption(f"{len(devices)} devices, last seen {ago(newest, utc_now())}.")
components_inventory.devices_table(devices)

st.subheader("Prices", anchor=False)
missing = [sku for sku in queries.skus(devices) if sku not in prices]
if missing:
    st.warning(
        "Without a price, plans cannot be compared. Owned hardware costs something too: purchase "
        "divided by its lifetime hours, plus power.",
        title=markdown(f"No price yet for {', '.join(missing)}"),
        icon=":material/payments:",
    )
form, history = st.columns(2)
with form:
    components.outcome("price")
    components_inventory.price_form(queries.skus(devices))
with history:
    components_inventory.price_history()
