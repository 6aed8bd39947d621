"""Devices, prices, models."""

from collections.abc import Sequence

from sqlalchemy import delete
from sqlalchemy.orm import Session

from core.domain.catalog import ModelSpec
from core.domain.fleet import Device, Price
from db.mapping import Mapper
from db.models import DeviceRow, ModelRow, PriceRow
from db.repositories.base import Table, changed

DEVICES = Mapper(Device, DeviceRow)
PRICES = Mapper(Price, PriceRow)
MODELS = Mapper(ModelSpec, ModelRow)


class SqlDevices:
    """`DeviceRepository` in SQL."""

    def __init__(self, session: Session) -> None:
        self._table = Table(session, DEVICES)

    def upsert(self, devices: Sequence[Device]) -> None:
        """Insert or refresh; the operator's switch stays."""
        self._table.upsert(devices, keep=["enabled"])

    def set_enabled(self, device_id: str, enabled: bool) -> bool:
        """Flip the operator's switch."""
        return self._table.change([DeviceRow.device_id == device_id], {"enabled": enabled})

    def all(self) -> list[Device]:
        """Return every device by node and index."""
        return self._table.many(self._table.query().order_by(DeviceRow.node, DeviceRow.index))


class SqlPrices:
    """`PriceRepository` in SQL."""

    def __init__(self, session: Session) -> None:
        self._table = Table(session, PRICES)

    def add(self, price: Price) -> None:
        """Append a price."""
        self._table.insert([price])

    def all(self) -> list[Price]:
        """Return every price, oldest first."""
        order = (PriceRow.valid_from, PriceRow.price_id)
        return self._table.many(self._table.query().order_by(*order))


class SqlModels:
    """`ModelRepository` in SQL."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._table = Table(session, MODELS)

    def save(self, model: ModelSpec) -> None:
        """Insert or replace."""
        self._table.upsert([model])

    def get(self, name: str) -> ModelSpec | None:
        """Return one model."""
        return self._table.one(self._table.query().where(ModelRow.name == name))

    def all(self) -> list[ModelSpec]:
        """Return every model by name."""
        return self._table.many(self._table.query().order_by(ModelRow.name))

    def remove(self, name: str) -> bool:
        """Remove a model."""
        return changed(self._session, delete(ModelRow).where(ModelRow.name == name))
