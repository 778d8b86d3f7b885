r"""The plan: what differs between the rows we want and the rows the destination has acknowledged.

Belongs here: the set-based difference, in SQL inside the published version's connection. Sending
is `delivery`, remembering is `ledger`.

    activation.sync_* (published version)  \
                                            -> _sync_plan: create, update (which columns), delete
    acknowledgements (control plane, Arrow) /

Values are compared as keyed digests, since the ledger keeps no values. One digest per row finds
the rows that differ; the digests per column are computed for those alone (1,000,000 rows of 19
columns: 6 CPU-s for rows, 42 if columns were computed for all): of updates when they are compared,
of creates, which there is nothing to compare with, when they are sent. Both go by parts, since the
digests of a row are larger than the row. A column's digest depends on the row's key as well: equal
towns of two people are not equal in the ledger, so their spread cannot be read from it.

A plan has rows of two lanes. The *ordinary* lane is the difference, and what the guards look at.
The *privacy* lane takes away the rows of people who withdrew or were erased, first and always. What
a row's fate is: send, restamp (only the ledger learns), cancelled (its person withdrew), given up,
blocked (an earlier operation's outcome is unknown and cannot be read back) or held.

The plan lives in temporary tables of the connection that it was made with; it holds keys and
digests, values are fetched batch by batch when they are sent.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Protocol

import duckdb
import pyarrow as pa

from klantbeeld.activation.ledger import CHUNK, DIGEST_LENGTH, TAG_LENGTH
from klantbeeld.activation.specs import SyncSpec
from klantbeeld.errors import KlantbeeldError
from klantbeeld.records import keyed_hash_sql, record_id_sql

LEAVING = ("delete", "clear", "remove")
# Rows of the model that are in memory at once.
_PART = 100_000
# Rows whose digests are made at once when they are sent. Nothing is sent meanwhile, and what a rate
# limit allowed is lost: 1.4 s of it for those of a whole part, 0.2 s for these.
_SLICE = 5_000


class Acknowledged(Protocol):
    """What the planner asks of the ledger."""

    def read(self, *names: str) -> dict[str, pa.Table]:
        """`acknowledged`, `deleted` and `subjects`, as `Ledger.read` gives them."""
        ...

    def column_digests(self, keys: Iterable[str]) -> pa.Table:
        """destination_key and column_digests of some acknowledged rows."""
        ...

    def set_aside(self, give_up_after: int) -> pa.Table:
        """destination_key, op_id and fate of operations that are not to be sent (again) now."""
        ...


@dataclass(frozen=True)
class Plan:
    """Counts of a plan; its rows are in `_sync_plan` of the connection it was made with.

    Attributes:
        acknowledged: Rows the destination holds by our account.
        desired: Rows of the model.
        creates: Rows to make; like updates and deletes, of the ordinary lane.
        updates: Rows to change.
        deletes: Rows that left the model, whatever leaving means for this sync.
        unchanged: Rows of the model that the destination has as they are.
        withdrawals: Rows that leave because their person withdrew or was erased.
        cancelled: Creates and updates that are not sent for the same reason.
        given_up: Rows that were refused too often to be tried again as they are.
        blocked: Rows whose last operation has an unknown outcome that cannot be read back.
        restamped: Rows whose digest changed though no column did (the mapping lost a column): only
            the ledger is brought up to date.
        digest: Identifies the plan, for approval; no secret. Withdrawals leave it as it is.
    """

    acknowledged: int
    desired: int
    creates: int
    updates: int
    deletes: int
    unchanged: int
    restamped: int
    digest: str
    withdrawals: int = 0
    cancelled: int = 0
    given_up: int = 0
    blocked: int = 0

    @property
    def ordinary(self) -> int:
        """Rows of the ordinary lane that would be sent."""
        return self.creates + self.updates + self.deletes

    @property
    def operations(self) -> int:
        """Rows that would be sent."""
        return self.ordinary + self.withdrawals


@dataclass(frozen=True)
class PlannedRow:
    """One operation of a plan, with the values to send.

    Attributes:
        columns: Destination columns to send; all of them for a create.
        values: Value by destination column, the key's not included; empty for a delete.
        subjects: Keyed hashes of whom the row is about, as the ledger keeps them.
        updated_at: When the model says that the row changed, where the sync names that column.
    """

    op_id: str
    key: str
    operation: str
    row_digest: str | None
    column_digests: str
    columns: tuple[str, ...]
    values: dict[str, Any]
    subjects: str = ""
    updated_at: str | None = None


def quoted(name: str) -> str:
    """A name as SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A text as SQL literal."""
    return "'" + text.replace("'", "''") + "'"


def column_tag(column: str) -> str:
    """A short name for a destination column in the ledger's digests."""
    return hashlib.sha256(column.encode()).hexdigest()[:TAG_LENGTH]


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
    give_up_after: int = 0,
    refused: str | None = None,
    may_leave: bool = True,
) -> Plan:
    """Compare the model with the ledger and leave the difference in `_sync_plan`.

    Args:
        connection: A connection to the published version; gets a few temporary tables.
        spec: The sync.
        ledger: What the destination has acknowledged.
        home_key: The secret of the digests.
        epoch: The home's epoch: operations of a restored home get ids of their own.
        give_up_after: Refusals after which the same operation is not planned again; 0: never.
        refused: A temporary table of the keyed hashes (`subject`) of those who withdrew or were
            erased, if there are any.
        may_leave: Whether rows that left the model are planned; a first sync deletes nothing.
    """
    _check_tags(spec)
    load_desired(connection, spec, home_key)
    if spec.privacy is None:
        refused = None
    subjects = () if refused is None else ("subjects",)
    for name, table in ledger.read("acknowledged", "deleted", *subjects).items():
        load(connection, f"_sync_{name}", table)
    load(connection, "_sync_aside", ledger.set_aside(give_up_after))
    _find_changed(connection, spec, may_leave=may_leave)
    _find_columns(connection, spec, ledger, home_key)
    _name_operations(connection, spec, home_key, epoch)
    if refused is not None:
        _take_away_refused(connection, spec, home_key, epoch, refused)
    connection.execute(
        """
        create or replace temp table _sync_plan as
        select *, row_number() over (
            order by lane = 'ordinary', operation not in ('delete', 'clear', 'remove'),
                destination_key
        ) as position
        from _sync_unordered
        order by position
        """
    )
    for name in ("changed", "columns", "unordered"):
        connection.execute(f"drop table _sync_{name}")
    return counts(connection)


