"""From what people decided to what a linkage must obey.

Here: the decisions in force and the re-keyed records, laid over the records of this linkage. Not
here: keeping them (`decisions`, `aliases`), obeying them (`clustering`).

A record that is passed through shows nothing to matching: its values are null in `people`, so no
rule, key or link of a source finds it.
"""

from dataclasses import dataclass

import duckdb
import numpy as np
import pyarrow as pa
import sqlalchemy as sa

from klantbeeld.control import ControlPlane
from klantbeeld.control.tables import record_aliases, steward_decisions
from klantbeeld.identity.aliases import read_aliases
from klantbeeld.identity.clustering import Constraints, Ints, connected_components
from klantbeeld.identity.decisions import Contradiction, as_table, read_decisions, resolve


@dataclass(frozen=True)
class Decided:
    """What people decided, before it is laid over records.

    Attributes:
        decisions: decision_id, verdict, record_id_l, record_id_r.
        aliases: Re-keyed records: old_record_id, new_record_id.
    """

    decisions: pa.Table
    aliases: pa.Table

    def __bool__(self) -> bool:
        return bool(self.decisions.num_rows or self.aliases.num_rows)


@dataclass(frozen=True)
class Binding:
    """Decisions as they bind the records of one linkage.

    Attributes:
        constraints: What clusters must obey; None without decisions and re-keyed records.
        disputed: Per record, a number shared by the records of one contradiction; -1 for none.
        decisions: Decisions in force.
        without_record: Of these, how many name a record that is not there.
        contradictions: Which contradict each other, and therefore do not bind.
        aliases: Re-keyed records: old_record_id, new_record_id.
    """

    constraints: Constraints | None
    disputed: Ints
    decisions: int
    without_record: int
    contradictions: tuple[Contradiction, ...]
    aliases: pa.Table


def decisions_state(control: ControlPlane) -> str:
    """A token that changes with every decision; rows are never edited."""
    counts = sa.select(sa.func.count(), sa.func.count(steward_decisions.c.revoked_at)).select_from(
        steward_decisions
    )
    with control.read() as connection:
        return ",".join(str(count) for count in connection.execute(counts).one())


def aliases_state(control: ControlPlane) -> str:
    """A token that changes with every re-keyed record."""
    known = sa.select(sa.func.count(), sa.func.max(record_aliases.c.given_at))
    with control.read() as connection:
        return ",".join(str(one) for one in connection.execute(known).one())


def read_decided(control: ControlPlane, *, with_revoked: bool = False) -> Decided:
    """Read the decisions in force, or all that ever were, and the re-keyed records."""
    decisions = as_table(read_decisions(control, with_revoked=with_revoked))
    return Decided(decisions, read_aliases(control))


