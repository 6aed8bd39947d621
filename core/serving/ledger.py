"""Which devices are taken, and which a replica may have. Pure functions over the replica rows.

The rows are the ledger: a device belongs to the live replica that names it, and to nobody else.
"""

from collections.abc import Collection

from core.domain.catalog import ModelSpec
from core.domain.deployment import Replica
from core.domain.fleet import Device, DeviceKind
from core.domain.plan import ReplicaKind

# What a CUDA context, workspaces and activations of a small batch take beside the weights.
CUDA_OVERHEAD_BYTES = 2 * 2**30
# With unknown weights (a hub id) or leftovers: so much of a GPU must be free.
MOST_FOREIGN_SHARE = 0.10


def held_devices(replicas: Collection[Replica]) -> set[str]:
    """Return the ids of devices that live replicas hold."""
    return {device_id for r in replicas if r.live for device_id in r.device_ids}


def choose(kind: ReplicaKind, free: Collection[Device]) -> tuple[Device, ...] | None:
    """Pick the devices of one replica: one node, the fullest node that still has room.

    Filling nodes one after the other keeps whole nodes free for replicas with more ranks.
    """
    nodes: dict[str, list[Device]] = {}
    for device in free:
        if device.sku == kind.sku:
            nodes.setdefault(device.node, []).append(device)
    roomy = [found for found in nodes.values() if len(found) >= kind.devices]
    if not roomy:
        return None
    node = min(roomy, key=lambda found: (len(found), found[0].node))
    return tuple(sorted(node, key=lambda d: d.index)[: kind.devices])


def spot_now(
    kind: ReplicaKind, free: Collection[Device], leaving: Collection[Device], reserved: set[str]
) -> tuple[Device, ...] | None:
    """Pick devices that are free now; else reserve those that will be, for nobody to take them.

    Args:
        leaving: Devices of replicas on their way out.
        reserved: Ids of devices that others wait for; grows.
    """
    now = [d for d in free if d.device_id not in reserved]
    spot = choose(kind, now)
    if spot is None:
        later = choose(kind, [*now, *(d for d in leaving if d.device_id not in reserved)])
        reserved.update(d.device_id for d in later or ())
    return spot


def fits_at_all(kind: ReplicaKind, usable: Collection[Device]) -> bool:
    """Whether the replica could be placed if every usable device were free."""
    return choose(kind, usable) is not None


def waiting_text(kind: ReplicaKind, usable: Collection[Device], held: Collection[str]) -> str:
    """Say what a replica without devices waits for."""
    of_sku = [d for d in usable if d.sku == kind.sku]
    busy = sum(d.device_id in held for d in of_sku)
    if not fits_at_all(kind, usable):
        return (
            f"Needs {kind.devices} x {kind.sku} on one node; "
            f"the fleet has {len(of_sku)} usable. Enable devices on the Inventory page"
        )
    return f"Waiting for {kind.devices} x {kind.sku}: {busy} of {len(of_sku)} are in use"


def lacks_memory(kind: ReplicaKind, model: ModelSpec, device: Device) -> bool:
    """Whether other processes leave too little memory of a GPU for a replica's share.

    CPU memory is shared by all cores and checked by the server itself.
    """
    if device.kind is not DeviceKind.CUDA:
        return False
    used, total = device.memory_used_bytes, device.memory_total_bytes
    if model.weight_bytes == 0:
        return used > MOST_FOREIGN_SHARE * total
    return total - used < memory_needed_bytes(kind, model)


def memory_text(kind: ReplicaKind, model: ModelSpec, device: Device) -> str:
    """Say what is wrong with a GPU that lacks memory; follows the waiting text."""
    used, needed = device.memory_used_bytes, memory_needed_bytes(kind, model)
    return (
        f". Other processes hold {used / 2**30:.1f} GiB of {device.sku} number {device.index}; "
        f"{model.name} needs {needed / 2**30:.1f} GiB free: end them, or wait"
    )


def memory_needed_bytes(kind: ReplicaKind, model: ModelSpec) -> int:
    """Least memory per device: its shard of weights and of one full sequence, and overhead."""
    sharded = model.weight_bytes + model.kv_bytes_per_token * model.max_model_len
    return sharded // kind.devices + CUDA_OVERHEAD_BYTES
