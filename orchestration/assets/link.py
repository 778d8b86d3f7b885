"""Link: which records are one person. Splink's scores, clusters without conflict, lasting ids.

Belongs here: calling `klantbeeld.identity.link` and showing its figures and charts. Does not:
linkage.

intermediate.int_linkage_records -> identity.profile_records, pairs, suppressed_values, ...
"""

import time
from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg

from klantbeeld.failpoints import failpoint
from orchestration.progress import progress
from orchestration.resources import Platform
from orchestration.results import Result

LINKAGE_RECORDS = dg.AssetKey(["intermediate", "int_linkage_records"])
PROFILE_RECORDS = dg.AssetKey(["identity", "profile_records"])


_TABLES = {
    "profile_records": "Which profile every record is in. One row per record.",
    "pairs": "What was weighed and decided about two records. One row per pair of records.",
    "suppressed_values": (
        "Values that too many people share to tell anybody apart, as keyed digests. "
        "One row per value left out of matching."
    ),
    "profile_id_changes": "What happened to profile ids in this build. One row per event of an id.",
    "current_profile_ids": ("What every id resolves to today. One row per profile id ever issued."),
    "linkage_report": "The figures of this linkage. One row.",
}


@dg.multi_asset(
    name="link",
    specs=[
        dg.AssetSpec(
            ["identity", table],
            deps=[LINKAGE_RECORDS],
            group_name="identity",
            description=description,
            kinds={"splink", "duckdb", "table"},
            owners=["team:customer-data"],
        )
        for table, description in _TABLES.items()
    ],
)
def link(context: dg.AssetExecutionContext, platform: Platform) -> Iterator[Result]:
    """Link the records of the build."""
    from klantbeeld.identity import link as link_records

    started = time.monotonic()
    failpoint("link.before")
    with platform.warehouse.build() as connection:
        report = link_records(connection, platform.settings, platform.control, context.run_id)
        rows = dict(
            connection.execute(
                "select table_name, estimated_size from duckdb_tables() "
                "where schema_name = 'identity'"
            ).fetchall()
        )
    failpoint("link.after")
    seconds = time.monotonic() - started
    counts: dict[str, int | float | str] = {
        "records": report.records,
        "profiles": report.profiles,
        "pairs": report.pairs,
        "new_ids": report.created_ids,
        "merged_ids": report.merged_ids,
    }
    status = "unchanged" if report.status == "unchanged" else "done"
    progress().done("link", "records to profiles", counts, seconds, status)
    for warning in report.warnings:
        context.log.warning(warning)
    figures = {**_figures(report), **_charts(platform), "seconds": round(seconds, 2)}
    for table in _TABLES:
        yield dg.MaterializeResult(
            asset_key=["identity", table],
            metadata={
                "dagster/row_count": rows.get(table, 0),
                **(figures if table == "profile_records" else {}),
            },
        )


def _figures(report: Any) -> Mapping[str, Any]:
    return {
        name: value
        for name, value in vars(report).items()
        if isinstance(value, int | float | str) and not isinstance(value, bool)
    }


def _charts(platform: Platform) -> Mapping[str, dg.MetadataValue]:
    folder = platform.settings.paths.reports_dir / "linkage"
    return {
        # A path and no link: a browser opens no file from a page that came over HTTP.
        f"chart {chart.stem.replace('_', ' ')}": dg.MetadataValue.path(chart)
        for chart in sorted(folder.glob("*.html"))
    }
