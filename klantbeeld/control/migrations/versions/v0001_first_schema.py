"""The first schema of the control plane."""

import sqlalchemy as sa
from alembic import op

from klantbeeld.control.tables import UtcDateTime

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make every table."""
    op.create_table(
        "acknowledgements",
        sa.Column("sync", sa.String(length=128), nullable=False),
        sa.Column("destination_key", sa.String(length=512), nullable=False),
        sa.Column("row_digest", sa.String(length=64), nullable=False),
        sa.Column("column_digests", sa.Text(), nullable=False),
        sa.Column("op_id", sa.String(length=64), nullable=False),
        sa.Column("acknowledged_at", UtcDateTime(length=32), nullable=False),
        sa.PrimaryKeyConstraint("sync", "destination_key", name=op.f("pk_acknowledgements")),
        comment="What a destination has accepted, as keyed hashes; never values.",
    )
    op.create_table(
        "audit_log",
        sa.Column("entry_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("at", UtcDateTime(length=32), nullable=False),
        sa.Column("actor", sa.String(length=128), nullable=False),
        sa.Column("action", sa.String(length=64), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("detail", sa.JSON(), nullable=True),
        sa.PrimaryKeyConstraint("entry_id", name=op.f("pk_audit_log")),
    )
    op.create_table(
        "consent_events",
        sa.Column("consent_event_id", sa.String(length=64), nullable=False),
        sa.Column("channel", sa.String(length=16), nullable=False),
        sa.Column("contact_point_hash", sa.String(length=64), nullable=False),
        sa.Column("purpose", sa.String(length=32), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("effective_at", UtcDateTime(length=32), nullable=False),
        sa.Column("expires_at", UtcDateTime(length=32), nullable=True),
        sa.Column("received_at", UtcDateTime(length=32), nullable=False),
        sa.Column("origin", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("consent_event_id", name=op.f("pk_consent_events")),
        comment="Consent received directly, by keyed hash of the contact point.",
    )
    op.create_index(
        op.f("ix_consent_events_contact_point_hash"),
        "consent_events",
        ["contact_point_hash"],
        unique=False,
    )
    op.create_table(
        "exports",
        sa.Column("sync", sa.String(length=128), nullable=False),
        sa.Column("file", sa.Text(), nullable=False),
        sa.Column("version_id", sa.String(length=64), nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("written_at", UtcDateTime(length=32), nullable=False),
        sa.Column("expires_at", UtcDateTime(length=32), nullable=True),
        sa.PrimaryKeyConstraint("sync", "file", name=op.f("pk_exports")),
    )
    op.create_table(
        "home",
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_home")),
        comment="What a home knows of itself: its id, its environment, its epoch.",
    )
    op.create_table(
        "landing_files",
        sa.Column("source", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=512), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("received_at", UtcDateTime(length=32), nullable=False),
        sa.Column("loaded_at", UtcDateTime(length=32), nullable=True),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("rows_read", sa.BigInteger(), nullable=True),
        sa.Column("message", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("source", "name", "digest", name=op.f("pk_landing_files")),
        comment="The manifest of the landing folder.",
    )
    op.create_table(
        "linkage_models",
        sa.Column("model_version", sa.String(length=64), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("trained_at", UtcDateTime(length=32), nullable=False),
        sa.Column("metrics", sa.JSON(), nullable=False),
        sa.Column("promoted_at", UtcDateTime(length=32), nullable=True),
        sa.PrimaryKeyConstraint("model_version", name=op.f("pk_linkage_models")),
    )
    op.create_table(
        "load_counts",
        sa.Column("run_id", sa.String(length=64), nullable=False),
        sa.Column("source", sa.String(length=64), nullable=False),
        sa.Column("table_name", sa.String(length=64), nullable=False),
        sa.Column("at", UtcDateTime(length=32), nullable=False),
        sa.Column("rows_read", sa.BigInteger(), nullable=False),
        sa.Column("rows_loaded", sa.BigInteger(), nullable=False),
        sa.Column("rows_unchanged", sa.BigInteger(), nullable=False),
        sa.Column("rows_quarantined", sa.BigInteger(), nullable=False),
        sa.Column("rows_deduplicated", sa.BigInteger(), nullable=False),
        sa.Column("rows_deleted", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "source", "table_name", name=op.f("pk_load_counts")),
        comment="Rows read = loaded + unchanged + quarantined + deduplicated, per run and raw table.",
    )
    op.create_table(
        "load_runs",
        sa.Column("run_id", sa.String(length=64), nullable=False),
        sa.Column("source", sa.String(length=64), nullable=False),
        sa.Column("at", UtcDateTime(length=32), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("message", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("run_id", "source", name=op.f("pk_load_runs")),
    )
    op.create_table(
        "outbox",
        sa.Column("op_id", sa.String(length=64), nullable=False),
        sa.Column("sync", sa.String(length=128), nullable=False),
        sa.Column("destination_key", sa.String(length=512), nullable=False),
        sa.Column("operation", sa.String(length=16), nullable=False),
        sa.Column("payload", sa.Text(), nullable=True),
        sa.Column("row_digest", sa.String(length=64), nullable=True),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("sync_run_id", sa.String(length=64), nullable=False),
        sa.Column("created_at", UtcDateTime(length=32), nullable=False),
        sa.Column("updated_at", UtcDateTime(length=32), nullable=False),
        sa.PrimaryKeyConstraint("op_id", name=op.f("pk_outbox")),
        comment="pending -> in_flight -> acknowledged | rejected | unknown | cancelled | superseded.",
    )
    op.create_index("ix_outbox_sync_key", "outbox", ["sync", "destination_key"], unique=False)
    op.create_index("ix_outbox_sync_state", "outbox", ["sync", "state"], unique=False)
    op.create_table(
        "profile_id_events",
        sa.Column("event_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("version_id", sa.String(length=64), nullable=False),
        sa.Column("profile_id", sa.String(length=32), nullable=False),
        sa.Column("event", sa.String(length=16), nullable=False),
        sa.Column("other_profile_id", sa.String(length=32), nullable=True),
        sa.Column("at", UtcDateTime(length=32), nullable=False),
        sa.PrimaryKeyConstraint("event_id", name=op.f("pk_profile_id_events")),
        comment="The ledger: created, merged, split, revived, retired, erased.",
    )
    op.create_index(
        op.f("ix_profile_id_events_profile_id"), "profile_id_events", ["profile_id"], unique=False
    )
    op.create_table(
        "profile_ids",
        sa.Column("profile_id", sa.String(length=32), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("resolves_to", sa.String(length=32), nullable=True),
        sa.Column("issued_version", sa.String(length=64), nullable=False),
        sa.Column("issued_at", UtcDateTime(length=32), nullable=False),
        sa.PrimaryKeyConstraint("profile_id", name=op.f("pk_profile_ids")),
        sa.UniqueConstraint("number"),
        comment="Every profile id ever issued.",
    )
    op.create_table(
        "profile_records",
        sa.Column("record_id", sa.String(length=512), nullable=False),
        sa.Column("profile_id", sa.String(length=32), nullable=False),
        sa.Column("version_id", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("record_id", name=op.f("pk_profile_records")),
        comment="The official membership: which profile a record was in when it was last published.",
    )
    op.create_index(
        op.f("ix_profile_records_profile_id"), "profile_records", ["profile_id"], unique=False
    )
    op.create_table(
        "quarantine",
        sa.Column("quarantine_id", sa.String(length=64), nullable=False),
        sa.Column("source", sa.String(length=64), nullable=False),
        sa.Column("table_name", sa.String(length=64), nullable=False),
        sa.Column("position", sa.Text(), nullable=False),
        sa.Column("row_key", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("payload", sa.Text(), nullable=True),
        sa.Column("payload_digest", sa.String(length=64), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("first_seen_at", UtcDateTime(length=32), nullable=False),
        sa.Column("last_seen_at", UtcDateTime(length=32), nullable=False),
        sa.Column("run_id", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("quarantine_id", name=op.f("pk_quarantine")),
        comment="Rows that could not be loaded, with their place and reason; they can be replayed.",
    )
    op.create_index(
        "ix_quarantine_open", "quarantine", ["status", "source", "table_name"], unique=False
    )
    op.create_table(
        "steward_decisions",
        sa.Column("decision_id", sa.String(length=64), nullable=False),
        sa.Column("record_id_l", sa.String(length=512), nullable=False),
        sa.Column("record_id_r", sa.String(length=512), nullable=False),
        sa.Column("verdict", sa.String(length=16), nullable=False),
        sa.Column("decided_by", sa.String(length=128), nullable=False),
        sa.Column("decided_at", UtcDateTime(length=32), nullable=False),
        sa.Column("why", sa.Text(), nullable=True),
        sa.Column("revoked_at", UtcDateTime(length=32), nullable=True),
        sa.PrimaryKeyConstraint("decision_id", name=op.f("pk_steward_decisions")),
    )
    op.create_table(
        "sync_runs",
        sa.Column("sync_run_id", sa.String(length=64), nullable=False),
        sa.Column("sync", sa.String(length=128), nullable=False),
        sa.Column("version_id", sa.String(length=64), nullable=True),
        sa.Column("run_id", sa.String(length=64), nullable=False),
        sa.Column("started_at", UtcDateTime(length=32), nullable=False),
        sa.Column("finished_at", UtcDateTime(length=32), nullable=True),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("planned_creates", sa.BigInteger(), nullable=False),
        sa.Column("planned_updates", sa.BigInteger(), nullable=False),
        sa.Column("planned_deletes", sa.BigInteger(), nullable=False),
        sa.Column("unchanged", sa.BigInteger(), nullable=False),
        sa.Column("acknowledged", sa.BigInteger(), nullable=False),
        sa.Column("rejected", sa.BigInteger(), nullable=False),
        sa.Column("unknown", sa.BigInteger(), nullable=False),
        sa.Column("held", sa.BigInteger(), nullable=False),
        sa.Column("message", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("sync_run_id", name=op.f("pk_sync_runs")),
    )
    op.create_index(op.f("ix_sync_runs_sync"), "sync_runs", ["sync"], unique=False)
    op.create_table(
        "tombstones",
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("value_hash", sa.String(length=64), nullable=False),
        sa.Column("erased_at", UtcDateTime(length=32), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("kind", "value_hash", name=op.f("pk_tombstones")),
        comment="Identifiers of erased people as keyed hashes: no later load brings them back.",
    )
    op.create_table(
        "versions",
        sa.Column("version_id", sa.String(length=64), nullable=False),
        sa.Column("created_at", UtcDateTime(length=32), nullable=False),
        sa.Column("as_of", UtcDateTime(length=32), nullable=False),
        sa.Column("run_id", sa.String(length=64), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("counts", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("version_id", name=op.f("pk_versions")),
        comment="Published versions of the warehouse; the row with status current is the publish.",
    )
