"""What a deployed plan is watched for, and which deployment another one goes back from

Frozen history: declares its own columns, never imports db.models.
"""

import sqlalchemy as sa
from alembic import op


revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    with op.batch_alter_table("deployments") as table:
        table.add_column(sa.Column("guard", sa.JSON(), nullable=True))
        table.add_column(sa.Column("reverts", sa.String(), nullable=False, server_default=""))
    with op.batch_alter_table("deployments") as table:
        table.alter_column("reverts", server_default=None)


def downgrade() -> None:
    with op.batch_alter_table("deployments") as table:
        table.drop_column("reverts")
        table.drop_column("guard")
