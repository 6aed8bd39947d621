"""Alembic's entry: works from `db.migrate` and from the alembic command."""

from alembic import context
from sqlalchemy import Connection

from core.settings import load_settings
from db.engine import make_engine
from db.models import METADATA

MIGRATING = 20_260_210_729  # an arbitrary number that only BOute's migrations lock


def one_at_a_time(connection: Connection) -> None:
    """Wait for another process that migrates; released with the transaction."""
    if connection.dialect.name == "sqlite":
        # Rebuilding a table drops the old one, which a foreign key to it would forbid.
        connection.exec_driver_sql("PRAGMA foreign_keys=OFF")
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    else:
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({MIGRATING})")


def run() -> None:
    url = context.config.attributes.get("url") or load_settings().database_url
    engine = make_engine(url)
    try:
        with engine.connect() as connection, connection.begin():
            one_at_a_time(connection)
            context.configure(
                connection=connection,
                target_metadata=METADATA,
                render_as_batch=True,
                compare_type=True,
            )
            with context.begin_transaction():
                context.run_migrations()
    finally:
        engine.dispose()


run()
