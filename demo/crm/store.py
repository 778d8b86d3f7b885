"""The CRM's state in one SQLite file: tables, versions and change tracking.

Two users: the demo world, through the bulk functions `create`, `load`, `upsert` and `delete` on a
path, and the service, through `Store`. Both may work at the same time; SQLite lets one write at a
time, so versions are given out in the order of commits and a reader that has seen version N has
seen every write up to N. Delta links rest on that.

Every write gives the row a new `versionnumber` and `modifiedon`; a deleted row leaves an entry in
`deleted_rows` until a row with its id comes back. Deleting a row deletes what cannot be without it
(a contact's profile) and clears the lookups that pointed to it; all of that is registered too.
"""

from __future__ import annotations

import secrets
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from demo.crm.schema import BY_LOGICAL_NAME, BY_SET_NAME, ENTITIES, Column, Entity, Kind
from klantbeeld.errors import KlantbeeldError

Value = str | int | float | None

_SCHEMA_VERSION = 2
_GUID = "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"
_DATE = "^[0-9]{4}-[0-9]{2}-[0-9]{2}$"
_DATETIME = "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$"
# What the pages sort by, and what clients look people up by.
_LISTED_BY: Mapping[str, Mapping[str, str]] = {
    "contacts": {
        "by_name": "lastname collate nocase, firstname collate nocase",
        "by_email": "emailaddress1 collate nocase",
    },
    "accounts": {"by_name": "name collate nocase"},
    "leads": {"by_creation": "createdon"},
}


# --------------------------------------------------------------------------------------------
# Bulk: what the demo world uses
# --------------------------------------------------------------------------------------------


def create(path: Path) -> None:
    """Make an empty CRM at `path`; one that is already there is left as it is.

    Raises:
        KlantbeeldError: The file holds something else, or a CRM of another version.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = connect(path)
    try:
        with _transaction(connection):
            if _is_of_this_version(connection):
                return
            if connection.execute("select 1 from sqlite_schema").fetchone():
                raise _another_version(path)
            for statement in _definitions():
                connection.execute(statement)
            connection.execute(f"pragma user_version = {_SCHEMA_VERSION}")
        path.chmod(0o600)
    finally:
        connection.close()


def load(path: Path, tables: Mapping[str, pa.Table]) -> None:
    """Add many rows at once, all or nothing.

    Args:
        path: The CRM, made by `create`.
        tables: By set name (`contacts`, `accounts`, `leads`). Columns are those of `schema`, by
            logical name, in any order; one that is left out gets its default. `createdon` and
            `modifiedon` are taken as they are.

    Raises:
        KlantbeeldError: An unknown column, a value that the CRM would refuse, an id that is
            already there, or a lookup to a row that does not exist.
    """
    with _bulk_write(path) as connection:
        first = current_version(connection) + 1
        for entity in ENTITIES:
            if entity.set_name in tables:
                with _indexed_afterwards(connection, entity):
                    _insert_table(connection, entity, tables[entity.set_name], None)
        _check_lookups(connection, first)


def upsert(path: Path, entity: str, table: pa.Table, modified_at: datetime) -> None:
    """Create or change rows by their primary key; columns that are left out stay as they are.

    Args:
        path: The CRM, made by `create`.
        entity: Set name, such as `contacts`.
        table: The primary key and the columns to write.
        modified_at: `modifiedon` of every row and `createdon` of new ones, unless `table` has
            these columns itself.

    Raises:
        KlantbeeldError: As for `load`, except that an id may be there already.
    """
    with _bulk_write(path) as connection:
        first = current_version(connection) + 1
        _insert_table(connection, _entity(entity), table, modified_at)
        _check_lookups(connection, first)


def delete(path: Path, entity: str, ids: Iterable[str], modified_at: datetime) -> int:
    """Delete rows by their primary key, with what depends on them; unknown ids are passed over.

    Args:
        path: The CRM, made by `create`.
        entity: Set name, such as `contacts`.
        ids: Primary keys.
        modified_at: When they are deleted; `modifiedon` of the rows whose lookups are cleared.

    Returns:
        How many rows of `entity` were deleted.
    """
    definition = _entity(entity)
    with _bulk_write(path) as connection:
        return sum(
            delete_row(connection, definition, row_id.lower(), _timestamp(modified_at))
            for row_id in ids
        )


# --------------------------------------------------------------------------------------------
# Rows: what the service uses, inside a transaction of `Store`
# --------------------------------------------------------------------------------------------


class Store:
    """One CRM file, shared by the threads of the service.

    Args:
        path: The CRM, made by `create`.
        now: Gives `modifiedon` of the writes.
    """

    def __init__(self, path: Path, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._path = path
        self._now = now
        self._local = threading.local()
        # SQLite would make the writers wait for each other too, but by sleeping and asking again.
        self._writer = threading.Lock()

    def now(self) -> str:
        """The time that a write of this moment is stamped with."""
        return _timestamp(self._now())

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """A connection that sees one state of the store for as long as it is held."""
        connection = self._connection()
        connection.execute("begin")
        try:
            yield connection
        finally:
            connection.execute("rollback")

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """A connection whose writes are committed together, or undone when an exception leaves."""
        with self._writer, _transaction(self._connection()) as connection:
            yield connection

    def _connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = connect(self._path)
        return connection


def connect(path: Path) -> sqlite3.Connection:
    """Open the CRM's file; transactions are begun and ended by hand."""
    connection = sqlite3.connect(path, timeout=60, isolation_level=None, cached_statements=512)
    # With WAL, `normal` loses nothing when the process is killed; only a power cut could.
    for pragma in ("journal_mode = wal", "synchronous = normal", "cache_size = -65536"):
        connection.execute(f"pragma {pragma}")
    return connection


