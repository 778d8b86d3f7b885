"""Link: which records are one person or one company, and who lives together, with lasting ids.

Belongs here: calling `klantbeeld.identity` and showing its figures and charts. Does not: linkage.

intermediate.int_linkage_records, int_linkage_companies
-> identity.profile_records, pairs, company_records, household_profiles, ... -> linkage_charts
"""

import time
from collections.abc import Iterator, Mapping
from typing import Any, Final

import dagster as dg
import duckdb

from klantbeeld.failpoints import failpoint
from klantbeeld.warehouse import row_counts
from orchestration.progress import progress
from orchestration.resources import Platform
from orchestration.results import Result

LINKAGE_RECORDS = dg.AssetKey(["intermediate", "int_linkage_records"])
LINKAGE_COMPANIES = dg.AssetKey(["intermediate", "int_linkage_companies"])
# What a run asks of the linkage; one of `klantbeeld.identity.How`.
LINK_TAG = "klantbeeld/link"
PROFILE_RECORDS = dg.AssetKey(["identity", "profile_records"])
LINKAGE_CHARTS = dg.AssetKey(["identity", "linkage_charts"])


_TABLES: Final = {
    "profile_records": "Which profile every record is in. One row per record.",
    "pairs": "What was weighed and decided about two records. One row per pair of records.",
    "linkage_state": (
        "What the next linkage starts from: digests of every record and of the blocks it is in, "
        "its component and its cluster. One row per record."
    ),
    "suppressed_values": (
        "Values that too many people share to tell anybody apart, as keyed digests. "
        "One row per value left out of matching."
    ),
    "profile_id_changes": "What happened to profile ids in this build. One row per event of an id.",
    "current_profile_ids": ("What every id resolves to today. One row per profile id ever issued."),
    "review_queue": (
        "What a person may decide: uncertain pairs, weak bridges, clusters beyond the size. "
        "One row per question."
    ),
    "linkage_report": "The figures of this linkage. One row.",
}
_COMPANY_TABLES: Final = {
    "company_records": "Which company every record of one is. One row per record.",
    "company_reviews": (
        "Numbers and names that records share and that did not make them one company. "
        "One row per key for a person to look at."
    ),
    "company_id_changes": "What happened to company ids in this build. One row per event of an id.",
    "current_company_ids": "What every id resolves to today. One row per company id ever issued.",
    "company_report": "The figures of linking companies. One row.",
}
_HOUSEHOLD_TABLES: Final = {
    "household_profiles": (
        "Which household a profile lives in, and what says so. One row per profile with housemates."
    ),
    "household_id_changes": (
        "What happened to household ids in this build. One row per event of an id."
    ),
    "current_household_ids": (
        "What every id resolves to today. One row per household id ever issued."
    ),
    "household_report": "The figures of forming households. One row.",
}


def _specs(tables: Mapping[str, str], deps: list[dg.AssetKey], kind: str) -> list[dg.AssetSpec]:
    return [
        dg.AssetSpec(
            ["identity", table],
            deps=deps,
            group_name="identity",
            description=description,
            kinds={kind, "duckdb", "table"},
            owners=["team:customer-data"],
        )
        for table, description in tables.items()
    ]


