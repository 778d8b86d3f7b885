"""The newsletter tool's SQLite file: tables, bulk loading, changes, and pages in a stable order.

Flow: Arrow tables -> ADBC -> SQLite -> `page()` -> the service.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc


@dataclass(frozen=True)
class Collection:
    """A table as the service shows it.

    Attributes:
        name: In the address and in SQLite.
        columns: What a row shows, in order.
        key: What tells rows of one moment apart.
        moment: The column that orders and filters.
        since: The name of the filter's parameter.
    """

    name: str
    columns: tuple[str, ...]
    key: str
    moment: str = "updated_at"
    since: str = "updated_since"


SUBSCRIBERS = Collection(
    "subscribers",
    ("email", "first_name", "last_name", "status", "created_at", "updated_at"),
    key="email",
)
LISTS = Collection("lists", ("list_id", "name", "purpose", "updated_at"), key="list_id")
OPT_INS = Collection(
    "opt_ins",
    ("opt_in_id", "email", "list_id", "status", "method", "occurred_at", "updated_at"),
    key="opt_in_id",
)
EVENTS = Collection(
    "events",
    (
        "event_id",
        "email",
        "type",
        "campaign_id",
        "campaign_name",
        "list_id",
        "url",
        "occurred_at",
    ),
    key="event_id",
    moment="occurred_at",
    since="occurred_since",
)
DELETIONS = Collection("deletions", ("email", "deleted_at"), key="email", moment="deleted_at")
COLLECTIONS: Mapping[str, Collection] = {
    collection.name: collection for collection in (SUBSCRIBERS, LISTS, OPT_INS, EVENTS, DELETIONS)
}

_TYPES = {"list_id": "integer", "opt_in_id": "integer"}


def create(path: Path) -> None:
    """Make an empty store; what was there goes."""
    for stale in (path, path.with_name(path.name + "-wal"), path.with_name(path.name + "-shm")):
        stale.unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("pragma journal_mode = wal")
        for collection in COLLECTIONS.values():
            columns = ", ".join(f"{name} {_TYPES.get(name, 'text')}" for name in collection.columns)
            connection.execute(f"create table {collection.name} ({columns})")
        connection.commit()
    path.chmod(0o600)


def load(path: Path, tables: Mapping[str, pa.Table]) -> None:
    """Add rows in bulk, before `add_indexes`."""
    # Imported here: only a world that is being made needs it.
    from adbc_driver_sqlite import dbapi

    with dbapi.connect(str(path)) as connection:
        with connection.cursor() as cursor:
            for name, table in tables.items():
                shown = _as_text(table.select(list(COLLECTIONS[name].columns)))
                if shown.num_rows:
                    cursor.adbc_ingest(name, shown, mode="append")
        connection.commit()


def add_indexes(path: Path) -> None:
    """Keys and the order in which pages are read; after the first load."""
    with changes(path) as connection:
        for collection in COLLECTIONS.values():
            connection.execute(
                f"create unique index {collection.name}_key on {collection.name} ({collection.key})"
            )
            connection.execute(
                f"create index {collection.name}_order on {collection.name}"
                f" ({collection.moment}, {collection.key})"
            )


@contextmanager
def changes(path: Path) -> Iterator[sqlite3.Connection]:
    """A transaction: committed when all went well."""
    with closing(sqlite3.connect(path, timeout=60)) as connection:
        connection.execute("pragma synchronous = normal")
        with connection:
            yield connection


def upsert(connection: sqlite3.Connection, name: str, table: pa.Table) -> None:
    """Insert rows, or change the given columns of those that are there."""
    collection = COLLECTIONS[name]
    columns = [column for column in table.column_names if column in collection.columns]
    rows = zip(
        *(column.to_pylist() for column in _as_text(table.select(columns)).columns), strict=True
    )
    kept = ", ".join(f"{c} = excluded.{c}" for c in columns if c != collection.key)
    connection.executemany(
        f"insert into {name} ({', '.join(columns)}) values ({', '.join('?' * len(columns))})"
        f" on conflict ({collection.key}) do update set {kept}",
        rows,
    )


def unsubscribe(connection: sqlite3.Connection, table: pa.Table) -> None:
    """Take subscribers off the two commercial lists (email, first opt_in_id, updated_at)."""
    rows = list(zip(*(column.to_pylist() for column in _as_text(table).columns), strict=True))
    connection.executemany(
        "update subscribers set status = 'unsubscribed', updated_at = :at where email = :email",
        [{"email": email, "at": at} for email, _, at in rows],
    )
    connection.executemany(
        """
        insert or replace into opt_ins
        select
            :first_id + list_id - 1, :email, list_id, 'opted_out', 'unsubscribe_link', :at, :at
        from lists
        where purpose = 'commercial'
        """,
        [{"email": email, "first_id": first_id, "at": at} for email, first_id, at in rows],
    )


def delete_subscribers(connection: sqlite3.Connection, table: pa.Table) -> None:
    """Delete subscribers with their opt-ins (email, deleted_at); the deletions can be asked for."""
    upsert(connection, "deletions", table)
    emails = [(email,) for email in table["email"].to_pylist()]
    connection.executemany("delete from subscribers where email = ?", emails)
    connection.executemany("delete from opt_ins where email = ?", emails)


def page(
    connection: sqlite3.Connection,
    collection: Collection,
    since: str | None,
    after: tuple[str, str | int] | None,
    limit: int,
) -> tuple[list[dict[str, str | int | None]], tuple[str, str | int] | None]:
    """One page in the order of time and key, and the place after which the next one starts."""
    conditions: list[str] = []
    values: list[str | int] = []
    if after is not None:
        conditions.append(f"({collection.moment}, {collection.key}) > (?, ?)")
        values.extend(after)
    elif since is not None:
        conditions.append(f"{collection.moment} >= ?")
        values.append(since)
    where = f"where {' and '.join(conditions)}" if conditions else ""
    cursor = connection.execute(
        f"select {', '.join(collection.columns)} from {collection.name} {where}"
        f" order by {collection.moment}, {collection.key} limit ?",
        [*values, limit + 1],
    )
    names = collection.columns
    rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    if len(rows) <= limit:
        return rows, None
    last = rows[limit - 1]
    return rows[:limit], (last[collection.moment], last[collection.key])


def _as_text(table: pa.Table) -> pa.Table:
    """Moments as ISO text in UTC, in whole seconds, so that text sorts as time does."""
    for place, column in enumerate(table.schema):
        if pa.types.is_timestamp(column.type):
            plain = pc.floor_temporal(table[place].cast(pa.timestamp("us")), unit="second")
            text = pc.strftime(plain.cast(pa.timestamp("s")), "%Y-%m-%dT%H:%M:%SZ")
            table = table.set_column(place, column.name, text)
    return table
