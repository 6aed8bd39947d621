"""Composition root of the dashboard process: a database and settings, nothing heavy."""

from dataclasses import dataclass

from core.ports import UnitOfWorkFactory
from core.settings import Settings, load_settings
from db.unit_of_work import uow_factory


@dataclass(frozen=True)
class Dashboard:
    """What the pages are given.

    Attributes:
        uow: Opens one transaction.
        settings: Addresses, for showing them.
    """

    uow: UnitOfWorkFactory
    settings: Settings


def build_dashboard() -> Dashboard:
    """Read the settings and connect to the database they name."""
    settings = load_settings()
    return Dashboard(uow=uow_factory(settings.database_url), settings=settings)
