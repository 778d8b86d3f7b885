"""The ledgers of company ids and household ids."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Make the tables."""
    _make_ledger("company", "companies", "record_id", "company_records")
    _make_ledger("household", "households", "profile_id", "household_profiles")


def _make_ledger(entity: str, plural: str, member: str, members: str) -> None:
    op.create_table(
        f"{entity}_ids",
        sa.Column(f"{entity}_id", sa.String(length=32), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("resolves_to", sa.String(length=32), nullable=True),
        sa.Column("issued_version", sa.String(length=64), nullable=False),
        sa.Column("issued_at", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint(f"{entity}_id", name=op.f(f"pk_{entity}_ids")),
        sa.UniqueConstraint("number"),
        comment=f"Every {entity} id ever issued.",
    )
    op.create_table(
        f"{entity}_id_events",
        sa.Column("event_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("version_id", sa.String(length=64), nullable=False),
        sa.Column(f"{entity}_id", sa.String(length=32), nullable=False),
        sa.Column("event", sa.String(length=16), nullable=False),
        sa.Column(f"other_{entity}_id", sa.String(length=32), nullable=True),
        sa.Column("at", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("event_id", name=op.f(f"pk_{entity}_id_events")),
        comment=f"What happened to the ids of {plural}.",
    )
    op.create_index(
        op.f(f"ix_{entity}_id_events_{entity}_id"), f"{entity}_id_events", [f"{entity}_id"]
    )
    op.create_table(
        members,
        sa.Column(member, sa.String(length=512), nullable=False),
        sa.Column(f"{entity}_id", sa.String(length=32), nullable=False),
        sa.Column("version_id", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint(member, name=op.f(f"pk_{members}")),
        comment=f"The official membership of {plural}, as it was last published.",
    )
    op.create_index(op.f(f"ix_{members}_{entity}_id"), members, [f"{entity}_id"])
    op.create_table(
        f"former_{members}",
        sa.Column(f"{entity}_id", sa.String(length=32), nullable=False),
        sa.Column(member, sa.String(length=512), nullable=False),
        sa.PrimaryKeyConstraint(f"{entity}_id", member, name=op.f(f"pk_former_{members}")),
        comment=f"The members of {plural} whose id was merged or retired.",
    )
