"""The link stage: `intermediate.int_linkage_records -> identity.*` on the build's connection.

Here: what has to be linked, under which values, and in which order the work is done. A run in which
neither the records, nor the model, nor the official ids changed keeps the tables of the last one
and imports nothing heavy; one in which some records changed replaces their rows. Not here: how
records are linked, what is written (`outcome`, `report`), and when a version becomes official.
"""

import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Final

import duckdb
import numpy as np
import pyarrow as pa

from klantbeeld.control import ControlPlane
from klantbeeld.identity import incremental, preparation, registry
from klantbeeld.identity.aliases import carry_over
from klantbeeld.identity.clustering import Flags, Ints
from klantbeeld.identity.constraints import (
    Binding,
    Decided,
    aliases_state,
    bind,
    decisions_state,
    read_decided,
)
from klantbeeld.identity.frozen import Frozen
from klantbeeld.identity.linking import Linkage, freeze, link_people
from klantbeeld.identity.outcome import (
    DETERMINISTIC_KEY,
    STEWARD_KEY,
    make_pairs,
    make_profile_records,
    write_tables,
)
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
from klantbeeld.identity.report import (
    LinkReport,
    idle_rules,
    linkage_warnings,
    notices,
    read_columns,
    read_report,
    size_warning,
    write_report,
)
from klantbeeld.identity.review import Held, hold, make_queue
from klantbeeld.identity.suppression import find_values, suppress_values
from klantbeeld.settings import Settings

FULL: Final = "full"
INCREMENTAL: Final = "incremental"
# Frozen values are those of about as many records as there are: beyond these shares of the number
# they were counted on, the largest blocks allowed and the frequencies belong to another population.
FEWEST: Final = 0.5
MOST: Final = 1.5
# Values frozen anew are not used if they would move more of the known records than this: a person
# looks first.
MOVED_ROWS: Final = 50
MOVED_SHARE: Final = 0.01


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
    basis, decided = _basis(settings, control, version), decisions_state(control)
    waiting = ""
    with preparation.beside(con) as own:
        contents = preparation.make_digests(own, preparation.in_build(con, preparation.INPUT_TABLE))
        if contents and how is not How.RECONCILE:
            kept = _kept_report(con, f"{basis}|{decided}|{contents}", official)
            if kept is not None:
                return kept
        work = None
        former = _former_report(con, basis, official) if how is How.CHANGES else None
        if former is not None:
            last, decided_then = former
            is_same = decided_then == decided
            decided_anew = None if is_same else read_decided(control, with_revoked=True)
            work = _link_changes(con, own, settings, control, version, last, decided_anew)
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
                write_tables(con, in_part=work.mode == INCREMENTAL)
                report = _report(con, own, version, work, ids)
                report = replace(report, seconds=round(time.monotonic() - started, 2))
                digest = f"{_basis(settings, control, version)}|{decided}|{contents}"
                write_report(con, own, report, run_id, digest, based_on=history.state)
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
    former: LinkReport,
    decided_anew: Decided | None,
) -> _Work | None:
    """Link what changed since the last linkage; None if everything has to be linked."""
    frozen = version.frozen()
    if frozen is None:
        return None
    known, records = _known(con), preparation.in_build(con, preparation.INPUT_TABLE)
    changes = incremental.find_changes(own, known, records, decided_anew)
    if changes is None or not changes.is_small or _why_to_freeze(frozen, changes.records):
        return None
    reached = incremental.make_reached_people(
        own, known, records, settings, frozen, read_decided(control)
    )
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


def _former_report(
    con: duckdb.DuckDBPyConnection, basis: str, official: str
) -> tuple[LinkReport, str] | None:
    """The last linkage of this build, and the state of decisions then, if changes can be added.

    It was made on the same basis, and its ids are the official ones: records that did not change
    keep theirs.
    """
    row = read_columns(con, "input_digest", "state_after")
    if row is None or row[1] != official:
        return None
    basis_then, decided, _ = row[0].rsplit("|", 2)
    return (read_report(con), decided) if basis_then == basis else None


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


def _basis(settings: Settings, control: ControlPlane, version: ModelVersion) -> str:
    """What the outcome depends on but the records, the decisions and the official ids."""
    asked = settings.identity
    kept = ",".join(sorted(asked.kept_values))
    review = (asked.review_size, asked.review_probability, asked.review_pairs)
    model = (version.name, version.fingerprint)
    aliases = aliases_state(control)
    parts = (_code_digest(), *model, asked.join_probability, kept, *review, aliases)
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
    row = read_columns(con, "input_digest", "based_on", "state_after")
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
    return replace(read_report(con), status="unchanged", seconds=0.0)


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
        found = [*version.model.metrics.get("warnings", ()), *size_warning(report.largest_profile)]
    else:
        found = linkage_warnings(
            own, version.model, work.linkage, work.records, report.largest_profile
        )
        found += idle_rules(work.linkage)
    return replace(report, warnings=(*found, *notices(report)))


def _counts(con: duckdb.DuckDBPyConnection, sql: str) -> dict[str, int]:
    return {str(name): int(count) for name, count in con.execute(sql).fetchall()}
