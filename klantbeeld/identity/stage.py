"""The link stage: `intermediate.int_linkage_records -> identity.*` on the build's connection.

Here: reading the input, doing the work in an in-memory engine, writing the tables of schema
`identity`, and the report. A run in which neither the records, nor the model, nor the official ids
changed keeps the tables of the last one and imports nothing heavy. Not here: how records are
linked, and when a version becomes official.
"""

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final

import duckdb
import numpy as np
import pyarrow as pa

from klantbeeld.control import ControlPlane
from klantbeeld.identity import charts, preparation, registry
from klantbeeld.identity.aliases import carry_over
from klantbeeld.identity.clustering import Constraints
from klantbeeld.identity.constraints import Binding, bind, decided_state
from klantbeeld.identity.frozen import Frozen
from klantbeeld.identity.linking import MATCH_KEYS, Linkage, freeze, link_people
from klantbeeld.identity.model import BLOCKING_RULES, LinkageModel
from klantbeeld.identity.profile_ids import (
    IdCounts,
    assign_profile_ids,
    identity_state,
    read_history,
)
from klantbeeld.identity.registry import ModelVersion
from klantbeeld.identity.review import Held, hold, make_queue
from klantbeeld.identity.suppression import find_values, suppress_values
from klantbeeld.settings import Settings

# Raised when the way of linking changes, so that kept results are not taken for today's.
METHOD: Final = 2
DETERMINISTIC_KEY: Final = "DETERMINISTIC"
STEWARD_KEY: Final = "STEWARD"
# Frozen values are those of about as many records as there are: beyond these shares of the number
# they were counted on, the largest blocks allowed and the frequencies belong to another population.
FEWEST: Final = 0.5
MOST: Final = 1.5
LARGE_PROFILE: Final = 50
# One per cent more records moves about one known record in two thousand.
MUCH_CHURN: Final = 0.005
FEW_MOVES: Final = 20


@dataclass(frozen=True)
class LinkReport:
    """What a linkage did; counts and shares only.

    Attributes:
        status: `linked`, or `unchanged` when the tables of the last linkage were kept.
        model_version: The model used.
        records: Records linked.
        profiles: Profiles they are in.
        pairs: Pairs weighed.
        joined_pairs: Of these, pairs that joined records.
        refused_pairs: Pairs probable in themselves but contradicted by others.
        deterministic_pairs: Pairs that a key of the sources joined.
        conflicted_components: Connected components that held evidence against themselves.
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
        warnings: What a person should look at.
        seconds: How long it took.
    """

    status: str
    model_version: str
    records: int
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
    warnings: tuple[str, ...] = ()
    seconds: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """The report by name."""
        return asdict(self)


def link(
    con: duckdb.DuckDBPyConnection, settings: Settings, control: ControlPlane, run_id: str
) -> LinkReport:
    """Link the records of the build and give every record its profile id.

    Args:
        con: The open build; schema `identity` is written, nothing else.
        settings: The home's settings.
        control: The control plane; it is only read, but for a model version that is frozen.
        run_id: The run, for the report.

    Returns:
        What was done.
    """
    started = time.monotonic()
    version = registry.current_version(settings, control)
    state = identity_state(control)
    contents = f"{_contents(con)}:{decided_state(control)}"
    kept = _kept_report(con, f"{_basis(settings, version)}:{contents}", state)
    if kept is not None:
        return kept

    records = preparation.read_input(con)
    own = preparation.connect(settings.warehouse.threads, settings.warehouse.memory_limit)
    try:
        count = preparation.make_people(own, records)
        found = find_values(own)
        frozen = version.frozen()
        why = _why_to_freeze(frozen, count)
        if why:
            frozen = None
        suppressed = suppress_values(
            own,
            settings.home_key(),
            settings.identity.kept_values,
            found if frozen is None else frozen.suppressed,
        )
        binding = bind(own, control, count)
        linkage = link_people(
            own,
            version.model,
            count,
            settings.identity.join_probability,
            frozen,
            binding.constraints,
        )
        if frozen is None:
            frozen = freeze(linkage, count, found)
            version = registry.write_frozen_version(
                settings, control, version, frozen, _frozen_figures(frozen), is_current=True
            )
        history = carry_over(own, read_history(control), binding.aliases)
        base = linkage.clusters.labels
        held = hold(own, base, binding, history.members, settings.identity)
        labels = held.labels
        record_ids = own.execute("select record_id from people order by id").to_arrow_table()
        clusters = pa.table({"record_id": record_ids.column(0), "cluster": labels})
        ids = assign_profile_ids(own, clusters, history, settings.home_key())
        make_pairs(
            own, labels, settings.identity.join_probability, binding.constraints, unheld=base
        )
        make_profile_records(own, labels, version.name)
        make_queue(own, held, binding, base, settings.identity.review_pairs)
        report = _report(own, version, linkage, ids, suppressed, count, binding, held)
        report = replace(report, frozen_because=why, unlisted_values=_unlisted(found, frozen))
        report = replace(report, seconds=round(time.monotonic() - started, 2))
        digest = f"{_basis(settings, version)}:{contents}"
        _make_report(own, report, run_id, digest, based_on=history.state)
        _write(con, own)
        charts.write_linkage_charts(
            own, settings.paths.reports_dir / charts.FOLDER, version.model, count
        )
    finally:
        own.close()
    return report


