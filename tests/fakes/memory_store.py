"""Tables in memory with transactions: what the in-memory unit of work is made of."""

import math
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, replace
from datetime import datetime
from threading import Lock
from typing import Any

from core.errors import Conflict, EnvironmentFailed

Tables = dict[str, dict[Any, Any]]
LOCK_TIMEOUT_S = 5.0


class Store:
    """What is committed, and the lock that lets one transaction write at a time."""

    def __init__(self) -> None:
        self.committed: Tables = {}
        self.writing = Lock()


class Transaction:
    """Reads what is committed until it writes; from then on works on a copy of its own."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._copy: Tables | None = None

    def rows(self, table: str) -> dict[Any, Any]:
        """Return a table for reading."""
        tables = self._store.committed if self._copy is None else self._copy
        return tables.get(table, {})

    def writable(self, table: str) -> dict[Any, Any]:
        """Return a table for writing."""
        if self._copy is None:
            if not self._store.writing.acquire(timeout=LOCK_TIMEOUT_S):
                raise EnvironmentFailed("Another transaction does not end.")
            self._copy = {name: dict(rows) for name, rows in self._store.committed.items()}
        return self._copy.setdefault(table, {})

    def commit(self) -> None:
        """Make the copy what everybody sees."""
        if self._copy is not None:
            self._store.committed = self._copy
            self.rollback()

    def rollback(self) -> None:
        """Forget what was not committed."""
        if self._copy is not None:
            self._copy = None
            self._store.writing.release()


class Table:
    """One table of records by key; records go in and out as copies, as from a database."""

    def __init__(
        self, transaction: Transaction, name: str, key: Callable[[Any], Any] | None = None
    ) -> None:
        self._transaction = transaction
        self._name = name
        self._key = key

    def get(self, key: Any) -> Any:
        """Return one record or None."""
        return deepcopy(self._transaction.rows(self._name).get(key))

    def all(self) -> list[Any]:
        """Return every record in the order it was first stored."""
        return deepcopy(list(self._transaction.rows(self._name).values()))

    def add(self, record: Any) -> int:
        """Append a record and return its place, from 1; refuse a key that is there."""
        rows = self._transaction.writable(self._name)
        place = max(rows, default=0) + 1 if self._key is None else len(rows) + 1
        key = place if self._key is None else self._key(record)
        if key in rows:
            raise Conflict(f"{self._name} has {key!r} already.")
        rows[key] = checked(record)
        return place

    def add_new(self, record: Any) -> bool:
        """Append a record unless its key is there; whether it was new."""
        rows = self._transaction.writable(self._name)  # first, or somebody could be faster
        new = self._key is not None and self._key(record) not in rows
        if new:
            self.add(record)
        return new

    def save(self, record: Any, keep: Sequence[str] = ()) -> None:
        """Insert or replace; fields in `keep` stay as they were in a known record."""
        rows = self._transaction.writable(self._name)
        key = self._key(record) if self._key else None
        old = rows.get(key)
        kept = {} if old is None else {name: getattr(old, name) for name in keep}
        rows[key] = checked(replace(record, **kept))

    def remove(self, goes: Callable[[Any], bool]) -> bool:
        """Remove records; whether there were any."""
        rows = self._transaction.writable(self._name)
        keys = [key for key, record in rows.items() if goes(record)]
        for key in keys:
            del rows[key]
        return bool(keys)

    def change(
        self, key: Any, condition: Callable[[Any], bool], changes: Mapping[str, Any]
    ) -> bool:
        """Change a record if it meets the condition; whether it did."""
        rows = self._transaction.writable(self._name)
        if key not in rows or not condition(rows[key]):
            return False
        try:
            rows[key] = checked(replace(rows[key], **changes))
        except TypeError as error:
            raise ValueError(str(error)) from error
        return True


def checked(record: Any) -> Any:
    """Return a copy; refuse what no database column takes."""
    _refuse(record if isinstance(record, tuple) else asdict(record))
    return deepcopy(record)


def _refuse(value: Any) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("a number is not finite")
    if isinstance(value, datetime) and value.tzinfo is None:
        raise ValueError("a timestamp has no time zone")
    inner = value.values() if isinstance(value, dict) else value
    if isinstance(value, dict | list | tuple):
        for part in inner:
            _refuse(part)


def newest_first(records: list[Any], time: str, key: str) -> list[Any]:
    """Sort by a time, latest first; equal times by key."""
    by_key = sorted(records, key=lambda record: getattr(record, key))
    return sorted(by_key, key=lambda record: getattr(record, time), reverse=True)
