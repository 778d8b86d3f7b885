"""Link: which records are one person. Splink's scores, conflict-aware clusters, lasting profile ids.

Belongs here: calling `klantbeeld.identity.link` and showing its figures and charts. Does not: linkage.

intermediate.int_linkage_records -> identity.profile_records, pairs, suppressed_values, ...
"""

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import dagster as dg

from klantbeeld.failpoints import failpoint
from orchestration.manifest import Manifest, Node, asset_path, sources
from orchestration.progress import progress
from orchestration.resources import Platform

LINKAGE_RECORDS = dg.AssetKey(["intermediate", "int_linkage_records"])
PROFILE_RECORDS = dg.AssetKey(["identity", "profile_records"])


def build_link_assets(manifest: Manifest) -> dg.AssetsDefinition:
    """The identity tables; which there are is what the dbt project reads as source `identity`."""
    tables = sources(manifest, "identity")
    inputs = _inputs(manifest)

    @dg.multi_asset(
        name="link",
        specs=[
            dg.AssetSpec(
                asset_path(table),
                deps=inputs,
                group_name="identity",
                description=table["description"],
                kinds={"splink", "duckdb", "table"},
                owners=["team:customer-data"],
            )
            for table in tables
        ],
    )
    def link(
        context: dg.AssetExecutionContext, platform: Platform
    ) -> Iterator[dg.MaterializeResult]:
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
        progress().done(
            "link",
            "profiles",
            {"records": report.records, "profiles": report.profiles, "pairs": report.pairs},
            seconds,
        )
        figures = {**_figures(report), **_charts(platform), "seconds": round(seconds, 2)}
        for table in tables:
            yield dg.MaterializeResult(
                asset_key=asset_path(table),
                metadata={
                    "dagster/row_count": rows.get(table["name"], 0),
                    **(figures if table["name"] == "profile_records" else {}),
                },
            )

    return link


def _inputs(manifest: Manifest) -> list[dg.AssetKey]:
    names: list[Node] = [
        node for node in manifest["nodes"].values() if node["name"] == "int_linkage_records"
    ]
    return [dg.AssetKey(asset_path(node)) for node in names] or [LINKAGE_RECORDS]


def _figures(report: Any) -> Mapping[str, Any]:
    return {
        name: value
        for name, value in vars(report).items()
        if isinstance(value, int | float | str) and not isinstance(value, bool)
    }


def _charts(platform: Platform) -> Mapping[str, dg.MetadataValue]:
    folder = platform.settings.paths.reports_dir / "linkage"
    return {
        f"chart {chart.stem.replace('_', ' ')}": _link(chart)
        for chart in sorted(folder.glob("*.html"))
    }


def _link(chart: Path) -> dg.MetadataValue:
    return dg.MetadataValue.url(chart.as_uri())