def bind(con: duckdb.DuckDBPyConnection, decided: Decided, count: int) -> Binding:
    """Lay decisions and aliases over `people`, and hide the records that are passed through.

    Args:
        con: The linkage's own database, holding `people`: all records, or at least those that
            `make_decided_records` finds.
        decided: What people decided.
        count: The number of records.
    """
    decisions, aliases = decided.decisions, decided.aliases
    nobody = np.full(count, -1, dtype=np.int64)
    if not decided:
        return Binding(None, nobody, 0, 0, (), aliases)
    con.register("aliases", aliases)
    con.register("decisions", decisions)
    # A record goes by the id it has in the end, in decisions and in the input alike.
    con.execute("""
        create or replace temp table identities as
        select people.id, coalesce(aliases.new_record_id, people.record_id) as name
        from people left join aliases on aliases.old_record_id = people.record_id
    """)
    named = con.execute("""
        select
            decision_id,
            verdict,
            coalesce(alias_l.new_record_id, record_id_l) as record_id_l,
            coalesce(alias_r.new_record_id, record_id_r) as record_id_r
        from decisions
        left join aliases as alias_l on alias_l.old_record_id = record_id_l
        left join aliases as alias_r on alias_r.old_record_id = record_id_r
        order by decision_id
    """).to_arrow_table()
    con.unregister("decisions")
    resolution = resolve(named)
    con.register("named_decisions", named)

    numbers = np.arange(len(resolution.records))
    con.register(
        "decided",
        pa.table({"name": pa.array(resolution.records, pa.string()), "number": numbers}),
    )
    people, of = _columns(
        con, "select id, number from identities inner join decided using (name) order by id"
    )
    _hide(con, people[resolution.alone[of]])
    twice, first = _columns(
        con,
        """
        select id, min(id) over (partition by name) from identities
        where name in (select new_record_id from aliases)
        """,
    )
    # The records of a group are tied to the first of them that is there.
    group = resolution.group[of]
    first_of_group = np.full(len(numbers), -1, dtype=np.int64)
    first_of_group[group[::-1]] = people[::-1]
    representative = connected_components(
        count,
        np.concatenate([people, twice]),
        np.concatenate([first_of_group[group], first]),
    )
    there = (first_of_group[resolution.apart_l] >= 0) & (first_of_group[resolution.apart_r] >= 0)
    apart_l, apart_r = (
        representative[first_of_group[groups[there]]]
        for groups in (resolution.apart_l, resolution.apart_r)
    )
    disputed = nobody
    disputed[people] = resolution.disputed[of]
    without = con.execute("""
        select count(*) from named_decisions
        where record_id_l not in (select name from identities)
            or (record_id_r is not null and record_id_r not in (select name from identities))
    """).fetchone()
    for name in ("aliases", "decided", "named_decisions"):
        con.unregister(name)
    con.execute("drop table identities")
    return Binding(
        Constraints(representative, apart_l, apart_r),
        disputed,
        decisions.num_rows,
        int(without[0]) if without else 0,
        resolution.contradictions,
        aliases,
    )


def make_decided_records(con: duckdb.DuckDBPyConnection, decided: Decided, present: str) -> None:
    """Make `decided_records` (record_id): all records that decisions and aliases speak of.

    Few, and what binds them reaches far: with one of its records come or gone, a group has another
    first record, to which it is tied.

    Args:
        con: The linkage's own database.
        decided: What people decided.
        present: The table of all records.
    """
    con.execute("create or replace table decided_records (record_id varchar)")
    if not decided:
        return
    con.register("aliases", decided.aliases)
    con.register("decisions", decided.decisions)
    # A record and the one it took over from go by one name; where both are there, they are one.
    con.execute(f"""
        insert into decided_records
        with named as (
            select record_id_l as record_id from decisions
            union select record_id_r from decisions where record_id_r is not null
        ),
        names as (
            from named
            union select new_record_id from aliases where old_record_id in (from named)
        ),
        twice as (
            from aliases where old_record_id in (select record_id from {present})
        )
        select record_id from {present}
        where record_id in (
            from names
            union select old_record_id from aliases where new_record_id in (from names)
            union select old_record_id from twice
            union select new_record_id from twice
        )
    """)
    con.unregister("aliases")
    con.unregister("decisions")


def _hide(con: duckdb.DuckDBPyConnection, people: Ints) -> None:
    if not len(people):
        return
    columns = [
        name
        for name, *_ in con.execute("select * from people limit 0").description or ()
        if name not in {"id", "record_id", "source", "digest", "link_digest"}
    ]
    con.register("hidden", pa.table({"id": people}))
    con.execute(
        "update people set linked_record_id = null where linked_record_id in "
        "(select record_id from people where id in (select id from hidden))"
    )
    nulls = ", ".join(f"{name} = null" for name in columns)
    con.execute(f"update people set {nulls} where id in (select id from hidden)")
    con.unregister("hidden")


def _columns(con: duckdb.DuckDBPyConnection, sql: str) -> tuple[Ints, Ints]:
    table = con.execute(sql).to_arrow_table()
    one, other = (np.asarray(column.to_numpy(), dtype=np.int64) for column in table.columns)
    return one, other
