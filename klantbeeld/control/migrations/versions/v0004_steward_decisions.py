"""Decisions that are made and undone together, and records that were given another key."""

import sqlalchemy as sa
from alembic import op

from klantbeeld.control.tables import UtcDateTime

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Widen the table of decisions and make the one of aliases."""
    table_comment = "What people decided about records; binds every linkage until it is revoked."
    with op.batch_alter_table("steward_decisions") as batch:
        batch.add_column(sa.Column("action_id", sa.String(length=64)))
        batch.add_column(sa.Column("revoked_by", sa.String(length=128)))
        batch.add_column(sa.Column("revoked_why", sa.Text()))
        batch.alter_column("record_id_r", existing_type=sa.String(length=512), nullable=True)
        batch.create_table_comment(table_comment)
    op.execute("update steward_decisions set action_id = decision_id where action_id is null")
    with op.batch_alter_table("steward_decisions") as batch:
        batch.alter_column("action_id", existing_type=sa.String(length=64), nullable=False)
    op.create_index("ix_steward_decisions_action_id", "steward_decisions", ["action_id"])
    op.create_table(
        "record_aliases",
        sa.Column("old_record_id", sa.String(length=512), nullable=False),
        sa.Column("new_record_id", sa.String(length=512), nullable=False),
        sa.Column("given_by", sa.String(length=128), nullable=False),
        sa.Column("given_at", UtcDateTime(), nullable=False),
        sa.Column("why", sa.Text()),
        sa.PrimaryKeyConstraint("old_record_id", name=op.f("pk_record_aliases")),
        comment=(
            "Records that a source gave another key: the new one takes over history and decisions."
        ),
    )
