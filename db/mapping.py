"""Rows to frozen dataclasses and back, field by field; structured fields go through JSON."""

import math
from collections.abc import Callable, Mapping, Sequence
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
            ValueError: A field is not one of the record's, or a number is not finite.
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
            # Checked before it becomes JSON: there, infinity would silently turn into null.
            refuse_non_finite(name, self._json[name].dump_python(value))
            return self._json[name].dump_python(value, mode="json")
        if isinstance(value, Enum):
            return value.value
        refuse_non_finite(name, value)
        return storable(value) if isinstance(value, str) else value


def storable(text: str) -> str:
    """Return text without what a database refuses: NUL and halves of surrogate pairs.

    Both can arrive in a request's JSON; one such text must not keep a whole batch out.
    """
    return (
        text.encode("utf-8", "replace").decode("utf-8").replace("\0", "\N{REPLACEMENT CHARACTER}")
    )


def refuse_non_finite(name: str, value: Any) -> None:
    """Raise ValueError for NaN and infinity at any depth: failed is a state and NULL."""
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{name} is not finite")
    if isinstance(value, dict):
        for inner in value.values():
            refuse_non_finite(name, inner)
    if isinstance(value, list | tuple):
        for inner in value:
            refuse_non_finite(name, inner)
