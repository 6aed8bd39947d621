"""The form that predicts a profile from data sheets, for devices that are not at hand."""

import math
from importlib.util import find_spec

import streamlit as st

from core.domain.ids import utc_now
from core.domain.profile import LoadLevel
from core.errors import BOuteError
from core.estimate.hardware import catalogue
from core.services import estimates
from core.services.estimates import Estimate
from ui import components, queries
from ui.actions import attempt
from ui.context import uow
from ui.formatting import markdown, milliseconds

Z90 = 1.645
USUAL_SKU = "H100-SXM-80GB"
RANKS = [1, 2, 4, 8, 16]
TTL_S = 10


def estimate_form() -> None:
    """Predict a model on a device type of the catalogue, show it, and store it when asked."""
    models = [model.name for model in queries.models()]
    if not models:
        return
    components.outcome("estimate")
    form = st.expander("Estimate without measuring", key="estimate_form", on_change="rerun")
    if not form.open:
        return
    with form:
        left, right = st.columns(2)
        left.selectbox("Model", models, key="estimate_model")
        skus = list(catalogue())
        right.selectbox(
            "Device type", skus, skus.index(USUAL_SKU), key="estimate_sku", help="By data sheet"
        )
        left.selectbox("Devices per stage (TP)", RANKS, key="estimate_tp", help="Tensor parallel")
        right.selectbox("Stages (PP)", RANKS, key="estimate_pp", help="Pipeline parallel")
        if find_spec("aiconfigurator_core"):
            st.checkbox("Ask aiconfigurator instead of the roofline", key="estimate_vendor")
        _preview()


def _preview() -> None:
    chosen = st.session_state
    try:
        found = _estimate(
            chosen["estimate_model"],
            chosen["estimate_sku"],
            int(chosen["estimate_tp"]),
            int(chosen["estimate_pp"]),
            bool(chosen.get("estimate_vendor", False)),
        )
    except BOuteError as error:
        components.show_error(error)
        return
    components.provenance(found.profile.provenance.value, f"{found.profile.engine}, not measured")
    _figures(found)
    st.caption(markdown(_basis(found)))
    st.button(
        "Plan with this estimate",
        key="estimate_store",
        on_click=_store,
        help="Stored as predicted; a measured or imported profile of the same stands before it",
    )


@st.cache_data(ttl=TTL_S, show_spinner=False, max_entries=20)
def _estimate(model: str, sku: str, tp: int, pp: int, vendor: bool) -> Estimate:
    return estimates.preview_estimate(uow(), model, sku, utc_now(), tp=tp, pp=pp, vendor=vendor)


def _figures(found: Estimate) -> None:
    sigma = found.profile.relative_error or 0.0
    alone, best = _alone(found), max(found.profile.levels, key=_throughput)
    held = best.concurrency
    columns = st.columns(3)
    columns[0].metric("Time to first token, alone", milliseconds(alone.ttft_ms.mean))
    columns[0].caption(_interval_ms(alone.ttft_ms.mean, sigma))
    columns[1].metric("Time per further token, alone", milliseconds(alone.tpot_ms.mean))
    columns[1].caption(_interval_ms(alone.tpot_ms.mean, sigma))
    columns[2].metric(f"Tokens/s, {held} in flight", f"{_throughput(best):,.0f}")
    low, high = _range(_throughput(best), sigma)
    columns[2].caption(f"90 % between {low:,.0f} and {high:,.0f}")


def _alone(found: Estimate) -> LoadLevel:
    return found.profile.levels[0]


def _throughput(level: LoadLevel) -> float:
    return level.output_tokens_per_s


def _range(value: float, sigma: float) -> tuple[float, float]:
    factor = math.exp(Z90 * sigma)
    return value / factor, value * factor


def _interval_ms(value_ms: float, sigma: float) -> str:
    low, high = _range(value_ms, sigma)
    return f"90 % between {milliseconds(low)} and {milliseconds(high)}"


def _basis(found: Estimate) -> str:
    """Say what the figures rest on."""
    level = found.profile.levels[0]
    lengths = f"{level.input_tokens_mean:.0f} prompt and {level.output_tokens_mean:.0f} answer"
    limits = found.profile.engine_limits
    cache = f" The cache holds {limits.kv_tokens:,} tokens." if limits else ""
    by = ", ".join(found.calibrated_by) or "the same model and device"
    calibrated = (
        f"Calibrated by {found.points} times measured or imported: {by}."
        if found.points
        else "Not calibrated: no profile of a device in the catalogue is known yet."
    )
    return f"For {lengths} tokens. {calibrated}{cache} Data sheet: {found.sku.source}."


def _store() -> None:
    chosen = st.session_state
    attempt(
        "estimate",
        f"The estimate of {chosen['estimate_model']} on {chosen['estimate_sku']} is stored.",
        estimates.estimate_profile,
        uow(),
        chosen["estimate_model"],
        chosen["estimate_sku"],
        utc_now(),
        tp=int(chosen["estimate_tp"]),
        pp=int(chosen["estimate_pp"]),
        vendor=bool(chosen.get("estimate_vendor", False)),
    )
