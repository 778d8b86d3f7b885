"""What a linkage made, as tables: pairs and profiles beside the build, then schema `identity`.

Here: what became of every pair, which profile every record is in, and writing the tables of a
linkage, all or those rows that an incremental one replaces. Not here: how records are linked
(`linking`, `incremental`), the ids (`profile_ids`), the figures (`report`).
"""

from typing import Any, Final

import duckdb
import numpy as np
import pyarrow as pa

from klantbeeld.identity.clustering import Constraints
from klantbeeld.identity.linking import MATCH_KEYS
from klantbeeld.identity.preparation import BESIDE
from klantbeeld.identity.scoring import KEPT_OF_PAIRS

# The match keys of pairs that no rule brought together.
DETERMINISTIC_KEY: Final = "DETERMINISTIC"
STEWARD_KEY: Final = "STEWARD"

# Written anew by every linkage.
_WHOLE: Final = {
    "suppressed_values": "kind, value_digest, records, reason",
    "profile_id_changes": "*",
    "review_queue": "*",
}
# An incremental linkage replaces the rows of what it linked.
_IN_PART: Final = {
    "pairs": (
        "record_id_l, record_id_r, match_weight, match_probability, match_key, decision, "
        + ", ".join(KEPT_OF_PAIRS)
    ),
    "current_profile_ids": "*",
}
# Of a table of records it changes only what is different: with rows deleted all over it, the engine
# would write all of it again. Per table what may change.
_OF_RECORDS: Final = {
    "profile_records": ("profile_id", "cluster_size", "match_probability"),
    "linkage_state": ("component", "cluster", "is_held"),
}


def make_pairs(
    con: duckdb.DuckDBPyConnection,
    labels: np.ndarray[Any, Any],
    join: float,
    constraints: Constraints | None = None,
    unheld: np.ndarray[Any, Any] | None = None,
) -> None:
    """Make `pairs`: every weighed pair, once, with what became of it.

    Args:
        con: The linkage's own database, after `link_people`.
        labels: The cluster of every record.
        join: The probability from which pairs join records.
        constraints: What stewards put together.
        unheld: The cluster of every record before anything was held for review.
    """
    everyone = np.arange(len(labels))
    before = labels if unheld is None else unheld
    con.register("labels", pa.table({"id": everyone, "label": labels, "unheld": before}))
    decided = everyone if constraints is None else constraints.representative
    is_decided = decided != everyone
    con.register(
        "steward_pairs",
        pa.table({"id_l": decided[is_decided], "id_r": everyone[is_decided]}),
    )
    con.register(
        "match_keys", pa.table({"rule": np.arange(len(MATCH_KEYS)), "name": list(MATCH_KEYS)})
    )
    nothing = ", ".join("null" for _ in KEPT_OF_PAIRS)
    con.execute(
        f"""
        create or replace table pairs as
        with every as (
            select
                scored_pairs.id_l,
                scored_pairs.id_r,
                scored_pairs.match_weight,
                {", ".join(KEPT_OF_PAIRS)},
                match_keys.name as match_key
            from scored_pairs
            inner join match_keys on match_keys.rule = scored_pairs.rule
            anti join deterministic_pairs
                on deterministic_pairs.id_l = scored_pairs.id_l
                and deterministic_pairs.id_r = scored_pairs.id_r
            anti join steward_pairs
                on steward_pairs.id_l = scored_pairs.id_l
                and steward_pairs.id_r = scored_pairs.id_r
            union all
            select id_l, id_r, null, {nothing}, '{DETERMINISTIC_KEY}'
            from deterministic_pairs anti join steward_pairs using (id_l, id_r)
            union all
            select id_l, id_r, null, {nothing}, '{STEWARD_KEY}' from steward_pairs
        ),
        judged as (
            select
                *,
                case
                    when match_weight is null then 1.0
                    else 1 / (1 + pow(2, -match_weight))
                end as match_probability
            from every
        )
        select
            people_l.record_id as record_id_l,
            people_r.record_id as record_id_r,
            judged.match_weight,
            judged.match_probability,
            judged.match_key,
            case
                when judged.match_probability < ? then 'below_threshold'
                when labels_l.label = labels_r.label then 'joined'
                when labels_l.unheld = labels_r.unheld then 'held'
                else 'refused'
            end as decision,
            {", ".join(KEPT_OF_PAIRS)},
            judged.id_l,
            judged.id_r,
            labels_l.label = labels_r.label as is_together
        from judged
        inner join people as people_l on people_l.id = judged.id_l
        inner join people as people_r on people_r.id = judged.id_r
        inner join labels as labels_l on labels_l.id = judged.id_l
        inner join labels as labels_r on labels_r.id = judged.id_r
        """,
        [join],
    )
    for name in ("labels", "match_keys", "steward_pairs"):
        con.unregister(name)


