"""Plans that are looked at, what both sides changed, and what the ledger knows of each row."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Make the tables and columns; an approval under way has to be given again."""
    op.create_table(
        "sync_plans",
        sa.Column("plan_id", sa.String(length=16), nullable=False),
        sa.Column("sync", sa.String(length=128), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("version_id", sa.String(length=64), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("counts", sa.JSON(), nullable=False),
        sa.Column("reasons", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.String(length=32), nullable=False),
        sa.Column("approved_at", sa.String(length=32)),
        sa.PrimaryKeyConstraint("plan_id", name=op.f("pk_sync_plans")),
        comment=(
            "Plans that somebody looked at or has to look at; their rows are made again each time."
        ),
    )
    op.create_index(op.f("ix_sync_plans_sync"), "sync_plans", ["sync"])
    op.create_table(
        "sync_conflicts",
        sa.Column("sync", sa.String(length=128), nullable=False),
        sa.Column("destination_key", sa.String(length=512), nullable=False),
        sa.Column("column_name", sa.String(length=128), nullable=False),
        sa.Column("owner", sa.String(length=16), nullable=False),
        sa.Column("resolution", sa.String(length=16), nullable=False),
        sa.Column("times", sa.Integer(), nullable=False),
        sa.Column("first_seen_at", sa.String(length=32), nullable=False),
        sa.Column("last_seen_at", sa.String(length=32), nullable=False),
        sa.Column("sync_run_id", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint(
            "sync", "destination_key", "column_name", name=op.f("pk_sync_conflicts")
        ),
        comment="Fields that both sides changed since we last wrote them, and whose value stands.",
    )
    op.add_column("sync_runs", sa.Column("basis", sa.String(length=16)))
    op.add_column("sync_runs", sa.Column("filled", sa.JSON()))
    op.add_column("sync_runs", sa.Column("figures", sa.JSON()))
    op.add_column(
        "outbox", sa.Column("rejections", sa.Integer(), nullable=False, server_default="0")
    )
    for name in ("written_digests", "subjects"):
        column = sa.Column(name, sa.Text(), nullable=False, server_default="")
        op.add_column("acknowledgements", column)
    op.add_column(
        "acknowledgements",
        sa.Column("is_created", sa.Boolean(), nullable=False, server_default=sa.true()),
    )
    op.execute("delete from home where key like 'held:%' or key like 'approved:%'")
