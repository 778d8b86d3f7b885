"""Linking what changed: `people as they were and are -> what is clustered anew`.

Here: what is new, changed or gone since the last linkage of this build, and the same work as
`linking` does, for these records and the components they touch. Not here: the work itself
(`blocking`, `linking`, `clustering`), reading and writing the build (`stage`).

Why the outcome is that of linking everything under the same model version: a pair's weight depends
on its two records; whether two records meet, on the sizes of the blocks they share; what becomes of
a component, on its own pairs. So pairs are made and weighed again for the records that changed and
for those in a block that crossed the largest size allowed; and the components that hold one of
these, or that one of their pairs now joins, are closed and clustered again. The rest stays. Who is
subject to a decision of a steward counts as changed; a new decision has everything linked.
"""

import math
from dataclasses import dataclass, replace
from typing import Final

import duckdb
import numpy as np
import pyarrow as pa

from klantbeeld.identity import preparation
from klantbeeld.identity.blocking import make_candidate_pairs_of_changes
from klantbeeld.identity.clustering import Clusters, Ints
from klantbeeld.identity.constraints import Binding
from klantbeeld.identity.frozen import Frozen
from klantbeeld.identity.linking import (
    CLOSING_RULE,
    KEPT_OF_PAIRS,
    MATCH_KEYS,
    Scorer,
    close_and_cluster,
    combine_odds,
    make_deterministic_pairs,
    part_keys,
)
from klantbeeld.identity.model import LinkageModel
from klantbeeld.identity.review import UNCERTAIN, Held, make_queue

# Beyond this share of the records, linking all of them costs no more.
MOST_CHANGED: Final = 0.2
STATE_TABLE: Final = "identity.linkage_people"


@dataclass(frozen=True)
class Changes:
    """What is different from the last linkage.

    Attributes:
        records: The linkage records that are new or different.
        former: record_id of those that were different or are gone.
        known: The number of records that were linked last time.
    """

    records: pa.Table
    former: pa.Table
    known: int

    @property
    def count(self) -> int:
        """Records that are new, different or gone; those that are different count twice."""
        return int(self.records.num_rows + self.former.num_rows)


@dataclass(frozen=True)
class Relinkage:
    """The outcome; `scored_pairs`, `deterministic_pairs` and `region` stay in the engine.

    Attributes:
        clusters: The partition of the region; every other record is by itself.
        components: Per record its connected component, likewise.
        touched: Records whose pairs were made and weighed again.
    """

    clusters: Clusters
    components: Ints
    touched: int


def find_changes(con: duckdb.DuckDBPyConnection) -> Changes | None:
    """Compare the linkage records of the build with those that were linked last.

    Args:
        con: The open build.

    Returns:
        None if nothing is known of the last linkage.
    """
    digest = preparation.digest_sql()
    try:
        moved = con.execute(f"""
            select coalesce(present.record_id, linked.record_id) as record_id,
                present.record_id is not null as is_present,
                linked.record_id is not null as is_known
            from (
                select record_id, {digest} as digest from {preparation.INPUT_TABLE}
            ) as present
            full join {STATE_TABLE} as linked on linked.record_id = present.record_id
            where linked.digest is distinct from present.digest
        """).to_arrow_table()
        known = _scalar(con, f"select count(*) from {STATE_TABLE}")
    except (duckdb.CatalogException, duckdb.BinderException):
        return None
    con.register("linkage_moved", moved)
    records = preparation.read_input(
        con,
        f"(select * from {preparation.INPUT_TABLE} where record_id in "
        "(select record_id from linkage_moved where is_present))",
    ).read_all()
    former = con.execute("select record_id from linkage_moved where is_known").to_arrow_table()
    con.unregister("linkage_moved")
    return Changes(records, former, known)


