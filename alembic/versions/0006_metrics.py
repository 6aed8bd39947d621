"""What scores are, where estimates of quality come from, judged answers and checks of live traffic

Frozen history: declares its own columns, never imports db.models.
"""

import sqlalchemy as sa
from alembic import op


revision = "0006"
down_revision = "0005"

ADDED = {
    "outcomes": {"metric": ""},
    "quality_estimates": {"metric": "", "provenance": "measured"},
}


def upgrade() -> None:
    for name, columns in ADDED.items():
        with op.batch_alter_table(name) as table:
            for column, value in columns.items():
                table.add_column(
                    sa.Column(column, sa.String(), nullable=False, server_default=value)
                )
        with op.batch_alter_table(name) as table:
            for column in columns:
                table.alter_column(column, server_default=None)
    op.create_table(
        "judgements",
        sa.Column("judgement_id", sa.Integer(), nullable=False),
        sa.Column("job_id", sa.String(), nullable=False),
        sa.Column("query", sa.String(), nullable=False),
        sa.Column("query_class", sa.String(), nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("first", sa.String(), nullable=False),
        sa.Column("second", sa.String(), nullable=False),
        sa.Column("input_tokens", sa.Integer(), nullable=False),
        sa.Column("output_tokens", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("judgement_id", name="pk_judgements"),
    )
    op.create_index("ix_judgements_job_id", "judgements", ["job_id"])
    op.create_table(
        "live_checks",
        sa.Column("check_id", sa.Integer(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("query_class", sa.String(), nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("best", sa.String(), nullable=False),
        sa.Column("metric", sa.String(), nullable=False),
        sa.Column("agrees", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("check_id", name="pk_live_checks"),
    )
    op.create_index("ix_live_checks_at", "live_checks", ["at"])


def downgrade() -> None:
    op.drop_index("ix_live_checks_at", "live_checks")
    op.drop_table("live_checks")
    op.drop_index("ix_judgements_job_id", "judgements")
    op.drop_table("judgements")
    for name, columns in ADDED.items():
        with op.batch_alter_table(name) as table:
            for column in reversed(columns):
                table.drop_column(column)