def load_desired(connection: duckdb.DuckDBPyConnection, spec: SyncSpec, home_key: bytes) -> None:
    """Leave key and digest of each row of the model in `_sync_desired`."""
    secret = literal(home_key.hex())
    names = list(spec.value_columns.values())
    mapping = literal("|".join([spec.entity, spec.key_column, *names]))
    row = " || ".join([mapping, *(_canonical(spec, column) for column in spec.value_columns)])
    connection.execute(
        f"""
        create or replace temp table _sync_desired as
        select
            {key_sql(spec)} as destination_key,
            {keyed_hash_sql(row, home_key=secret)} as row_digest
        from {spec.relation}
        """
    )


def make_digests(
    connection: duckdb.DuckDBPyConnection, spec: SyncSpec, home_key: bytes, keys: str
) -> None:
    """Leave the digests of the columns of some rows in `_sync_digests`, by place, and its subjects.

    The place of a column is that in `value_columns`; a column that a row has no say about is null.

    Args:
        connection: The connection of the plan.
        spec: The sync.
        home_key: The secret of the digests.
        keys: A query of `destination_key`.
    """
    secret = literal(home_key.hex())
    key = key_sql(spec)
    digests = ", ".join(
        _digest(spec, column, name, secret) for column, name in spec.value_columns.items()
    )
    connection.execute(
        f"""
        create or replace temp table _sync_digests as
        select
            {key} as destination_key,
            [{digests}]::varchar[] as digests,
            {_subjects(spec, secret)} as subjects
        from {spec.relation}
        where {key} in ({keys})
        """
    )


def _digest(spec: SyncSpec, column: str, name: str, secret: str) -> str:
    """SQL for the tag and digest of a column, null where the row has no say about it."""
    text = _canonical(spec, column)
    message = f"{key_sql(spec)} || {literal('|' + name + '|')} || {text}"
    digest = (
        f"{literal(column_tag(name))}"
        f" || left({keyed_hash_sql(message, home_key=secret)}, {DIGEST_LENGTH})"
    )
    # The comparison is left out where it cannot fail: it doubles the time of the digests.
    if spec.rule(name).may_be_absent:
        return f"case when {text} <> {_ABSENT} then {digest} end"
    return digest