def make_present_people(
    con: duckdb.DuckDBPyConnection, own: duckdb.DuckDBPyConnection, changes: Changes
) -> int | None:
    """Make `people` of today, with `changed` (id) and `former`, from those of the last linkage.

    Args:
        con: The open build.
        own: The database beside it; its `people` are the new and the changed ones, prepared.
        changes: What changed.

    Returns:
        The number of records; None if people were prepared in another way then.
    """
    known = [str(row[0]) for row in con.execute(f"describe {STATE_TABLE}").fetchall()]
    prepared = {str(row[0]) for row in own.execute("describe people").fetchall()}
    if (prepared - {"id"}) | set(preparation.STATE_COLUMNS) != set(known):
        return None
    linked = preparation.in_build(con, STATE_TABLE)
    own.register("former_records", changes.former)
    own.execute(f"""
        create table former as from {linked} semi join former_records using (record_id)
    """)
    # Numbered without what they carry: what is known of all records moves once, as it is read.
    own.execute(f"""
        create table numbers as
        with present as (
            select record_id, true as is_linked from {linked}
            anti join former_records using (record_id)
            union all
            select record_id, false from people
        )
        select *, row_number() over (order by record_id) - 1 as id from present
    """)
    own.execute(f"""
        create table present as
        select numbers.id, linked_people.*
        from {linked} as linked_people
        inner join numbers on numbers.record_id = linked_people.record_id and numbers.is_linked
    """)
    own.execute("""
        insert into present by name
        select numbers.id, people.* exclude (id) from people inner join numbers using (record_id)
    """)
    own.execute("create table changed as select id from numbers where not is_linked")
    own.unregister("former_records")
    for name in ("people", "numbers"):
        own.execute(f"drop table {name}")
    own.execute("alter table present rename to people")
    return _scalar(own, "select count(*) from people")


def relink_people(
    con: duckdb.DuckDBPyConnection,
    own: duckdb.DuckDBPyConnection,
    model: LinkageModel,
    records: int,
    join_probability: float,
    frozen: Frozen,
    binding: Binding,
) -> Relinkage:
    """Link what changed.

    Leaves `region` (id, record_id: the records clustered anew), `touched` (id), and
    `scored_pairs` and `deterministic_pairs` as `link_people` does: of the region, and of touched
    records with others that they do not join.

    Args:
        con: The open build, for the pairs that are known.
        own: The linkage's own database, after `make_present_people`.
        model: The parameters.
        records: The number of records in `people`.
        join_probability: Pairs at least this probable join records.
        frozen: The values of the model version.
        binding: What stewards decided; nothing of it changed since the last linkage.
    """
    make_deterministic_pairs(own)
    parted = part_keys(own, binding.constraints)
    _add_decided(own, binding)
    _add_fellows_of_keys(own)
    make_candidate_pairs_of_changes(own, frozen.largest_blocks)
    # Whoever the touched records may join, with all that is joined already: what can be weighed.
    own.execute("""
        create or replace table reached_people as
        with ends as (
            select id from touched
            union select id_l from candidate_pairs union select id_r from candidate_pairs
            union select id_l from deterministic_pairs semi join touched on touched.id = id_r
            union select id_r from deterministic_pairs semi join touched on touched.id = id_l
        ),
        components as (
            select component from people semi join ends using (id) where component is not null
            union select component from former
        )
        from people where id in (from ends) or component in (from components)
    """)
    scorer = Scorer(
        own, model, frozen.records, people="reached_people", frequencies=frozen.frequencies
    )
    scorer.score("candidate_pairs", "weighed_pairs")
    combine_odds(own, "weighed_pairs", "scored_pairs", frozen.prior)
    threshold = math.log2(join_probability / (1 - join_probability))
    _make_region(own, threshold)
    _add_known_pairs(con, own)
    clusters, components = close_and_cluster(
        own, scorer, records, threshold, frozen.prior, binding.constraints, parted
    )
    return Relinkage(clusters, components, _scalar(own, "select count(*) from touched"))


