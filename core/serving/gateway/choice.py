"""Which model answers: as the active plan says, as the caller named it, never below a floor."""

from collections.abc import Collection

from core.domain.tenant import Tenant
from core.errors import NotReady
from core.serving.gateway.body import AUTO, Ask
from core.serving.gateway.dispatch import RETRY_AFTER_S
from core.serving.gateway.errors import UNAVAILABLE, ApiError
from core.serving.gateway.judging import can_be_judged
from core.serving.gateway.state import View
from core.serving.gateway.trace import Trace, storable


def choose(
    view: View, ask: Ask, tenant: Tenant | None, trace: Trace, without: Collection[str] = ()
) -> None:
    """Set model and class of a request.

    A tenant's floor holds for `auto`; who names a model gets it.

    Args:
        without: Models that do not answer, whatever the view says.

    Raises:
        ApiError: 404 no such model, 503 nothing can answer, or nothing good enough.
    """
    if view.router is None:
        raise _not_ready(str(view.why_not_ready()), "no_active_plan")
    if ask.model != AUTO:
        _require_known(view, ask.model)
        trace.model = ask.model
        return
    floor = tenant.quality_floor if tenant else None
    try:
        _route(view, ask, floor, trace, without)
    except NotReady as error:
        raise _not_ready(str(error), "no_ready_replica") from error


def _route(
    view: View, ask: Ask, floor: float | None, trace: Trace, without: Collection[str]
) -> None:
    assert view.router is not None
    earlier = tuple(map(storable, ask.earlier))
    models = tuple(m for m in view.models if m not in without) if without else view.models
    decision = view.router.choose(storable(ask.text or ""), models, earlier)
    if decision.confidence:  # without a classifier the class is only the router's way out
        trace.query_class = decision.query_class
    trace.model, trace.escalate_to = decision.model, decision.escalate_to
    if decision.escalate_to:
        trace.threshold = decision.threshold
        if not can_be_judged(ask.payload):
            trace.model, trace.escalate_to = decision.escalate_to, ""
    if floor is not None and not _good_enough(view, trace, decision.query_class, floor):
        trace.model, trace.escalate_to = _better(view, decision.query_class, floor), ""


def _good_enough(view: View, trace: Trace, query_class: str, floor: float) -> bool:
    if not trace.escalate_to:
        return _reaches(view, trace.model, query_class, floor)
    key = (query_class, trace.model, trace.escalate_to, trace.threshold)
    return view.cascades.get(key, -1.0) >= floor


def _better(view: View, query_class: str, floor: float) -> str:
    """The least good model that reaches the floor: better ones cost more.

    Those on the class's own route come first, because the plan has room for the class there.
    """
    good = [model for model in view.models if _reaches(view, model, query_class, floor)]
    if not good:
        raise ApiError(
            503,
            f"No ready model reaches the quality floor of {floor:g} in class {query_class!r}.",
            kind=UNAVAILABLE,
            code="quality_floor",
            retry_after_s=RETRY_AFTER_S,
        )
    on_route = view.plan.shares(query_class) if view.plan else {}
    return min(good, key=lambda m: (m not in on_route, view.quality[m, query_class], m))


def _reaches(view: View, model: str, query_class: str, floor: float) -> bool:
    """Whether a model's quality was measured in a class and its lower bound reaches the floor."""
    return view.quality.get((model, query_class), -1.0) >= floor


def _require_known(view: View, model: str) -> None:
    known = sorted({*view.models, *(view.plan.models if view.plan else ())})
    if model not in known:
        raise ApiError(
            404,
            f"There is no model {model[:100]!r} in the active plan; "
            f"use 'auto' or one of: {', '.join(known)}.",
            param="model",
            code="model_not_found",
        )


def _not_ready(message: str, code: str) -> ApiError:
    return ApiError(503, message, kind=UNAVAILABLE, code=code, retry_after_s=RETRY_AFTER_S)
