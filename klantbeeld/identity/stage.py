"""The link stage: `intermediate.int_linkage_records -> identity.*` on the build's connection.

Here: reading the input, doing the work in an in-memory engine, writing the tables of schema
`identity`, and the report. A run in which neither the records, nor the model, nor the official ids
changed keeps the tables of the last one and imports nothing heavy; one in which some records
changed replaces their rows. Not here: how records are linked, and when a version becomes official.
"""

import hashlib
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any, Final

import duckdb
import numpy as np
import pyarrow as pa

from klantbeeld.control import ControlPlane
from klantbeeld.identity import incremental, preparation, registry
from klantbeeld.identity.aliases import carry_over
from klantbeeld.identity.clustering import Constraints, Flags, Ints
from klantbeeld.identity.constraints import Binding, bind, decided_state, read_decided
from klantbeeld.identity.frozen import Frozen
from klantbeeld.identity.linking import MATCH_KEYS, Linkage, freeze, link_people
from klantbeeld.identity.model import BLOCKING_RULES, LinkageModel
from klantbeeld.identity.profile_ids import (
    IdCounts,
    IdHistory,
    assign_profile_ids,
    identity_state,
    read_history,
    read_history_of_region,
)
from klantbeeld.identity.promotion import find_profile_changes
from klantbeeld.identity.registry import ModelVersion
from klantbeeld.identity.review import Held, hold, make_queue
from klantbeeld.identity.scoring import KEPT_OF_PAIRS
from klantbeeld.identity.suppression import find_values, suppress_values
from klantbeeld.settings import Settings

FULL: Final = "full"
INCREMENTAL: Final = "incremental"
DETERMINISTIC_KEY: Final = "DETERMINISTIC"
STEWARD_KEY: Final = "STEWARD"
# Frozen values are those of about as many records as there are: beyond these shares of the number
# they were counted on, the largest blocks allowed and the frequencies belong to another population.
FEWEST: Final = 0.5
MOST: Final = 1.5
# Values frozen anew are not used if they would move more of the known records than this: a person
# looks first.
MOVED_ROWS: Final = 50
MOVED_SHARE: Final = 0.01
LARGE_PROFILE: Final = 50
# Of fewer records, shares say nothing.
FEW_RECORDS: Final = 100
# A slip or a calling name is met now and then; a card that a household shares, all the time.
FEW_CONFLICTS: Final = 20
MANY_CONFLICTS: Final = 0.1
# One per cent more records moves about one known record in two thousand.
MUCH_CHURN: Final = 0.005
FEW_MOVES: Final = 20


@dataclass(frozen=True)
class LinkReport:
    """What a linkage did; counts and shares only.

    Attributes:
        status: `linked`, or `unchanged` when the tables of the last linkage were kept.
        mode: `full`, or `incremental` when only what changed was scored and clustered.
        model_version: The model used.
        records: Records linked.
        scored_records: Of these, records whose pairs were made and weighed in this linkage.
        profiles: Profiles they are in.
        pairs: Pairs weighed.
        joined_pairs: Of these, pairs that joined records.
        refused_pairs: Pairs probable in themselves but contradicted by others.
        deterministic_pairs: Pairs that a key of the sources joined.
        conflicted_components: Connected components that held evidence against themselves, of those
            that were clustered in this linkage.
        largest_profile: Records in the largest profile.
        matches_per_record: Other records of the same person that a record has.
        created_ids: New profile ids.
        merged_ids: Ids whose records went to another.
        split_ids: New ids that took records from another.
        revived_ids: Ids that came back.
        retired_ids: Ids without a record left.
        moved_records: Records known before that changed profile.
        known_records: Records known before.
        moved_share: The first as a share of the second.
        decisions: Decisions of stewards in force.
        contradictions: Decisions that contradict others; none of those binds.
        decisions_without_record: Decisions about records that are not there.
        held_records: Records whose cluster waits for a decision.
        weak_bridges: Weak pairs that alone hold two groups of records together.
        large_clusters: Clusters beyond the size that is taken without asking.
        review_items: Rows of the review queue.
        suppressed: Values left out of matching, per kind.
        pairs_by_rule: Pairs that each blocking rule was the first to find.
        unlisted_values: Values that identify nobody by now and are matched on until values are
            frozen anew.
        frozen_because: Why values were frozen anew in this run; empty if they were not.
        waiting_version: A version with values frozen anew that would have moved too many records:
            it waits to be promoted.
        warnings: What a person should look at; what concerns the model or a rule is said by full
            linkages.
        seconds: How long it took.
    """

    status: str
    mode: str
    model_version: str
    records: int
    scored_records: int
    profiles: int
    pairs: int
    joined_pairs: int
    refused_pairs: int
    deterministic_pairs: int
    conflicted_components: int
    largest_profile: int
    matches_per_record: float
    created_ids: int
    merged_ids: int
    split_ids: int
    revived_ids: int
    retired_ids: int
    moved_records: int
    known_records: int
    moved_share: float
    decisions: int
    contradictions: int
    decisions_without_record: int
    held_records: int
    weak_bridges: int
    large_clusters: int
    review_items: int
    suppressed: Mapping[str, int] = field(default_factory=dict)
    pairs_by_rule: Mapping[str, int] = field(default_factory=dict)
    unlisted_values: int = 0
    frozen_because: str = ""
    waiting_version: str = ""
    warnings: tuple[str, ...] = ()
    seconds: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """The report by name."""
        return asdict(self)


