"""Engines: SQLite tuned for several processes on one host, PostgreSQL through psycopg 3."""

from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError

from core.errors import EnvironmentFailed, InvalidInput

BUSY_TIMEOUT_S = 30.0
CONNECT_TIMEOUT_S = 10
READS = ("SELECT", "PRAGMA", "EXPLAIN", "BEGIN")


def database_url(text: str) -> URL:
    """Parse a database URL; plain `postgresql://` means psycopg 3.

    Raises:
        InvalidInput: It is neither SQLite nor PostgreSQL.
    """
    try:
        url = make_url(text)
    except (ArgumentError, ValueError) as error:
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
    """Prepare connections to a database; the folder of a SQLite file is created.

    Nothing is connected yet: a server that is away shows at first use.

    Raises:
        InvalidInput: The URL cannot be used.
        EnvironmentFailed: The folder of the SQLite file cannot be made.
    """
    url = database_url(text)
    if url.get_backend_name() != "sqlite":
        patience = {} if "connect_timeout" in url.query else {"connect_timeout": CONNECT_TIMEOUT_S}
        return create_engine(url, pool_pre_ping=True, connect_args=patience)
    _make_folder(url)
    engine = create_engine(url, connect_args={"timeout": BUSY_TIMEOUT_S})
    event.listen(engine, "connect", _tune_sqlite)
    event.listen(engine, "before_cursor_execute", _lock_before_writing)
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
    # The driver's own BEGIN would come too early or take no lock; see _lock_before_writing.
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _lock_before_writing(connection: Connection, cursor: Any, statement: str, *_: object) -> None:
    """Begin a transaction with its first write, and take the write lock in doing so.

    A transaction that reads first and writes later fails at once with "database is locked" when
    somebody else wrote in between, whatever the busy timeout. Taking the lock at the very start
    would avoid that, but then readers shut writers out. So reads before the first write are
    single statements, each seeing what is committed (as in PostgreSQL's READ COMMITTED), and
    races are decided by conditional updates.
    """
    begun = cursor.connection.in_transaction
    if not begun and not statement.lstrip().upper().startswith(READS):
        connection.exec_driver_sql("BEGIN IMMEDIATE")
