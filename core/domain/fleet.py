"""The fleet: what hardware there is and what it costs."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from core.errors import InvalidInput


class DeviceKind(StrEnum):
    """What a device is: a CPU core of the embedded fleet, or a CUDA GPU."""

    CPU = "cpu"
    CUDA = "cuda"


@dataclass(frozen=True, slots=True)
class Device:
    """One schedulable device as last seen by a probe.

    Attributes:
        device_id: Stable identity: the GPU's UUID, or `node/cpu/index`.
        node: Host name.
        index: Index on the node: the CUDA index or the core number.
        sku: Device type, such as `NVIDIA H100 80GB HBM3` or `cpu-core`.
        kind: CPU or CUDA.
        memory_total_bytes: Memory the device may use.
        memory_used_bytes: Memory in use by anybody, other products' processes included.
        utilisation: Busy fraction in 0..1; None when unknown.
        power_w: Power draw; None when unknown.
        note: Something worth showing, such as "MIG is on: not schedulable"; else empty.
        enabled: Whether the operator lets BOute use it.
        seen_at: When a probe last saw it (UTC).
    """

    device_id: str
    node: str
    index: int
    sku: str
    kind: DeviceKind
    memory_total_bytes: int
    memory_used_bytes: int
    utilisation: float | None
    power_w: float | None
    seen_at: datetime
    note: str = ""
    enabled: bool = True

    @property
    def schedulable(self) -> bool:
        """Whether replicas may be placed on it."""
        return self.enabled and not self.note


@dataclass(frozen=True, slots=True)
class Price:
    """The price of one device of a SKU from a moment on.

    Attributes:
        sku: Device type.
        usd_per_hour: Dollars per device-hour; above zero.
        valid_from: When this price came into force (UTC).
    """

    sku: str
    usd_per_hour: float
    valid_from: datetime

    def __post_init__(self) -> None:
        if not 0 < self.usd_per_hour < 1e6:
            raise InvalidInput(
                f"A price must be above zero, not {self.usd_per_hour} $/h for {self.sku}.",
                "Owned hardware costs something too: purchase / lifetime hours + power.",
            )


def price_in_force(prices: list[Price], sku: str, at: datetime) -> Price | None:
    """Return the newest price of a SKU that was valid at a moment, if any."""
    known = [p for p in prices if p.sku == sku and p.valid_from <= at]
    return max(known, key=lambda p: p.valid_from, default=None)