class How(StrEnum):
    """What a linkage is asked to do."""

    # Link what changed since the last linkage, or everything where that is not enough.
    CHANGES = "changes"
    # Link everything under the current model version.
    ALL = "all"
    # Freeze values anew and link everything with them.
    RECONCILE = "reconcile"


@dataclass(frozen=True)
class _Work:
    """What was linked, before ids; the rest is in tables of the engine.

    Attributes:
        mode: `full`, or `incremental`: then labels are of the region that was clustered anew.
        records: The number of records.
        scored_records: Records whose pairs were made and weighed.
        labels: Per record its cluster.
        components: Per record its connected component, decisions included.
        conflicted: Connected components that held evidence against themselves.
        binding: What stewards decided.
        frozen: The values used.
        suppressed: Values left out of matching, per kind.
        linkage: What linking everything gave; None if only changes were linked.
        frozen_because: Why values were frozen anew; empty if they are the version's.
        unlisted_values: Values that identify nobody by now, and that the version does not list.
    """

    mode: str
    records: int
    scored_records: int
    labels: Ints
    components: Ints
    conflicted: int
    binding: Binding
    frozen: Frozen
    suppressed: Mapping[str, int]
    linkage: Linkage | None = None
    frozen_because: str = ""
    unlisted_values: int = 0


def link(
    con: duckdb.DuckDBPyConnection,
    settings: Settings,
    control: ControlPlane,
    run_id: str,
    how: How = How.CHANGES,
) -> LinkReport:
    """Link the records of the build and give every record its profile id.

    Args:
        con: The open build; schema `identity` is written, nothing else.
        settings: The home's settings.
        control: The control plane; it is only read, but for a model version that is frozen.
        run_id: The run, for the report.
        how: What to link.

    Returns:
        What was done.
    """
    started = time.monotonic()
    version = registry.current_version(settings, control)
    official = identity_state(control)
    decided = decided_state(control)
    waiting = ""
    with preparation.beside(con) as own:
        contents = preparation.make_digests(own, preparation.in_build(con, preparation.INPUT_TABLE))
        if how is not How.RECONCILE:
            basis = _basis(settings, version, decided)
            kept = _kept_report(con, f"{basis}:{contents}", official)
            if kept is not None:
                return kept
        work = None
        if how is How.CHANGES:
            work = _link_changes(con, own, settings, control, version, official)
        if work is None:
            work = _link_all(con, own, settings, control, version, how)
        history = _read_history(con, own, control, work)
        held = hold(own, work.labels, work.binding, history.members, settings.identity)
        _place(con, own, work, held.labels, held.is_held)
        clusters = _clusters(con, own, work, history)
        ids = assign_profile_ids(own, clusters, history, settings.home_key())
        if work.frozen_because:
            is_held_back = (
                how is How.RECONCILE
                and version.folder is not None
                and ids.moved_records > max(MOVED_ROWS, MOVED_SHARE * ids.known_records)
            )
            made = registry.write_frozen_version(
                settings,
                control,
                version if work.linkage is None else replace(version, model=work.linkage.model),
                work.frozen,
                _figures(work, ids),
                changes=find_profile_changes(own, history.members) if is_held_back else None,
            )
            if is_held_back:
                waiting = made.name
            version = made
        if not waiting:
            _make_outcome(con, own, settings, version, work, held)
            con.execute("begin")
            try:
                _write(con, work.mode)
                report = _report(con, own, version, work, ids)
                report = replace(report, seconds=round(time.monotonic() - started, 2))
                digest = f"{_basis(settings, version, decided)}:{contents}"
                _write_report(con, own, report, run_id, digest, based_on=history.state)
                con.execute("commit")
            except BaseException:
                con.execute("rollback")
                raise
            return report
    report = link(con, settings, control, run_id, How.ALL)
    con.execute("update identity.linkage_report set waiting_version = ?", [waiting])
    return replace(report, waiting_version=waiting)


