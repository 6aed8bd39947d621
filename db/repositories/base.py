"""What every repository shares: one session, one mapper."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, Generic, TypeVar

from sqlalchemy import ColumnElement, CursorResult, Executable, Select, select, update
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.orm import Session

from db.mapping import Mapper
from db.table_base import Base

Record = TypeVar("Record")
Row = TypeVar("Row", bound=Base)


class Table(Generic[Record, Row]):
    """Reads and writes one table as records."""

    def __init__(self, session: Session, mapper: Mapper[Record, Row]) -> None:
        self._session = session
        self._mapper = mapper
        self.row = mapper.row

    def query(self) -> Select[Any]:
        """Start a select of the record's fields."""
        return select(*(getattr(self.row, name) for name in self._mapper.names))

    def many(self, statement: Select[Any]) -> list[Record]:
        """Run a select and return records."""
        return [self._mapper.to_record(row) for row in self._session.execute(statement)]

    def one(self, statement: Select[Any]) -> Record | None:
        """Run a select and return its first record."""
        found = self.many(statement.limit(1))
        return found[0] if found else None

    def insert(self, records: Sequence[Record]) -> None:
        """Append records."""
        if records:
            values = [self._mapper.to_columns(record) for record in records]
            self._session.execute(self._insert(), values)

    def insert_new(self, records: Sequence[Record], key: Any) -> set[Any]:
        """Append records whose key is not there yet; returns the keys of those.

        Args:
            key: Column of the primary key.
        """
        if not records:
            return set()
        values = [self._mapper.to_columns(record) for record in records]
        statement = self._insert().on_conflict_do_nothing().returning(key)
        return set(self._session.scalars(statement, values))

    def add_up(self, records: Sequence[Record], sums: Sequence[str]) -> None:
        """Insert, or add the columns in `sums` to those of the row that has the key already."""
        if not records:
            return
        keys = [column.name for column in self.row.__table__.primary_key]
        statement = self._insert()
        more = {name: getattr(self.row, name) + statement.excluded[name] for name in sums}
        values = [self._mapper.to_columns(record) for record in records]
        self._session.execute(
            statement.on_conflict_do_update(index_elements=keys, set_=more), values
        )

    def upsert(self, records: Sequence[Record], keep: Sequence[str] = ()) -> None:
        """Insert or replace by primary key; columns in `keep` stay as they were."""
        if not records:
            return
        keys = [column.name for column in self.row.__table__.primary_key]
        statement = self._insert()
        values = [self._mapper.to_columns(record) for record in records]
        changes = {
            name: statement.excluded[name]
            for name in values[0]
            if name not in keys and name not in keep
        }
        self._session.execute(
            statement.on_conflict_do_update(index_elements=keys, set_=changes), values
        )

    def change(self, where: Sequence[ColumnElement[bool]], values: Mapping[str, Any]) -> bool:
        """Change what matches in one conditional update; whether anything did."""
        statement = update(self.row).where(*where).values(**self._mapper.columns(values))
        return changed(self._session, statement)

    def _insert(self) -> Any:
        sqlite = self._session.get_bind().dialect.name == "sqlite"
        table = self.row.metadata.tables[self.row.__tablename__]
        # The table, not the class: that spares the ORM's bookkeeping per row.
        return (sqlite_insert if sqlite else postgresql_insert)(table)


def changed(session: Session, statement: Executable) -> bool:
    """Run an update or delete and tell whether it touched a row."""
    result = session.execute(statement, execution_options={"synchronize_session": False})
    return isinstance(result, CursorResult) and result.rowcount > 0


def values_of(states: Sequence[StrEnum]) -> list[str]:
    """Return enum members as they are stored."""
    return [state.value for state in states]