def current_version(connection: sqlite3.Connection) -> int:
    """The version of the latest write that this connection sees."""
    return int(connection.execute("select version from versions").fetchone()[0])


def epoch(connection: sqlite3.Connection) -> str:
    """A mark that no other store has."""
    return str(connection.execute("select epoch from versions").fetchone()[0])


def row_version(connection: sqlite3.Connection, entity: Entity, row_id: str) -> int | None:
    """The version of one row, or None when it is not there."""
    row = connection.execute(
        f"select versionnumber from {entity.set_name} where {entity.primary_id} = ?", (row_id,)
    ).fetchone()
    return None if row is None else int(row[0])


def find_by_key(
    connection: sqlite3.Connection, entity: Entity, column: str, value: Value
) -> str | None:
    """The primary key of the row that has `value` in its alternate key."""
    row = connection.execute(
        f"select {entity.primary_id} from {entity.set_name} where {column} = ?", (value,)
    ).fetchone()
    return None if row is None else str(row[0])


def insert_row(
    connection: sqlite3.Connection, entity: Entity, values: Mapping[str, Value], now: str
) -> int:
    """Add a row; returns its version."""
    version = _take_versions(connection, 1)
    row = {**values, "createdon": now, "modifiedon": now, "versionnumber": version}
    connection.execute(
        f"insert into {entity.set_name} ({', '.join(row)}) values ({_marks(row)})",
        tuple(row.values()),
    )
    connection.execute(
        "delete from deleted_rows where entity = ? and id = ?",
        (entity.set_name, values[entity.primary_id]),
    )
    return version


def update_row(
    connection: sqlite3.Connection,
    entity: Entity,
    row_id: str,
    values: Mapping[str, Value],
    now: str,
) -> int:
    """Change columns of a row that is there; returns its new version."""
    version = _take_versions(connection, 1)
    assignments = "".join(f"{name} = ?, " for name in values)
    connection.execute(
        # A clock that is set back does not make a row older than it was.
        f"update {entity.set_name} set {assignments}modifiedon = max(modifiedon, ?),"
        f" versionnumber = ? where {entity.primary_id} = ?",
        (*values.values(), now, version, row_id),
    )
    return version


def delete_row(connection: sqlite3.Connection, entity: Entity, row_id: str, now: str) -> int:
    """Delete a row with what depends on it; returns 1, or 0 when it was not there."""
    found = connection.execute(
        f"delete from {entity.set_name} where {entity.primary_id} = ?", (row_id,)
    ).rowcount
    if not found:
        return 0
    connection.execute(
        "insert or replace into deleted_rows (entity, id, versionnumber, deletedon)"
        " values (?, ?, ?, ?)",
        (entity.set_name, row_id, _take_versions(connection, 1), now),
    )
    for other in ENTITIES:
        for lookup in other.lookups:
            if lookup.target != entity.logical_name:
                continue
            dependents = connection.execute(
                f"select {other.primary_id} from {other.set_name} where {lookup.name} = ?",
                (row_id,),
            ).fetchall()
            for (dependent,) in dependents:
                if lookup.is_required:
                    delete_row(connection, other, dependent, now)
                else:
                    update_row(connection, other, dependent, {lookup.name: None}, now)
    return 1


# --------------------------------------------------------------------------------------------
# Inside
# --------------------------------------------------------------------------------------------


