"""Linking what changed: `what is kept of the last linkage + the records of now -> clusters anew`.

Here: what is new, changed or gone since the last linkage of this build, whom that reaches, and the
same work as `linking` does, for these records alone. Not here: the work itself (`blocking`,
`linking`, `clustering`), reading and writing the build (`stage`).

Why the outcome is that of linking everything under the same model version: a pair's weight depends
on its two records; whether two records meet, on the sizes of the blocks they share; what becomes of
a component, on its own pairs. So pairs are made and weighed again for the records that changed and
for those in a block that crossed the largest size allowed; and the components that hold one of
these, or that one of their pairs now joins, are closed and clustered again. The rest stays. Who is
subject to a decision of a steward is touched by every change; once decisions are others, who ever
was subject to one counts as changed, since what is decided can hide a record from its blocks.

Why it costs little: of every record a digest, its component and its blocks are kept, as numbers.
They tell what changed and who meets whom; what is compared is made for the records reached only.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

import duckdb
import numpy as np
import pyarrow as pa

from klantbeeld.identity import preparation
from klantbeeld.identity.blocking import block_columns, make_pairs_of_changes
from klantbeeld.identity.clustering import Clusters, Ints
from klantbeeld.identity.constraints import Binding, Decided, bind, make_decided_records
from klantbeeld.identity.frozen import Frozen
from klantbeeld.identity.linking import (
    CLOSING_RULE,
    MATCH_KEYS,
    Terms,
    close_and_cluster,
    make_deterministic_pairs,
    part_keys,
)
from klantbeeld.identity.model import LinkageModel
from klantbeeld.identity.review import UNCERTAIN, Held, make_queue
from klantbeeld.identity.scoring import KEPT_OF_PAIRS, Scorer, combine_odds
from klantbeeld.identity.suppression import suppress_values
from klantbeeld.settings import Settings

# Beyond this share of the records, linking all of them costs no more.
MOST_CHANGED: Final = 0.2
# The name, beside the build, of a table of the last linkage.
Known = Callable[[str], str]


@dataclass(frozen=True)
class Changes:
    """How much is different from the last linkage.

    Attributes:
        came: Records that are new or different.
        went: Records that were different or are gone.
        known: Records that were linked last time.
    """

    came: int
    went: int
    known: int

    @property
    def records(self) -> int:
        """The number of records of now."""
        return self.known + self.came - self.went

    @property
    def is_small(self) -> bool:
        """Whether linking everything would cost more; records that are different count twice."""
        return 0 < self.came + self.went <= MOST_CHANGED * self.known


@dataclass(frozen=True)
class Reached:
    """The records that a change reaches, as `people` in the engine, prepared and bound.

    Attributes:
        count: How many.
        suppressed: Values left out of matching, per kind.
        binding: What stewards decided.
    """

    count: int
    suppressed: Mapping[str, int]
    binding: Binding


@dataclass(frozen=True)
class Relinkage:
    """The outcome; `scored_pairs`, `deterministic_pairs` and `region` stay in the engine.

    Attributes:
        clusters: The partition of the region; every other record of `people` is by itself.
        components: Per record its connected component, likewise.
        touched: Records whose pairs were made and weighed again.
    """

    clusters: Clusters
    components: Ints
    touched: int


def state_sql(largest_blocks: Mapping[str, int]) -> str:
    """SQL for what the next linkage starts from, of a record of `people` in its place.

    Args:
        largest_blocks: Per rule of the model version, the records in the largest block it may use.

    Returns:
        A query over `people` and `placed` (id, component, cluster, is_held).
    """
    digests = {
        "key_digest": "case when deterministic_key is not null then hash(deterministic_key) end",
        "link_digest": "link_digest",
        **block_columns(largest_blocks),
    }
    return f"""
        select
            people.record_id, people.digest, placed.component, placed.cluster, placed.is_held,
            {", ".join(f"{sql} as {name}" for name, sql in digests.items())}
        from people inner join placed using (id)
    """


def find_changes(
    own: duckdb.DuckDBPyConnection, known: Known, records: str, decided_anew: Decided | None = None
) -> Changes | None:
    """Compare the records with those that were linked last.

    Makes `came` (row_number, digest: the records that are new or different) and `former` (the rows
    of the state that are of no record any more).

    Args:
        own: The linkage's own database, after `preparation.make_digests`.
        known: The tables of the last linkage.
        records: The table of the linkage records.
        decided_anew: If other decisions are in force than then, all that ever were.

    Returns:
        None if nothing is known of the last linkage.
    """
    state = known("linkage_state")
    try:
        own.execute(f"""
            create table moved as
            select digests.row_number, digests.digest, linked.digest as former_digest
            from digests full join {state} as linked on linked.digest = digests.digest
            where digests.digest is null or linked.digest is null
        """)
    except (duckdb.CatalogException, duckdb.BinderException):
        return None
    if decided_anew is not None:
        make_decided_records(own, decided_anew, records)
        own.execute(f"""
            insert into moved
            select digests.row_number, digests.digest, linked.digest
            from {state} as linked
            inner join digests on digests.digest = linked.digest
            where linked.record_id in (from decided_records)
        """)
    own.execute(
        "create table came as select row_number, digest from moved where digest is not null"
    )
    own.execute(f"""
        create table former as
        from {state}
        where digest in (select former_digest from moved where former_digest is not null)
    """)
    own.execute("drop table moved")
    present, came, went, linked = _row(
        own,
        "select (select count(*) from digests), (select count(*) from came), "
        f"(select count(*) from former), (select count(*) from {state})",
    )
    changes = Changes(came, went, linked)
    # Two records of one id make a difference; linking everything says so.
    return changes if changes.records == present else None


def make_reached_people(
    own: duckdb.DuckDBPyConnection,
    known: Known,
    records: str,
    settings: Settings,
    frozen: Frozen,
    decided: Decided,
) -> Reached | None:
    """Make `people` of all records that a change reaches, and `candidate_pairs` of the touched.

    Beside `people` (with `component`, as it was): `touched` (id).

    Args:
        own: The linkage's own database, after `find_changes`.
        known: The tables of the last linkage.
        records: The table of the linkage records.
        settings: The home's settings.
        frozen: The values of the model version.
        decided: What people decided.

    Returns:
        None if two records have one id.
    """

    def make_people(rows: str) -> Reached:
        chosen = preparation.input_sql(f"(from {records} where {rows})")
        count = preparation.make_people(own, chosen)
        suppressed = suppress_values(
            own, settings.home_key(), settings.identity.kept_values, frozen.suppressed
        )
        return Reached(count, suppressed, bind(own, decided, count))

    state = known("linkage_state")
    columns = block_columns(frozen.largest_blocks)
    names = ", ".join(("digest", *columns))
    # Who is passed through shows nothing, to no block either: so they come along.
    make_decided_records(own, decided, records)
    is_decided = " or record_id in (from decided_records)" if decided else ""
    make_people(f"rowid in (select row_number from came){is_decided}")
    blocks = ", ".join(f"{sql} as {name}" for name, sql in columns.items())
    own.execute(f"""
        create table arrived as
        select digest, true as is_new, {blocks} from people semi join came using (digest)
    """)
    own.execute(f"""
        create view present as
        select {names} from {state} where digest not in (select digest from former)
        union all
        select {names} from arrived where is_new
    """)
    if not _add_fellows(own, state, names):
        return None
    make_pairs_of_changes(own, frozen.largest_blocks)
    _make_reached(own, state)
    own.execute("drop table people")
    reached = make_people(
        "rowid in (select row_number from digests semi join reached using (digest))"
    )
    own.execute("alter table people rename to prepared")
    own.execute("create table people as from prepared inner join reached using (digest)")
    _number(own)
    own.execute("drop view present")
    for name in ("arrived", "reached", "prepared"):
        own.execute(f"drop table {name}")
    return reached


def _add_fellows(own: duckdb.DuckDBPyConnection, state: str, names: str) -> bool:
    """Add to `arrived` who changes with those who came or went, though it is as it was.

    Who shares a key with them or names one of them: a key joins its records to the first of them,
    and a pair that a key joins is not weighed, so with another first record other pairs are. And
    who is named by one that came, or subject to a decision.

    Returns:
        False if a record has the id of another.
    """
    own.execute(f"""
        create table fellows as
        with new_people as (from people semi join came using (digest)),
        keys as (
            select hash(deterministic_key) as digest from new_people
            where deterministic_key is not null
            union select key_digest from former where key_digest is not null
        ),
        ids as (
            select hash(record_id) as digest from new_people
            union select hash(record_id) from former
        ),
        named as (
            select record_id from new_people
            union select linked_record_id from new_people where linked_record_id is not null
            union from decided_records
        )
        from {state}
        where digest not in (select digest from former)
            and (
                key_digest in (from keys)
                or link_digest in (from ids)
                or record_id in (from named)
            )
    """)
    (twice,) = _row(
        own,
        "select count(*) from fellows inner join people using (record_id) "
        "where people.digest in (select digest from came)",
    )
    own.execute(f"insert into arrived by name select {names}, false as is_new from fellows")
    own.execute("drop table fellows")
    return twice == 0


def _make_reached(own: duckdb.DuckDBPyConnection, state: str) -> None:
    """Make `reached` (digest, component): whoever the touched may join, with all joined already."""
    own.execute(f"""
        create table reached as
        with ends as (
            select digest from touched
            union select digest_l from found_pairs union select digest_r from found_pairs
        ),
        components as (
            select component from {state} semi join ends using (digest)
            union select component from former
        )
        select digest, component from {state}
        where component in (from components) and digest not in (select digest from former)
        union all
        select digest, null from arrived where is_new
    """)


def _number(own: duckdb.DuckDBPyConnection) -> None:
    """Make `candidate_pairs` and `touched` of the numbers that records have in `people`."""
    own.execute("""
        create or replace table candidate_pairs as
        select
            least(people_l.id, people_r.id) as id_l,
            greatest(people_l.id, people_r.id) as id_r,
            min(rule) as rule
        from found_pairs
        inner join people as people_l on people_l.digest = digest_l
        inner join people as people_r on people_r.digest = digest_r
        group by all
    """)
    own.execute("drop table found_pairs")
    own.execute("""
        create or replace table touched as
        select people.id from people semi join touched using (digest)
    """)


def relink_people(
    own: duckdb.DuckDBPyConnection,
    known: Known,
    model: LinkageModel,
    join_probability: float,
    frozen: Frozen,
    reached: Reached,
) -> Relinkage:
    """Link what changed.

    Leaves `region` (id, record_id: the records clustered anew), and `scored_pairs` and
    `deterministic_pairs` as `link_people` does: of the region, and of touched records with others
    that they do not join.

    Args:
        own: The linkage's own database, after `make_reached_people`.
        known: The tables of the last linkage.
        model: The parameters.
        join_probability: Pairs at least this probable join records.
        frozen: The values of the model version.
        reached: What `make_reached_people` gave.
    """
    constraints = reached.binding.constraints
    make_deterministic_pairs(own)
    parted = part_keys(own, constraints)
    scorer = Scorer(own, model, frozen.records, frequencies=frozen.frequencies)
    scorer.score("candidate_pairs", "weighed_pairs")
    combine_odds(own, "weighed_pairs", "scored_pairs", frozen.prior)
    threshold = math.log2(join_probability / (1 - join_probability))
    _make_region(own, threshold)
    _add_known_pairs(own, known)
    terms = Terms(reached.count, threshold, frozen.prior, constraints, parted)
    clusters, components = close_and_cluster(own, scorer, terms)
    (touched,) = _row(own, "select count(*) from touched")
    return Relinkage(clusters, components, touched)


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


def _add_known_pairs(own: duckdb.DuckDBPyConnection, known: Known) -> None:
    """Add the pairs of the region that need not be weighed again to `scored_pairs`."""
    own.register(
        "match_keys", pa.table({"rule": np.arange(len(MATCH_KEYS)), "name": list(MATCH_KEYS)})
    )
    kept = ", ".join(KEPT_OF_PAIRS)
    own.execute(f"""
        insert into scored_pairs by name
        with rest as (from region anti join touched using (id))
        select
            rest_l.id as id_l, rest_r.id as id_r, match_keys.rule::utinyint as rule,
            pairs.match_weight, {kept}
        from {known("pairs")} as pairs
        inner join match_keys on match_keys.name = pairs.match_key
        inner join rest as rest_l on rest_l.record_id = pairs.record_id_l
        inner join rest as rest_r on rest_r.record_id = pairs.record_id_r
        where match_keys.rule <> {CLOSING_RULE} and pairs.match_weight is not null
    """)
    own.unregister("match_keys")


def make_queue_of_all(
    own: duckdb.DuckDBPyConnection,
    known: Known,
    held: Held,
    binding: Binding,
    base: Ints,
    most_pairs: int,
) -> None:
    """Make the `review_queue` of all records, of which only the region was linked anew.

    What was asked about the rest is still to be asked; which of the uncertain pairs are worth most
    is seen among all.

    Args:
        own: The linkage's own database, with `pairs` and `profile_records` of the region.
        known: The tables of the last linkage.
        held: What was held in the region.
        binding: What is decided.
        base: The clusters of the region before anything was held.
        most_pairs: How many uncertain pairs to keep.
    """
    columns = "record_id_l, record_id_r, match_weight, match_probability, match_key, decision"
    own.execute(f"""
        create table doubts as
        with bridges as (
            select record_ids[1] as record_id_l, record_ids[2] as record_id_r
            from {known("review_queue")} where kind = 'bridge'
        ),
        gone as (
            select record_id from people semi join touched using (id)
            union all select record_id from former
        )
        select {columns}, bridges.record_id_l is not null as is_bridge
        from {known("pairs")}
        left join bridges using (record_id_l, record_id_r)
        where (
                is_bridge
                or (match_weight is not null and decision <> 'held'
                    and (decision = 'refused' or match_probability between {UNCERTAIN[0]} and
                        {UNCERTAIN[1]}))
            )
            and record_id_l not in (from gone) and record_id_r not in (from gone)
            and not (
                record_id_l in (select record_id from region)
                and record_id_r in (select record_id from region)
            )
    """)
    own.execute(f"""
        create table large_rest as
        select row_number() over () as number, unnest(record_ids) as record_id
        from {known("review_queue")} where kind = 'large_cluster'
    """)
    own.execute("""
        delete from large_rest
        where record_id in (select record_id from region union select record_id from former)
    """)
    # Who is asked about beyond the people linked now is numbered after them.
    own.execute("alter table people rename to linked_people")
    own.execute("""
        create table people as
        with asked as (
            select record_id_l as record_id from doubts
            union select record_id_r from doubts
            union select record_id from large_rest
        )
        select id, record_id from linked_people
        union all
        select (select count(*) from linked_people) + row_number() over (order by record_id) - 1,
            record_id
        from asked anti join linked_people using (record_id)
    """)
    own.execute("alter table pairs rename to linked_pairs")
    own.execute("alter table profile_records rename to linked_profile_records")
    own.execute("""
        create table pairs as
        from linked_pairs
        union all by name
        select doubts.* exclude (is_bridge), people_l.id as id_l, people_r.id as id_r,
            decision = 'joined' as is_together
        from doubts
        inner join people as people_l on people_l.record_id = record_id_l
        inner join people as people_r on people_r.record_id = record_id_r
    """)
    own.execute(f"""
        create table profile_records as
        from linked_profile_records
        union all by name
        from {known("profile_records")}
        semi join (from people anti join region using (id)) as rest using (record_id)
    """)
    rest = own.execute("""
        select people.id, min(people.id) over (partition by large_rest.number) as label
        from large_rest inner join people using (record_id)
    """).fetchnumpy()
    bridges = own.execute("""
        select people_l.id as id_l, people_r.id as id_r
        from doubts
        inner join people as people_l on people_l.record_id = record_id_l
        inner join people as people_r on people_r.record_id = record_id_r
        where is_bridge
    """).fetchnumpy()
    (count,) = _row(own, "select count(*) from people")
    added = np.arange(len(base), count)
    labels = np.concatenate([base, added])
    labels[rest["id"]] = rest["label"]
    constraints = binding.constraints
    if constraints is not None:
        representative = np.concatenate([constraints.representative, added])
        constraints = replace(constraints, representative=representative)
    everything = replace(
        held,
        bridges=(
            np.concatenate([held.bridges[0], np.asarray(bridges["id_l"], dtype=np.int64)]),
            np.concatenate([held.bridges[1], np.asarray(bridges["id_r"], dtype=np.int64)]),
        ),
        large=np.concatenate([held.large, np.unique(rest["label"])]),
    )
    make_queue(own, everything, replace(binding, constraints=constraints), labels, most_pairs)
    for name in ("people", "pairs", "profile_records"):
        own.execute(f"drop table {name}")
        own.execute(f"alter table linked_{name} rename to {name}")
    for name in ("doubts", "large_rest"):
        own.execute(f"drop table {name}")


def _row(con: duckdb.DuckDBPyConnection, sql: str) -> tuple[int, ...]:
    row = con.execute(sql).fetchone()
    return tuple(int(value) for value in row or ())