def _basis(settings: Settings, version: ModelVersion) -> str:
    """A digest of all that the outcome depends on but the records and the official ids."""
    asked = settings.identity
    kept = ",".join(sorted(asked.kept_values))
    review = (asked.review_size, asked.review_probability, asked.review_pairs)
    parts = (METHOD, version.name, version.fingerprint, asked.join_probability, kept, *review)
    return ":".join(str(part) for part in parts)


def _contents(con: duckdb.DuckDBPyConnection) -> str:
    """A digest of the records, in any row order."""
    columns = ", ".join(preparation.COLUMNS)
    try:
        row = con.execute(f"""
            select count(*), bit_xor(digest), sum(digest::hugeint) from (
                select hash({columns}) as digest from {preparation.INPUT_TABLE}
            )
        """).fetchone()
    except (duckdb.CatalogException, duckdb.BinderException):
        # The table is missing or incomplete; reading it says so in words.
        row = None
    return ":".join(str(part) for part in row or ())


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


def _frozen_figures(frozen: Frozen) -> dict[str, float]:
    """What `klantbeeld identity models` shows of frozen values; counts only."""
    return {
        "records": frozen.records,
        "matches_per_record": round(frozen.matches_per_record, 4),
        "suppressed_values": frozen.suppressed.num_rows,
        "frequent_values": frozen.frequencies.repeated.num_rows,
    }


def _kept_report(con: duckdb.DuckDBPyConnection, digest: str, state: str) -> LinkReport | None:
    """The last linkage of this build if it still holds, else None."""
    try:
        row = con.execute(
            "select input_digest, based_on, state_after from identity.linkage_report"
        ).fetchone()
    except (duckdb.CatalogException, duckdb.BinderException):
        return None
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
    names = [name for name in LinkReport.__dataclass_fields__ if name not in {"status", "seconds"}]
    values = con.execute(f"select {', '.join(names)} from identity.linkage_report").fetchone() or ()
    fields = dict(zip(names, values, strict=True))
    fields["suppressed"] = dict(fields["suppressed"])
    fields["pairs_by_rule"] = dict(fields["pairs_by_rule"])
    fields["warnings"] = tuple(fields["warnings"])
    return LinkReport(status="unchanged", **fields)


def make_pairs(
    con: duckdb.DuckDBPyConnection,
    labels: np.ndarray[Any, Any],
    join: float,
    constraints: Constraints | None = None,
    unheld: np.ndarray[Any, Any] | None = None,
) -> None:
    """Make `pairs`: every weighed pair, once, with what became of it.

    Args:
        con: The linkage's own engine, after `link_people`.
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
    con.execute(
        f"""
        create or replace table pairs as
        with every as (
            select
                scored_pairs.id_l,
                scored_pairs.id_r,
                scored_pairs.match_weight,
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
            select id_l, id_r, null, '{DETERMINISTIC_KEY}'
            from deterministic_pairs anti join steward_pairs using (id_l, id_r)
            union all
            select id_l, id_r, null, '{STEWARD_KEY}' from steward_pairs
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
    con: duckdb.DuckDBPyConnection, labels: np.ndarray[Any, Any], model_version: str
) -> None:
    """Make `profile_records`: every record, its profile, and how near its nearest fellow is.

    Args:
        con: The linkage's own engine, with `pairs` and `assigned_records` (record_id, profile_id).
        labels: The cluster of every record.
        model_version: The model used.
    """
    sizes = np.bincount(labels, minlength=len(labels))[labels] if len(labels) else labels
    con.register("sizes", pa.table({"id": np.arange(len(labels)), "cluster_size": sizes}))
    con.execute(
        """
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
        from people
        inner join assigned_records on assigned_records.record_id = people.record_id
        inner join sizes on sizes.id = people.id
        left join nearest on nearest.id = people.id
        order by people.record_id
        """,
        [model_version],
    )
    con.unregister("sizes")


