"""Fixtures shared by every test: databases that are thrown away."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from core.ports import UnitOfWorkFactory


@pytest.fixture
def sqlite_url(tmp_path: Path) -> Iterator[str]:
    """A migrated SQLite database of its own."""
    from db.migrate import upgrade
    from db.unit_of_work import disconnect

    url = f"sqlite:///{tmp_path / 'boute.db'}"
    upgrade(url)
    yield url
    disconnect(url)


@pytest.fixture
def sqlite_uow(sqlite_url: str) -> UnitOfWorkFactory:
    """Opens transactions on a fresh SQLite database."""
    from db.unit_of_work import uow_factory

    return uow_factory(sqlite_url)


@pytest.fixture
def memory_uow() -> UnitOfWorkFactory:
    """Opens transactions on a fresh in-memory database."""
    from tests.fakes.memory_uow import MemoryDatabase

    return MemoryDatabase().unit_of_work


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """A real PostgreSQL server, started when the first test wants it."""
    from tests import postgres

    with postgres.server() as url:
        yield url


@pytest.fixture
def empty_postgres_url(postgres_server: str) -> Iterator[str]:
    """A PostgreSQL database of its own, without tables."""
    from tests import postgres

    with postgres.database(postgres_server) as url:
        yield url


@pytest.fixture(scope="session")
def shared_postgres_url(postgres_server: str) -> Iterator[str]:
    """One migrated PostgreSQL database for the whole session."""
    from db.migrate import upgrade
    from db.unit_of_work import disconnect
    from tests import postgres

    with postgres.database(postgres_server) as url:
        upgrade(url)
        yield url
        disconnect(url)


@pytest.fixture
def postgres_url(shared_postgres_url: str) -> str:
    """A migrated PostgreSQL database whose tables are empty."""
    from db.models import METADATA
    from tests import postgres

    tables = ", ".join(METADATA.tables)
    with postgres.administrator(shared_postgres_url) as run:
        run(f"TRUNCATE {tables} RESTART IDENTITY")
    return shared_postgres_url


@pytest.fixture
def postgres_uow(postgres_url: str) -> UnitOfWorkFactory:
    """Opens transactions on an empty PostgreSQL database."""
    from db.unit_of_work import uow_factory

    return uow_factory(postgres_url)


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def any_uow(request: pytest.FixtureRequest) -> UnitOfWorkFactory:
    """Each implementation of the unit of work in turn."""
    factory: UnitOfWorkFactory = request.getfixturevalue(f"{request.param}_uow")
    return factory


@pytest.fixture(params=["sqlite", "postgres"])
def sql_uow(request: pytest.FixtureRequest) -> UnitOfWorkFactory:
    """Each database in turn, for what only several connections can show."""
    factory: UnitOfWorkFactory = request.getfixturevalue(f"{request.param}_uow")
    return factory
