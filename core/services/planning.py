"""Gathers everything a planner must know, or says what is missing and where to get it."""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime

from core.domain.cascade import CascadeEstimate
from core.domain.fleet import Device, price_in_force
from core.domain.plan import ReplicaKind
from core.domain.planning import PlanningFacts
from core.domain.profile import Profile
from core.domain.quality import QualityEstimate
from core.domain.study import Limits
from core.domain.workload import Workload
from core.errors import NotFound, NotReady
from core.ports import UnitOfWork, UnitOfWorkFactory
from core.services.cascades import paying


def load_facts(
    uow: UnitOfWorkFactory, workload_id: str, limits: Limits, now: datetime
) -> PlanningFacts:
    """Return the facts of a planning problem as the database has them now.

    Args:
        now: Prices in force at this moment are used.

    Raises:
        NotFound: There is no such workload.
        NotReady: Devices, profiles, prices or quality estimates are missing.
    """
    with uow() as work:
        return facts_of(work, workload_id, limits, now)


def facts_of(work: UnitOfWork, workload_id: str, limits: Limits, now: datetime) -> PlanningFacts:
    """Do what `load_facts` does inside an open unit of work."""
    workload = work.workloads.get(workload_id)
    if workload is None:
        raise NotFound("There is no such workload.", "Describe one on Workload & quality.")
    devices = [device for device in work.devices.all() if device.schedulable]
    if not devices:
        raise NotReady(
            "There is no usable device.", "Start the controller, or enable one on Inventory."
        )
    max_num_seqs = {model.name: model.max_num_seqs for model in work.models.all()}
    profiles = _profiles(work.profiles.latest(), devices, max_num_seqs)
    scored = _scored_profiles(profiles, workload, work.outcomes.estimates())
    prices = _prices(work, sorted({kind.sku for kind in scored}), now)
    quality = {(e.model, e.query_class): e for e in work.outcomes.estimates()}
    return PlanningFacts(
        workload=workload,
        limits=limits,
        profiles=scored,
        quality=quality,
        price_usd_per_hour=prices,
        devices_per_node=_devices_per_node(devices),
        max_num_seqs=max_num_seqs,
        cascades=paying(_cascades(work, workload), scored, quality, prices),
    )


def _cascades(work: UnitOfWork, workload: Workload) -> list[CascadeEstimate]:
    names = {traffic.query_class for traffic in workload.classes}
    return [found for found in work.outcomes.cascades() if found.query_class in names]


def _profiles(
    profiles: Iterable[Profile], devices: Sequence[Device], models: Iterable[str]
) -> dict[ReplicaKind, Profile]:
    """Keep profiles of registered models on device types that are there, with answers counted."""
    skus, known = {device.sku for device in devices}, set(models)
    usable = {
        ReplicaKind(p.model, p.sku, p.tp, p.pp): p
        for p in profiles
        if p.sku in skus and p.model in known and any(level.requests for level in p.levels)
    }
    if not usable:
        raise NotReady(
            f"No model was profiled on {' or '.join(sorted(skus))}.",
            "Profile one on Models & profiling.",
        )
    return usable


def _scored_profiles(
    profiles: dict[ReplicaKind, Profile], workload: Workload, estimates: list[QualityEstimate]
) -> dict[ReplicaKind, Profile]:
    """Keep models of known quality on every class; a model without it may not answer at all."""
    known = {(e.model, e.query_class) for e in estimates}
    classes = [traffic.query_class for traffic in workload.classes]
    missing = {
        model: [name for name in classes if (model, name) not in known]
        for model in sorted({kind.model for kind in profiles})
    }
    scored = {kind: p for kind, p in profiles.items() if not missing[kind.model]}
    if not scored:
        lacks = "; ".join(f"{model} lacks {', '.join(m)}" for model, m in missing.items())
        raise NotReady(
            f"No profiled model was scored on every class of the workload: {lacks}.",
            "Score one on Workload & quality.",
        )
    return scored


def _prices(work: UnitOfWork, skus: Sequence[str], now: datetime) -> dict[str, float]:
    """Return the price of each device type.

    A device type without one is an error, not free: cost is an objective.
    """
    history = work.prices.all()
    in_force = {sku: price_in_force(history, sku, now) for sku in skus}
    missing = [sku for sku, price in in_force.items() if price is None]
    if missing:
        raise NotReady(f"No price for {', '.join(missing)}.", "Set one on the Inventory page.")
    return {sku: price.usd_per_hour for sku, price in in_force.items() if price}


def _devices_per_node(devices: Sequence[Device]) -> dict[str, tuple[int, ...]]:
    counts = Counter((device.sku, device.node) for device in devices)
    skus = sorted({sku for sku, _ in counts})
    return {
        sku: tuple(n for (other, _), n in sorted(counts.items()) if other == sku) for sku in skus
    }
