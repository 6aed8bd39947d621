"""Numbers as people read them. Pure functions; `NONE` stands where a value is unknown."""

import math
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from core.domain.cascade import CascadeEstimate, CascadeKey
from core.domain.plan import Route, ServingPlan

NONE = "–"
BYTE_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def usd(amount: float | None) -> str:
    """Dollars with as many digits as a small amount needs: `$1,234.00`, `$0.080`, `$0.00042`."""
    if amount is None:
        return NONE
    sign = "-" if amount < 0 else ""
    size = abs(amount)
    if size >= 1 or size == 0:
        return f"{sign}${size:,.2f}"
    digits = min(6, max(3, 1 - math.floor(math.log10(size))))
    return f"{sign}${size:.{digits}f}"


def usd_per_hour(amount: float | None) -> str:
    """Dollars per hour: `$0.080/h`."""
    return NONE if amount is None else f"{usd(amount)}/h"


def seconds(value: float | None) -> str:
    """A latency given in seconds: `340 ms`, `1.23 s`, `2 min 5 s`."""
    if value is None:
        return NONE
    if value < 1:
        return f"{value * 1000:.0f} ms"
    return f"{value:.2f} s" if value < 60 else duration(value)


def milliseconds(value: float | None) -> str:
    """A latency given in milliseconds."""
    return NONE if value is None else seconds(value / 1000)


def duration(value_s: float | None) -> str:
    """A span of time for people: `45 s`, `2 min 5 s`, `3 h 10 min`."""
    if value_s is None:
        return NONE
    whole = max(0, round(value_s))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def percent(fraction: float | None, digits: int = 1) -> str:
    """A fraction 0..1 as a percentage."""
    return NONE if fraction is None else f"{fraction * 100:.{digits}f} %"


def points(difference: float) -> str:
    """A difference of two fractions in percentage points: `+1.5 points`; `0` for none."""
    if abs(difference) < 0.0005:
        return "0"
    return f"{difference * 100:+.1f} points"


def change(value: float | None, against: float | None) -> str | None:
    """Relative change for a metric's delta: `-38 %`; None when it cannot be told.

    No change is `0`: the one text that Streamlit draws without an arrow.
    """
    if value is None or not against:
        return None
    if abs(value / against - 1) < 0.005:
        return "0"
    return f"{(value / against - 1) * 100:+.0f} %"


def rate(rps: float | None) -> str:
    """Requests per second."""
    return NONE if rps is None else f"{rps:.2f} req/s"


def size(count_bytes: float | None) -> str:
    """Bytes in binary units: `3.2 MiB`."""
    if count_bytes is None:
        return NONE
    value, unit = float(count_bytes), BYTE_UNITS[0]
    for unit in BYTE_UNITS:
        if value < 1024 or unit == BYTE_UNITS[-1]:
            break
        value /= 1024
    return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"


def moment(at: datetime | None) -> str:
    """A point in time in UTC: `2026-11-24 02:18`."""
    return NONE if at is None else f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def ago(at: datetime | None, now: datetime) -> str:
    """How long ago something was: `just now`, `5 min ago`, `2 days ago`."""
    if at is None:
        return NONE
    past_s = (now - at).total_seconds()
    if past_s < 60:
        return "just now"
    if past_s < 3600:
        return f"{past_s // 60:.0f} min ago"
    if past_s < 48 * 3600:
        return f"{past_s // 3600:.0f} h ago"
    return f"{past_s // 86400:.0f} days ago"


def markdown(text: str) -> str:
    """Escape what Streamlit's Markdown would swallow: dollar signs start formulas there."""
    return text.replace("$", "\\$").replace("[", "\\[").replace("~", "\\~")


def placement_in_words(plan: ServingPlan) -> str:
    """What runs: `2 x small on cpu-core, 1 x large on cpu-core`."""
    return ", ".join(f"{p.count} x {p.kind.label}" for p in plan.placement) or "nothing"


def interval(low_s: float | None, high_s: float | None) -> str:
    """Return a latency interval: `0.61 to 0.83 s`; empty when its lower end is unknown."""
    if low_s is None:
        return ""
    if high_s is None:
        return f"{low_s:.2f} s or more"
    return f"{low_s:.2f} to {high_s:.2f} s"


def placement_short(plan: ServingPlan) -> str:
    """What runs, for a table cell: `1 x large, 2 x small`; device types only where they differ."""
    mixed = len({p.kind.sku for p in plan.placement}) > 1
    return ", ".join(
        f"{p.count} x {p.kind.label if mixed or p.kind.devices > 1 else p.kind.model}"
        for p in plan.placement
    )


def routing_in_words(plan: ServingPlan, cascades: Iterable[CascadeEstimate] = ()) -> str:
    """Who answers what: `easy to small; hard 70 % to large and 30 % to small`.

    Args:
        cascades: Tell which share of the queries a cascade of the plan passes on.
    """
    escalated = {cascade.key: cascade.escalated for cascade in cascades}
    classes = sorted({route.query_class for route in plan.routing})
    return "; ".join(_class_in_words(name, plan.routes(name), escalated) for name in classes)


def plan_in_words(plan: ServingPlan, cascades: Iterable[CascadeEstimate] = ()) -> str:
    """A whole plan in one sentence."""
    return f"Run {placement_in_words(plan)}. Send {routing_in_words(plan, cascades)}."


def _class_in_words(
    query_class: str, routes: Iterable[Route], escalated: Mapping[CascadeKey, float]
) -> str:
    ranked = sorted(routes, key=lambda route: -route.share)
    if len(ranked) == 1:
        return f"{query_class} queries to {_route_in_words(ranked[0], escalated)}"
    parts = " and ".join(
        f"{percent(route.share, 0)} to {_route_in_words(route, escalated)}" for route in ranked
    )
    return f"{query_class} queries {parts}"


def _route_in_words(route: Route, escalated: Mapping[CascadeKey, float]) -> str:
    """`small`, or `small first, 23 % go on to large when it is unsure`."""
    if route.cascade is None:
        return route.model
    share = escalated.get(route.cascade)
    then = "then" if share is None else f"{percent(share, 0)} go on to"
    return f"{route.model} first, {then} {route.escalate_to} when it is unsure"
