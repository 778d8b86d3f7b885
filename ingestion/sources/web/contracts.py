"""The raw table of the click stream: `events-YYYY-MM-DD.jsonl` -> raw_web.events."""

from ingestion.contracts import Column, Kind, Table

EVENTS = Table(
    source="web",
    name="events",
    columns=(
        Column("event_id"),
        Column("type", is_required=True),
        Column("anonymous_id"),
        Column("session_id"),
        Column("shop_customer_id", Kind.INTEGER),
        Column("url", max_bytes=8_000),
        Column("sku"),
        Column("referrer", max_bytes=8_000),
        Column("occurred_at", Kind.MOMENT, is_required=True),
    ),
    key=("event_id",),
    cursor="occurred_at",
    is_sparse=True,
    from_files=True,
)

TABLES = (EVENTS,)
PATTERNS = {EVENTS.name: "**/events-*.jsonl"}