def _find_changed(
    connection: duckdb.DuckDBPyConnection, spec: SyncSpec, *, may_leave: bool
) -> None:
    connection.execute(
        f"""
        create or replace temp table _sync_changed as
        select
            coalesce(_sync_desired.destination_key, _sync_acknowledged.destination_key)
                as destination_key,
            case
                when _sync_acknowledged.destination_key is null then 'create'
                when _sync_desired.destination_key is null then {literal(spec.on_leave)}
                else 'update'
            end as operation,
            _sync_desired.row_digest,
            coalesce(_sync_acknowledged.op_id, _sync_deleted.op_id, '') as base_op_id,
            coalesce(_sync_acknowledged.is_created, '1') = '1' as is_created
        from _sync_desired
        full join _sync_acknowledged using (destination_key)
        left join _sync_deleted
            on _sync_deleted.destination_key
                = coalesce(_sync_desired.destination_key, _sync_acknowledged.destination_key)
        where _sync_desired.row_digest is distinct from _sync_acknowledged.row_digest
        """
    )
    dropped = ["operation = 'nothing'"]
    if not may_leave:
        dropped.append("operation in ('delete', 'clear', 'remove')")
    if spec.mode == "mirror":
        dropped.append("operation in ('delete', 'clear', 'remove') and not is_created")
    if spec.mode in ("create_only", "append"):
        dropped.append("operation = 'update'")
    connection.execute("delete from _sync_changed where " + " or ".join(dropped))