def _link_all(
    con: duckdb.DuckDBPyConnection,
    own: duckdb.DuckDBPyConnection,
    settings: Settings,
    control: ControlPlane,
    version: ModelVersion,
    how: How,
) -> _Work:
    """Link every record of the build."""
    records = preparation.in_build(con, preparation.INPUT_TABLE)
    count = preparation.make_people(own, preparation.input_sql(records))
    found = find_values(own)
    frozen = version.frozen()
    because = _why_to_freeze(frozen, count)
    if because:
        # What was fitted to another population is fitted anew.
        version = registry.unfitted(version)
    if how is How.RECONCILE:
        because = because or "reconciliation"
    if because:
        frozen = None
    suppressed = suppress_values(
        own,
        settings.home_key(),
        settings.identity.kept_values,
        found if frozen is None else frozen.suppressed,
    )
    binding = bind(own, read_decided(control), count)
    linkage = link_people(
        own,
        version.model,
        count,
        settings.identity.join_probability,
        frozen,
        binding.constraints,
    )
    frozen = frozen or freeze(linkage, count, found)
    return _Work(
        mode=FULL,
        records=count,
        scored_records=count,
        labels=linkage.clusters.labels,
        components=linkage.components,
        conflicted=linkage.clusters.conflicted,
        binding=binding,
        frozen=frozen,
        suppressed=suppressed,
        linkage=linkage,
        frozen_because=because,
        unlisted_values=_unlisted(found, frozen),
    )


def _link_changes(
    con: duckdb.DuckDBPyConnection,
    own: duckdb.DuckDBPyConnection,
    settings: Settings,
    control: ControlPlane,
    version: ModelVersion,
    official: str,
) -> _Work | None:
    """Link what changed since the last linkage; None if everything has to be linked."""
    former = _former_report(con, _basis(settings, version, decided_state(control)), official)
    frozen = version.frozen()
    if former is None or frozen is None:
        return None
    known = _known(con)
    changes = incremental.find_changes(own, known)
    if changes is None or not changes.is_small or _why_to_freeze(frozen, changes.records):
        return None
    records = preparation.in_build(con, preparation.INPUT_TABLE)
    decided = read_decided(control)
    reached = incremental.make_reached_people(own, known, records, settings, frozen, decided)
    if reached is None:
        return None
    join_probability = settings.identity.join_probability
    relinkage = incremental.relink_people(
        own, known, version.model, join_probability, frozen, reached
    )
    return _Work(
        mode=INCREMENTAL,
        records=changes.records,
        scored_records=relinkage.touched,
        labels=relinkage.clusters.labels,
        components=relinkage.components,
        conflicted=relinkage.clusters.conflicted,
        binding=reached.binding,
        frozen=frozen,
        suppressed=reached.suppressed,
        unlisted_values=former.unlisted_values,
    )


def _read_history(
    con: duckdb.DuckDBPyConnection,
    own: duckdb.DuckDBPyConnection,
    control: ControlPlane,
    work: _Work,
) -> IdHistory:
    """The history of ids, as far as this linkage can touch it."""
    # Of records that took over from others, the published clusters are not those of before.
    if work.mode == INCREMENTAL and not work.binding.aliases.num_rows:
        return read_history_of_region(own, control, _known(con))
    present = preparation.in_build(con, preparation.INPUT_TABLE)
    return carry_over(own, read_history(control), work.binding.aliases, present)


def _known(con: duckdb.DuckDBPyConnection) -> incremental.Known:
    """The tables of the last linkage, while those of this one are not written."""
    return lambda table: preparation.in_build(con, f"identity.{table}")


