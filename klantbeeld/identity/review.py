"""What waits for a person: weak bridges and large clusters, held; uncertain pairs, asked about.

Here: which clusters are not taken as they come, what their records are in meanwhile, and the queue.
Not here: the decisions themselves (`decisions`) and how they bind (`constraints`).

A held cluster changes nothing: its records stay in the profile in which they were last published,
those that were in none get one of their own, and the two sides of a weak bridge stay two. So nobody
disappears from a sync while a question is open.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import duckdb
import numpy as np
import pyarrow as pa

from klantbeeld.identity.clustering import Constraints, Flags, Floats, Ints, connected_components
from klantbeeld.identity.constraints import Binding
from klantbeeld.identity.decisions import resolve
from klantbeeld.settings import IdentitySettings

# A pair is asked about when it is this near to a coin's toss.
UNCERTAIN: Final = (0.2, 0.8)
KINDS: Final = ("pair", "bridge", "large_cluster")
_REVENUE: Final = "insights.profile_measures"


@dataclass(frozen=True)
class Held:
    """A partition in which open questions change nothing.

    Attributes:
        labels: Per record, the smallest record number of its cluster.
        is_held: Per record, whether its cluster waits for a decision.
        bridges: Weak bridges, as pairs of record numbers.
        large: Labels of the clusters beyond the size, before they were held.
    """

    labels: Ints
    is_held: Flags
    bridges: tuple[Ints, Ints]
    large: Ints


def hold(
    con: duckdb.DuckDBPyConnection,
    labels: Ints,
    binding: Binding,
    members: pa.Table,
    settings: IdentitySettings,
) -> Held:
    """Hold back what a person must look at first.

    Args:
        con: The linkage's own database, after `link_people`.
        labels: The clusters as they would be.
        binding: What is decided.
        members: record_id, profile_id: the membership that was last published.
        settings: From which size and up to which probability to ask.
    """
    count = len(labels)
    if not count:
        return Held(labels, np.zeros(0, dtype=bool), (labels, labels), labels)
    everyone = np.arange(count, dtype=np.int64)
    constraints = binding.constraints or Constraints(everyone, everyone[:0], everyone[:0])
    left, right, weight = _joining_pairs(con, settings.join_probability)
    inside = labels[left] == labels[right]
    left, right, weight = left[inside], right[inside], weight[inside]

    decided = constraints.representative
    size = np.bincount(labels, minlength=count)
    # A cluster that was decided to be one person as a whole leaves nothing to ask.
    is_open = np.zeros(count, dtype=bool)
    is_open[labels[decided != decided[labels]]] = True
    is_large = is_open & (size > settings.review_size)
    is_weak = _weak_bridges(
        labels, left, right, weight, constraints.representative, _bits(settings.review_probability)
    )
    is_disputed = np.zeros(count, dtype=bool)
    is_disputed[labels[binding.disputed >= 0]] = True

    is_bridged = np.zeros(count, dtype=bool)
    is_bridged[labels[left[is_weak]]] = True
    waits = is_large | is_bridged | is_disputed
    large = np.flatnonzero(is_large)
    bridges = (left[is_weak], right[is_weak])
    if not waits.any():
        return Held(labels, np.zeros(count, dtype=bool), bridges, large)

    waiting = np.flatnonzero(waits[labels])
    profile = _profile_numbers(con, members, waiting, count)
    # Evidence counts only inside bridged clusters, and there not over the bridge.
    keeps = ~is_weak & is_bridged[labels[left]] & ~(is_large | is_disputed)[labels[left]]
    # A profile's records stay together where its cluster is held, and over all of a contradiction.
    area = np.where(is_disputed[labels], -1, labels)
    known = waiting[profile[waiting] >= 0]
    _, first, stays = np.unique(
        np.stack([profile[known], area[known]]), axis=1, return_index=True, return_inverse=True
    )
    pieces = connected_components(
        count,
        np.concatenate([left[keeps], known, waiting]),
        np.concatenate(
            [right[keeps], known[first[stays.ravel()]], constraints.representative[waiting]]
        ),
    )
    pieces = _apart_again(pieces, labels, constraints)
    final = labels.copy()
    final[waiting] = pieces[waiting]
    return Held(final, waits[labels], bridges, large)


def _joining_pairs(
    con: duckdb.DuckDBPyConnection, join_probability: float
) -> tuple[Ints, Ints, Floats]:
    """The pairs that join records; infinitely strong where a key of the sources does."""
    columns = con.execute(
        """
        select id_l, id_r, max(weight) as weight
        from (
            select id_l, id_r, match_weight as weight from scored_pairs where match_weight >= ?
            union all
            select id_l, id_r, 'infinity'::double from deterministic_pairs
        )
        group by id_l, id_r
        order by id_l, id_r
        """,
        [_bits(join_probability)],
    ).fetchnumpy()
    return (
        np.asarray(columns["id_l"], dtype=np.int64),
        np.asarray(columns["id_r"], dtype=np.int64),
        np.asarray(columns["weight"], dtype=np.float64),
    )


def _weak_bridges(
    labels: Ints, left: Ints, right: Ints, weight: Floats, representative: Ints, strong: float
) -> Flags:
    """Which pairs are weak and all that holds two groups of at least two records together."""
    count = len(labels)
    everyone = np.arange(count, dtype=np.int64)
    is_strong = weight >= strong
    piece = connected_components(
        count,
        np.concatenate([left[is_strong], everyone]),
        np.concatenate([right[is_strong], representative]),
    )
    found = np.zeros(len(left), dtype=bool)
    weak = np.flatnonzero(piece[left] != piece[right])
    size = np.bincount(piece, minlength=count)
    degree = np.bincount(np.concatenate([piece[left[weak]], piece[right[weak]]]), minlength=count)
    # Where nothing but single records hang on, each by one pair, there is no second group.
    is_leaf = (size == 1) & (degree == 1)
    inner = weak[~is_leaf[piece[left[weak]]] & ~is_leaf[piece[right[weak]]]]
    asked = np.zeros(count, dtype=bool)
    asked[labels[left[inner]]] = True
    weak = weak[asked[labels[left[weak]]]]
    edges = list(
        zip(weak.tolist(), piece[left[weak]].tolist(), piece[right[weak]].tolist(), strict=True)
    )
    found[_bridges(edges, size)] = True
    return found


def _bridges(edges: list[tuple[int, int, int]], size: Ints) -> list[int]:
    """The edges whose loss leaves at least two records on either side (Tarjan's bridges).

    Args:
        edges: A number each, and the two pieces it joins.
        size: Records per piece.
    """
    beside: dict[int, list[tuple[int, int]]] = {}
    for edge, one, other in edges:
        beside.setdefault(one, []).append((other, edge))
        beside.setdefault(other, []).append((one, edge))
    found: list[int] = []
    entered: dict[int, int] = {}
    lowest: dict[int, int] = {}
    below: dict[int, int] = {}
    for root in beside:
        if root in entered:
            continue
        cut: list[tuple[int, int]] = []
        entered[root] = lowest[root] = len(entered)
        below[root] = int(size[root])
        path = [(root, -1, iter(beside[root]))]
        while path:
            here, came_by, others = path[-1]
            for there, edge in others:
                if edge == came_by:
                    continue
                if there in entered:
                    lowest[here] = min(lowest[here], entered[there])
                    continue
                entered[there] = lowest[there] = len(entered)
                below[there] = int(size[there])
                path.append((there, edge, iter(beside[there])))
                break
            else:
                path.pop()
                if path:
                    before = path[-1][0]
                    lowest[before] = min(lowest[before], lowest[here])
                    below[before] += below[here]
                    if lowest[here] > entered[before]:
                        cut.append((came_by, below[here]))
        found += [edge for edge, records in cut if 2 <= records <= below[root] - 2]
    return found


def _profile_numbers(
    con: duckdb.DuckDBPyConnection, members: pa.Table, waiting: Ints, count: int
) -> Ints:
    """Per record that waits a number for the profile it was last published in, -1 for none."""
    con.register("last_members", members)
    con.register("waiting", pa.table({"id": waiting}))
    known = con.execute("""
        with held as (select id, record_id from people semi join waiting using (id))
        select held.id, dense_rank() over (order by last_members.profile_id) as profile
        from held inner join last_members on last_members.record_id = held.record_id
    """).fetchnumpy()
    con.unregister("waiting")
    con.unregister("last_members")
    numbers = np.full(count, -1, dtype=np.int64)
    numbers[known["id"]] = known["profile"]
    return numbers


def _apart_again(pieces: Ints, labels: Ints, constraints: Constraints) -> Ints:
    """Undo the holding where it would put together what was decided to be apart."""
    together = pieces[constraints.apart_left] == pieces[constraints.apart_right]
    if not together.any():
        return pieces
    broken = np.isin(pieces, pieces[constraints.apart_left[together]])
    count = len(pieces)
    _, first, parts = np.unique(
        np.where(broken, pieces * count + labels, pieces * count),
        return_index=True,
        return_inverse=True,
    )
    apart: Ints = first[parts].astype(np.int64)
    return apart


def make_queue(
    con: duckdb.DuckDBPyConnection, held: Held, binding: Binding, base: Ints, most_pairs: int
) -> None:
    """Make `review_queue`: what a person may decide, with how many records it touches.

    Args:
        con: The linkage's own database, with `pairs` and `profile_records`.
        held: What was held.
        binding: What is decided already.
        base: The clusters before anything was held.
        most_pairs: How many uncertain pairs to keep, the most valuable.
    """
    count = len(base)
    everyone = np.arange(count, dtype=np.int64)
    constraints = binding.constraints or Constraints(everyone, everyone[:0], everyone[:0])
    large = np.flatnonzero(np.isin(base, held.large))
    for name, table in (
        ("bridges", pa.table({"id_l": held.bridges[0], "id_r": held.bridges[1]})),
        ("large", pa.table({"id": large, "label": base[large]})),
        ("decided", pa.table({"id": everyone, "representative": constraints.representative})),
        ("apart", pa.table({"l": constraints.apart_left, "r": constraints.apart_right})),
    ):
        con.register(f"queue_{name}", table)
    con.execute(
        """
        create or replace table review_queue as
        with doubtful as (
            select pairs.*, queue_bridges.id_l is not null as is_bridge
            from pairs
            left join queue_bridges
                on queue_bridges.id_l = pairs.id_l and queue_bridges.id_r = pairs.id_r
            where pairs.match_weight is not null and (
                queue_bridges.id_l is not null
                or (
                    pairs.decision <> 'held'
                    and (pairs.decision = 'refused' or pairs.match_probability between ? and ?)
                )
            )
        ),
        concerned as (
            select id_l as id from doubtful
            union select id_r from doubtful
            union select id from queue_large
            union
            select id from queue_decided
            where representative in (select l from queue_apart union select r from queue_apart)
        ),
        placed as (
            select
                people.id, people.record_id, profile_records.profile_id,
                profile_records.cluster_size, profile_records.match_probability,
                queue_decided.representative
            from people
            semi join concerned on concerned.id = people.id
            inner join profile_records on profile_records.record_id = people.record_id
            inner join queue_decided on queue_decided.id = people.id
        ),
        judged as (
            select
                doubtful.*,
                placed_l.profile_id as profile_id_l,
                placed_r.profile_id as profile_id_r,
                case
                    when placed_l.profile_id = placed_r.profile_id then placed_l.cluster_size
                    else placed_l.cluster_size + placed_r.cluster_size
                end as touched,
                least(placed_l.match_probability, placed_r.match_probability) as hangs_by,
                least(placed_l.representative, placed_r.representative) as low,
                greatest(placed_l.representative, placed_r.representative) as high
            from doubtful
            inner join placed as placed_l on placed_l.id = doubtful.id_l
            inner join placed as placed_r on placed_r.id = doubtful.id_r
        ),
        apart_profiles as (
            select distinct
                least(placed_l.profile_id, placed_r.profile_id) as one,
                greatest(placed_l.profile_id, placed_r.profile_id) as other
            from queue_apart
            inner join placed as placed_l on placed_l.representative = queue_apart.l
            inner join placed as placed_r on placed_r.representative = queue_apart.r
        ),
        uncertain as (
            select
                *,
                least(profile_id_l, profile_id_r) as one,
                greatest(profile_id_l, profile_id_r) as other
            from judged
            where not is_bridge
                and low <> high
                -- Of records that are together, the pair that all of one of them hangs by.
                and (profile_id_l <> profile_id_r or match_probability <= hangs_by)
        ),
        asked as (
            select * from uncertain
            anti join apart_profiles using (one, other)
            qualify row_number() over (
                partition by one, other order by match_weight desc, record_id_l, record_id_r
            ) = 1
            order by touched desc, abs(match_weight), record_id_l, record_id_r
            limit ?
        ),
        clusters as (
            select
                queue_large.label,
                list(placed.record_id order by placed.record_id) as record_ids,
                list_sort(list_distinct(list(placed.profile_id))) as profile_ids
            from queue_large inner join placed on placed.id = queue_large.id
            group by queue_large.label
        ),
        items as (
            select
                case when is_bridge then 'bridge' else 'pair' end as kind,
                [record_id_l, record_id_r] as record_ids,
                list_sort(list_distinct([profile_id_l, profile_id_r])) as profile_ids,
                match_weight as weight,
                match_probability,
                touched
            from (from asked union all by name from judged where is_bridge)
            union all
            select 'large_cluster', record_ids, profile_ids, null, null, len(record_ids)
            from clusters
        )
        select
            left(sha256(kind || '|' || array_to_string(record_ids, '|')), 16) as review_id,
            kind, record_ids, profile_ids, weight, match_probability,
            touched::double as value
        from items
        order by value desc, abs(weight) nulls first, review_id
        """,
        [*UNCERTAIN, most_pairs],
    )
    for name in ("bridges", "large", "decided", "apart"):
        con.unregister(f"queue_{name}")


def _bits(probability: float) -> float:
    return math.log2(probability / (1 - probability))


def read_queue(
    con: duckdb.DuckDBPyConnection, decisions: pa.Table, kind: str | None = None
) -> list[dict[str, Any]]:
    """What of a version's queue is still to be decided, the most valuable first.

    Args:
        con: A connection to the version.
        decisions: The decisions in force; what they settle is left out.
        kind: Only questions of this kind.

    Returns:
        Per question: review_id, kind, record_ids, profile_ids, weight, match_probability, records
        (that it touches) and revenue_eur (of its profiles; none where it is not known).
    """
    tables = {
        f"{schema}.{table}"
        for schema, table in con.execute(
            "select schema_name, table_name from duckdb_tables()"
        ).fetchall()
    }
    if "identity.review_queue" not in tables:
        return []
    measures = f"from {_REVENUE}"
    if _REVENUE not in tables:
        measures = "select null::varchar as profile_id, null::decimal(18, 2) as revenue_eur limit 0"
    rows = (
        con.execute(
            f"""
            with measures as ({measures}),
            touched as (
                select review_id, unnest(profile_ids) as profile_id from identity.review_queue
            ),
            revenues as (
                select touched.review_id, sum(measures.revenue_eur) as revenue_eur
                from touched inner join measures on measures.profile_id = touched.profile_id
                group by touched.review_id
            )
            select
                review_id, kind, record_ids, profile_ids, weight, match_probability,
                value::bigint as records, revenue_eur
            from identity.review_queue left join revenues using (review_id)
            where ? is null or kind = ?
            order by revenue_eur desc nulls last, records desc, abs(weight) nulls first, review_id
            """,
            [kind, kind],
        )
        .to_arrow_table()
        .to_pylist()
    )
    is_settled = settled_by(decisions)
    return [row for row in rows if not is_settled(row["record_ids"])]


def settled_by(decisions: pa.Table) -> Callable[[Sequence[str]], bool]:
    """Whether decisions answer the question about some records.

    Args:
        decisions: Those in force.
    """
    resolution = resolve(decisions)
    number = {record: place for place, record in enumerate(resolution.records)}
    apart = set(zip(resolution.apart_l.tolist(), resolution.apart_r.tolist(), strict=True))

    def is_settled(record_ids: Sequence[str]) -> bool:
        groups = [int(resolution.group[number[r]]) if r in number else -1 for r in record_ids]
        if -1 in groups:
            return any(r in number and resolution.alone[number[r]] for r in record_ids)
        one, other = groups[0], groups[-1]
        return len(set(groups)) == 1 or (one, other) in apart or (other, one) in apart

    return is_settled
