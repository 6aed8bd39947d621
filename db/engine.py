"""Engines: SQLite tuned for several processes on one host, PostgreSQL through psycopg 3."""

from pathlib import Path
from typing import Any

from sqlalchemy import Engine, create_engine, event, make_url
from sqlalchemy.engine import URL

from core.errors import EnvironmentFailed, InvalidInput

BUSY_TIMEOUT_S = 30.0


def database_url(text: str) -> URL:
    """Parse a database URL; plain `postgresql://` means psycopg 3.

    Raises:
        InvalidInput: It is neither SQLite nor PostgreSQL.
    """
    try:
        url = make_url(text)
    except Exception as error:
        raise InvalidInput(
            "BOUTE_DATABASE_URL cannot be read.", "Example: postgresql://user@host:5432/boute"
        ) from error
    if url.drivername in {"postgresql", "postgres"}:
        return url.set(drivername="postgresql+psycopg")
    if url.get_backend_name() not in {"sqlite", "postgresql"}:
        raise InvalidInput(
            f"BOUTE_DATABASE_URL names {url.get_backend_name()!r}.",
            "BOute keeps its state in SQLite or PostgreSQL.",
        )
    return url


def make_engine(text: str) -> Engine:
    """Connect to a database; the folder of a SQLite file is created.

    Raises:
        InvalidInput: The URL cannot be used.
        EnvironmentFailed: The folder of the SQLite file cannot be made.
    """
    url = database_url(text)
    if url.get_backend_name() != "sqlite":
        return create_engine(url, pool_pre_ping=True)
    _make_folder(url)
    engine = create_engine(url, connect_args={"timeout": BUSY_TIMEOUT_S})
    event.listen(engine, "connect", _tune_sqlite)
    event.listen(engine, "begin", _begin_immediate)
    return engine


def _make_folder(url: URL) -> None:
    if not url.database or url.database == ":memory:":
        return
    folder = Path(url.database).parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EnvironmentFailed(
            f"The folder {folder} cannot be made: {error.strerror}.",
            "Set BOUTE_HOME to a folder you may write to.",
        ) from error


def _tune_sqlite(connection: Any, _: Any) -> None:
    # The driver's own BEGIN comes too late to take the write lock; see _begin_immediate.
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_immediate(connection: Any) -> None:
    """Take the write lock first: a reader that writes later would fail at once, not wait."""
    connection.exec_driver_sql("BEGIN IMMEDIATE")