def _place(
    con: duckdb.DuckDBPyConnection,
    own: duckdb.DuckDBPyConnection,
    work: _Work,
    labels: Ints,
    is_held: Flags,
) -> None:
    """Make `linkage_state`, what the next linkage starts from, of the records linked now.

    A view: it is written once, and would be held twice.
    """
    offset = 0
    if work.mode == INCREMENTAL:
        # Numbers that no component or cluster of the rest has.
        row = own.execute(
            f"select max(greatest(component, cluster)) from {_known(con)('linkage_state')}"
        ).fetchone()
        offset = 1 + int((row and row[0]) or 0)
    placed = {
        "id": np.arange(len(labels)),
        "component": work.components + offset,
        "cluster": labels + offset,
        "is_held": is_held,
    }
    own.register("given_places", pa.table(placed))
    region = "semi join region using (id)" if work.mode == INCREMENTAL else ""
    own.execute(f"create table placed as from given_places {region}")
    own.unregister("given_places")
    own.execute(f"create view linkage_state as {incremental.state_sql(work.frozen.largest_blocks)}")


def _clusters(
    con: duckdb.DuckDBPyConnection,
    own: duckdb.DuckDBPyConnection,
    work: _Work,
    history: IdHistory,
) -> pa.Table:
    """The clusters that ids are given to: those made now, and others that have to do with them."""
    clusters = "select record_id, cluster from linkage_state"
    if work.mode == INCREMENTAL:
        own.register("concerned_members", history.members)
        clusters += f"""
            union all
            select record_id, cluster from {_known(con)("linkage_state")}
            where record_id in (select record_id from concerned_members)
                and record_id not in (select record_id from region)
                and digest not in (select digest from former)
        """
    return own.execute(clusters).to_arrow_table()


def _former_report(con: duckdb.DuckDBPyConnection, basis: str, official: str) -> LinkReport | None:
    """The last linkage of this build, if what changed since can be added to it.

    It was made on the same basis, and its ids are the official ones: records that did not change
    keep theirs.
    """
    row = _report_columns(con, "input_digest", "state_after")
    if row is None or not row[0].startswith(f"{basis}:") or row[1] != official:
        return None
    return _read_report(con)


def _make_outcome(
    con: duckdb.DuckDBPyConnection,
    own: duckdb.DuckDBPyConnection,
    settings: Settings,
    version: ModelVersion,
    work: _Work,
    held: Held,
) -> None:
    """Make `pairs` and `profile_records` of the records linked now, `review_queue` of all."""
    asked = settings.identity
    make_pairs(
        own, held.labels, asked.join_probability, work.binding.constraints, unheld=work.labels
    )
    if work.mode == FULL:
        make_profile_records(own, held.labels, version.name)
        make_queue(own, held, work.binding, work.labels, asked.review_pairs)
    else:
        make_profile_records(own, held.labels, version.name, people="region")
        incremental.make_queue_of_all(
            own, _known(con), held, work.binding, work.labels, asked.review_pairs
        )


def _basis(settings: Settings, version: ModelVersion, decided: str) -> str:
    """A digest of all that the outcome depends on but the records and the official ids."""
    asked = settings.identity
    kept = ",".join(sorted(asked.kept_values))
    review = (asked.review_size, asked.review_probability, asked.review_pairs)
    model = (version.name, version.fingerprint)
    parts = (_code_digest(), *model, asked.join_probability, kept, *review, decided)
    return ":".join(str(part) for part in parts)


