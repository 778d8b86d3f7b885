"""Load: every table of every source, as it was loaded by `ingestion`.

Belongs here: showing what a load did. Does not: loading. A source that is added to `ingestion`
appears here by itself.

source system -> ingestion.pipelines.load_source -> raw_<source>.<table>

Plain multi-assets and not `@dlt_assets`: that decorator runs a dlt pipeline once and reports its
trace. Our load puts a validator and a quarantine in front of dlt, repeats until nothing is pending,
and counts rows read = loaded + unchanged + quarantined + deduplicated, none of which a dlt trace
knows.
"""

import importlib
from collections.abc import Iterator
from functools import cache

import dagster as dg

from ingestion.contracts import Table
from ingestion.pipelines import SOURCES, system_of
from ingestion.report import LoadReport, TableCounts
from klantbeeld.errors import in_one_line
from klantbeeld.failpoints import failpoint
from orchestration.changes import last_change, marking_load
from orchestration.progress import progress
from orchestration.resources import Platform
from orchestration.results import Result

SOURCE_LOADED = "source_loaded"
ROWS_ACCOUNTED_FOR = "rows_accounted_for"


def raw_asset_keys() -> list[dg.AssetKey]:
    """The asset of every raw table."""
    return [raw_asset_key(table) for tables in source_tables().values() for table in tables]


def build_load_assets() -> list[dg.AssetsDefinition]:
    """One set of assets per source."""
    return [_source_assets(source, tables) for source, tables in source_tables().items()]


@cache
def source_tables() -> dict[str, tuple[Table, ...]]:
    """The raw tables of every source that `ingestion` has, main table first."""
    return {
        source: tuple(importlib.import_module(f"ingestion.sources.{source}").TABLES)
        for source in SOURCES
    }


def raw_asset_key(table: Table) -> dg.AssetKey:
    """The asset of a raw table: where the table is."""
    return dg.AssetKey([table.schema, table.name])


def _source_assets(source: str, tables: tuple[Table, ...]) -> dg.AssetsDefinition:
    @dg.multi_asset(
        name=f"load_{source}",
        specs=[_spec(table) for table in tables],
        check_specs=[spec for table in tables for spec in _check_specs(table)],
    )
    def load(context: dg.AssetExecutionContext, platform: Platform) -> Iterator[Result]:
        from ingestion.pipelines import load_source

        failpoint(f"load.before_{source}")
        with marking_load(platform.control, source, context.run_id) as mark:
            report = load_source(source, platform.settings, platform.control, context.run_id)
            mark.changed = _changed(report)
        failpoint(f"load.after_{source}")
        _tell(report)
        # Without a version of the rows, each look at the source would make all that is built from
        # it look out of date in the UI.
        version = last_change(platform.control, source)
        for table in tables:
            yield _result(table, report, version)

    return load


def _spec(table: Table) -> dg.AssetSpec:
    return dg.AssetSpec(
        raw_asset_key(table),
        group_name=table.schema,
        description=f"`{table.name}` of the source `{table.source}`, as it is there. "
        f"One row per {' + '.join(table.key)}.",
        kinds={"dlt", "duckdb", system_of(table.source)},
        owners=["team:customer-data"],
        metadata={
            "dagster/table_name": f"{table.schema}.{table.name}",
            "dagster/column_schema": _columns(table),
        },
    )


def _columns(table: Table) -> dg.TableSchema:
    return dg.TableSchema(
        [
            dg.TableColumn(
                column.name,
                column.sql_type,
                constraints=dg.TableColumnConstraints(
                    nullable=not (column.is_required or column.name in table.key),
                    unique=table.key == (column.name,),
                ),
            )
            for column in table.all_columns
        ]
    )


def _check_specs(table: Table) -> list[dg.AssetCheckSpec]:
    return [
        dg.AssetCheckSpec(
            SOURCE_LOADED,
            asset=raw_asset_key(table),
            description="The source answered and all of it was read. If not, the run goes on with "
            "what was loaded before.",
        ),
        dg.AssetCheckSpec(
            ROWS_ACCOUNTED_FOR,
            asset=raw_asset_key(table),
            description="Rows read = loaded + unchanged + quarantined + deduplicated; none is in "
            "quarantine since this load.",
        ),
    ]


def _changed(report: LoadReport) -> bool | None:
    totals = report.totals
    if totals.rows_loaded or totals.rows_deleted:
        return True
    return None if report.status == "failed" else False


def _result(table: Table, report: LoadReport, version: str | None) -> Result:
    counts = report.tables.get(table.name, TableCounts())
    figures = {name.removeprefix("rows_"): value for name, value in vars(counts).items()}
    loaded = report.status != "failed"
    parts = ("loaded", "unchanged", "quarantined", "deduplicated")
    balances = figures["read"] == sum(figures[part] for part in parts)
    return dg.MaterializeResult(
        asset_key=raw_asset_key(table),
        data_version=None if version is None else dg.DataVersion(version),
        metadata={"status": report.status, **{f"rows {k}": v for k, v in figures.items()}},
        check_results=[
            dg.AssetCheckResult(
                asset_key=raw_asset_key(table),
                passed=loaded,
                check_name=SOURCE_LOADED,
                severity=dg.AssetCheckSeverity.ERROR,
                description=_sentence(report) or "Read to the end.",
            ),
            dg.AssetCheckResult(
                asset_key=raw_asset_key(table),
                passed=balances and not counts.rows_quarantined,
                check_name=ROWS_ACCOUNTED_FOR,
                severity=dg.AssetCheckSeverity.WARN if balances else dg.AssetCheckSeverity.ERROR,
                metadata=figures,
            ),
        ],
    )


def _tell(report: LoadReport) -> None:
    totals = report.totals
    counts: dict[str, int | float | str] = {
        "read": totals.rows_read,
        "loaded": totals.rows_loaded,
        "unchanged": totals.rows_unchanged,
        "deleted": totals.rows_deleted,
        "quarantined": totals.rows_quarantined,
    }
    status = {"loaded": "done", "failed": "failed"}.get(report.status, "unchanged")
    if report.status == "disabled":
        counts = {"": "switched off"}
    progress().done("load", report.source, counts, report.seconds, status)
    if report.status == "failed":
        progress().problem("load", report.source, _sentence(report), "attention")
    if report.new_quarantined:
        message = (
            f"{report.new_quarantined} rows went into quarantine: `klantbeeld quarantine list`"
        )
        progress().problem("load", report.source, message, "attention")
    for note in report.notes:
        progress().say(f"  note: {report.source}: {note}")


def _sentence(report: LoadReport) -> str:
    return in_one_line(report.message.removeprefix(f"{report.source}: "), report.hint)
