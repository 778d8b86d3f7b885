"""The membership that a profile id had when it was merged or retired."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "former_profile_records",
        sa.Column("profile_id", sa.String(length=32), nullable=False),
        sa.Column("record_id", sa.String(length=512), nullable=False),
        sa.PrimaryKeyConstraint("profile_id", "record_id", name=op.f("pk_former_profile_records")),
        comment="The records an id had when it was merged or retired; it may be revived for those.",
    )
