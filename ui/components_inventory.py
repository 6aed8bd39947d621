"""Devices and prices as pages show them, with the ways to change them."""

from collections.abc import Sequence

import streamlit as st

from core.domain.fleet import Device
from core.domain.ids import utc_now
from core.services import inventory
from ui import queries, tables
from ui.actions import attempt
from ui.context import uow
from ui.formatting import usd_per_hour


def devices_table(devices: Sequence[Device]) -> None:
    """List the devices; the first column lets BOute use them or not."""
    frame = tables.devices_frame(devices, queries.replicas())
    st.data_editor(
        frame,
        key="devices_editor",
        hide_index=True,
        disabled=[
            name for name in tables.devices_frame(devices[:1], []).columns if name != "enabled"
        ],
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


def price_form(skus: Sequence[str]) -> None:
    """Put a price into force."""
    with st.form("price_form"):
        st.selectbox("Device type", skus, key="price_sku")
        st.number_input(
            "Price of one device ($ per hour)",
            value=0.04,
            step=0.01,
            format="%.4f",
            key="price_usd",
            help="In force from now on; bills for earlier hours keep the earlier price",
        )
        st.form_submit_button("Save price", key="price_save", type="primary", on_click=_save_price)


def price_history() -> None:
    """List every price there was."""
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
