"""Tenants, their API keys, usage per day that outlives the single requests, cost of requests

Frozen history: declares its own columns, never imports db.models.
"""

import sqlalchemy as sa
from alembic import op


revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_table(
        "tenants",
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("requests_per_minute", sa.Integer(), nullable=True),
        sa.Column("tokens_per_minute", sa.Integer(), nullable=True),
        sa.Column("budget_usd_per_month", sa.Double(), nullable=True),
        sa.Column("quality_floor", sa.Double(), nullable=True),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", name="pk_tenants"),
        sa.UniqueConstraint("name", name="uq_tenants_name"),
    )
    op.create_table(
        "api_keys",
        sa.Column("key_id", sa.String(), nullable=False),
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("hint", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.tenant_id"], name="fk_api_keys_tenant_id_tenants"
        ),
        sa.PrimaryKeyConstraint("key_id", name="pk_api_keys"),
        sa.UniqueConstraint("digest", name="uq_api_keys_digest"),
    )
    op.create_table(
        "usage",
        sa.Column("day", sa.String(), nullable=False),
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("key_id", sa.String(), nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("requests", sa.BigInteger(), nullable=False),
        sa.Column("input_tokens", sa.BigInteger(), nullable=False),
        sa.Column("output_tokens", sa.BigInteger(), nullable=False),
        sa.Column("cost_usd", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("day", "tenant_id", "key_id", "model", name="pk_usage"),
    )
    with op.batch_alter_table("requests") as table:
        table.add_column(sa.Column("tenant_id", sa.String(), nullable=False, server_default=""))
        table.add_column(sa.Column("key_id", sa.String(), nullable=False, server_default=""))
        table.add_column(sa.Column("cost_usd", sa.Double(), nullable=True))
    with op.batch_alter_table("requests") as table:
        for name in ("tenant_id", "key_id"):
            table.alter_column(name, server_default=None)
    _count_what_is_there()


def _count_what_is_there() -> None:
    at = sa.column("at")
    if op.get_bind().dialect.name == "sqlite":
        day = sa.func.strftime("%Y-%m-%d", at)
    else:
        day = sa.func.to_char(sa.func.timezone("UTC", at), "YYYY-MM-DD")
    model = sa.column("model")
    counted = (
        sa.select(
            day,
            sa.literal(""),
            sa.literal(""),
            model,
            sa.func.count(),
            sa.func.coalesce(sa.func.sum(sa.column("input_tokens")), 0),
            sa.func.coalesce(sa.func.sum(sa.column("output_tokens")), 0),
            sa.literal(0.0),
        )
        .select_from(sa.table("requests"))
        .where(sa.column("status") == 200, model != "")
        .group_by(day, model)
    )
    columns = ["day", "tenant_id", "key_id", "model", "requests", "input_tokens"]
    columns += ["output_tokens", "cost_usd"]
    usage = sa.table("usage", *(sa.column(name) for name in columns))
    op.execute(sa.insert(usage).from_select(columns, counted))


def downgrade() -> None:
    with op.batch_alter_table("requests") as table:
        for name in ("cost_usd", "key_id", "tenant_id"):
            table.drop_column(name)
    op.drop_table("usage")
    op.drop_table("api_keys")
    op.drop_table("tenants")