@cache
def _code_digest() -> str:
    """A digest of this package: what another release linked is linked again."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.iterdir()):
        if path.suffix in {".py", ".json", ".txt"}:
            digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def _why_to_freeze(frozen: Frozen | None, records: int) -> str:
    """Why values have to be counted anew before linking; empty if those of the version hold."""
    if frozen is None:
        return "nothing was frozen with these parameters yet"
    if not FEWEST * frozen.records <= records <= MOST * max(frozen.records, 1):
        return f"the records went from {frozen.records:,} to {records:,}"
    return ""


def _unlisted(found: pa.Table, frozen: Frozen) -> int:
    """Values that identify nobody by now, but did when the version was frozen."""
    listed = set(
        zip(*frozen.suppressed.select(["kind", "value"]).to_pydict().values(), strict=True)
    )
    now = zip(*found.select(["kind", "value"]).to_pydict().values(), strict=True)
    return sum(value not in listed for value in now)


def _figures(work: _Work, ids: IdCounts) -> dict[str, float]:
    """What `klantbeeld identity models` shows of frozen values; counts only."""
    return {
        "records": work.frozen.records,
        "matches_per_record": round(work.frozen.matches_per_record, 4),
        "suppressed_values": work.frozen.suppressed.num_rows,
        "frequent_values": work.frozen.frequencies.repeated.num_rows,
        "moved_records": ids.moved_records,
        "known_records": ids.known_records,
    }


def _kept_report(con: duckdb.DuckDBPyConnection, digest: str, state: str) -> LinkReport | None:
    """The last linkage of this build if it still holds, else None."""
    row = _report_columns(con, "input_digest", "based_on", "state_after")
    if row is None or row[0] != digest or state not in row[1:]:
        return None
    if state == row[2]:
        # The ids of this build are official: there is nothing to tell any more.
        con.execute("delete from identity.profile_id_changes")
        con.execute(
            "update identity.linkage_report set based_on = state_after, created_ids = 0, "
            "merged_ids = 0, split_ids = 0, revived_ids = 0, retired_ids = 0, moved_records = 0, "
            "known_records = records, moved_share = 0"
        )
    return replace(_read_report(con), status="unchanged", seconds=0.0)


def _report_columns(con: duckdb.DuckDBPyConnection, *names: str) -> tuple[Any, ...] | None:
    try:
        return con.execute(f"select {', '.join(names)} from identity.linkage_report").fetchone()
    except (duckdb.CatalogException, duckdb.BinderException):
        # Nothing was linked in this build, or another release did.
        return None


def _read_report(con: duckdb.DuckDBPyConnection) -> LinkReport:
    names = [name for name in LinkReport.__dataclass_fields__ if name != "status"]
    fields = dict(zip(names, _report_columns(con, *names) or (), strict=True))
    for name in ("suppressed", "pairs_by_rule"):
        fields[name] = dict(fields[name])
    fields["warnings"] = tuple(fields["warnings"])
    return LinkReport(status="linked", **fields)


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


def _report(
    con: duckdb.DuckDBPyConnection,
    own: duckdb.DuckDBPyConnection,
    version: ModelVersion,
    work: _Work,
    ids: IdCounts,
) -> LinkReport:
    """What was done, and the figures of the build's tables as they are now."""
    decisions = _counts(con, "select decision, count(*) from identity.pairs group by decision")
    by_rule = _counts(
        con,
        "select match_key, count(*) from identity.pairs group by match_key order by match_key",
    )
    deterministic = by_rule.pop(DETERMINISTIC_KEY, 0)
    by_rule.pop(STEWARD_KEY, 0)
    queue = _counts(con, "select kind, count(*) from identity.review_queue group by kind")
    profiles, largest, held = con.execute("""
        select
            count(distinct profile_id),
            coalesce(max(cluster_size), 0),
            (select count(*) from identity.linkage_state where is_held)
        from identity.profile_records
    """).fetchone() or (0, 0, 0)
    report = LinkReport(
        status="linked",
        mode=work.mode,
        model_version=version.name,
        records=work.records,
        scored_records=work.scored_records,
        profiles=int(profiles),
        pairs=sum(by_rule.values()),
        joined_pairs=decisions.get("joined", 0),
        refused_pairs=decisions.get("refused", 0),
        deterministic_pairs=deterministic,
        conflicted_components=work.conflicted,
        largest_profile=int(largest),
        matches_per_record=round(work.frozen.matches_per_record, 4),
        created_ids=ids.created,
        merged_ids=ids.merged,
        split_ids=ids.split,
        revived_ids=ids.revived,
        retired_ids=ids.retired,
        moved_records=ids.moved_records,
        known_records=ids.known_records,
        moved_share=round(ids.moved_records / max(ids.known_records, 1), 6),
        decisions=work.binding.decisions,
        contradictions=len(work.binding.contradictions),
        decisions_without_record=work.binding.without_record,
        held_records=int(held),
        weak_bridges=queue.get("bridge", 0),
        large_clusters=queue.get("large_cluster", 0),
        review_items=sum(queue.values()),
        suppressed=work.suppressed,
        pairs_by_rule=by_rule,
        unlisted_values=work.unlisted_values,
        frozen_because=work.frozen_because,
    )
    if work.linkage is None:
        found = [*version.model.metrics.get("warnings", ()), *_size_warning(report.largest_profile)]
    else:
        found = linkage_warnings(
            own, version.model, work.linkage, work.records, report.largest_profile
        )
        found += _idle_rules(work.linkage)
    return replace(report, warnings=(*found, *_open_questions(report), *_churn(report)))