def _definitions() -> Iterator[str]:
    yield "create table versions (version integer not null, epoch text not null) strict"
    # The epoch tells this store from one that was in its place before: its links are void here.
    yield f"insert into versions values (1000000, '{secrets.token_hex(4)}')"
    yield (
        "create table deleted_rows (entity text not null, id text not null,"
        " versionnumber integer not null, deletedon text not null,"
        " primary key (entity, id)) strict, without rowid"
    )
    yield "create index deleted_rows_by_version on deleted_rows (entity, versionnumber)"
    for entity in ENTITIES:
        columns = [_column_definition(column, entity) for column in entity.columns]
        yield (
            f"create table {entity.set_name} ({', '.join(columns)},"
            " versionnumber integer not null) strict, without rowid"
        )
        yield from _indexes(entity).values()


def _indexes(entity: Entity) -> dict[str, str]:
    """The definition of each index of a table, by name."""
    columns = {
        "by_version": "versionnumber",
        "by_time": f"modifiedon, {entity.primary_id}",
        **{f"by_{lookup.name}": lookup.name for lookup in entity.lookups},
        **_LISTED_BY.get(entity.set_name, {}),
    }
    return {
        f"{entity.set_name}_{name}": (
            f"create {'unique ' if text == entity.alternate_key else ''}index"
            f" {entity.set_name}_{name} on {entity.set_name} ({text})"
        )
        for name, text in columns.items()
    }


def _column_definition(column: Column, entity: Entity) -> str:
    words = [column.name, column.kind.sql_type]
    if column.is_required or column.name in ("createdon", "modifiedon"):
        words.append("not null")
    if column.name == entity.primary_id:
        words.append("primary key")
    if column.default is not None:
        words.append(f"default {column.default}")
    return " ".join(words)


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    connection.execute("begin immediate")
    try:
        yield connection
    except BaseException:
        connection.execute("rollback")
        raise
    connection.execute("commit")


@contextmanager
def _bulk_write(path: Path) -> Iterator[sqlite3.Connection]:
    if not path.exists():
        raise KlantbeeldError(f"there is no CRM at {path}", "Make it with store.create first.")
    connection = connect(path)
    try:
        with _transaction(connection):
            if not _is_of_this_version(connection):
                raise _another_version(path)
            yield connection
    finally:
        connection.close()


def _is_of_this_version(connection: sqlite3.Connection) -> bool:
    version: int = connection.execute("pragma user_version").fetchone()[0]
    return version == _SCHEMA_VERSION


def _another_version(path: Path) -> KlantbeeldError:
    return KlantbeeldError(
        f"{path} is not a CRM of this version",
        "Remove it with `klantbeeld demo reset` and start the demo again.",
    )


def _entity(set_name: str) -> Entity:
    entity = BY_SET_NAME.get(set_name)
    if entity is None:
        raise KlantbeeldError(
            f"the CRM has no table {set_name}", f"It has {', '.join(sorted(BY_SET_NAME))}."
        )
    return entity


def _take_versions(connection: sqlite3.Connection, count: int) -> int:
    """The first of `count` new versions."""
    last = connection.execute(
        "update versions set version = version + ? returning version", (count,)
    ).fetchone()[0]
    return int(last) - count + 1


def _insert_table(
    connection: sqlite3.Connection, entity: Entity, table: pa.Table, modified_at: datetime | None
) -> None:
    unknown = sorted(set(table.column_names) - set(entity.by_name))
    if unknown:
        raise KlantbeeldError(f"the CRM's {entity.set_name} has no column {', '.join(unknown)}")
    columns = {
        name: _bulk_values(entity, entity.by_name[name], table[name]) for name in table.column_names
    }
    if entity.primary_id not in columns:
        raise KlantbeeldError(f"{entity.set_name}: the primary key {entity.primary_id} is missing")
    if modified_at is not None:
        stamp: list[Value] = [_timestamp(modified_at)] * table.num_rows
        for name in ("createdon", "modifiedon"):
            columns.setdefault(name, stamp)
    first = _take_versions(connection, table.num_rows)
    columns["versionnumber"] = list(range(first, first + table.num_rows))
    statement = f"insert into {entity.set_name} ({', '.join(columns)}) values ({_marks(columns)})"
    if modified_at is not None:
        changes = ", ".join(
            f"{name} = excluded.{name}"
            for name in columns
            if name not in (entity.primary_id, "createdon")
        )
        statement += f" on conflict ({entity.primary_id}) do update set {changes}"
    # In the order of the primary key, which is the order on disk.
    rows = sorted(zip(*columns.values(), strict=True), key=_position(entity, columns))
    try:
        connection.executemany(statement, rows)
    except sqlite3.IntegrityError as error:
        # SQLite names the constraint and the columns, never a value.
        raise KlantbeeldError(f"{entity.set_name}: {error}") from None
    connection.execute(
        "delete from deleted_rows where entity = ? and exists"
        f" (select 1 from {entity.set_name} where {entity.primary_id} = deleted_rows.id)",
        (entity.set_name,),
    )


