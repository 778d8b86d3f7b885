"""Lasting profile ids: `clusters + the history of ids -> an id per record, and what changed`.

Here: making ids, handing them to clusters, resolving every id ever issued, writing the ledger when
a version is published. Not here: what the clusters are.

The rule: greedily over (id, cluster), most shared records first, then the oldest id; each id to one
cluster and each cluster to one id. A cluster that is left over takes back an id that was merged or
retired, if all its known records were that id's; otherwise it gets a new one. Ids become official
when their version is published, so that a run which is killed and repeated hands out the same ones.

Companies and households get their ids in the same way (`id_spaces`). What is said here of profiles
and records is then said of companies and their records, of households and their profiles.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import duckdb
import numpy as np
import pyarrow as pa
import sqlalchemy as sa
from numpy.typing import NDArray

from klantbeeld.control import ControlPlane
from klantbeeld.control.tables import home
from klantbeeld.errors import KlantbeeldError
from klantbeeld.identity.id_spaces import PROFILES, IdSpace

Ints = NDArray[np.int64]
Numbers = NDArray[np.uint64]

EPOCH_BITS: Final = 8
COUNTER_BITS: Final = 64 - EPOCH_BITS
_ALPHABET: Final = np.frombuffer(b"0123456789ABCDEFGHJKMNPQRSTVWXYZ", dtype=np.uint8)
_ROUNDS: Final = 6
_CHUNK: Final = 20_000
EVENTS: Final = ("created", "merged", "split", "revived", "retired")


def render_ids(numbers: Numbers, key: bytes, space: IdSpace = PROFILES) -> NDArray[np.object_]:
    """Ids for numbers: a keyed one-to-one scramble of 64 bits, in Crockford's base 32.

    Args:
        numbers: The numbers of the ids; the epoch is in their highest 8 bits.
        key: The home's secret, so that ids say nothing of order or amount.
        space: What the ids are of.

    Returns:
        A letter (`P` for profiles) and 13 characters each.
    """
    values = np.asarray(numbers, dtype=np.uint64)
    mask = np.uint64(0xFFFFFFFF)
    left, right = values >> np.uint64(32), values & mask
    # A balanced Feistel network is one-to-one whatever its round function does.
    for number in range(_ROUNDS):
        secret = hashlib.sha256(key + f"{space.name} id".encode() + bytes([number])).digest()
        add, multiply, again = (
            np.uint64(int.from_bytes(secret[start : start + 8], "little") | 1)
            for start in (0, 8, 16)
        )
        mixed = (right + add) * multiply
        mixed = (mixed ^ (mixed >> np.uint64(29))) * again
        left, right = right, left ^ ((mixed >> np.uint64(32)) & mask)
    scrambled = (left << np.uint64(32)) | right
    text = np.empty((len(values), 14), dtype=np.uint8)
    text[:, 0] = ord(space.prefix)
    for place in range(13):
        digit = (scrambled >> np.uint64(5 * (12 - place))) & np.uint64(31)
        text[:, 1 + place] = _ALPHABET[digit.astype(np.intp)]
    return np.asarray(text.view("S14").ravel().astype("U14"), dtype=object)


@dataclass(frozen=True)
class IdHistory:
    """What the control plane knows of ids.

    Attributes:
        ids: profile_id, number, status, resolves_to.
        members: record_id, profile_id: the official membership.
        former: record_id, profile_id: the membership that merged and retired ids had.
        epoch: Raised by every restore.
        state: A token that changes with every published change of ids.
        last_number: The highest number of an id of the epoch, where `ids` are not all.
        settled_records: Official members that are not among `members`: they keep their profile.
    """

    ids: pa.Table
    members: pa.Table
    former: pa.Table
    epoch: int
    state: str
    last_number: int | None = None
    settled_records: int = 0


@dataclass(frozen=True)
class IdCounts:
    """What happened to ids in one run.

    Attributes:
        created: New ids.
        merged: Ids whose records went to another id.
        split: New or revived ids that took records from another id.
        revived: Ids that came back.
        retired: Ids of which no record is left.
        moved_records: Records known before that changed id.
        known_records: Records known before that are still there.
    """

    created: int
    merged: int
    split: int
    revived: int
    retired: int
    moved_records: int
    known_records: int


def read_history(control: ControlPlane, space: IdSpace = PROFILES) -> IdHistory:
    """Read the ids and memberships of the control plane, in bulk."""
    ids, members, former = space.ledger.ids.c, space.ledger.members.c, space.ledger.former.c
    profile_id = "profile_id"
    queries = {
        "ids": sa.select(
            ids.profile_id.label(profile_id),
            ids.number,
            ids.status,
            # The driver takes a column's type from its first rows; a null there would be an
            # integer.
            sa.func.coalesce(ids.resolves_to, sa.literal_column("''")).label("resolves_to"),
        ),
        "members": sa.select(
            members.record_id.label("record_id"), members.profile_id.label(profile_id)
        ),
        "former": sa.select(
            former.record_id.label("record_id"), former.profile_id.label(profile_id)
        ),
    }
    schemas = {
        "ids": pa.schema(
            [
                ("profile_id", pa.string()),
                ("number", pa.int64()),
                ("status", pa.string()),
                ("resolves_to", pa.string()),
            ]
        ),
        "members": pa.schema([("record_id", pa.string()), ("profile_id", pa.string())]),
        "former": pa.schema([("record_id", pa.string()), ("profile_id", pa.string())]),
    }
    tables = control.read_tables(queries, schemas)
    epoch = int(control.value("epoch") or 0)
    return IdHistory(
        tables["ids"], tables["members"], tables["former"], epoch, identity_state(control, space)
    )


def read_history_of_region(
    own: duckdb.DuckDBPyConnection, control: ControlPlane, known: Callable[[str], str]
) -> IdHistory:
    """Read what concerns the records that were linked anew; the ids of all others stay.

    An id and a cluster that share all their records have nothing to do with the rest, unless an id
    that is no more led, or had records, there.

    Args:
        own: The linkage's own database, with `region` (record_id) and `former` (record_id: the
            changed and the deleted).
        control: The control plane.
        known: The name of a table of the last linkage, whose ids are the official ones.
    """
    former = PROFILES.ledger.former.c
    with control.read() as connection:
        rows = connection.execute(sa.select(former.record_id, former.profile_id)).all()
    had = _arrow(rows, ("record_id", "profile_id"), pa.string())
    own.register("all_former", had)
    all_members, all_ids = known("profile_records"), known("current_profile_ids")
    own.execute(f"""
        create or replace temp table concerned as
        select profile_id from {all_members}
        where record_id in (
            select record_id from region
            union select record_id from former
            union select record_id from all_former
        )
        union
        select current_profile_id from {all_ids}
        where status <> 'active' and current_profile_id is not null
    """)
    members = own.execute(f"""
        select record_id, profile_id from {all_members} where profile_id in (from concerned)
    """).to_arrow_table()
    ids = own.execute(f"""
        select
            profile_id, number, status,
            case when status = 'active' then '' else coalesce(current_profile_id, '') end
                as resolves_to
        from {all_ids}
        where status <> 'active' or profile_id in (from concerned)
    """).to_arrow_table()
    epoch = int(control.value("epoch") or 0)
    last_number = _scalar(
        own,
        f"select coalesce(max(number), {epoch << COUNTER_BITS}) from {all_ids} "
        f"where number >> {COUNTER_BITS} = {epoch}",
    )
    settled = _scalar(own, f"select count(*) from {all_members}") - members.num_rows
    own.execute("drop table concerned")
    own.unregister("all_former")
    state = identity_state(control)
    return IdHistory(ids, members, had, epoch, state, last_number, settled)


def identity_state(control: ControlPlane, space: IdSpace = PROFILES) -> str:
    """A token of what is official; a publish that changed ids changes it, and so does a restore."""
    return f"{control.value('epoch') or 0}:{control.value(space.state_key) or ''}"


def assign_profile_ids(
    con: duckdb.DuckDBPyConnection,
    clusters: pa.Table,
    history: IdHistory,
    key: bytes,
    space: IdSpace = PROFILES,
) -> IdCounts:
    """Give every cluster an id.

    Makes in the engine: `assigned_records` (record_id, profile_id), `current_profile_ids`
    (profile_id, current_profile_id, number, status) and `profile_id_changes` (profile_id, event,
    other_profile_id, record_id).

    Args:
        con: An engine of one's own.
        clusters: record_id, cluster (any integers).
        history: What was before.
        key: The home's secret.
        space: What the clusters are.
    """
    for name, table in (
        ("id_clusters", clusters),
        ("id_history", history.ids),
        ("id_members", history.members),
        ("id_former", history.former),
    ):
        con.register(name, table)
    # Clusters are numbered by their smallest record, so that nothing depends on labels or input
    # order.
    con.execute("""
        create or replace temp table id_records as
        with firsts as (
            select cluster, min(record_id) as first_record from id_clusters group by cluster
        ),
        numbered as (
            select cluster, row_number() over (order by first_record) - 1 as number from firsts
        )
        select id_clusters.record_id, numbered.number as cluster
        from id_clusters inner join numbered on numbered.cluster = id_clusters.cluster
    """)
    con.execute("""
        create or replace temp table id_old as
        select profile_id, number, status, nullif(resolves_to, '') as resolves_to,
            row_number() over (order by number, profile_id) - 1 as seniority
        from id_history
    """)
    count = _scalar(con, "select coalesce(max(cluster) + 1, 0) from id_records")
    olds = _scalar(con, "select count(*) from id_old")
    id_of_cluster = np.full(count, -1, dtype=np.int64)
    ids, cluster, shared = _columns(
        con,
        """
        select id_old.seniority, id_records.cluster, count(*)
        from id_records
        inner join id_members on id_members.record_id = id_records.record_id
        inner join id_old on id_old.profile_id = id_members.profile_id and id_old.status = 'active'
        group by all
        """,
    )
    match_greedily(id_of_cluster, olds, ids, cluster, shared)

    free = np.flatnonzero(id_of_cluster < 0)
    con.register("id_free", pa.table({"cluster": free}))
    ids, cluster, shared = _columns(
        con,
        """
        with candidates as (
            select id_old.seniority, id_records.cluster, count(*) as shared
            from id_records
            inner join id_free on id_free.cluster = id_records.cluster
            inner join id_former on id_former.record_id = id_records.record_id
            inner join id_old on id_old.profile_id = id_former.profile_id
                and id_old.status in ('merged', 'retired')
            group by all
        ),
        known as (
            select id_records.cluster, count(*) as records
            from id_records
            inner join id_free on id_free.cluster = id_records.cluster
            where id_records.record_id in (select record_id from id_members)
                or id_records.record_id in (select record_id from id_former)
            group by id_records.cluster
        )
        select candidates.seniority, candidates.cluster, candidates.shared
        from candidates
        inner join known on known.cluster = candidates.cluster and known.records = candidates.shared
        """,
    )
    match_greedily(id_of_cluster, olds, ids, cluster, shared)
    con.unregister("id_free")

    fresh = np.flatnonzero(id_of_cluster < 0)
    last = _last_of_epoch(con, history)
    numbers = np.arange(last + 1, last + 1 + len(fresh), dtype=np.uint64)
    fresh_ids = render_ids(numbers, key, space)
    _make_tables(con, id_of_cluster, fresh, numbers, fresh_ids)
    counts = dict(
        con.execute("select event, count(*) from profile_id_changes group by event").fetchall()
    )
    moved, known = con.execute("""
        select count(*) filter (id_members.profile_id <> assigned_records.profile_id), count(*)
        from assigned_records
        inner join id_members on id_members.record_id = assigned_records.record_id
    """).fetchone() or (0, 0)
    for name in ("id_clusters", "id_history", "id_members", "id_former"):
        con.unregister(name)
    for name in ("id_records", "id_old", "id_given", "id_fate"):
        con.execute(f"drop table {name}")
    created, merged, split, revived, retired = (int(counts.get(event, 0)) for event in EVENTS)
    return IdCounts(
        created=created,
        merged=merged,
        split=split,
        revived=revived,
        retired=retired,
        moved_records=int(moved),
        known_records=int(known) + history.settled_records,
    )


def _last_of_epoch(con: duckdb.DuckDBPyConnection, history: IdHistory) -> int:
    """The number of the last id that was issued in the epoch of a history."""
    if history.last_number is not None:
        return history.last_number
    con.register("id_numbers", history.ids)
    last = _scalar(
        con,
        f"select coalesce(max(number), {history.epoch << COUNTER_BITS}) from id_numbers "
        f"where number >> {COUNTER_BITS} = {history.epoch}",
    )
    con.unregister("id_numbers")
    return last


def match_greedily(
    id_of_cluster: Ints, ids_count: int, ids: Ints, cluster: Ints, shared: Ints
) -> None:
    """Hand ids to clusters, in place: most shared records, then oldest id, then first cluster.

    In rounds: a pair that comes first for both its id and its cluster would be taken by the
    sequential rule too.

    Args:
        id_of_cluster: Per cluster its id, -1 for none.
        ids_count: The number of ids; smaller is older.
        ids: Per pair, the id.
        cluster: Per pair, the cluster.
        shared: Per pair, the records they share.
    """
    order = np.lexsort((cluster, ids, -shared))
    ids, cluster = ids[order], cluster[order]
    id_taken = np.zeros(ids_count, dtype=bool)
    id_taken[id_of_cluster[id_of_cluster >= 0]] = True
    while len(ids):
        open_pairs = ~id_taken[ids] & (id_of_cluster[cluster] < 0)
        ids, cluster = ids[open_pairs], cluster[open_pairs]
        rank = np.arange(len(ids))
        first_of_id = np.full(ids_count, len(ids))
        first_of_cluster = np.full(len(id_of_cluster), len(ids))
        np.minimum.at(first_of_id, ids, rank)
        np.minimum.at(first_of_cluster, cluster, rank)
        taken = (first_of_id[ids] == rank) & (first_of_cluster[cluster] == rank)
        id_of_cluster[cluster[taken]] = ids[taken]
        id_taken[ids[taken]] = True


def _make_tables(
    con: duckdb.DuckDBPyConnection,
    id_of_cluster: Ints,
    fresh: Ints,
    numbers: Numbers,
    fresh_ids: NDArray[np.object_],
) -> None:
    con.register(
        "id_matched",
        pa.table({"cluster": np.arange(len(id_of_cluster)), "seniority": id_of_cluster}),
    )
    con.register(
        "id_fresh",
        pa.table(
            {
                "cluster": fresh,
                "number": numbers.astype(np.int64),
                "profile_id": pa.array(fresh_ids.tolist(), pa.string()),
            }
        ),
    )
    # Per cluster: its id, whether that is new, and from which id most of its known records come.
    con.execute("""
        create or replace temp table id_given as
        select
            id_matched.cluster,
            coalesce(id_old.profile_id, id_fresh.profile_id) as profile_id,
            coalesce(id_old.number, id_fresh.number) as number,
            id_old.status as former_status
        from id_matched
        left join id_old on id_old.seniority = id_matched.seniority
        left join id_fresh on id_fresh.cluster = id_matched.cluster
    """)
    con.unregister("id_matched")
    con.unregister("id_fresh")
    con.execute("""
        create or replace table assigned_records as
        select id_records.record_id, id_given.profile_id
        from id_records inner join id_given on id_given.cluster = id_records.cluster
        order by record_id
    """)
    # Per old id that no cluster holds: where most of its records are now. What was merged earlier
    # is looked up by the records it had then, so that history follows its records; with none left,
    # by where it went.
    con.execute("""
        create or replace temp table id_fate as
        with gone as (
            select * from id_old
            where profile_id not in (select profile_id from id_given)
        ),
        had as (
            select gone.profile_id, id_members.record_id
            from gone inner join id_members on id_members.profile_id = gone.profile_id
            where gone.status = 'active'
            union all
            select gone.profile_id, id_former.record_id
            from gone inner join id_former on id_former.profile_id = gone.profile_id
            where gone.status in ('merged', 'retired')
        ),
        shares as (
            select had.profile_id, id_given.profile_id as heir, id_given.number, count(*) as shared
            from had
            inner join assigned_records on assigned_records.record_id = had.record_id
            inner join id_given on id_given.profile_id = assigned_records.profile_id
            group by all
        ),
        heirs as (
            select profile_id, heir
            from shares
            qualify row_number() over (
                partition by profile_id order by shared desc, number, heir
            ) = 1
        )
        select
            gone.profile_id, gone.number, gone.status as former_status, gone.resolves_to,
            heirs.heir
        from gone left join heirs on heirs.profile_id = gone.profile_id
    """)
    con.execute("""
        create or replace table current_profile_ids as
        with recursive chain as (
            select profile_id, coalesce(heir, resolves_to) as target, 1 as step from id_fate
            union all
            select chain.profile_id, coalesce(id_fate.heir, id_fate.resolves_to), chain.step + 1
            from chain
            inner join id_fate on id_fate.profile_id = chain.target
            where chain.step < 10000
        ),
        resolved as (
            select chain.profile_id, chain.target
            from chain inner join id_given on id_given.profile_id = chain.target
        )
        select profile_id, profile_id as current_profile_id, number, 'active' as status
        from id_given
        union all
        select
            id_fate.profile_id,
            resolved.target,
            id_fate.number,
            case
                when id_fate.former_status = 'erased' then 'erased'
                when id_fate.former_status in ('merged', 'retired') and resolved.target is null
                    then 'retired'
                when resolved.target is null then 'retired'
                else 'merged'
            end
        from id_fate left join resolved on resolved.profile_id = id_fate.profile_id
        order by number
    """)
    con.execute("""
        create or replace table profile_id_changes as
        with origins as (
            select id_records.cluster, id_members.profile_id, count(*) as shared
            from id_records
            inner join id_members on id_members.record_id = id_records.record_id
            group by all
        ),
        origin as (
            select origins.cluster, origins.profile_id
            from origins inner join id_old on id_old.profile_id = origins.profile_id
            qualify row_number() over (
                partition by origins.cluster order by shared desc, id_old.seniority
            ) = 1
        ),
        begun as (
            select
                id_given.profile_id,
                case
                    when id_given.former_status is not null then 'revived'
                    when origin.profile_id is not null then 'split'
                    else 'created'
                end as event,
                origin.profile_id as other_profile_id
            from id_given left join origin on origin.cluster = id_given.cluster
            where id_given.former_status is distinct from 'active'
        ),
        ended as (
            select
                id_fate.profile_id,
                case when heir is null then 'retired' else 'merged' end as event,
                heir as other_profile_id
            from id_fate
            where id_fate.former_status = 'active'
        )
        select profile_id, event, other_profile_id, cast(null as varchar) as record_id from begun
        union all
        select profile_id, event, other_profile_id, null from ended
        union all
        -- Each record that changed profile, so that what follows profiles can follow its records.
        select
            assigned_records.profile_id, 'record_moved', id_members.profile_id,
            assigned_records.record_id
        from assigned_records
        inner join id_members on id_members.record_id = assigned_records.record_id
            and id_members.profile_id <> assigned_records.profile_id
        order by event, profile_id, record_id
    """)


@dataclass(frozen=True)
class PendingProfileIds:
    """The ids of a build, read before it is published, to be made official with it.

    Attributes:
        members: record_id, profile_id.
        ids: profile_id, current_profile_id, number, status.
        changes: profile_id, event, other_profile_id; without the records.
        based_on: The state of the control plane that they were made from.
        state: The state that it has once they are official.
        official: What is official before; None if they are official already.
        space: What the ids are of.
    """

    members: pa.Table
    ids: pa.Table
    changes: pa.Table
    based_on: str
    state: str
    official: IdHistory | None
    space: IdSpace = PROFILES


def read_pending_profile_ids(
    con: duckdb.DuckDBPyConnection, control: ControlPlane, space: IdSpace = PROFILES
) -> PendingProfileIds:
    """Read the ids of a build; its connection may be closed before they are committed.

    Args:
        con: The build.
        control: The control plane; it is only read.
        space: What the ids are of.

    Raises:
        KlantbeeldError: The build has none.
    """
    column, name = space.id_column, space.name
    try:
        report = con.execute(
            f"select based_on, state_after from identity.{space.report_table}"
        ).fetchone()
        members = con.execute(
            f"select {space.member} as record_id, {column} as profile_id "
            f"from identity.{space.members_table}"
        ).to_arrow_table()
        ids = con.execute(
            f"select {column} as profile_id, current_{column} as current_profile_id, number, "
            f"status from identity.current_{name}_ids"
        ).to_arrow_table()
        changes = con.execute(
            f"select {column} as profile_id, event, other_{column} as other_profile_id "
            f"from identity.{name}_id_changes where {space.member} is null"
        ).to_arrow_table()
    except duckdb.CatalogException:
        report = None
    if report is None:
        raise KlantbeeldError(
            f"the build has no {name} ids to publish", "Run the link stage first: klantbeeld run."
        )
    based_on, state = (str(one) for one in report)
    # In bulk and before the transaction: row by row inside it, a million members were 4 CPU seconds
    # and a gigabyte.
    is_official = identity_state(control, space) == state
    official = None if is_official else read_history(control, space)
    return PendingProfileIds(members, ids, changes, based_on, state, official, space)


def commit_profile_ids(
    connection: sa.Connection, pending: PendingProfileIds, version_id: str
) -> None:
    """Make the ids of a build official; only differences are written.

    Args:
        connection: A transaction of the control plane, the one that makes the version current.
        pending: What `read_pending_profile_ids` gave.
        version_id: The version being published.

    Raises:
        KlantbeeldError: Ids were published since these were made; linking again mends it.
    """
    space, ledger = pending.space, pending.space.ledger
    epoch = connection.scalar(sa.select(home.c.value).where(home.c.key == "epoch")) or "0"
    token = connection.scalar(sa.select(home.c.value).where(home.c.key == space.state_key))
    state = f"{epoch}:{token or ''}"
    if state == pending.state:
        return
    if pending.official is None or not state == pending.based_on == pending.official.state:
        raise KlantbeeldError(
            f"{space.name} ids were published since the build was linked",
            "Run `klantbeeld run` again: it links from what is official now.",
        )
    now = datetime.now(UTC)
    con = duckdb.connect(":memory:")
    try:
        _compare(con, pending, pending.official)
        former = con.execute(
            "select profile_id, record_id from was inner join ended using (profile_id)"
        )
        _write(connection, ledger.former.insert(), _batches(former))
        revived = con.execute("select profile_id as b_id from ids_changed where status = 'active'")
        _write(
            connection,
            ledger.former.delete().where(ledger.former.c.profile_id == sa.bindparam("b_id")),
            _batches(revived),
        )
        new = con.execute(
            "select profile_id, number, status, current_profile_id as resolves_to "
            "from ids_new order by number"
        )
        extra = {"issued_version": version_id, "issued_at": now}
        _write(connection, ledger.ids.insert(), _batches(new, extra))
        changed = con.execute(
            "select profile_id as b_id, status, resolves_to from ids_changed order by number"
        )
        _write(
            connection,
            ledger.ids.update()
            .where(ledger.ids.c.profile_id == sa.bindparam("b_id"))
            .values(status=sa.bindparam("status"), resolves_to=sa.bindparam("resolves_to")),
            _batches(changed),
        )
        gone = con.execute("select record_id as b_id from members_changed where profile_id is null")
        _write(
            connection,
            ledger.members.delete().where(ledger.members.c.record_id == sa.bindparam("b_id")),
            _batches(gone),
        )
        moved = con.execute(
            "select record_id as b_id, profile_id as b_profile from members_changed "
            "where profile_id is not null and was_in is not null"
        )
        _write(
            connection,
            ledger.members.update()
            .where(ledger.members.c.record_id == sa.bindparam("b_id"))
            .values(profile_id=sa.bindparam("b_profile"), version_id=version_id),
            _batches(moved),
        )
        added = con.execute(
            "select record_id, profile_id from members_changed where was_in is null "
            "order by record_id"
        )
        _write(connection, ledger.members.insert(), _batches(added, {"version_id": version_id}))
        events = con.execute("select profile_id, event, other_profile_id from changes")
        _write(
            connection,
            ledger.events.insert(),
            _batches(events, {"version_id": version_id, "at": now}),
        )
    finally:
        con.close()
    token = pending.state.split(":", 1)[1]
    updated = connection.execute(
        home.update().where(home.c.key == space.state_key).values(value=token)
    )
    if updated.rowcount == 0:
        connection.execute(home.insert().values(key=space.state_key, value=token))


def _compare(
    con: duckdb.DuckDBPyConnection, pending: PendingProfileIds, official: IdHistory
) -> None:
    """Lay what is official beside what is pending."""
    for name, table in (
        ("known", official.ids),
        ("was", official.members),
        ("members", pending.members),
        ("ids", pending.ids),
        ("changes", pending.changes),
    ):
        con.register(name, table)
    con.execute("""
        create table ids_new as
        select
            profile_id, number, status,
            nullif(current_profile_id, profile_id) as current_profile_id
        from ids anti join known using (profile_id)
    """)
    con.execute("""
        create table ids_changed as
        select
            ids.profile_id, ids.number, ids.status, known.status as former_status,
            nullif(ids.current_profile_id, ids.profile_id) as resolves_to
        from ids inner join known on known.profile_id = ids.profile_id
        where known.status <> ids.status
            or nullif(known.resolves_to, '')
                is distinct from nullif(ids.current_profile_id, ids.profile_id)
    """)
    con.execute("""
        create table members_changed as
        select record_id, members.profile_id, was.profile_id as was_in
        from members full join was using (record_id)
        where members.profile_id is distinct from was.profile_id
    """)
    con.execute("""
        create table ended as
        select profile_id from ids_changed where former_status = 'active' and status <> 'active'
    """)


def _arrow(rows: Sequence[Any], names: tuple[str, ...], kind: pa.DataType) -> pa.Table:
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(names)
    arrays = [pa.array(column, kind) for column in columns]
    return pa.table(arrays, names=list(names))


def _batches(
    result: duckdb.DuckDBPyConnection, extra: dict[str, Any] | None = None
) -> Iterator[list[dict[str, Any]]]:
    for batch in result.to_arrow_reader(_CHUNK):
        rows = batch.to_pylist()
        yield [{**row, **extra} for row in rows] if extra else rows


def _write(
    connection: sa.Connection,
    statement: sa.sql.expression.Executable,
    batches: Iterator[list[dict[str, Any]]],
) -> None:
    for batch in batches:
        if batch:
            connection.execute(statement, batch)


def _columns(con: duckdb.DuckDBPyConnection, sql: str) -> tuple[Ints, Ints, Ints]:
    table = con.execute(sql).to_arrow_table()
    first, second, third = (
        np.asarray(column.to_numpy(), dtype=np.int64) for column in table.columns
    )
    return first, second, third


def _scalar(con: duckdb.DuckDBPyConnection, sql: str) -> int:
    row = con.execute(sql).fetchone()
    return int(row[0]) if row else 0