def _counts(con: duckdb.DuckDBPyConnection, sql: str) -> dict[str, int]:
    return {str(name): int(count) for name, count in con.execute(sql).fetchall()}


def _open_questions(report: LinkReport) -> list[str]:
    """What waits for a steward, in words."""
    found = []
    if report.held_records:
        found.append(
            f"{report.held_records} records keep the profile they have until a person decides: "
            f"{report.weak_bridges} weak bridge(s), {report.large_clusters} cluster(s) beyond the "
            "size (klantbeeld identity queue)"
        )
    if report.contradictions:
        found.append(
            f"{report.contradictions} decision(s) contradict others, none of which binds "
            "(klantbeeld identity decisions list)"
        )
    if report.decisions_without_record:
        found.append(
            f"{report.decisions_without_record} decision(s) name a record that is not there"
        )
    return found


def _churn(report: LinkReport) -> list[str]:
    """Whether more records changed profile than an ordinary day's."""
    moved, known = report.moved_records, report.known_records
    if moved <= max(FEW_MOVES, MUCH_CHURN * known):
        return []
    return [f"{moved} of {known} known records changed profile ({moved / known:.2%})"]


def _size_warning(largest: int) -> list[str]:
    return [f"the largest profile has {largest} records"] if largest > LARGE_PROFILE else []


def _idle_rules(linkage: Linkage) -> list[str]:
    """The rules that should bring records together and did not find a pair, in words."""
    used = {cost.rule for cost in linkage.rules if cost.largest_block}
    idle = [rule.name for rule in BLOCKING_RULES if not rule.is_extra and rule.name not in used]
    return ["rules without a single pair: " + ", ".join(idle)] if idle and used else []


def _doubtful_keys(con: duckdb.DuckDBPyConnection) -> list[str]:
    """Kinds of keys that bring people of other first names together, in words."""
    rows = con.execute("""
        select
            case
                when people_l.deterministic_key = people_r.deterministic_key
                then split_part(people_r.deterministic_key, ':', 1)
                else 'linked_record_id'
            end as kind,
            count(*) as pairs,
            count(*) filter (
                people_l.name_root <> people_r.name_root
                and people_l.initial <> people_r.initial
                and jaro_winkler_similarity(people_l.first_name, people_r.first_name) < 0.8
            ) as others
        from deterministic_pairs as pairs
        inner join people as people_l on people_l.id = pairs.id_l
        inner join people as people_r on people_r.id = pairs.id_r
        where people_l.first_name is not null and people_r.first_name is not null
        group by kind
        order by kind
    """).fetchall()
    return [
        f"{kind} joins records of other first names in {others:,} of {pairs:,} pairs: "
        "it may be a key of households, or of nobody"
        for kind, pairs, others in rows
        if others >= FEW_CONFLICTS and others > MANY_CONFLICTS * pairs
    ]


def linkage_warnings(
    con: duckdb.DuckDBPyConnection,
    model: LinkageModel,
    linkage: Linkage,
    records: int,
    largest: int,
) -> list[str]:
    """What looks degenerate, in words.

    Args:
        con: The linkage's own database, with `pairs`.
        model: The model used.
        linkage: What it did.
        records: The number of records.
        largest: The number of records in the largest profile.
    """
    found = list(model.metrics.get("warnings", ()))
    if records < 2:
        return [*found, "fewer than two records: there is nothing to link"]
    if linkage.pairs == 0 and linkage.deterministic_pairs == 0:
        found.append("no two records agree on anything that brings records together")
        return found
    if records < FEW_RECORDS:
        return found
    if linkage.matches_per_record <= 0.011:
        found.append("hardly a record has a match: the model may not fit these records")
    if linkage.matches_per_record >= 29:
        found.append("nearly everything matches: the model may not fit these records")
    sure = con.execute(
        "select avg((match_probability between 0.05 and 0.95)::int) from pairs "
        "where match_weight is not null"
    ).fetchone()
    if sure and sure[0] is not None and sure[0] > 0.4:
        found.append(f"{sure[0]:.0%} of the pairs are undecided (between 0.05 and 0.95)")
    found += _doubtful_keys(con)
    return [*found, *_size_warning(largest)]


