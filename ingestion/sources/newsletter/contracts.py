"""The raw tables of the newsletter tool.

A subscriber's key at the sender is the e-mail address. It is personal data, so the key here is a
keyed hash of it, and so it is on every row that names a subscriber.
"""

from ingestion.contracts import Column, Kind, Table
from klantbeeld.records import keyed_hash_sql

_EMAIL = Column("email", is_required=True)
_SUBSCRIBER_KEY = Column(
    "subscriber_key",
    derived=keyed_hash_sql("lower(trim(email))", home_key="getvariable('home_key')"),
)
_UPDATED_AT = Column("updated_at", Kind.MOMENT, is_required=True)

SUBSCRIBERS = Table(
    source="newsletter",
    name="subscribers",
    columns=(
        _SUBSCRIBER_KEY,
        _EMAIL,
        Column("first_name"),
        Column("last_name"),
        Column("status"),
        Column("created_at", Kind.MOMENT),
        _UPDATED_AT,
    ),
    key=("subscriber_key",),
    cursor="updated_at",
    is_incremental=True,
)

LISTS = Table(
    source="newsletter",
    name="lists",
    columns=(Column("list_id"), Column("name"), Column("purpose"), _UPDATED_AT),
    key=("list_id",),
    cursor="updated_at",
    is_incremental=True,
)

OPT_INS = Table(
    source="newsletter",
    name="opt_ins",
    columns=(
        Column("opt_in_id"),
        _SUBSCRIBER_KEY,
        _EMAIL,
        Column("list_id"),
        Column("status"),
        Column("method"),
        Column("occurred_at", Kind.MOMENT),
        _UPDATED_AT,
    ),
    key=("opt_in_id",),
    cursor="updated_at",
    is_incremental=True,
)

EVENTS = Table(
    source="newsletter",
    name="events",
    columns=(
        Column("event_id"),
        _SUBSCRIBER_KEY,
        _EMAIL,
        Column("type"),
        Column("campaign_id"),
        Column("campaign_name"),
        Column("list_id"),
        Column("url", max_bytes=8_000),
        Column("occurred_at", Kind.MOMENT, is_required=True),
    ),
    key=("event_id",),
    cursor="occurred_at",
    is_incremental=True,
)

TABLES = (SUBSCRIBERS, LISTS, OPT_INS, EVENTS)

# Not a raw table: it would keep the addresses of those who asked to be forgotten.
DELETIONS = Table(
    source="newsletter",
    name="deletions",
    columns=(_SUBSCRIBER_KEY, _EMAIL, Column("deleted_at", Kind.MOMENT, is_required=True)),
    key=("subscriber_key",),
    cursor="deleted_at",
)

# The name of the parameter that asks for what came since.
SINCE = {"events": "occurred_since"}
SINCE_DEFAULT = "updated_since"
