"""Use cases of the fleet: what devices there are and what they cost."""

from datetime import datetime

from core.domain.fleet import Device, Price, price_in_force
from core.errors import NotFound
from core.ports import GpuProbe, UnitOfWorkFactory


def refresh(uow: UnitOfWorkFactory, probe: GpuProbe) -> list[Device]:
    """Store what the probe sees now and return it."""
    seen = probe.devices()
    with uow() as work:
        work.devices.upsert(seen)
        work.commit()
    return seen


def devices(uow: UnitOfWorkFactory) -> list[Device]:
    """Return every device by node and index."""
    with uow() as work:
        return work.devices.all()


def set_enabled(uow: UnitOfWorkFactory, device_id: str, enabled: bool) -> None:
    """Let BOute use a device, or not.

    Raises:
        NotFound: There is no such device.
    """
    with uow() as work:
        if not work.devices.set_enabled(device_id, enabled):
            raise NotFound(f"There is no device {device_id!r}.", "Reload the Inventory page.")
        work.commit()


def set_price(uow: UnitOfWorkFactory, sku: str, usd_per_hour: float, now: datetime) -> Price:
    """Put a price into force from now on; older prices stay in the history.

    Raises:
        InvalidInput: The price is not above zero.
    """
    price = Price(sku=sku, usd_per_hour=usd_per_hour, valid_from=now)
    with uow() as work:
        work.prices.add(price)
        work.commit()
    return price


def price_history(uow: UnitOfWorkFactory) -> list[Price]:
    """Return every price, oldest first."""
    with uow() as work:
        return work.prices.all()


def current_prices(uow: UnitOfWorkFactory, now: datetime) -> dict[str, float]:
    """Return the price in force per SKU, in $ per device-hour."""
    prices = price_history(uow)
    in_force = (price_in_force(prices, sku, now) for sku in sorted({p.sku for p in prices}))
    return {price.sku: price.usd_per_hour for price in in_force if price}
