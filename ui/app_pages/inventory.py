"""Inventory: devices, who uses them, and what an hour of each costs."""

import streamlit as st

from core.domain.ids import utc_now
from core.services import inventory
from ui import components, queries, tables
from ui.actions import attempt
from ui.context import uow
from ui.formatting import ago, markdown, usd_per_hour

STALE_S = 120
"""Silence of the controller that is worth a word."""


def _enable(device_ids: list[str]) -> None:
    edits = st.session_state["devices_editor"]["edited_rows"]
    for row, changes in edits.items():
        if "enabled" in changes:
            word = "may be used" if changes["enabled"] else "is left alone from now on"
            device_id = device_ids[int(row)]
            done = f"{device_id} {word}."
            attempt("devices", done, inventory.set_enabled, uow(), device_id, changes["enabled"])


def _save_price() -> None:
    sku, usd = st.session_state["price_sku"], float(st.session_state["price_usd"])
    done = f"From now on one {sku} costs {usd_per_hour(usd)}."
    attempt("price", done, inventory.set_price, uow(), sku, usd, utc_now())


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
st.data_editor(
    tables.devices_frame(devices, queries.replicas()),
    key="devices_editor",
    hide_index=True,
    disabled=[name for name in tables.devices_frame(devices[:1], []).columns if name != "enabled"],
    on_change=_enable,
    args=([device.device_id for device in devices],),
    alt="Devices of the fleet",
    column_order=[
        "enabled",
        "node",
        "index",
        "sku",
        "memory",
        "used_gib",
        "total_gib",
        "utilisation",
        "power_w",
        "held_by",
        "note",
    ],
    column_config={
        "enabled": st.column_config.CheckboxColumn("Use it", help="Whether BOute may use it"),
        "node": "Node",
        "index": st.column_config.NumberColumn("Index", width="small"),
        "sku": "Device type",
        "memory": st.column_config.ProgressColumn(
            "Memory in use", format="percent", help="By anybody, other programs included"
        ),
        "used_gib": st.column_config.NumberColumn("Used (GiB)", format="%.1f"),
        "total_gib": st.column_config.NumberColumn("Total (GiB)", format="%.1f"),
        "utilisation": st.column_config.NumberColumn("Busy", format="percent"),
        "power_w": st.column_config.NumberColumn("Power (W)", format="%.0f"),
        "held_by": st.column_config.TextColumn("Held by", help="Replica that runs on it"),
        "note": "Note",
    },
)

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
    with st.form("price_form"):
        st.selectbox("Device type", queries.skus(devices), key="price_sku")
        st.number_input(
            "Price of one device ($ per hour)",
            value=0.04,
            step=0.01,
            format="%.4f",
            key="price_usd",
            help="In force from now on; bills for earlier hours keep the earlier price",
        )
        st.form_submit_button("Save price", key="price_save", type="primary", on_click=_save_price)
with history:
    if queries.prices():
        st.dataframe(
            tables.prices_frame(queries.prices()),
            hide_index=True,
            alt="Price history, newest first",
            column_config={
                "sku": "Device type",
                "usd_per_hour": st.column_config.NumberColumn("$ per hour", format="$%.4f"),
                "valid_from": st.column_config.DatetimeColumn(
                    "In force from (UTC)", format="YYYY-MM-DD HH:mm", timezone="UTC"
                ),
            },
        )
    else:
        st.caption("The price history starts with the first price you save.")
