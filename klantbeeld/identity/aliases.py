"""Records that a source gave another key: the new record takes over the old one's past.

Here: keeping `old record id -> new record id` in the control plane, and following chains of them.
Not here: what takes over by them (official membership in `profile_ids`, decisions in `decisions`).

A source that migrates its keys would otherwise look like as many records gone as records new: a
profile made of such records alone would lose its id.
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import duckdb
import numpy as np
import pyarrow as pa
import sqlalchemy as sa

from klantbeeld.control import ControlPlane
from klantbeeld.control.tables import record_aliases
from klantbeeld.errors import KlantbeeldError
from klantbeeld.identity.decisions import read_csv
from klantbeeld.identity.membership import unpublished
from klantbeeld.identity.profile_ids import IdHistory
from klantbeeld.records import typed_record_id

COLUMNS: Final = ("old_record_id", "new_record_id")
NO_ALIASES: Final = pa.schema([(name, pa.string()) for name in COLUMNS]).empty_table()
_CHUNK: Final = 10_000


@dataclass(frozen=True)
class Rekeyed:
    """What a file of re-keyed records did.

    Attributes:
        changed: Aliases that are new, or that are gone when they were to be removed.
        unchanged: Aliases that were as asked already.
        unknown: Old records of the file that no published version knew.
    """

    changed: int
    unchanged: int
    unknown: int


def add_aliases(
    control: ControlPlane, path: Path, *, by: str, why: str | None, home_key: bytes
) -> Rekeyed:
    """Take `old_record_id, new_record_id` from a CSV file: all rows, or none.

    Two old records may become one; one old record cannot become two.

    Raises:
        KlantbeeldError: The file is unusable, an old record has another new one already, or the
            aliases would run in a circle.
    """
    given = _pairs_of(path, home_key)
    now = datetime.now(UTC)
    with control.begin() as connection:
        known = _known(connection)
        other = [old for old, new in given.items() if known.get(old, new) != new]
        if other:
            raise KlantbeeldError(
                f"{path}: {len(other)} old record(s) were given another new id before, such as "
                f"{other[0]}",
                "Remove the earlier ones first: klantbeeld identity rekey FILE --remove.",
            )
        new_rows = [
            {"old_record_id": old, "new_record_id": new, "given_by": by, "given_at": now}
            for old, new in given.items()
            if old not in known
        ]
        every = pa.table(
            {
                COLUMNS[0]: [*known, *(row["old_record_id"] for row in new_rows)],
                COLUMNS[1]: [*known.values(), *(row["new_record_id"] for row in new_rows)],
            },
            schema=NO_ALIASES.schema,
        )
        follow(every)
        for start in range(0, len(new_rows), _CHUNK):
            chunk = [{**row, "why": why} for row in new_rows[start : start + _CHUNK]]
            connection.execute(record_aliases.insert(), chunk)
        control.audit(connection, "rekey", path.name, aliases=len(new_rows))
    unknown = len(unpublished(control, given))
    return Rekeyed(len(new_rows), len(given) - len(new_rows), unknown)


def remove_aliases(control: ControlPlane, path: Path, *, home_key: bytes) -> Rekeyed:
    """Take back the aliases that a CSV file names, with the same columns as `add_aliases`."""
    given = _pairs_of(path, home_key)
    with control.begin() as connection:
        known = _known(connection)
        gone = [old for old, new in given.items() if known.get(old) == new]
        for start in range(0, len(gone), _CHUNK):
            connection.execute(
                record_aliases.delete().where(
                    record_aliases.c.old_record_id == sa.bindparam("b_old")
                ),
                [{"b_old": old} for old in gone[start : start + _CHUNK]],
            )
        control.audit(connection, "rekey_removed", path.name, aliases=len(gone))
    return Rekeyed(len(gone), len(given) - len(gone), len(unpublished(control, given)))


def read_aliases(control: ControlPlane) -> pa.Table:
    """Every old record id with the id it has in the end: old_record_id, new_record_id."""
    with control.read() as connection:
        rows = connection.scalar(sa.select(sa.func.count()).select_from(record_aliases))
    if not rows:
        return NO_ALIASES
    return follow(control.read_tables({"a": _query()}, {"a": NO_ALIASES.schema})["a"])


def carry_over(
    con: duckdb.DuckDBPyConnection,
    history: IdHistory,
    aliases: pa.Table,
    present: str = "people",
) -> IdHistory:
    """The history of ids with the records of today in the place of those they took over from.

    A record that is still there under its old id keeps its past itself.

    Args:
        con: The linkage's own database.
        history: As the control plane has it.
        aliases: As `read_aliases` gives them.
        present: The table of all records that are there.
    """
    if not aliases.num_rows:
        return history
    con.register("aliases", aliases)
    con.execute(f"""
        create or replace temp table heirs as
        with named as (
            select present.record_id, coalesce(aliases.new_record_id, present.record_id) as name
            from {present} as present
            left join aliases on aliases.old_record_id = present.record_id
        ),
        gone as (
            select old_record_id as record_id, new_record_id as name from aliases
            where old_record_id not in (select record_id from {present})
        )
        select gone.record_id, min(named.record_id) as heir
        from gone inner join named on named.name = gone.name
        group by gone.record_id
    """)
    con.unregister("aliases")
    carried = {}
    # A record that has a membership of its own keeps it; of several it took over, one profile's.
    for name, one_each in (("members", "record_id"), ("former", "record_id, profile_id")):
        con.register("past", getattr(history, name))
        carried[name] = con.execute(f"""
            select distinct on ({one_each})
                coalesce(heirs.heir, past.record_id) as record_id, past.profile_id
            from past left join heirs on heirs.record_id = past.record_id
            order by {one_each}, heirs.heir is not null, past.record_id, profile_id
        """).to_arrow_table()
        con.unregister("past")
    con.execute("drop table heirs")
    return replace(history, members=carried["members"], former=carried["former"])


def follow(aliases: pa.Table) -> pa.Table:
    """Follow chains (a -> b, b -> c gives a -> c).

    Raises:
        KlantbeeldError: They run in a circle.
    """
    old, new = (np.asarray(aliases.column(name).to_pylist(), dtype=object) for name in COLUMNS)
    names, numbers = np.unique(np.concatenate([old, new]), return_inverse=True)
    target = np.arange(len(names))
    source = numbers[: len(old)]
    target[source] = numbers[len(old) :]
    # Each round doubles how far every id sees.
    for _ in range(max(len(old), 1).bit_length() + 1):
        target = target[target]
    ends = target[source]
    circular = np.isin(ends, source)
    if circular.any():
        raise KlantbeeldError(
            f"{int(circular.sum())} re-keyed record(s) lead in a circle, such as "
            f"{old[int(np.argmax(circular))]}",
            "An old record id may not be the new id of what came after it.",
        )
    return pa.table(
        [pa.array(old, pa.string()), pa.array(names[ends], pa.string())], schema=NO_ALIASES.schema
    )


def _query() -> sa.Select[Any]:
    return sa.select(record_aliases.c.old_record_id, record_aliases.c.new_record_id)


def _known(connection: sa.Connection) -> dict[str, str]:
    return {row.old_record_id: row.new_record_id for row in connection.execute(_query())}


def _pairs_of(path: Path, home_key: bytes) -> dict[str, str]:
    given: dict[str, str] = {}
    for line, row in read_csv(path, COLUMNS):
        old, new = (typed_record_id(row[name], home_key) for name in COLUMNS)
        if not old or not new or old == new:
            problem = "an old and another new record id are needed"
        elif given.get(old, new) != new:
            problem = f"{old} is given two new ids"
        else:
            given[old] = new
            continue
        raise KlantbeeldError(f"{path}: line {line}: {problem}", "Nothing was changed.")
    return given