def _add_decided(con: duckdb.DuckDBPyConnection, binding: Binding) -> None:
    """Take as changed who is subject to a decision: few, and what binds them reaches far.

    With one of its records come or gone, a group has another first record, to which it is tied.
    """
    if binding.constraints is None:
        return
    representative = binding.constraints.representative
    count = len(representative)
    together = np.bincount(representative, minlength=count)[representative] > 1
    apart = np.concatenate([binding.constraints.apart_left, binding.constraints.apart_right])
    decided = together | np.isin(representative, apart) | (binding.disputed >= 0)
    con.register("decided", pa.table({"id": np.flatnonzero(decided)}))
    con.execute("create or replace table fellows as from decided anti join changed using (id)")
    con.unregister("decided")
    _add_fellows(con)


def _add_fellows_of_keys(con: duckdb.DuckDBPyConnection) -> None:
    """Take as changed who shares a key with a changed record, or names one.

    A key joins its records to the first of them, and a pair that a key joins is not weighed: with
    another first record, other pairs are.
    """
    con.execute("""
        create or replace table fellows as
        with moved as (
            select record_id, deterministic_key from people semi join changed using (id)
            union all
            select record_id, deterministic_key from former
        )
        select id
        from people
        where id not in (from changed)
            and (
                deterministic_key in (
                    select deterministic_key from moved where deterministic_key is not null
                )
                or linked_record_id in (select record_id from moved)
            )
    """)
    _add_fellows(con)


def _add_fellows(con: duckdb.DuckDBPyConnection) -> None:
    """Add `fellows` to the changed, and to the former as they are: their blocks stay the same."""
    con.execute("""
        insert into former by name
        select people.* exclude (id) from people semi join fellows using (id)
    """)
    con.execute("insert into changed from fellows")
    con.execute("drop table fellows")


def _make_region(con: duckdb.DuckDBPyConnection, threshold: float) -> None:
    """Make `region`: every record whose component may not be what it was."""
    con.execute(
        """
        create or replace table region as
        with joined as (
            select id_l, id_r from scored_pairs where match_weight >= ?
            union all
            select id_l, id_r from deterministic_pairs
            where id_l in (from touched) or id_r in (from touched)
        ),
        ends as (
            select id from touched union select id_l from joined union select id_r from joined
        ),
        components as (
            select component from people semi join ends using (id) where component is not null
            union select component from former
        )
        select id, record_id from people
        where id in (from ends) or component in (from components)
        """,
        [threshold],
    )
    con.execute("delete from deterministic_pairs where id_l not in (select id from region)")


def _add_known_pairs(con: duckdb.DuckDBPyConnection, own: duckdb.DuckDBPyConnection) -> None:
    """Add the pairs of the region that need not be weighed again to `scored_pairs`."""
    asked = own.execute("select record_id from region anti join touched using (id)")
    con.register("linkage_asked", asked.to_arrow_table())
    kept = ", ".join(KEPT_OF_PAIRS)
    known = con.execute(f"""
        select record_id_l, record_id_r, match_key, match_weight, {kept}
        from identity.pairs
        where record_id_l in (from linkage_asked) and record_id_r in (from linkage_asked)
            and match_weight is not null
    """).to_arrow_table()
    con.unregister("linkage_asked")
    own.register("known_pairs", known)
    own.register(
        "match_keys", pa.table({"rule": np.arange(len(MATCH_KEYS)), "name": list(MATCH_KEYS)})
    )
    own.execute(f"""
        insert into scored_pairs by name
        select
            region_l.id as id_l, region_r.id as id_r, match_keys.rule::utinyint as rule,
            known_pairs.match_weight, {kept}
        from known_pairs
        inner join match_keys on match_keys.name = known_pairs.match_key
        inner join region as region_l on region_l.record_id = known_pairs.record_id_l
        inner join region as region_r on region_r.record_id = known_pairs.record_id_r
        where match_keys.rule <> {CLOSING_RULE}
    """)
    own.unregister("known_pairs")
    own.unregister("match_keys")