def _write_report(
    con: duckdb.DuckDBPyConnection,
    own: duckdb.DuckDBPyConnection,
    report: LinkReport,
    run_id: str,
    digest: str,
    *,
    based_on: str,
) -> None:
    """`linkage_report`: one row of figures, and what the outcome depends on."""
    row = own.execute(
        "select count(*), bit_xor(hash(record_id, profile_id)) from assigned_records"
    ).fetchone()
    epoch = based_on.split(":", 1)[0]
    # The official ids after this linkage: what was, and what it makes of it.
    state_after = f"{epoch}:{_short_hash(con, f'{based_on}|{digest}|{row}')}"
    columns = {
        name: ("map" if isinstance(value, dict) else value)
        for name, value in report.as_dict().items()
        if name != "status"
    }
    plain = {
        name: value for name, value in columns.items() if value != "map" and name != "warnings"
    }
    con.execute(
        f"""
        create or replace table identity.linkage_report as
        select
            ?::varchar as run_id,
            {", ".join(f"?::{_sql_type(value)} as {name}" for name, value in plain.items())},
            map_from_entries(?::struct(k varchar, v bigint)[]) as suppressed,
            map_from_entries(?::struct(k varchar, v bigint)[]) as pairs_by_rule,
            ?::varchar[] as warnings,
            ?::varchar as input_digest,
            ?::varchar as based_on,
            ?::varchar as state_after
        """,
        [
            run_id,
            *plain.values(),
            [{"k": key, "v": value} for key, value in report.suppressed.items()],
            [{"k": key, "v": value} for key, value in report.pairs_by_rule.items()],
            list(report.warnings),
            digest,
            based_on,
            state_after,
        ],
    )


def _sql_type(value: object) -> str:
    if isinstance(value, int):
        return "bigint"
    return "double" if isinstance(value, float) else "varchar"


def _short_hash(con: duckdb.DuckDBPyConnection, text: str) -> str:
    row = con.execute("select left(sha256(?), 32)", [text]).fetchone()
    return str(row[0]) if row else ""


# Written anew by every linkage.
_WHOLE: Final = {
    "suppressed_values": "kind, value_digest, records, reason",
    "profile_id_changes": "*",
    "review_queue": "*",
}
# An incremental linkage replaces the rows of what it linked.
_IN_PART: Final = {
    "profile_records": "*",
    "pairs": (
        "record_id_l, record_id_r, match_weight, match_probability, match_key, decision, "
        + ", ".join(KEPT_OF_PAIRS)
    ),
    "current_profile_ids": "*",
    "linkage_state": "*",
}


def _write(con: duckdb.DuckDBPyConnection, mode: str) -> None:
    """Write the tables of schema `identity` from those beside, in a transaction of the caller."""
    beside = preparation.BESIDE
    con.execute("create schema if not exists identity")
    whole = _WHOLE if mode == INCREMENTAL else {**_WHOLE, **_IN_PART}
    for name, columns in whole.items():
        con.execute(
            f"create or replace table identity.{name} as select {columns} from {beside}.{name}"
        )
    if mode == FULL:
        return
    for name, of in (("linkage_touched", "touched"), ("linkage_region", "region")):
        con.execute(f"""
            create or replace temp table {name} as
            select record_id from {beside}.people semi join {beside}.{of} using (id)
            union select record_id from {beside}.former
        """)
    con.execute("delete from identity.profile_records where record_id in (from linkage_region)")
    con.execute("""
        delete from identity.pairs
        where record_id_l in (from linkage_touched) or record_id_r in (from linkage_touched)
            or (record_id_l in (from linkage_region) and record_id_r in (from linkage_region))
    """)
    con.execute(f"""
        delete from identity.current_profile_ids
        where profile_id in (select profile_id from {beside}.current_profile_ids)
    """)
    con.execute(f"""
        delete from identity.linkage_state
        where digest in (select digest from {beside}.former)
            or digest in (select digest from {beside}.linkage_state)
    """)
    for name, columns in _IN_PART.items():
        con.execute(f"insert into identity.{name} by name select {columns} from {beside}.{name}")
    for name in ("linkage_touched", "linkage_region"):
        con.execute(f"drop table temp.{name}")
