r"""The plan: what differs between the rows we want and the rows the destination has acknowledged.

Belongs here: the set-based difference, in SQL inside the published version's connection. Sending
is `delivery`, remembering is `ledger`.

    activation.sync_* (published version)  \
                                            -> _sync_plan: create, update (which columns), delete
    acknowledgements (control plane, Arrow) /

Values are compared as keyed digests, since the ledger keeps no values. One digest per row finds
the rows that differ; the digests per column are computed for those alone (1,000,000 rows of 19
columns: 2.0 s for rows, 30 s if columns were computed for all). A column's digest depends on the
row's key as well: equal towns of two people are not equal in the ledger, so their spread cannot
be read from it.

The plan lives in temporary tables of the connection that it was made with; it holds keys and
digests, values are fetched batch by batch when they are sent.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import duckdb
import pyarrow as pa

from klantbeeld.activation.specs import SyncSpec
from klantbeeld.errors import KlantbeeldError
from klantbeeld.records import keyed_hash_sql

TAG_LENGTH = 6
DIGEST_LENGTH = 12
CHUNK = TAG_LENGTH + DIGEST_LENGTH
_SHOWN_KEYS = 5


class Acknowledged(Protocol):
    """What the planner asks of the ledger."""

    def acknowledged(self) -> pa.Table:
        """destination_key, row_digest and op_id of every acknowledged row."""
        ...

    def column_digests(self, keys: Iterable[str]) -> pa.Table:
        """destination_key and column_digests of some acknowledged rows."""
        ...

    def deleted(self) -> pa.Table:
        """destination_key and op_id of rows whose latest operation was a delete."""
        ...


@dataclass(frozen=True)
class Plan:
    """Counts of a plan; its rows are in `_sync_plan` of the connection it was made with.

    Attributes:
        acknowledged: Rows the destination holds by our account.
        desired: Rows of the model.
        restamped: Rows whose digest changed though no column did (the mapping lost a column): only
            the ledger is brought up to date.
        digest: Identifies the plan, for approval; no secret.
    """

    acknowledged: int
    desired: int
    creates: int
    updates: int
    deletes: int
    unchanged: int
    restamped: int
    digest: str

    @property
    def operations(self) -> int:
        """Rows that would be sent."""
        return self.creates + self.updates + self.deletes


@dataclass(frozen=True)
class PlannedRow:
    """One operation of a plan, with the values to send.

    Attributes:
        columns: Destination columns to send; all of them for a create.
        values: Value by destination column, the key's not included; empty for a delete.
    """

    op_id: str
    key: str
    operation: str
    row_digest: str | None
    column_digests: str
    columns: tuple[str, ...]
    values: dict[str, Any]


def quoted(name: str) -> str:
    """A name as SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A text as SQL literal."""
    return "'" + text.replace("'", "''") + "'"


def column_tag(column: str) -> str:
    """A short name for a destination column in the ledger's digests."""
    return hashlib.sha256(column.encode()).hexdigest()[:TAG_LENGTH]


def check_model(connection: duckdb.DuckDBPyConnection, spec: SyncSpec) -> dict[str, str]:
    """Check that the model has the mapped columns and a key that is unique and never null.

    Returns:
        SQL type by model column.

    Raises:
        KlantbeeldError: It has not; the key values that occur twice are named.
    """
    types = relation_types(connection, spec.relation)
    missing = [column for column in spec.columns if column not in types]
    if missing:
        raise KlantbeeldError(
            f"{spec.relation} has no column {', '.join(missing)}",
            f"Correct meta.sync.columns of {spec.name}, or the model.",
        )
    key = f"cast({quoted(spec.key)} as varchar)"
    nulls, distinct, rows = _row(
        connection,
        f"""
        select count(*) filter (where {key} is null or {key} = ''), count(distinct {key}), count(*)
        from {spec.relation}
        """,
    )
    if nulls:
        raise KlantbeeldError(
            f"{spec.relation}: {nulls} rows have no {spec.key}",
            "The key of a sync is never null; leave those rows out of the model.",
        )
    if distinct != rows:
        twice = connection.execute(
            f"""
            select {key} from {spec.relation} group by all having count(*) > 1
            order by 1 limit {_SHOWN_KEYS}
            """
        ).fetchall()
        raise KlantbeeldError(
            f"{spec.relation}: {spec.key} is not unique ({rows - distinct} rows too many), such as"
            f" {', '.join(str(value) for (value,) in twice)}",
            "One row per key of the destination; correct the model.",
        )
    return types


def relation_types(connection: duckdb.DuckDBPyConnection, relation: str) -> dict[str, str]:
    """SQL type by column of a table or view.

    Raises:
        KlantbeeldError: There is no such table in the published version.
    """
    try:
        rows = connection.execute(f"describe {relation}").fetchall()
    except duckdb.CatalogException:
        raise KlantbeeldError(
            f"{relation} is not in the published version", "Run `klantbeeld run` to build it."
        ) from None
    return {row[0]: row[1] for row in rows}


