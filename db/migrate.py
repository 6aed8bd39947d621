"""Schema migrations from code: what `boute migrate` and every start call."""

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.util import CommandError
from sqlalchemy.exc import DatabaseError

from core.errors import EnvironmentFailed
from core.settings import REPOSITORY
from db.engine import make_engine
from db.failures import in_words


def config(url: str) -> Config:
    """Return the alembic configuration for a database."""
    made = Config()
    made.set_main_option("script_location", str(REPOSITORY / "alembic").replace("%", "%%"))
    made.attributes["url"] = url
    return made


def upgrade(url: str, revision: str = "head") -> None:
    """Bring a database to a revision; all of it or nothing, one process at a time.

    Raises:
        EnvironmentFailed: The database does not answer, or was made by a newer BOute.
    """
    try:
        command.upgrade(config(url), revision)
    except DatabaseError as error:
        raise in_words(error) or error from error
    except CommandError as error:
        raise EnvironmentFailed(
            f"The database cannot be migrated: {error}.",
            "It may have been made by a newer BOute: update, or name another database.",
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
