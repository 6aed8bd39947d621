"""Fixtures shared by every test: databases that are thrown away."""

from pathlib import Path

import pytest

from core.ports import UnitOfWorkFactory


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """A migrated SQLite database of its own."""
    from db.migrate import upgrade

    url = f"sqlite:///{tmp_path / 'boute.db'}"
    upgrade(url)
    return url


@pytest.fixture
def sqlite_uow(sqlite_url: str) -> UnitOfWorkFactory:
    """Opens transactions on a fresh SQLite database."""
    from db.unit_of_work import uow_factory

    return uow_factory(sqlite_url)
