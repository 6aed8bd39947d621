"""What replicas did while a plan was measured, failed evaluations and their order; what studies
compare and what stands in their way; deployments against advice

Frozen history: declares its own columns, never imports db.models.
"""

import sqlalchemy as sa
from alembic import op


revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    with op.batch_alter_table("studies") as table:
        table.add_column(
            sa.Column("method", sa.String(), nullable=False, server_default="grey box")
        )
        table.add_column(sa.Column("infeasibility", sa.JSON(), nullable=True))
        table.add_column(sa.Column("comparisons", sa.JSON(), nullable=False, server_default="[]"))
    with op.batch_alter_table("studies") as table:
        for name in ("method", "comparisons"):
            table.alter_column(name, server_default=None)
    with op.batch_alter_table("deployments") as table:
        table.add_column(sa.Column("override", sa.String(), nullable=False, server_default=""))
    with op.batch_alter_table("deployments") as table:
        table.alter_column("override", server_default=None)
    with op.batch_alter_table("trials") as table:
        table.add_column(sa.Column("telemetry", sa.JSON(), nullable=False, server_default="[]"))
        table.add_column(sa.Column("failure", sa.String(), nullable=False, server_default=""))
        table.add_column(sa.Column("evaluation", sa.Integer(), nullable=True))
        table.add_column(sa.Column("alike", sa.Integer(), nullable=True))
    with op.batch_alter_table("trials") as table:
        for name in ("telemetry", "failure"):
            table.alter_column(name, server_default=None)


def downgrade() -> None:
    with op.batch_alter_table("trials") as table:
        for name in ("alike", "evaluation", "failure", "telemetry"):
            table.drop_column(name)
    with op.batch_alter_table("deployments") as table:
        table.drop_column("override")
    with op.batch_alter_table("studies") as table:
        for name in ("comparisons", "infeasibility", "method"):
            table.drop_column(name)
