"""Schema migrations from code: what `boute migrate` and every start call."""

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from sqlalchemy.exc import OperationalError

from core.errors import EnvironmentFailed
from core.settings import REPOSITORY
from db.engine import make_engine


def config(url: str) -> Config:
    """Return the alembic configuration for a database."""
    made = Config()
    made.set_main_option("script_location", str(REPOSITORY / "alembic"))
    made.attributes["url"] = url
    return made


def upgrade(url: str, revision: str = "head") -> None:
    """Bring a database to a revision.

    Raises:
        EnvironmentFailed: The database does not answer.
    """
    try:
        command.upgrade(config(url), revision)
    except OperationalError as error:
        raise EnvironmentFailed(
            f"The database cannot be migrated: {str(error.orig).strip().splitlines()[0]}",
            "Is it running, and does BOUTE_DATABASE_URL name it? Is the disk full?",
        ) from error


def downgrade(url: str, revision: str) -> None:
    """Take a database back to a revision."""
    command.downgrade(config(url), revision)


def check(url: str) -> None:
    """Raise if the models and the migrated schema differ (`alembic check`)."""
    command.check(config(url))


def current(url: str) -> str | None:
    """Return the revision a database is at."""
    engine = make_engine(url)
    try:
        with engine.connect() as connection:
            return MigrationContext.configure(connection).get_current_revision()
    finally:
        engine.dispose()