def make_plan(
    connection: duckdb.DuckDBPyConnection,
    spec: SyncSpec,
    ledger: Acknowledged,
    *,
    home_key: bytes,
    epoch: str,
) -> Plan:
    """Compare the model with the ledger and leave the difference in `_sync_plan`.

    Args:
        connection: A connection to the published version; gets a few temporary tables.
        spec: The sync.
        ledger: What the destination has acknowledged.
        home_key: The secret of the digests.
        epoch: The home's epoch: operations of a restored home get ids of their own.
    """
    _check_tags(spec)
    columns = list(spec.value_columns)
    names = list(spec.value_columns.values())
    secret = literal(home_key.hex())
    key = f"cast({quoted(spec.key)} as varchar)"
    mapping = literal("|".join([spec.entity, spec.key_column, *names]))
    row = " || ".join([mapping, *(_canonical(column) for column in columns)])
    connection.execute(
        f"""
        create or replace temp table _sync_desired as
        select {key} as destination_key, {keyed_hash_sql(row, home_key=secret)} as row_digest
        from {spec.relation}
        """
    )
    _load(connection, "_sync_acknowledged", ledger.acknowledged())
    _load(connection, "_sync_deleted", ledger.deleted())
    connection.execute(
        """
        create or replace temp table _sync_changed as
        select
            coalesce(_sync_desired.destination_key, _sync_acknowledged.destination_key)
                as destination_key,
            case
                when _sync_acknowledged.destination_key is null then 'create'
                when _sync_desired.destination_key is null then 'delete'
                else 'update'
            end as operation,
            _sync_desired.row_digest,
            coalesce(_sync_acknowledged.op_id, _sync_deleted.op_id, '') as base_op_id
        from _sync_desired
        full join _sync_acknowledged using (destination_key)
        left join _sync_deleted
            on _sync_deleted.destination_key
                = coalesce(_sync_desired.destination_key, _sync_acknowledged.destination_key)
        where _sync_desired.row_digest is distinct from _sync_acknowledged.row_digest
        """
    )
    if spec.on_leave == "keep":
        connection.execute("delete from _sync_changed where operation = 'delete'")
    digests = ", ".join(
        f"{literal(column_tag(name))} || left("
        + keyed_hash_sql(
            f"{key} || {literal('|' + name + '|')} || {_canonical(column)}", home_key=secret
        )
        + f", {DIGEST_LENGTH})"
        for column, name in spec.value_columns.items()
    )
    connection.execute(
        f"""
        create or replace temp table _sync_digests as
        select _sync_changed.destination_key, [{digests}]::varchar[] as digests
        from {spec.relation} as model
        inner join _sync_changed
            on _sync_changed.destination_key = cast(model.{quoted(spec.key)} as varchar)
        """
    )
    updated = connection.execute(
        "select destination_key from _sync_changed where operation = 'update'"
    ).fetchall()
    _load(connection, "_sync_known", ledger.column_digests(key for (key,) in updated))
    name_list = "[" + ", ".join(literal(name) for name in names) + "]::varchar[]"
    op_id = keyed_hash_sql(
        f"{literal(spec.name + '|' + epoch + '|')} || operation || '|' || destination_key || '|'"
        " || base_op_id || '|' || coalesce(row_digest, '')",
        home_key=secret,
    )
    connection.execute(
        f"""
        create or replace temp table _sync_plan as
        with known as (
            select
                destination_key,
                [
                    substr(column_digests, 1 + {CHUNK} * place, {CHUNK})
                    for place in range(length(column_digests) // {CHUNK})
                ] as digests
            from _sync_known
        ),
        compared as (
            select
                _sync_changed.*,
                coalesce(array_to_string(_sync_digests.digests, ''), '') as column_digests,
                case operation
                    when 'create' then {name_list}
                    when 'update' then [
                        ({name_list})[place]
                        for place in range(1, {len(names) + 1})
                        if not list_contains(
                            coalesce(known.digests, []), _sync_digests.digests[place]
                        )
                    ]
                    else []
                end as columns
            from _sync_changed
            left join _sync_digests using (destination_key)
            left join known using (destination_key)
        )
        select
            {op_id} as op_id,
            *,
            operation = 'update' and len(columns) = 0 as is_restamp,
            row_number() over (order by operation <> 'delete', destination_key) as position
        from compared
        order by position
        """
    )
    return _counts(connection)


def planned_operations(
    connection: duckdb.DuckDBPyConnection, size: int
) -> Iterator[list[tuple[str, str, str, str | None]]]:
    """op_id, destination_key, operation and row_digest of what will be sent, in blocks."""
    yield from _blocks(
        connection,
        "select op_id, destination_key, operation, row_digest from _sync_plan"
        " where not is_restamp and position > $start and position <= $stop",
        size,
    )


def restamps(
    connection: duckdb.DuckDBPyConnection, size: int
) -> Iterator[list[tuple[str, str, str]]]:
    """destination_key, row_digest and column_digests of rows that only the ledger has to learn."""
    yield from _blocks(
        connection,
        "select destination_key, row_digest, column_digests from _sync_plan"
        " where is_restamp and position > $start and position <= $stop",
        size,
    )