def make_profile_records(
    con: duckdb.DuckDBPyConnection,
    labels: np.ndarray[Any, Any],
    model_version: str,
    people: str = "people",
) -> None:
    """Make `profile_records`: every record, its profile, and how near its nearest fellow is.

    Args:
        con: The linkage's own database, with `pairs` and `assigned_records` (record_id,
            profile_id).
        labels: The cluster of every record.
        model_version: The model used.
        people: The table (id, record_id) of the records.
    """
    sizes = np.bincount(labels, minlength=len(labels))[labels] if len(labels) else labels
    con.register("sizes", pa.table({"id": np.arange(len(labels)), "cluster_size": sizes}))
    con.execute(
        f"""
        create or replace table profile_records as
        with ends as (
            select id_l as id, match_probability from pairs where is_together
            union all
            select id_r, match_probability from pairs where is_together
        ),
        nearest as (select id, max(match_probability) as match_probability from ends group by id)
        select
            people.record_id,
            assigned_records.profile_id,
            sizes.cluster_size,
            nearest.match_probability,
            cast(? as varchar) as model_version
        from {people} as people
        inner join assigned_records on assigned_records.record_id = people.record_id
        inner join sizes on sizes.id = people.id
        left join nearest on nearest.id = people.id
        order by people.id
        """,
        [model_version],
    )
    con.unregister("sizes")


def write_tables(con: duckdb.DuckDBPyConnection, *, in_part: bool) -> None:
    """Write the tables of schema `identity` from those beside, in a transaction of the caller.

    Args:
        con: The open build.
        in_part: Whether the tables beside hold only what was linked anew.
    """
    con.execute("create schema if not exists identity")
    records = dict.fromkeys(_OF_RECORDS, "*")
    for name, columns in (_WHOLE if in_part else {**_WHOLE, **_IN_PART, **records}).items():
        con.execute(
            f"create or replace table identity.{name} as select {columns} from {BESIDE}.{name}"
        )
    if not in_part:
        return
    for name, of in (("linkage_touched", "touched"), ("linkage_region", "region")):
        con.execute(f"""
            create or replace temp table {name} as
            select record_id from {BESIDE}.people semi join {BESIDE}.{of} using (id)
            union select record_id from {BESIDE}.former
        """)
    con.execute("""
        delete from identity.pairs
        where record_id_l in (from linkage_touched) or record_id_r in (from linkage_touched)
            or (record_id_l in (from linkage_region) and record_id_r in (from linkage_region))
    """)
    con.execute(f"""
        delete from identity.current_profile_ids
        where profile_id in (select profile_id from {BESIDE}.current_profile_ids)
    """)
    for name, columns in _IN_PART.items():
        con.execute(f"insert into identity.{name} by name select {columns} from {BESIDE}.{name}")
    for name in ("linkage_touched", "linkage_region"):
        con.execute(f"drop table temp.{name}")
    for name, changing in _OF_RECORDS.items():
        con.execute(f"""
            delete from identity.{name} where record_id in (select record_id from {BESIDE}.former)
        """)
        differs = " or ".join(f"linked.{one} is distinct from known.{one}" for one in changing)
        con.execute(f"""
            update identity.{name} as known
            set {", ".join(f"{column} = linked.{column}" for column in changing)}
            from {BESIDE}.{name} as linked
            where linked.record_id = known.record_id and ({differs})
        """)
        con.execute(f"""
            insert into identity.{name} by name
            from {BESIDE}.{name} where record_id in (
                select record_id from {BESIDE}.people semi join {BESIDE}.came using (digest)
            )
        """)
