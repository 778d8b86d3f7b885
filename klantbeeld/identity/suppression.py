"""Values that identify nobody: found from the data, listed, and null for matching.

Here: junk and shared contact points (`info@`, a number that was made up, an office line), addresses
of many families, default dates, and days that stand for any day of their year. Not here: their
effect on scores (they are simply missing).

The rule is the measured one: a contact point with at least 8 uses and 5 surnames belongs to no
person. On five million records, 79 such values made 91 % of the e-mail and phone pairs; without
them pairs grow linearly.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

import duckdb
import pyarrow as pa

from klantbeeld.records import keyed_hash_sql

CONTACT_USES: Final = 8
CONTACT_SURNAMES: Final = 5
# A home for the elderly or a block of flats without house number suffixes; a family stays far
# below.
ADDRESS_USES: Final = 30
ADDRESS_SURNAMES: Final = 12
# A birthday is shared by few more records than its neighbours; the clerk's 1 January 1970 by
# hundreds.
DATE_USES: Final = 20
DATE_TIMES_TYPICAL: Final = 5
# Who only knows a year of birth writes 1 January: in many years, and far more than chance brings.
DAY_YEARS: Final = 10
DAYS: Final = 365


@dataclass(frozen=True)
class SuppressedKind:
    """How one kind of value is found, and which columns of `people` lose it."""

    kind: str
    columns: tuple[str, ...]
    uses: int
    surnames: int
    reason: str
    with_columns: tuple[str, ...] = ()


_SHARED: Final = (
    SuppressedKind("email", ("email",), CONTACT_USES, CONTACT_SURNAMES, "shared", ("email_name",)),
    SuppressedKind("phone", ("mobile", "landline"), CONTACT_USES, CONTACT_SURNAMES, "shared"),
    SuppressedKind("address", ("address_key",), ADDRESS_USES, ADDRESS_SURNAMES, "shared"),
)


def suppress_values(
    con: duckdb.DuckDBPyConnection,
    home_key: bytes,
    kept: Collection[str] = (),
    found: pa.Table | None = None,
) -> dict[str, int]:
    """List the values that identify nobody and null them in `people`.

    The list is the table `suppressed_values`.

    Args:
        con: The linkage's own database, holding `people`.
        home_key: The secret for the digests in the list.
        kept: Digests of values that are to be matched on all the same.
        found: The values, as `find_values` gave them when a model version was frozen; without, they
            are found in these people.

    Returns:
        The number of suppressed values per kind.
    """
    con.register("suppressed_found", find_values(con) if found is None else found)
    con.execute(
        f"""
        create or replace table suppressed_values as
        select kind, {keyed_hash_sql("kind || ':' || value", home_key="$key")} as value_digest,
            value, records, reason
        from suppressed_found
        order by kind, records desc, value_digest
        """,
        {"key": home_key.hex()},
    )
    con.unregister("suppressed_found")
    if kept:
        con.execute(
            "delete from suppressed_values where list_contains(?, value_digest)", [list(kept)]
        )
    counts = dict(
        con.execute(
            "select kind, count(*) from suppressed_values group by kind order by kind"
        ).fetchall()
    )
    if counts:
        _null(con)
    return {str(kind): int(count) for kind, count in counts.items()}


def find_values(con: duckdb.DuckDBPyConnection) -> pa.Table:
    """Find the values that identify nobody in `people`.

    Returns:
        kind, value, records, reason; one row per value, in an order of its own.
    """
    queries = []
    for kind in _SHARED:
        used = " union all ".join(
            f"select {column} as value, id, surname from people where {column} is not null"
            for column in kind.columns
        )
        # Few values are used often: only theirs have their records and surnames counted.
        queries.append(f"""
            select '{kind.kind}' as kind, value, count(distinct id) as records,
                '{kind.reason}' as reason
            from ({used})
            where value in (
                select value from ({used}) group by value having count(*) >= {kind.uses}
            )
            group by value
            having count(distinct id) >= {kind.uses}
                and count(distinct surname) >= {kind.surnames}
        """)
    queries.append(f"""
        (
            with dates as (
                select birth_text as value, count(*) as records,
                    count(distinct surname) as surnames
                from people
                where birth_text is not null
                group by birth_text
            ),
            typical as (select quantile_disc(records, 0.99) as records from dates)
            select 'birth_date', dates.value, dates.records, 'default date'
            from dates, typical
            where dates.records >= greatest({DATE_USES}, {DATE_TIMES_TYPICAL} * typical.records)
                and dates.surnames >= dates.records / 3
        )
    """)
    queries.append(f"""
        (
            with days as (
                select right(birth_text, 5) as value, count(*) as records,
                    count(distinct left(birth_text, 4)) as years
                from people
                where regexp_matches(birth_text, '^[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}$')
                group by value
            ),
            all_days as (select sum(records) as records from days)
            select 'birthday', days.value, days.records, 'default day'
            from days, all_days
            where days.records
                >= greatest({DATE_USES}, {DATE_TIMES_TYPICAL} * all_days.records / {DAYS})
                and days.years >= {DAY_YEARS}
        )
    """)
    return con.execute(
        f"select * from ({' union all '.join(queries)}) order by kind, value"
    ).to_arrow_table()


def _null(con: duckdb.DuckDBPyConnection) -> None:
    """Null the listed values; what is derived from them goes with them."""
    nulled = [
        (kind.kind, column, (column, *kind.with_columns))
        for kind in _SHARED
        for column in kind.columns
    ]
    for kind, column, columns in (
        *nulled,
        ("birth_date", "birth_text", ("birth_text", "birth_swapped")),
    ):
        con.execute(f"""
            update people set {", ".join(f"{name} = null" for name in columns)}
            where {column} in (select value from suppressed_values where kind = '{kind}')
        """)
    # What is left of a day that is no birthday is its year, written as `files.dates` writes a year.
    con.execute("""
        update people set
            birth_text = concat(left(birth_text, 4), '-xx-', substr(birth_text, 3, 2)),
            birth_swapped = null
        where right(birth_text, 5) in (
            select value from suppressed_values where kind = 'birthday'
        )
    """)
