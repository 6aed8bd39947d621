"""A database that holds what a planner needs: the embedded fleet, measured."""

from dataclasses import replace

from core.domain.catalog import ModelSpec
from core.domain.fleet import Device, DeviceKind, Price
from core.domain.planning import PlanningFacts
from core.domain.workload import Workload
from core.ports import UnitOfWorkFactory
from tests.unit.planning_problems import NOW, two_models


def device(index: int, sku: str = "cpu-core", node: str = "host", note: str = "") -> Device:
    """One idle device."""
    return Device(
        device_id=f"{node}/{sku}/{index}",
        node=node,
        index=index,
        sku=sku,
        kind=DeviceKind.CPU,
        memory_total_bytes=8 * 10**9,
        memory_used_bytes=0,
        utilisation=None,
        power_w=None,
        seen_at=NOW,
        note=note,
    )


def fill(
    uow: UnitOfWorkFactory, facts: PlanningFacts | None = None, *, price: bool = True
) -> Workload:
    """Store models, devices, a price, profiles, estimates and the workload of a problem."""
    known = facts or two_models(devices=3)
    with uow() as work:
        for name in sorted({kind.model for kind in known.profiles}):
            work.models.save(ModelSpec(name, f"/models/{name}", 10**7, 1024, 256, 16, NOW))
        work.devices.upsert([device(i) for i in range(sum(known.devices_per_node["cpu-core"]))])
        if price:
            work.prices.add(Price("cpu-core", 0.04, NOW))
        for profile in known.profiles.values():
            work.profiles.save(profile)
        for estimate in known.quality.values():
            work.outcomes.save_estimate(estimate)
        work.workloads.save(replace(known.workload, workload_id="w"))
        work.commit()
    return known.workload
