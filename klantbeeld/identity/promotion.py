"""What promoting a version would change: `profiles now, profiles then -> the profiles that differ`.

Here: making that list, keeping it with the version, reading it for a person. Not here: linking with
either version (`training`, `stage`), which version is current (`registry`).

Profiles that exchange records are one change, however many they are: three profiles of which two
become one and the third gives a record to it cannot be judged apart. Ids only.
"""

from pathlib import Path
from typing import Final

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import parquet

from klantbeeld.errors import KlantbeeldError
from klantbeeld.files import atomic_file

CHANGES: Final = "changes.parquet"
# Several profiles become one; one becomes several; or both at once.
KINDS: Final = ("joined", "split", "regrouped")
# Per change: the profiles of now and the records of each, the largest first; per profile that there
# would be its record ids, the largest first; records of all of them, and those of another profile
# than now.
SCHEMA: Final = pa.schema(
    [
        ("kind", pa.string()),
        ("profile_ids", pa.list_(pa.string())),
        ("profile_records", pa.list_(pa.int64())),
        ("becomes", pa.list_(pa.list_(pa.string()))),
        ("records", pa.int64()),
        ("moved_records", pa.int64()),
    ]
)


def find_profile_changes(con: duckdb.DuckDBPyConnection, before: pa.Table) -> pa.Table:
    """Compare the profiles of now with those that there would be.

    Args:
        con: The linkage's own database, with `assigned_records` (record_id, profile_id: the
            profiles that there would be).
        before: record_id, profile_id: the profiles of now. Records that are not in it are new, and
            change nobody's profile.

    Returns:
        The changes (`SCHEMA`), those that move most records first.
    """
    # Late: it takes the arrays that reading a list does not need.
    from klantbeeld.identity.clustering import connected_components

    con.register("profiles_now", before)
    con.execute("""
        create or replace temp table profile_moves as
        with cells as (
            select now.profile_id as old, assigned.profile_id as new, count(*) as records
            from profiles_now as now
            inner join assigned_records as assigned on assigned.record_id = now.record_id
            group by all
        )
        select
            old, new, records,
            dense_rank() over (order by old) - 1 as old_number,
            dense_rank() over (order by new) - 1 as new_number
        from cells
        qualify count(*) over (partition by old) > 1 or count(*) over (partition by new) > 1
    """)
    numbers = con.execute("select old_number, new_number from profile_moves").to_arrow_table()
    left, right = (np.asarray(column.to_numpy(), dtype=np.int64) for column in numbers.columns)
    olds = int(left.max(initial=-1)) + 1
    groups = connected_components(olds + int(right.max(initial=-1)) + 1, left, right + olds)
    con.register(
        "profile_groups",
        pa.table({"old_number": np.arange(olds), "change": groups[:olds]}),
    )
    changes = con.execute("""
        with cells as (from profile_moves inner join profile_groups using (old_number)),
        olds as (
            select change, old, sum(records)::bigint as records from cells group by change, old
        ),
        befores as (
            select
                change,
                list(old order by records desc, old) as profile_ids,
                list(records order by records desc, old) as profile_records,
                sum(records)::bigint as records
            from olds
            group by change
        ),
        news as (
            select
                olds.change,
                assigned.profile_id,
                list(now.record_id order by now.record_id) as record_ids
            from olds
            inner join profiles_now as now on now.profile_id = olds.old
            inner join assigned_records as assigned on assigned.record_id = now.record_id
            group by olds.change, assigned.profile_id
        ),
        afters as (
            select
                change,
                list(record_ids order by len(record_ids) desc, record_ids[1]) as becomes
            from news
            group by change
        ),
        moves as (
            select change, sum(records) filter (old <> new) as moved_records
            from cells
            group by change
        )
        select
            case
                when len(becomes) = 1 then 'joined'
                when len(profile_ids) = 1 then 'split'
                else 'regrouped'
            end as kind,
            profile_ids,
            profile_records,
            becomes,
            records,
            moved_records
        from befores
        inner join afters using (change)
        inner join moves using (change)
        order by moved_records desc, records desc, profile_ids
    """).to_arrow_table()
    con.unregister("profile_groups")
    con.unregister("profiles_now")
    con.execute("drop table profile_moves")
    return changes.cast(SCHEMA)


def count_changes(changes: pa.Table) -> dict[str, int]:
    """The figures of a list: profiles that would change, records that would move, per kind."""
    kinds = dict.fromkeys(KINDS, 0)
    for found in pc.value_counts(changes.column("kind")).to_pylist():
        kinds[found["values"]] = found["counts"]
    profiles = pc.sum(pc.list_value_length(changes.column("profile_ids"))).as_py()
    moved = pc.sum(changes.column("moved_records")).as_py()
    return {"changed_profiles": profiles or 0, "moved_records": moved or 0, **kinds}


def write_changes(folder: Path, changes: pa.Table) -> None:
    """Keep a list in a folder of a model version."""
    with atomic_file(folder / CHANGES) as path:
        parquet.write_table(changes, path)


def read_changes(folder: Path) -> pa.Table | None:
    """Read what `write_changes` kept; None if the version came without a comparison.

    Raises:
        KlantbeeldError: The file is damaged.
    """
    try:
        return parquet.read_table(folder / CHANGES).cast(SCHEMA)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, pa.ArrowException) as error:
        raise KlantbeeldError(
            f"the list of changes in {folder} cannot be read ({type(error).__name__})",
            "Train again, or restore the folder from a backup.",
        ) from None
