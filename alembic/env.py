"""Alembic's entry: works from `db.migrate` and from the alembic command."""

from alembic import context

from core.settings import load_settings
from db.engine import make_engine
from db.models import Base


def own_table(name: str | None, kind: str, _: object) -> bool:
    """The durable workflows keep tables of their own beside ours."""
    return kind != "table" or name in Base.metadata.tables


def run() -> None:
    url = context.config.attributes.get("url") or load_settings().database_url
    engine = make_engine(url)
    try:
        with engine.connect() as connection:
            context.configure(
                connection=connection,
                target_metadata=Base.metadata,
                render_as_batch=True,
                compare_type=True,
                include_name=own_table,
            )
            with context.begin_transaction():
                context.run_migrations()
    finally:
        engine.dispose()


run()