def make_queue_of_all(
    con: duckdb.DuckDBPyConnection,
    own: duckdb.DuckDBPyConnection,
    held: Held,
    binding: Binding,
    base: Ints,
    most_pairs: int,
) -> None:
    """Make the `review_queue` of all records, of which only the region was linked anew.

    What was asked about the rest is still to be asked; which of the uncertain pairs are worth most
    is seen among all.

    Args:
        con: The open build, with the tables of the last linkage.
        own: The linkage's own database, with `pairs` and `profile_records` of the region.
        held: What was held in the region.
        binding: What is decided.
        base: The clusters of the region before anything was held.
        most_pairs: How many uncertain pairs to keep.
    """
    columns = "record_id_l, record_id_r, match_weight, match_probability, match_key, decision"
    doubts = con.execute(f"""
        with bridges as (
            select record_ids[1] as record_id_l, record_ids[2] as record_id_r
            from identity.review_queue where kind = 'bridge'
        )
        select {columns}, bridges.record_id_l is not null as is_bridge
        from identity.pairs
        left join bridges using (record_id_l, record_id_r)
        where is_bridge
            or (match_weight is not null and decision <> 'held'
                and (decision = 'refused' or match_probability between {UNCERTAIN[0]} and
                    {UNCERTAIN[1]}))
    """).to_arrow_table()
    large = con.execute("""
        select row_number() over () as number, unnest(record_ids) as record_id
        from identity.review_queue where kind = 'large_cluster'
    """).to_arrow_table()
    own.register("former_doubts", doubts)
    own.register("former_large", large)
    own.execute(f"""
        create or replace table doubts as
        select
            {columns}, people_l.id as id_l, people_r.id as id_r,
            decision = 'joined' as is_together, is_bridge
        from former_doubts
        inner join people as people_l on people_l.record_id = record_id_l
        inner join people as people_r on people_r.record_id = record_id_r
        where not (people_l.id in (from touched) or people_r.id in (from touched))
            and not (
                people_l.id in (select id from region) and people_r.id in (select id from region)
            )
    """)
    rest = own.execute("""
        select people.id, min(people.id) over (partition by former_large.number) as label
        from former_large inner join people using (record_id)
        anti join region on region.id = people.id
    """).fetchnumpy()
    bridges = own.execute("select id_l, id_r from doubts where is_bridge").fetchnumpy()
    asked = own.execute("""
        select people.record_id from people
        semi join (
            select id_l as id from pairs union select id_r from pairs
            union select id_l from doubts union select id_r from doubts
            union select people.id from people semi join former_large using (record_id)
        ) as ends on ends.id = people.id
        anti join region on region.id = people.id
    """)
    con.register("linkage_asked", asked.to_arrow_table())
    own.register(
        "former_profiles",
        con.execute(
            "from identity.profile_records semi join linkage_asked using (record_id)"
        ).to_arrow_table(),
    )
    con.unregister("linkage_asked")
    own.execute("alter table pairs rename to linked_pairs")
    own.execute("alter table profile_records rename to linked_profile_records")
    own.execute(
        "create table pairs as from linked_pairs "
        "union all by name select * exclude (is_bridge) from doubts"
    )
    own.execute(
        "create table profile_records as from linked_profile_records "
        "union all by name from former_profiles"
    )
    labels = base.copy()
    labels[rest["id"]] = rest["label"]
    everything = replace(
        held,
        bridges=(
            np.concatenate([held.bridges[0], np.asarray(bridges["id_l"], dtype=np.int64)]),
            np.concatenate([held.bridges[1], np.asarray(bridges["id_r"], dtype=np.int64)]),
        ),
        large=np.concatenate([held.large, np.unique(rest["label"])]),
    )
    make_queue(own, everything, binding, labels, most_pairs)
    for name in ("pairs", "profile_records"):
        own.execute(f"drop table {name}")
        own.execute(f"alter table linked_{name} rename to {name}")
    own.execute("drop table doubts")
    for name in ("former_doubts", "former_large", "former_profiles"):
        own.unregister(name)


def _scalar(con: duckdb.DuckDBPyConnection, sql: str) -> int:
    row = con.execute(sql).fetchone()
    return int(row[0]) if row else 0