def planned_rows(
    connection: duckdb.DuckDBPyConnection, spec: SyncSpec, size: int, *, whole: bool = False
) -> Iterator[list[PlannedRow]]:
    """The rows of the plan with their values, in batches; deletes first, then by key.

    Deletes go first: a row that gives up a unique value does so before another takes it. With
    `whole`, an update has the values of all columns and not only of those that changed.
    """
    columns = list(spec.value_columns)
    # Joined once: a join per batch would read the whole model for every 200 rows.
    connection.execute(
        f"""
        create or replace temp table _sync_rows as
        select
            plan.position, plan.op_id, plan.destination_key, plan.operation, plan.row_digest,
            plan.column_digests, plan.columns{_selected(connection, spec, columns)}
        from _sync_plan as plan
        left join {spec.relation} as model
            on cast(model.{quoted(spec.key)} as varchar) = plan.destination_key
        where not plan.is_restamp
        order by plan.position
        """
    )
    names = list(spec.value_columns.values())
    for block in _blocks(
        connection,
        "select * exclude (position) from _sync_rows"
        " where position > $start and position <= $stop order by position",
        size,
    ):
        yield [_planned_row(row, names, whole) for row in block]


def whole_rows(
    connection: duckdb.DuckDBPyConnection, spec: SyncSpec, keys: Iterable[str]
) -> dict[str, dict[str, Any]]:
    """All values of some rows by key, for rows that have gone from the destination."""
    columns = list(spec.value_columns)
    key = f"cast(model.{quoted(spec.key)} as varchar)"
    rows = connection.execute(
        f"""
        select {key}{_selected(connection, spec, columns)}
        from {spec.relation} as model where list_contains($keys, {key})
        """,
        {"keys": list(keys)},
    ).fetchall()
    names = list(spec.value_columns.values())
    return {row[0]: dict(zip(names, row[1:], strict=True)) for row in rows}


def _selected(connection: duckdb.DuckDBPyConnection, spec: SyncSpec, columns: list[str]) -> str:
    types = relation_types(connection, spec.relation)
    selected = ""
    for column in columns:
        name = f"model.{quoted(column)}"
        if types[column].startswith("TIMESTAMP"):
            name = f"strftime({name}, '%Y-%m-%dT%H:%M:%SZ')"
        selected += f", {name}"
    return selected


def _blocks(connection: duckdb.DuckDBPyConnection, sql: str, size: int) -> Iterator[list[Any]]:
    (last,) = _row(connection, "select coalesce(max(position), 0) from _sync_plan")
    for start in range(0, last, size):
        parameters = {"start": start, "stop": start + size}
        if block := connection.execute(sql, parameters).fetchall():
            yield block


def _planned_row(row: tuple[Any, ...], names: list[str], whole: bool) -> PlannedRow:
    op_id, key, operation, row_digest, column_digests, columns, *values = row
    wanted = set(names if whole and operation == "update" else columns)
    return PlannedRow(
        op_id=op_id,
        key=key,
        operation=operation,
        row_digest=row_digest,
        column_digests=column_digests,
        columns=tuple(columns),
        values={name: value for name, value in zip(names, values, strict=True) if name in wanted},
    )


def _canonical(column: str) -> str:
    """SQL for a value as text that no other value shares, so that values can be put in a row."""
    text = f"cast({quoted(column)} as varchar)"
    return f"coalesce(length({text}) || ':' || {text}, 'n')"


def _check_tags(spec: SyncSpec) -> None:
    names = list(spec.value_columns.values())
    if len({column_tag(name) for name in names}) < len(names):
        raise KlantbeeldError(
            f"{spec.name}: two of its destination columns share a tag in the ledger",
            "Rename one of them; with 24 bits per name this is a rare coincidence.",
        )


def _counts(connection: duckdb.DuckDBPyConnection) -> Plan:
    creates, updates, deletes, restamped, digest = _row(
        connection,
        """
        select
            count(*) filter (where operation = 'create'),
            count(*) filter (where operation = 'update' and not is_restamp),
            count(*) filter (where operation = 'delete'),
            count(*) filter (where is_restamp),
            coalesce(bit_xor(md5_number(op_id)), 0)::varchar
        from _sync_plan
        """,
    )
    desired, acknowledged = _row(
        connection,
        "select (select count(*) from _sync_desired), (select count(*) from _sync_acknowledged)",
    )
    return Plan(
        acknowledged=acknowledged,
        desired=desired,
        creates=creates,
        updates=updates,
        deletes=deletes,
        unchanged=desired - creates - updates,
        restamped=restamped,
        digest=digest,
    )


def _load(connection: duckdb.DuckDBPyConnection, name: str, table: pa.Table) -> None:
    connection.register("_sync_arrow", table)
    try:
        connection.execute(f"create or replace temp table {name} as select * from _sync_arrow")
    finally:
        connection.unregister("_sync_arrow")


def _row(connection: duckdb.DuckDBPyConnection, sql: str) -> tuple[Any, ...]:
    row = connection.execute(sql).fetchone()
    if row is None:
        raise KlantbeeldError("a query of counts gave no row")
    return tuple(row)