def _find_columns(
    connection: duckdb.DuckDBPyConnection, spec: SyncSpec, ledger: Acknowledged, home_key: bytes
) -> None:
    """Which columns of each update differ from what was acknowledged, in `_sync_columns`."""
    names = list(spec.value_columns.values())
    digests = "_sync_digests.digests"
    if any(spec.rule(name).may_be_absent for name in names):
        # What a row has no say about stays in the ledger as it was last written.
        tags = _list(column_tag(name) for name in names)
        kept = f"[chunk for chunk in known.digests if starts_with(chunk, ({tags})[place])][1]"
        digests = f"[coalesce({digests}[place], {kept}) for place in range(1, {len(names) + 1})]"
    differs = "digest is not null and not list_contains(coalesce(known.digests, []), digest)"
    connection.execute(
        "create or replace temp table _sync_columns"
        " (destination_key varchar, subjects varchar, column_digests varchar, columns varchar[])"
    )
    updates = "select destination_key from _sync_changed where operation = 'update'"
    (updated,) = _row(connection, f"select count(*) from ({updates})")
    parts = -(-updated // _PART)
    for part in range(parts):
        keys = f"{updates} and hash(destination_key) % {parts} = {part}"
        make_digests(connection, spec, home_key, keys)
        found = connection.execute(keys).fetchall()
        load(connection, "_sync_known", ledger.column_digests(key for (key,) in found))
        connection.execute(
            f"""
            insert into _sync_columns
            with known as (
                select
                    destination_key,
                    [
                        substr(column_digests, 1 + {CHUNK} * place, {CHUNK})
                        for place in range(length(column_digests) // {CHUNK})
                    ] as digests
                from _sync_known
            )
            select
                destination_key,
                _sync_digests.subjects,
                coalesce(array_to_string({digests}, ''), ''),
                list_where({_list(names)}, [{differs} for digest in _sync_digests.digests])
            from _sync_digests
            left join known using (destination_key)
            """
        )


def _name_operations(
    connection: duckdb.DuckDBPyConnection, spec: SyncSpec, home_key: bytes, epoch: str
) -> None:
    """Give each changed row the id of its operation, and say what is to become of it."""
    owned = _list(name for name in spec.value_columns.values() if spec.rule(name).owner == "ours")
    connection.execute(
        f"""
        create or replace temp table _sync_unordered as
        with named as (
            select
                {_op_id(spec, home_key, epoch)} as op_id,
                _sync_changed.*,
                coalesce(_sync_columns.subjects, '') as subjects,
                coalesce(_sync_columns.column_digests, '') as column_digests,
                case
                    when operation = 'update' then _sync_columns.columns
                    when operation = 'clear' then {owned}
                    else []
                end as columns
            from _sync_changed
            left join _sync_columns using (destination_key)
        )
        select
            named.*,
            'ordinary' as lane,
            case
                when operation = 'update' and len(columns) = 0 then 'restamp'
                when unknown.fate is not null then unknown.fate
                when given_up.fate is not null then given_up.fate
                else 'send'
            end as fate
        from named
        left join _sync_aside as unknown
            on unknown.destination_key = named.destination_key and unknown.fate = 'blocked'
        left join _sync_aside as given_up
            on given_up.op_id = named.op_id and given_up.fate = 'given_up'
        """
    )


def _take_away_refused(
    connection: duckdb.DuckDBPyConnection,
    spec: SyncSpec,
    home_key: bytes,
    epoch: str,
    refused: str,
) -> None:
    """Put the rows of people who withdrew or were erased in the lane that is never held."""
    concerned = _concerned(spec, home_key, refused)
    leaving = literal(spec.on_withdrawal)
    if spec.mode == "mirror":
        # A row that somebody else made is not ours to delete: it loses what we wrote to it.
        leaving = f"if(is_created = '1', {leaving}, 'clear')"
    connection.execute(
        f"""
        create or replace temp table _sync_refused as
        {concerned}
        union
        select destination_key from (
            select destination_key, unnest(string_split(subjects, ' ')) as subject
            from _sync_subjects
        )
        where subject in (select subject from {refused})
        """
    )
    of_refused = "destination_key in (select destination_key from _sync_refused)"
    connection.execute(
        f"""
        create or replace temp table _sync_leaving as
        with leaving as (
            select
                destination_key, {leaving} as operation, null::varchar as row_digest,
                '' as subjects, op_id as base_op_id, true as is_created, '' as column_digests,
                if(operation = 'clear', {_list(spec.owned_columns)}, []::varchar[]) as columns
            from _sync_acknowledged
            where {of_refused}
        )
        select {_op_id(spec, home_key, epoch)} as op_id, *, 'privacy' as lane, 'send' as fate
        from leaving
        """
    )
    connection.execute(
        f"update _sync_unordered set fate = 'cancelled' where {of_refused} and fate = 'send'"
    )
    connection.execute("insert into _sync_unordered by name select * from _sync_leaving")


def _op_id(spec: SyncSpec, home_key: bytes, epoch: str) -> str:
    return keyed_hash_sql(
        f"{literal(spec.name + '|' + epoch + '|')} || operation || '|' || destination_key || '|'"
        " || base_op_id || '|' || coalesce(row_digest, '')",
        home_key=literal(home_key.hex()),
    )


def hold(connection: duckdb.DuckDBPyConnection) -> None:
    """Let nothing of the ordinary lane go; the privacy lane is never held."""
    connection.execute(
        "update _sync_plan set fate = 'held' where lane = 'ordinary' and fate = 'send'"
    )


def planned_operations(
    connection: duckdb.DuckDBPyConnection, size: int
) -> Iterator[list[tuple[str, str, str, str | None]]]:
    """op_id, destination_key, operation and row_digest of what will be sent, in blocks."""
    yield from _blocks(
        connection,
        "select op_id, destination_key, operation, row_digest from _sync_plan"
        " where fate = 'send' and position > $start and position <= $stop",
        size,
    )


def given_up(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """The operations that are not tried again as they are."""
    found = connection.execute("select op_id from _sync_plan where fate = 'given_up'").fetchall()
    return [op_id for (op_id,) in found]


def count_union(connection: duckdb.DuckDBPyConnection, operation: str, touched: pa.Table) -> int:
    """How many rows the plan and earlier operations of a kind touch, each counted once."""
    kinds = LEAVING if operation == "delete" else (operation,)
    load(connection, "_sync_touched", touched)
    (rows,) = _row(
        connection,
        f"""
        select count(*) from (
            select destination_key from _sync_plan
            where lane = 'ordinary' and fate in ('send', 'held')
                and operation in ({", ".join(literal(kind) for kind in kinds)})
            union
            select destination_key from _sync_touched
        )
        """,
    )
    return int(rows)


def refused_keys(
    connection: duckdb.DuckDBPyConnection, spec: SyncSpec, home_key: bytes, refused: str
) -> frozenset[str]:
    """Keys of rows of the model that are about somebody in a table of refused subjects."""
    rows = connection.execute(_concerned(spec, home_key, refused)).fetchall()
    return frozenset(key for (key,) in rows)


def _concerned(spec: SyncSpec, home_key: bytes, refused: str) -> str:
    return f"""
        select distinct destination_key from (
            select
                {key_sql(spec)} as destination_key,
                unnest(string_split({_subjects(spec, literal(home_key.hex()))}, ' ')) as subject
            from {spec.relation}
        )
        where subject in (select subject from {refused})
    """


def shown_rows(
    connection: duckdb.DuckDBPyConnection, limit: int | None = None
) -> Iterator[dict[str, Any]]:
    """The rows of a plan for a person: key, operation, columns and fate, never a value."""
    ending = "" if limit is None else f" limit {limit}"
    result = connection.execute(
        "select destination_key as key, operation, columns, lane, fate from _sync_plan"
        f" where fate <> 'restamp' order by position{ending}"
    )
    while block := result.fetchmany(10_000):
        for key, operation, columns, lane, fate in block:
            yield {
                "key": key,
                "operation": operation,
                "columns": columns if operation == "update" else [],
                "lane": lane,
                "fate": fate,
            }


def changed_columns(connection: duckdb.DuckDBPyConnection) -> dict[str, int]:
    """How many updates write each destination column."""
    rows = connection.execute(
        """
        select name, count(*) from (
            select unnest(columns) as name from _sync_plan
            where operation = 'update' and fate in ('send', 'held')
        ) group by all order by 2 desc, 1
        """
    ).fetchall()
    return dict(rows)


def filled(connection: duckdb.DuckDBPyConnection, spec: SyncSpec) -> dict[str, int]:
    """How many rows of the model have a value, by model column."""
    columns = list(spec.value_columns)
    if not columns:
        return {}
    texts = [f"count(nullif(cast({quoted(column)} as varchar), ''))" for column in columns]
    found = _row(connection, f"select {', '.join(texts)} from {spec.relation}")
    return dict(zip(columns, found, strict=True))


def restamps(
    connection: duckdb.DuckDBPyConnection, size: int
) -> Iterator[list[tuple[str, str, str]]]:
    """destination_key, row_digest and column_digests of rows that only the ledger has to learn."""
    yield from _blocks(
        connection,
        "select destination_key, row_digest, column_digests from _sync_plan"
        " where fate = 'restamp' and position > $start and position <= $stop",
        size,
    )


def planned_rows(
    connection: duckdb.DuckDBPyConnection,
    spec: SyncSpec,
    home_key: bytes,
    size: int,
    *,
    whole: bool = False,
) -> Iterator[list[PlannedRow]]:
    """The rows of the plan with their values, in batches: privacy first, deletes, then by key.

    Deletes go first: a row that gives up a unique value does so before another takes it. With
    `whole`, an update has the values of all columns and not only of those that changed.
    """
    names = list(spec.value_columns.values())
    # A join per batch would read the whole model for every 200 rows, one join keep it in memory.
    part, step = (size * max(1, rows // size) for rows in (_PART, _SLICE))
    last = _last_position(connection)
    for start in range(0, last, part):
        stop = min(start + part, last)
        of_part = _load_part(connection, spec, start, stop)
        for first in range(start, stop, step):
            end = min(first + step, stop)
            _load_values(connection, of_part, home_key, first, end)
            for block in _blocks(
                connection,
                "select * exclude (position) from _sync_rows"
                " where position > $start and position <= $stop order by position",
                size,
                range(first, end, size),
            ):
                yield [_planned_row(row, names, whole) for row in block]


def _load_part(
    connection: duckdb.DuckDBPyConnection, spec: SyncSpec, start: int, stop: int
) -> SyncSpec:
    """Leave the model's rows of a part of the plan in `_sync_part`; returns the sync of those."""
    connection.execute(
        f"""
        create or replace temp table _sync_part as
        select * from {spec.relation}
        where {key_sql(spec)} in (
            select destination_key from _sync_plan
            where fate = 'send' and position > {start} and position <= {stop}
        )
        """
    )
    return replace(spec, relation="_sync_part")


def _load_values(
    connection: duckdb.DuckDBPyConnection, spec: SyncSpec, home_key: bytes, start: int, stop: int
) -> None:
    """Leave some operations of the plan in `_sync_rows`, with values and digests."""
    part = f"fate = 'send' and position > {start} and position <= {stop}"
    columns = list(spec.value_columns)
    names = [spec.columns[column] for column in columns]
    make_digests(
        connection,
        spec,
        home_key,
        f"select destination_key from _sync_plan where {part} and operation = 'create'",
    )
    connection.execute(
        f"""
        create or replace temp table _sync_rows as
        with sent as (
            select * from _sync_plan where {part}
        ),
        described as (
            select
                position, op_id, sent.destination_key, operation, row_digest,
                if(operation = 'create', coalesce(array_to_string(digests, ''), ''), column_digests)
                    as column_digests,
                if(operation = 'create',
                    list_where({_list(names)}, [digest is not null for digest in digests]), columns)
                    as columns,
                if(operation = 'create', _sync_digests.subjects, sent.subjects) as subjects
            from sent
            left join _sync_digests using (destination_key)
        )
        select
            described.*, {_updated_at(spec)}{_selected(connection, spec, columns)}
        from described
        left join {spec.relation} as model
            on {key_sql(spec, "model.")} = described.destination_key
        """
    )


def whole_rows(
    connection: duckdb.DuckDBPyConnection, spec: SyncSpec, keys: Iterable[str]
) -> dict[str, dict[str, Any]]:
    """All values of some rows by key; columns that a row has no say about are left out."""
    columns = list(spec.value_columns)
    absent = ", ".join(f"{_canonical(spec, column)} = {_ABSENT}" for column in columns)
    load(connection, "_sync_wanted", pa.table({"key": pa.array(list(keys), pa.string())}))
    rows = connection.execute(
        f"""
        select
            {key_sql(spec, "model.")},
            [{absent}]::boolean[]{_selected(connection, spec, columns)}
        from {spec.relation} as model
        where {key_sql(spec, "model.")} in (select key from _sync_wanted)
        """
    ).fetchall()
    names = list(spec.value_columns.values())
    return {
        row[0]: {
            name: value
            for name, value, is_absent in zip(names, row[2:], row[1], strict=True)
            if not is_absent
        }
        for row in rows
    }


def key_sql(spec: SyncSpec, prefix: str = "") -> str:
    """SQL for the key of a row of the model, as text."""
    return f"cast({prefix}{quoted(spec.key)} as varchar)"


def _updated_at(spec: SyncSpec) -> str:
    if spec.updated_at is None:
        return "null::varchar as updated_at"
    moment = f"model.{quoted(spec.updated_at)}::timestamptz"
    return f"strftime({moment}, '%Y-%m-%dT%H:%M:%S.%f+00:00') as updated_at"


def _selected(connection: duckdb.DuckDBPyConnection, spec: SyncSpec, columns: list[str]) -> str:
    types = relation_types(connection, spec.relation)
    selected = ""
    for column in columns:
        name = f"model.{quoted(column)}"
        if spec.rule(spec.columns[column]).when_empty == "clear":
            name = f"nullif({name}, '')"
        if types[column].startswith("TIMESTAMP"):
            name = f"strftime({name}, '%Y-%m-%dT%H:%M:%SZ')"
        selected += f", {name}"
    return selected


def _last_position(connection: duckdb.DuckDBPyConnection) -> int:
    (last,) = _row(connection, "select coalesce(max(position), 0) from _sync_plan")
    return int(last)


def _blocks(
    connection: duckdb.DuckDBPyConnection, sql: str, size: int, starts: range | None = None
) -> Iterator[list[Any]]:
    for start in starts or range(0, _last_position(connection), size):
        parameters = {"start": start, "stop": start + size}
        if block := connection.execute(sql, parameters).fetchall():
            yield block


def _planned_row(row: tuple[Any, ...], names: list[str], whole: bool) -> PlannedRow:
    op_id, key, operation, row_digest, column_digests, columns, subjects, at, *values = row
    wanted = set(names if whole and operation == "update" else columns)
    return PlannedRow(
        op_id=op_id,
        key=key,
        operation=operation,
        row_digest=row_digest,
        column_digests=column_digests,
        columns=tuple(columns),
        values={name: value for name, value in zip(names, values, strict=True) if name in wanted},
        subjects=subjects,
        updated_at=at,
    )


# What a column's canonical text is when the row has no say about it: no value's text begins so.
_ABSENT = "'k'"


def _canonical(spec: SyncSpec, column: str) -> str:
    """SQL for a value as text that no other value shares, so that values can be put in a row."""
    rule = spec.rule(spec.columns[column])
    text = f"cast({quoted(column)} as varchar)"
    null = _ABSENT if rule.when_null == "keep" else "'n'"
    filled = f"coalesce(length({text}) || ':' || {text}, {null})"
    match rule.when_empty:
        case "write":
            return filled
        case "clear":
            return f"(case when {text} = '' then 'n' else {filled} end)"
        case "keep":
            return f"(case when {text} = '' then {_ABSENT} else {filled} end)"


def _subjects(spec: SyncSpec, secret: str) -> str:
    """SQL for the keyed hashes of whom a row is about, divided by spaces."""
    if spec.privacy is None:
        return "''"
    parts = [
        keyed_hash_sql(f"lower(trim(nullif({quoted(column)}, '')))", home_key=secret)
        for column in spec.privacy.contact_points
    ]
    if spec.privacy.record is not None:
        source, _, entity = spec.privacy.record.partition(":")
        parts.append(
            keyed_hash_sql(record_id_sql(source, entity, quoted(spec.key)), home_key=secret)
        )
    return f"concat_ws(' ', {', '.join(parts)})" if parts else "''"


def _list(names: Iterable[str]) -> str:
    return "[" + ", ".join(literal(name) for name in names) + "]::varchar[]"


def _check_tags(spec: SyncSpec) -> None:
    names = list(spec.value_columns.values())
    if len({column_tag(name) for name in names}) < len(names):
        raise KlantbeeldError(
            f"{spec.name}: two of its destination columns share a tag in the ledger",
            "Rename one of them; with 24 bits per name this is a rare coincidence.",
        )


def counts(connection: duckdb.DuckDBPyConnection) -> Plan:
    """The counts of the plan in `_sync_plan`, as it is now."""
    creates, updates, deletes, restamped, withdrawals, cancelled, given_up, blocked, digest = _row(
        connection,
        """
        select
            count(*) filter (where is_open and operation = 'create'),
            count(*) filter (where is_open and operation = 'update'),
            count(*) filter (where is_open and operation in ('delete', 'clear', 'remove')),
            count(*) filter (where fate = 'restamp'),
            count(*) filter (where lane = 'privacy'),
            count(*) filter (where fate = 'cancelled' and operation in ('create', 'update')),
            count(*) filter (where fate = 'given_up'),
            count(*) filter (where fate = 'blocked'),
            -- What consent cancels stays part of it: a plan that lost rows to it is the same plan.
            md5(coalesce(bit_xor(md5_number(op_id)) filter (is_open or fate = 'cancelled'), 0)
                || '|' || count(*) filter (is_open or fate = 'cancelled'))
        from (select *, lane = 'ordinary' and fate in ('send', 'held') as is_open from _sync_plan)
        """,
    )
    desired, acknowledged, waiting = _row(
        connection,
        """
        select
            (select count(*) from _sync_desired),
            (select count(*) from _sync_acknowledged),
            (select count(*) from _sync_plan where operation in ('create', 'update')
                and fate <> 'restamp')
        """,
    )
    return Plan(
        acknowledged=acknowledged,
        desired=desired,
        creates=creates,
        updates=updates,
        deletes=deletes,
        unchanged=desired - waiting,
        restamped=restamped,
        digest=digest,
        withdrawals=withdrawals,
        cancelled=cancelled,
        given_up=given_up,
        blocked=blocked,
    )


def load(connection: duckdb.DuckDBPyConnection, name: str, table: pa.Table) -> None:
    """Put a table in the connection, as a temporary one."""
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
