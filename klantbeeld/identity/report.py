"""The figures of a linkage, and what a person should look at: `identity.linkage_report`.

Here: the report, keeping it in the build and reading it again, and what looks degenerate, in words.
Not here: counting what was done (`stage`), charts (`charts`).
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

import duckdb

from klantbeeld.identity.linking import Linkage
from klantbeeld.identity.model import BLOCKING_RULES, LinkageModel

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


def read_report(con: duckdb.DuckDBPyConnection) -> LinkReport:
    """The report of the last linkage of a build that has one."""
    names = [name for name in LinkReport.__dataclass_fields__ if name != "status"]
    fields = dict(zip(names, read_columns(con, *names) or (), strict=True))
    for name in ("suppressed", "pairs_by_rule"):
        fields[name] = dict(fields[name])
    fields["warnings"] = tuple(fields["warnings"])
    return LinkReport(status="linked", **fields)


def read_columns(con: duckdb.DuckDBPyConnection, *names: str) -> tuple[Any, ...] | None:
    """Columns of the last linkage's report, or None if there is none of this release."""
    try:
        return con.execute(f"select {', '.join(names)} from identity.linkage_report").fetchone()
    except (duckdb.CatalogException, duckdb.BinderException):
        return None


def write_report(
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
    return [*found, *size_warning(largest)]


def idle_rules(linkage: Linkage) -> list[str]:
    """The rules that should bring records together and did not find a pair, in words."""
    used = {cost.rule for cost in linkage.rules if cost.largest_block}
    idle = [rule.name for rule in BLOCKING_RULES if not rule.is_extra and rule.name not in used]
    return ["rules without a single pair: " + ", ".join(idle)] if idle and used else []


def size_warning(largest: int) -> list[str]:
    """Whether a profile is larger than one person's, in words."""
    return [f"the largest profile has {largest} records"] if largest > LARGE_PROFILE else []


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


def notices(report: LinkReport) -> list[str]:
    """What a person should look at in the figures of a linkage, in words."""
    return [*_open_questions(report), *_churn(report)]


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