@contextmanager
def _indexed_afterwards(connection: sqlite3.Connection, entity: Entity) -> Iterator[None]:
    """Fill an empty table first and index it then."""
    indexes = _indexes(entity)
    if connection.execute(f"select 1 from {entity.set_name} limit 1").fetchone():
        indexes = {}
    for name in indexes:
        connection.execute(f"drop index {name}")
    yield
    for definition in indexes.values():
        connection.execute(definition)


def _position(entity: Entity, columns: Mapping[str, object]) -> Callable[[tuple[Any, ...]], str]:
    position = list(columns).index(entity.primary_id)
    return lambda row: str(row[position])


def _bulk_values(entity: Entity, column: Column, array: pa.ChunkedArray) -> list[Value]:
    """The column as SQLite keeps it, with every value checked."""
    kind = column.kind
    if pa.types.is_null(array.type):
        return [None] * len(array)
    if pa.types.is_dictionary(array.type):
        array = array.cast(array.type.value_type)
    if kind in (Kind.GUID, Kind.LOOKUP):
        array = pc.utf8_lower(array)
        _check(entity, column, pc.match_substring_regex(array, _GUID), "is not a GUID")
    elif kind is Kind.TEXT:
        array = pc.if_else(pc.equal(array, ""), None, array)
        fits = pc.less_equal(pc.utf8_length(array), column.max_length)
        _check(entity, column, fits, f"is longer than {column.max_length}")
    elif kind is Kind.DATE:
        array = array.cast(pa.string())
        _check(entity, column, pc.match_substring_regex(array, _DATE), "is not a date")
    elif kind is Kind.DATETIME:
        if pa.types.is_timestamp(array.type):
            seconds = pc.floor_temporal(array.cast(pa.timestamp("us")), unit="second")
            array = pc.strftime(seconds.cast(pa.timestamp("s")), "%Y-%m-%dT%H:%M:%SZ")
        _check(entity, column, pc.match_substring_regex(array, _DATETIME), "is not a UTC time")
    elif kind is Kind.BOOLEAN:
        array = array.cast(pa.int8())
    elif kind is Kind.DECIMAL:
        array = pc.round(array.cast(pa.float64()), column.precision)
    else:
        array = array.cast(pa.int64())
        if kind.has_options:
            known = pa.array([option.value for option in column.options], pa.int64())
            accepted = pc.if_else(pc.is_null(array), None, pc.is_in(array, value_set=known))
            _check(entity, column, accepted, "is outside the option set")
        else:
            low, high = (
                pc.greater_equal(array, column.minimum),
                pc.less_equal(array, column.maximum),
            )
            _check(entity, column, pc.and_(low, high), "is out of range")
    values: list[Value] = array.to_pylist()
    return values


def _check(entity: Entity, column: Column, accepted: pa.ChunkedArray, complaint: str) -> None:
    refused = pc.sum(pc.invert(accepted)).as_py()
    if refused:
        raise KlantbeeldError(
            f"{entity.set_name}.{column.name}: in {refused} rows the value {complaint}"
        )


def _check_lookups(connection: sqlite3.Connection, first_version: int) -> None:
    """No row written since `first_version` may point to a row that is not there."""
    for entity in ENTITIES:
        for lookup in entity.lookups:
            target = BY_LOGICAL_NAME[lookup.target]
            dangling = connection.execute(
                f"select count(*) from {entity.set_name} as source"
                f" where versionnumber >= ? and {lookup.name} is not null and not exists"
                f" (select 1 from {target.set_name} as target"
                f" where target.{target.primary_id} = source.{lookup.name})",
                (first_version,),
            ).fetchone()[0]
            if dangling:
                raise KlantbeeldError(
                    f"{entity.set_name}.{lookup.name}: {dangling} rows point to a row of"
                    f" {target.set_name} that does not exist"
                )


def _marks(columns: Iterable[object]) -> str:
    return ", ".join("?" for _ in columns)


def _timestamp(moment: datetime) -> str:
    if moment.tzinfo is None:
        raise ValueError("a time without its zone")
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
