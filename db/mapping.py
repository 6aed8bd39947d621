"""Rows to frozen dataclasses and back, field by field; structured fields go through JSON."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from datetime import datetime
from enum import Enum
from typing import Any, Generic, TypeVar, get_type_hints

from pydantic import TypeAdapter

from db.table_base import Base

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
        self.names = tuple(field.name for field in fields(record))  # type: ignore[arg-type]
        hints = get_type_hints(record)
        self._json = {name: TypeAdapter[Any](hints[name]) for name in structured}
        self._loaders = [
            (position, load)
            for position, name in enumerate(self.names)
            if (load := self._loader(name, hints[name]))
        ]

    def columns(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return field values as column values.

        Raises:
            ValueError: A field is not one of the record's, a number is not finite or a timestamp
            has no time zone.
        """
        return {name: self._column(name, value) for name, value in values.items()}

    def to_columns(self, record: Record) -> dict[str, Any]:
        """Return a whole record as column values."""
        return self.columns({name: getattr(record, name) for name in self.names})

    def to_record(self, row: Sequence[Any]) -> Record:
        """Return columns, in the order of `names`, as a frozen record."""
        values = list(row)
        for position, load in self._loaders:
            if values[position] is not None:
                values[position] = load(values[position])
        return self._record(*values)

    def _loader(self, name: str, hint: Any) -> Callable[[Any], Any] | None:
        if name in self._json:
            return self._json[name].validate_python
        return hint if isinstance(hint, type) and issubclass(hint, Enum) else None

    def _column(self, name: str, value: Any) -> Any:
        if name not in self.names:
            raise ValueError(f"{self._record.__name__} has no field {name!r}")
        if name in self._json:
            # Not mode="json": that silently turns infinity into null.
            value = self._json[name].dump_python(value)
        return storable(name, value)


def storable(name: str, value: Any) -> Any:
    """Return a value as a column takes it: enum members as text, tuples as lists, at any depth.

    Text loses what databases refuse, NUL and halves of surrogate pairs: both can arrive in a
    request's JSON, and one such text must not keep a whole batch out.

    Args:
        name: Named in errors.
        value: A plain value, or what `TypeAdapter.dump_python` makes of a structured one.

    Raises:
        ValueError: A number is not finite (failed is a state and NULL), or a timestamp has no
            time zone.
    """
    if isinstance(value, dict):
        return {storable(name, key): storable(name, inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [storable(name, inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{name} is not finite")
    if isinstance(value, datetime) and value.tzinfo is None:
        raise ValueError(f"{name} has no time zone")
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8").replace("\0", "\ufffd")
    return value