def _report(
    con: duckdb.DuckDBPyConnection,
    version: ModelVersion,
    linkage: Linkage,
    ids: IdCounts,
    suppressed: dict[str, int],
    records: int,
    binding: Binding,
    held: Held,
) -> LinkReport:
    decisions = dict(
        con.execute("select decision, count(*) from pairs group by decision").fetchall()
    )
    row = con.execute(
        "select count(distinct profile_id), coalesce(max(cluster_size), 0) from profile_records"
    ).fetchone()
    profiles, largest = row or (0, 0)
    queue = con.execute("select count(*) from review_queue").fetchone() or (0,)
    warnings = linkage_warnings(con, version.model, linkage, records, int(largest))
    return LinkReport(
        status="linked",
        model_version=version.name,
        records=records,
        profiles=int(profiles),
        pairs=linkage.pairs,
        joined_pairs=int(decisions.get("joined", 0)),
        refused_pairs=int(decisions.get("refused", 0)),
        deterministic_pairs=linkage.deterministic_pairs,
        conflicted_components=linkage.clusters.conflicted,
        largest_profile=int(largest),
        matches_per_record=round(linkage.matches_per_record, 4),
        created_ids=ids.created,
        merged_ids=ids.merged,
        split_ids=ids.split,
        revived_ids=ids.revived,
        retired_ids=ids.retired,
        moved_records=ids.moved_records,
        known_records=ids.known_records,
        moved_share=round(ids.moved_records / max(ids.known_records, 1), 6),
        decisions=binding.decisions,
        contradictions=len(binding.contradictions),
        decisions_without_record=binding.without_record,
        held_records=held.records,
        weak_bridges=len(held.bridges[0]),
        large_clusters=len(held.large),
        review_items=int(queue[0]),
        suppressed=suppressed,
        pairs_by_rule={cost.rule: cost.pairs for cost in linkage.rules if cost.pairs},
        warnings=(*warnings, *_open_questions(binding, held), *_churn(ids)),
    )


def _open_questions(binding: Binding, held: Held) -> list[str]:
    """What waits for a steward, in words."""
    found = []
    if held.records:
        found.append(
            f"{held.records} records keep the profile they have until a person decides: "
            f"{len(held.bridges[0])} weak bridge(s), {len(held.large)} cluster(s) beyond the size "
            "(klantbeeld identity queue)"
        )
    if binding.contradictions:
        found.append(
            f"{len(binding.contradictions)} decision(s) contradict others, none of which binds "
            "(klantbeeld identity decisions list)"
        )
    if binding.without_record:
        found.append(f"{binding.without_record} decision(s) name a record that is not there")
    return found


def _churn(ids: IdCounts) -> list[str]:
    """Whether more records changed profile than an ordinary day's."""
    if ids.moved_records <= max(FEW_MOVES, MUCH_CHURN * ids.known_records):
        return []
    share = f"{ids.moved_records / ids.known_records:.2%}"
    return [f"{ids.moved_records} of {ids.known_records} known records changed profile ({share})"]


def linkage_warnings(
    con: duckdb.DuckDBPyConnection,
    model: LinkageModel,
    linkage: Linkage,
    records: int,
    largest: int,
) -> list[str]:
    """What looks degenerate, in words.

    Args:
        con: The linkage's own engine, with `pairs`.
        model: The model used.
        linkage: What it did.
        records: The number of records.
        largest: The number of records in the largest profile.
    """
    found = list(model.metrics.get("warnings", ()))
    if records < 2:
        return [*found, f"{records} records: there is nothing to link"]
    if linkage.pairs == 0 and linkage.deterministic_pairs == 0:
        found.append("no two records agree on anything that brings records together")
        return found
    idle = [
        rule.name
        for rule in BLOCKING_RULES
        if not rule.is_extra
        and not any(cost.rule == rule.name and cost.largest_block for cost in linkage.rules)
    ]
    if idle:
        found.append("rules without a single pair: " + ", ".join(idle))
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
    if largest > LARGE_PROFILE:
        found.append(f"the largest profile has {largest} records")
    return found


def _make_report(
    con: duckdb.DuckDBPyConnection, report: LinkReport, run_id: str, digest: str, *, based_on: str
) -> None:
    """`linkage_report`: one row of figures, and what the outcome depends on."""
    row = con.execute(
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
        create or replace table linkage_report as
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


_TABLES: Final = {
    "profile_records": "from profile_records",
    "pairs": """
        select record_id_l, record_id_r, match_weight, match_probability, match_key, decision
        from pairs order by record_id_l, record_id_r
    """,
    "suppressed_values": "select kind, value_digest, records, reason from suppressed_values",
    "profile_id_changes": "from profile_id_changes",
    "current_profile_ids": "from current_profile_ids",
    "review_queue": "from review_queue",
    "linkage_report": "from linkage_report",
}


def _write(con: duckdb.DuckDBPyConnection, own: duckdb.DuckDBPyConnection) -> None:
    """Replace the tables of schema `identity`, all or none."""
    con.execute("begin")
    try:
        con.execute("create schema if not exists identity")
        for name, query in _TABLES.items():
            con.register("identity_table", own.execute(query).to_arrow_table())
            con.execute(f"create or replace table identity.{name} as from identity_table")
            con.unregister("identity_table")
        con.execute("commit")
    except BaseException:
        con.execute("rollback")
        raise
