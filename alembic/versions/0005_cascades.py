"""How sure models were of their answers, the cascades made of that, and what first calls cost

Frozen history: declares its own columns, never imports db.models.
"""

import sqlalchemy as sa
from alembic import op


revision = "0005"
down_revision = "0004"

OF_FIRST_CALLS = ("first_model", "first_input_tokens", "first_output_tokens", "first_cost_usd")


def upgrade() -> None:
    op.create_table(
        "cascade_estimates",
        sa.Column("query_class", sa.String(), nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("escalate_to", sa.String(), nullable=False),
        sa.Column("threshold", sa.Double(), nullable=False),
        sa.Column("escalated", sa.Double(), nullable=False),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("mean", sa.Double(), nullable=False),
        sa.Column("lower", sa.Double(), nullable=False),
        sa.Column("upper", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint(
            "query_class", "model", "escalate_to", "threshold", name="pk_cascade_estimates"
        ),
    )
    with op.batch_alter_table("outcomes") as table:
        table.add_column(sa.Column("confidence", sa.Double(), nullable=True))
    with op.batch_alter_table("requests") as table:
        table.add_column(sa.Column("confidence", sa.Double(), nullable=True))
        table.add_column(sa.Column("first_model", sa.String(), nullable=False, server_default=""))
        table.add_column(sa.Column("first_input_tokens", sa.Integer(), nullable=True))
        table.add_column(sa.Column("first_output_tokens", sa.Integer(), nullable=True))
        table.add_column(sa.Column("first_cost_usd", sa.Double(), nullable=True))
    with op.batch_alter_table("requests") as table:
        table.alter_column("first_model", server_default=None)


def downgrade() -> None:
    with op.batch_alter_table("requests") as table:
        for name in (*reversed(OF_FIRST_CALLS), "confidence"):
            table.drop_column(name)
    with op.batch_alter_table("outcomes") as table:
        table.drop_column("confidence")
    op.drop_table("cascade_estimates")
