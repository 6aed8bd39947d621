"""Traces of workloads, observations of profiles; step-time models, engine limits and uncertainty of profiles

Frozen history: declares its own columns, never imports db.models.
"""

import sqlalchemy as sa
from alembic import op


revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "traces",
        sa.Column("workload_id", sa.String(), nullable=False),
        sa.Column("classes", sa.JSON(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("workload_id", name="pk_traces"),
    )
    op.create_table(
        "observations",
        sa.Column("profile_id", sa.String(), nullable=False),
        sa.Column("load", sa.String(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("profile_id", "load", name="pk_observations"),
    )
    with op.batch_alter_table("profiles") as table:
        table.add_column(sa.Column("step", sa.JSON(), nullable=True))
        table.add_column(sa.Column("fit", sa.JSON(), nullable=True))
        table.add_column(sa.Column("engine_limits", sa.JSON(), nullable=True))
        table.add_column(sa.Column("relative_error", sa.Double(), nullable=True))
    # What is there was given as a rate, or counted without keeping the single requests.
    with op.batch_alter_table("workloads") as table:
        table.add_column(sa.Column("burstiness", sa.Double(), nullable=False, server_default="1"))
        table.add_column(
            sa.Column("trace_requests", sa.Integer(), nullable=False, server_default="0")
        )
        table.add_column(sa.Column("trace_span_s", sa.Double(), nullable=False, server_default="0"))
        table.add_column(sa.Column("source", sa.String(), nullable=False, server_default=""))
    with op.batch_alter_table("workloads") as table:
        for name in ("burstiness", "trace_requests", "trace_span_s", "source"):
            table.alter_column(name, server_default=None)


def downgrade() -> None:
    with op.batch_alter_table("workloads") as table:
        for name in ("source", "trace_span_s", "trace_requests", "burstiness"):
            table.drop_column(name)
    with op.batch_alter_table("profiles") as table:
        for name in ("relative_error", "engine_limits", "fit", "step"):
            table.drop_column(name)
    op.drop_table("observations")
    op.drop_table("traces")