# One step for all: households need profiles, and what comes at different distances from the start
# would make Dagster start dbt once more.
@dg.multi_asset(
    name="link",
    specs=[
        *_specs(_TABLES, [LINKAGE_RECORDS], "splink"),
        *_specs(_COMPANY_TABLES, [LINKAGE_COMPANIES], "python"),
        *_specs(_HOUSEHOLD_TABLES, [LINKAGE_RECORDS, LINKAGE_COMPANIES], "python"),
    ],
)
def link(context: dg.AssetExecutionContext, platform: Platform) -> Iterator[Result]:
    """Link the records of the build, then its companies, then form households of its profiles."""
    from klantbeeld import identity

    settings, control = platform.settings, platform.control
    started = time.monotonic()
    failpoint("link.before")
    with platform.warehouse.build() as connection:
        how = identity.How(context.run.tags.get(LINK_TAG, identity.How.CHANGES))
        report = identity.link(connection, settings, control, context.run_id, how)
        seconds = time.monotonic() - started
        companies = identity.link_companies(connection, settings, control, context.run_id)
        households = identity.form_households(connection, settings, control, context.run_id)
        rows, columns = row_counts(connection), _columns(connection)
    failpoint("link.after")
    unchanged = report.status == "unchanged"
    counts: dict[str, int | float | str] = {
        "records": report.records,
        # An unchanged linkage is reported with the figures of the one that made it.
        "linked anew": 0 if unchanged else report.scored_records,
        "profiles": report.profiles,
        "pairs": report.pairs,
        "new_ids": 0 if unchanged else report.created_ids,
        "merged_ids": 0 if unchanged else report.merged_ids,
    }
    warnings = [*report.warnings]
    if report.waiting_version:
        warnings.append(
            f"Values frozen anew ({report.waiting_version}) would move too many records to another "
            "profile: they are not used until somebody promotes them. `klantbeeld identity models "
            f"{report.waiting_version}` shows which."
        )
    status = "attention" if warnings else "unchanged" if unchanged else "done"
    progress().done("link", "records to profiles", counts, seconds, status)
    for warning in warnings:
        context.log.warning(warning)
        progress().warn(warning)
    _tell("records to companies", companies, ("records", "companies"))
    _tell("profiles to households", households, ("members", "households"))
    figures = {
        "profile_records": {
            **_figures(report),
            "seconds": round(seconds, 2),
        },
        "company_records": _figures(companies),
        "household_profiles": _figures(households),
    }
    for table in (*_TABLES, *_COMPANY_TABLES, *_HOUSEHOLD_TABLES):
        yield dg.MaterializeResult(
            asset_key=["identity", table],
            metadata={
                "dagster/row_count": rows.get(f"identity.{table}", 0),
                "dagster/column_schema": dg.TableSchema(columns.get(table, [])),
                **figures.get(table, {}),
            },
        )


def _columns(connection: duckdb.DuckDBPyConnection) -> dict[str, list[dg.TableColumn]]:
    """The columns of every table of schema `identity`."""
    found: dict[str, list[dg.TableColumn]] = {}
    for table, name, kind in connection.execute(
        "select table_name, column_name, data_type from duckdb_columns() "
        "where database_name = current_database() and schema_name = 'identity' "
        "order by table_name, column_index"
    ).fetchall():
        found.setdefault(table, []).append(dg.TableColumn(name, kind))
    return found


def _tell(what: str, report: Any, names: tuple[str, ...]) -> None:
    counts: dict[str, int | float | str] = {name: getattr(report, name) for name in names}
    status = "unchanged" if report.status == "unchanged" else "done"
    progress().done("link", what, counts, report.seconds, status)


def _figures(report: Any) -> Mapping[str, Any]:
    return {
        name: value
        for name, value in vars(report).items()
        if isinstance(value, int | float | str) and not isinstance(value, bool)
    }


@dg.asset(
    key=LINKAGE_CHARTS,
    deps=[PROFILE_RECORDS, dg.AssetKey(["identity", "pairs"])],
    group_name="identity",
    kinds={"splink", "html"},
    owners=["team:customer-data"],
    description=(
        "The linkage and its model to look at: match weights, parameters, unlinkable records, what"
        " each blocking rule costs, profile sizes beside those of the last version, other"
        " thresholds where a truth is known. Files that work offline and hold no record."
    ),
)
def linkage_charts(context: dg.AssetExecutionContext, platform: Platform) -> Result:
    """Draw the linkage of the build."""
    from klantbeeld.identity import draw_charts
    from klantbeeld.identity.overview import as_rows, read_sizes

    started = time.monotonic()
    before = None
    version = platform.warehouse.before(context.run_id)
    if version is not None:
        with platform.warehouse.read(version.version_id) as published:
            before = read_sizes(published, "identity.profile_records")
    with platform.warehouse.build() as connection:
        charts = draw_charts(connection, platform.settings, platform.control, before)
    if charts is None:
        return dg.MaterializeResult(metadata={"note": "Fewer than two records are linked."})
    status = "done" if charts.is_new else "unchanged"
    counts: dict[str, int | float | str] = {"files": len(charts.files)}
    progress().done("link", "charts", counts, time.monotonic() - started, status)
    overview = charts.overview
    tables = {
        "blocking rules": as_rows(overview.rules),
        "profile sizes": as_rows(overview.sizes),
        "other thresholds": as_rows(overview.thresholds),
    }
    return dg.MaterializeResult(
        metadata={
            # A path and no link: a browser opens no file from a page that came over HTTP.
            **{
                f"chart {chart.stem.replace('_', ' ')}": dg.MetadataValue.path(chart)
                for chart in charts.files
            },
            **{
                name: dg.MetadataValue.table([dg.TableRecord(row) for row in rows])
                for name, rows in tables.items()
                if rows
            },
        }
    )
