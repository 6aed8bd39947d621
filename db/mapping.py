"""Rows to frozen dataclasses and back, field by field; structured fields go through JSON."""

import math
from collections.abc import Mapping
from dataclasses import fields
from enum import Enum
from typing import Any, Generic, TypeVar, get_type_hints

from pydantic import TypeAdapter

from db.models import Base

Record = TypeVar("Record")
Row = TypeVar("Row", bound=Base)


class Mapper(Generic[Record, Row]):
    """Maps one dataclass to one table whose columns carry the dataclass's field names.

    Args:
        record: The dataclass.
        row: The table.
        structured: Fields that are JSON in the table.
    """

    def __init__(self, record: type[Record], row: type[Row], *structured: str) -> None:
        self._record = record
        self.row = row
        hints = get_type_hints(record)
        self._names = [field.name for field in fields(record)]  # type: ignore[arg-type]
        self._json = {name: TypeAdapter(hints[name]) for name in structured}
        self._enums = {
            name: hint
            for name, hint in hints.items()
            if isinstance(hint, type) and issubclass(hint, Enum)
        }

    def columns(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return field values as column values.

        Raises:
            ValueError: A field is not one of the record's, or a number is not finite.
        """
        return {name: self._column(name, value) for name, value in values.items()}

    def to_columns(self, record: Record) -> dict[str, Any]:
        """Return a whole record as column values."""
        return self.columns({name: getattr(record, name) for name in self._names})

    def to_record(self, row: Row) -> Record:
        """Return a row as a frozen record."""
        return self._record(
            **{name: self._field(name, getattr(row, name)) for name in self._names}
        )

    def _column(self, name: str, value: Any) -> Any:
        if name not in self._names:
            raise ValueError(f"{self._record.__name__} has no field {name!r}")
        if name in self._json:
            dumped = self._json[name].dump_python(value, mode="json")
            _refuse_non_finite(name, dumped)
            return dumped
        if isinstance(value, Enum):
            return value.value
        _refuse_non_finite(name, value)
        return value

    def _field(self, name: str, value: Any) -> Any:
        if name in self._json:
            return None if value is None else self._json[name].validate_python(value)
        if name in self._enums:
            return self._enums[name](value)
        return value


def _refuse_non_finite(name: str, value: Any) -> None:
    """NaN and infinity have no place in columns: failed is a state and NULL."""
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{name} is not finite")
    if isinstance(value, dict):
        for inner in value.values():
            _refuse_non_finite(name, inner)
    if isinstance(value, list | tuple):
        for inner in value:
            _refuse_non_finite(name, inner)
