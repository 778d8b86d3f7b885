"""The tables of the control plane: all that cannot be rebuilt from the sources.

SQLAlchemy Core, so that the same definitions serve SQLite and PostgreSQL. Times are UTC. A change
here needs a migration beside it (`migrations/versions/`); a test compares the two.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

metadata = sa.MetaData(
    naming_convention={"ix": "ix_%(table_name)s_%(column_0_N_name)s", "pk": "pk_%(table_name)s"}
)


class UtcDateTime(sa.TypeDecorator[datetime]):
    """An aware moment, kept as ISO 8601 text in UTC, so that the order of text is that of time."""

    impl = sa.String(32)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Any) -> str | None:
        """To text; a moment without a zone is a mistake."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without a zone cannot be stored")
        return value.astimezone(UTC).isoformat(timespec="microseconds")

    def process_result_value(self, value: str | None, dialect: Any) -> datetime | None:
        """From text."""
        return None if value is None else datetime.fromisoformat(value)


def _text(length: int = 255) -> sa.String:
    return sa.String(length)


home = sa.Table(
    "home",
    metadata,
    sa.Column("key", _text(64), primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
    comment="What a home knows of itself: its id, its environment, its epoch.",
)

versions = sa.Table(
    "versions",
    metadata,
    sa.Column("version_id", _text(64), primary_key=True),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("as_of", UtcDateTime, nullable=False),
    sa.Column("run_id", _text(64), nullable=False),
    sa.Column("status", _text(16), nullable=False),  # current | previous | retired
    sa.Column("counts", sa.JSON, nullable=False),
    comment="Published versions of the warehouse; the row with status current is the publish.",
)

profile_ids = sa.Table(
    "profile_ids",
    metadata,
    sa.Column("profile_id", _text(32), primary_key=True),
    sa.Column("number", sa.BigInteger, nullable=False, unique=True),
    sa.Column("status", _text(16), nullable=False),  # active | merged | retired | erased
    sa.Column("resolves_to", _text(32)),
    sa.Column("issued_version", _text(64), nullable=False),
    sa.Column("issued_at", UtcDateTime, nullable=False),
    comment="Every profile id ever issued.",
)

profile_id_events = sa.Table(
    "profile_id_events",
    metadata,
    sa.Column("event_id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
    sa.Column("version_id", _text(64), nullable=False),
    sa.Column("profile_id", _text(32), nullable=False, index=True),
    sa.Column("event", _text(16), nullable=False),
    sa.Column("other_profile_id", _text(32)),
    sa.Column("at", UtcDateTime, nullable=False),
    comment="The ledger: created, merged, split, revived, retired, erased.",
)

profile_records = sa.Table(
    "profile_records",
    metadata,
    sa.Column("record_id", _text(512), primary_key=True),
    sa.Column("profile_id", _text(32), nullable=False, index=True),
    sa.Column("version_id", _text(64), nullable=False),
    comment="The official membership: which profile a record was in when it was last published.",
)

former_profile_records = sa.Table(
    "former_profile_records",
    metadata,
    sa.Column("profile_id", _text(32), primary_key=True),
    sa.Column("record_id", _text(512), primary_key=True),
    comment="The records an id had when it was merged or retired; it may be revived for those.",
)


@dataclass(frozen=True)
class IdLedger:
    """The four tables that lasting ids of one kind are kept in."""

    ids: sa.Table
    events: sa.Table
    members: sa.Table
    former: sa.Table


def _id_ledger(entity: str, plural: str, member: str, members: str) -> IdLedger:
    """The ledger of another kind of thing, shaped as that of profiles.

    Its columns answer to the keys of the profile tables, so that one piece of code serves them all.
    """

    def entity_id(name: str = "", **options: Any) -> sa.Column[str]:
        key = f"{name}profile_id"
        return sa.Column(f"{name}{entity}_id", _text(32), key=key, **options)

    def member_id() -> sa.Column[str]:
        return sa.Column(member, _text(512), key="record_id", primary_key=True)

    return IdLedger(
        ids=sa.Table(
            f"{entity}_ids",
            metadata,
            entity_id(primary_key=True),
            sa.Column("number", sa.BigInteger, nullable=False, unique=True),
            sa.Column("status", _text(16), nullable=False),  # active | merged | retired | erased
            sa.Column("resolves_to", _text(32)),
            sa.Column("issued_version", _text(64), nullable=False),
            sa.Column("issued_at", UtcDateTime, nullable=False),
            comment=f"Every {entity} id ever issued.",
        ),
        events=sa.Table(
            f"{entity}_id_events",
            metadata,
            sa.Column(
                "event_id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True
            ),
            sa.Column("version_id", _text(64), nullable=False),
            entity_id(nullable=False, index=True),
            sa.Column("event", _text(16), nullable=False),
            entity_id("other_"),
            sa.Column("at", UtcDateTime, nullable=False),
            comment=f"What happened to the ids of {plural}.",
        ),
        members=sa.Table(
            members,
            metadata,
            member_id(),
            entity_id(nullable=False, index=True),
            sa.Column("version_id", _text(64), nullable=False),
            comment=f"The official membership of {plural}, as it was last published.",
        ),
        former=sa.Table(
            f"former_{members}",
            metadata,
            entity_id(primary_key=True),
            member_id(),
            comment=f"The members of {plural} whose id was merged or retired.",
        ),
    )


PROFILE_LEDGER = IdLedger(profile_ids, profile_id_events, profile_records, former_profile_records)
COMPANY_LEDGER = _id_ledger("company", "companies", "record_id", "company_records")
HOUSEHOLD_LEDGER = _id_ledger("household", "households", "profile_id", "household_profiles")

linkage_models = sa.Table(
    "linkage_models",
    metadata,
    sa.Column("model_version", _text(64), primary_key=True),
    sa.Column("status", _text(16), nullable=False),  # candidate | current | retired
    sa.Column("path", sa.Text, nullable=False),
    sa.Column("trained_at", UtcDateTime, nullable=False),
    sa.Column("metrics", sa.JSON, nullable=False),
    sa.Column("promoted_at", UtcDateTime),
)

quarantine = sa.Table(
    "quarantine",
    metadata,
    sa.Column("quarantine_id", _text(64), primary_key=True),
    sa.Column("source", _text(64), nullable=False),
    sa.Column("table_name", _text(64), nullable=False),
    sa.Column("position", sa.Text, nullable=False),
    sa.Column("row_key", sa.Text),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("payload", sa.Text),
    sa.Column("payload_digest", _text(64), nullable=False),
    sa.Column("status", _text(16), nullable=False),  # open | replayed | superseded | discarded
    sa.Column("first_seen_at", UtcDateTime, nullable=False),
    sa.Column("last_seen_at", UtcDateTime, nullable=False),
    sa.Column("run_id", _text(64), nullable=False),
    sa.Index("ix_quarantine_open", "status", "source", "table_name"),
    comment="Rows that could not be loaded, with their place and reason; they can be replayed.",
)

load_runs = sa.Table(
    "load_runs",
    metadata,
    sa.Column("run_id", _text(64), primary_key=True),
    sa.Column("source", _text(64), primary_key=True),
    sa.Column("at", UtcDateTime, nullable=False),
    sa.Column("status", _text(16), nullable=False),  # loaded | unchanged | failed | disabled
    sa.Column("message", sa.Text),
)

load_counts = sa.Table(
    "load_counts",
    metadata,
    sa.Column("run_id", _text(64), primary_key=True),
    sa.Column("source", _text(64), primary_key=True),
    sa.Column("table_name", _text(64), primary_key=True),
    sa.Column("at", UtcDateTime, nullable=False),
    sa.Column("rows_read", sa.BigInteger, nullable=False),
    sa.Column("rows_loaded", sa.BigInteger, nullable=False),
    sa.Column("rows_unchanged", sa.BigInteger, nullable=False),
    sa.Column("rows_quarantined", sa.BigInteger, nullable=False),
    sa.Column("rows_deduplicated", sa.BigInteger, nullable=False),
    sa.Column("rows_deleted", sa.BigInteger, nullable=False),
    comment="Rows read = loaded + unchanged + quarantined + deduplicated, per run and raw table.",
)

landing_files = sa.Table(
    "landing_files",
    metadata,
    sa.Column("source", _text(64), primary_key=True),
    sa.Column("name", _text(512), primary_key=True),
    sa.Column("digest", _text(64), primary_key=True),
    sa.Column("bytes", sa.BigInteger, nullable=False),
    sa.Column("received_at", UtcDateTime, nullable=False),
    sa.Column("loaded_at", UtcDateTime),
    sa.Column("status", _text(16), nullable=False),
    sa.Column("rows_read", sa.BigInteger),
    sa.Column("message", sa.Text),
    comment="The manifest of the landing folder.",
)

sync_runs = sa.Table(
    "sync_runs",
    metadata,
    sa.Column("sync_run_id", _text(64), primary_key=True),
    sa.Column("sync", _text(128), nullable=False, index=True),
    sa.Column("version_id", _text(64)),
    sa.Column("run_id", _text(64), nullable=False),
    sa.Column("started_at", UtcDateTime, nullable=False),
    sa.Column("finished_at", UtcDateTime),
    sa.Column("status", _text(16), nullable=False),
    sa.Column("planned_creates", sa.BigInteger, nullable=False, default=0),
    sa.Column("planned_updates", sa.BigInteger, nullable=False, default=0),
    sa.Column("planned_deletes", sa.BigInteger, nullable=False, default=0),
    sa.Column("unchanged", sa.BigInteger, nullable=False, default=0),
    sa.Column("acknowledged", sa.BigInteger, nullable=False, default=0),
    sa.Column("rejected", sa.BigInteger, nullable=False, default=0),
    sa.Column("unknown", sa.BigInteger, nullable=False, default=0),
    sa.Column("held", sa.BigInteger, nullable=False, default=0),
    sa.Column("message", sa.Text),
    sa.Column("basis", _text(16)),  # baseline | approved: what the weekly limits begin after
    sa.Column("filled", sa.JSON),  # rows with a value, by model column, of what was sent
    sa.Column("figures", sa.JSON),  # the counts that have no column of their own
)

sync_plans = sa.Table(
    "sync_plans",
    metadata,
    sa.Column("plan_id", _text(16), primary_key=True),
    sa.Column("sync", _text(128), nullable=False, index=True),
    sa.Column("digest", _text(64), nullable=False),
    sa.Column("version_id", _text(64), nullable=False),
    sa.Column("status", _text(16), nullable=False),  # planned | held | approved | done
    sa.Column("counts", sa.JSON, nullable=False),
    sa.Column("reasons", sa.JSON, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("approved_at", UtcDateTime),
    comment="Plans that somebody looked at or has to look at; their rows are made again each time.",
)

sync_conflicts = sa.Table(
    "sync_conflicts",
    metadata,
    sa.Column("sync", _text(128), primary_key=True),
    sa.Column("destination_key", _text(512), primary_key=True),
    sa.Column("column_name", _text(128), primary_key=True),
    sa.Column("owner", _text(16), nullable=False),
    sa.Column("resolution", _text(16), nullable=False),  # ours | theirs
    sa.Column("times", sa.Integer, nullable=False),
    sa.Column("first_seen_at", UtcDateTime, nullable=False),
    sa.Column("last_seen_at", UtcDateTime, nullable=False),
    sa.Column("sync_run_id", _text(64), nullable=False),
    comment="Fields that both sides changed since we last wrote them, and whose value stands.",
)

sync_links = sa.Table(
    "sync_links",
    metadata,
    sa.Column("sync", _text(128), primary_key=True),
    sa.Column("destination_key", _text(512), primary_key=True),
    sa.Column("master_key", _text(512), nullable=False),
    sa.Column("found_at", UtcDateTime, nullable=False),
    comment="Keys that the destination merged into another: sent under that one.",
)

outbox = sa.Table(
    "outbox",
    metadata,
    sa.Column("op_id", _text(64), primary_key=True),
    sa.Column("sync", _text(128), nullable=False),
    sa.Column("destination_key", _text(512), nullable=False),
    # create | update, and when the row leaves: delete | clear | remove
    sa.Column("operation", _text(16), nullable=False),
    sa.Column("payload", sa.Text),
    sa.Column("row_digest", _text(64)),
    sa.Column("state", _text(16), nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False, default=0),
    sa.Column("rejections", sa.Integer, nullable=False, default=0, server_default="0"),
    sa.Column("reason", sa.Text),
    sa.Column("sync_run_id", _text(64), nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("updated_at", UtcDateTime, nullable=False),
    sa.Index("ix_outbox_sync_state", "sync", "state"),
    sa.Index("ix_outbox_sync_key", "sync", "destination_key"),
    comment="pending -> in_flight -> acknowledged | rejected | unknown | cancelled | superseded.",
)

acknowledgements = sa.Table(
    "acknowledgements",
    metadata,
    sa.Column("sync", _text(128), primary_key=True),
    sa.Column("destination_key", _text(512), primary_key=True),
    sa.Column("row_digest", _text(64), nullable=False),
    sa.Column("column_digests", sa.Text, nullable=False),
    sa.Column("op_id", _text(64), nullable=False),
    sa.Column("acknowledged_at", UtcDateTime, nullable=False),
    sa.Column("written_digests", sa.Text, nullable=False, default="", server_default=""),
    sa.Column("subjects", sa.Text, nullable=False, default="", server_default=""),
    sa.Column("is_created", sa.Boolean, nullable=False, default=True, server_default=sa.true()),
    comment="What a destination has accepted, as keyed hashes; never values.",
)

exports = sa.Table(
    "exports",
    metadata,
    sa.Column("sync", _text(128), primary_key=True),
    sa.Column("file", sa.Text, primary_key=True),
    sa.Column("version_id", _text(64), nullable=False),
    sa.Column("rows", sa.BigInteger, nullable=False),
    sa.Column("digest", _text(64), nullable=False),
    sa.Column("written_at", UtcDateTime, nullable=False),
    sa.Column("expires_at", UtcDateTime),
)

consent_events = sa.Table(
    "consent_events",
    metadata,
    sa.Column("consent_event_id", _text(64), primary_key=True),
    sa.Column("channel", _text(16), nullable=False),
    sa.Column("contact_point_hash", _text(64), nullable=False, index=True),
    sa.Column("purpose", _text(32), nullable=False),
    sa.Column("status", _text(16), nullable=False),  # granted | denied
    sa.Column("effective_at", UtcDateTime, nullable=False),
    sa.Column("expires_at", UtcDateTime),
    sa.Column("received_at", UtcDateTime, nullable=False),
    sa.Column("origin", _text(64), nullable=False),
    comment="Consent received directly, by keyed hash of the contact point.",
)

steward_decisions = sa.Table(
    "steward_decisions",
    metadata,
    sa.Column("decision_id", _text(64), primary_key=True),
    # What was decided at once and is undone at once: merging two profiles is a row per record.
    sa.Column("action_id", _text(64), nullable=False, index=True),
    sa.Column("record_id_l", _text(512), nullable=False),
    sa.Column("record_id_r", _text(512)),  # null for pass_through
    sa.Column("verdict", _text(16), nullable=False),  # same | different | pass_through
    sa.Column("decided_by", _text(128), nullable=False),
    sa.Column("decided_at", UtcDateTime, nullable=False),
    sa.Column("why", sa.Text),
    sa.Column("revoked_at", UtcDateTime),
    sa.Column("revoked_by", _text(128)),
    sa.Column("revoked_why", sa.Text),
    comment="What people decided about records; binds every linkage until it is revoked.",
)

record_aliases = sa.Table(
    "record_aliases",
    metadata,
    sa.Column("old_record_id", _text(512), primary_key=True),
    sa.Column("new_record_id", _text(512), nullable=False),
    sa.Column("given_by", _text(128), nullable=False),
    sa.Column("given_at", UtcDateTime, nullable=False),
    sa.Column("why", sa.Text),
    comment="Records that a source gave another key: the new one takes over history and decisions.",
)

tombstones = sa.Table(
    "tombstones",
    metadata,
    sa.Column("kind", _text(32), primary_key=True),
    sa.Column("value_hash", _text(64), primary_key=True),
    sa.Column("erased_at", UtcDateTime, nullable=False),
    sa.Column("reason", sa.Text),
    comment="Identifiers of erased people as keyed hashes: no later load brings them back.",
)

audit_log = sa.Table(
    "audit_log",
    metadata,
    sa.Column("entry_id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
    sa.Column("at", UtcDateTime, nullable=False),
    sa.Column("actor", _text(128), nullable=False),
    sa.Column("action", _text(64), nullable=False),
    sa.Column("subject", sa.Text, nullable=False),
    sa.Column("detail", sa.JSON),
)
