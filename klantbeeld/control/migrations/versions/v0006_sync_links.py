"""Rows that a destination merged into others, and are sent for those."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "sync_links",
        sa.Column("sync", sa.String(length=128), nullable=False),
        sa.Column("destination_key", sa.String(length=512), nullable=False),
        sa.Column("master_key", sa.String(length=512), nullable=False),
        sa.Column("found_at", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("sync", "destination_key", name=op.f("pk_sync_links")),
        comment="Keys that the destination merged into another: sent under that one.",
    )
