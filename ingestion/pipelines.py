"""Loads a source into the build file: the only file that names a destination.

    load_source("shop", ...)
        finish what a killed load left -> read and validate (dlt extract) -> load -> report

A load can be killed anywhere. Cursors and delta links live in dlt's state, which is part of the
package that holds the rows; a package that was not finished is finished by the next load, and one
that cannot be finished is set aside with the state as it was before it, so that its rows are read
again.
"""

import importlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from ingestion.report import DoesNotBalance, LoadReport, Status, TableCounts
from klantbeeld.control import ControlPlane
from klantbeeld.control.tables import load_counts, load_runs
from klantbeeld.errors import ExitCode, KlantbeeldError, SettingsError, in_one_line
from klantbeeld.failpoints import failpoint
from klantbeeld.files import PRIVATE_FILE, private_dir
from klantbeeld.settings import Settings

if TYPE_CHECKING:
    from ingestion.contracts import Table
    from ingestion.intake import Intake
    from ingestion.settings import IngestSettings

_SOURCES_DIR = Path(__file__).parent / "sources"


def _discover() -> tuple[str, ...]:
    return tuple(sorted(folder.parent.name for folder in _SOURCES_DIR.glob("*/__init__.py")))


SOURCES = _discover()
"""Every source there is: the folders in `ingestion/sources`."""


def system_of(name: str) -> str:
    """The kind of system that a source is: `http`, `postgres`, `csv`, `json`."""
    system: str = _module(name).SYSTEM
    return system


def require_known_sources(settings: Settings) -> None:
    """Refuse settings of a source that there is not: they would be ignored.

    Raises:
        SettingsError: There are such; they are named.
    """
    unknown = sorted(set(settings.sources) - set(SOURCES))
    if unknown:
        raise SettingsError(
            "\n".join(f"sources.{name}: there is no source {name!r}" for name in unknown),
            f"Known sources: {', '.join(SOURCES)}.",
        )


def check_settings(settings: Settings, name: str) -> None:
    """Check the section of a source without going there.

    Raises:
        SettingsError: There is no such source, or a setting of it is missing or wrong.
    """
    if name not in SOURCES:
        raise SettingsError(
            f"sources.{name}: there is no source {name!r}", f"Known sources: {', '.join(SOURCES)}."
        )
    settings.source(name, _module(name).SETTINGS)


def file_sources() -> tuple[str, ...]:
    """The sources that read files from the `folder` in their settings."""
    return tuple(name for name in SOURCES if _module(name).FROM_FILES)


def load_source(
    name: str, settings: Settings, control: ControlPlane, run_id: str, *, reload: bool = False
) -> LoadReport:
    """Load one source; a failure of the source is in the report, not raised.

    The caller holds the run lock, and no connection to the build.

    Args:
        name: The source.
        settings: The home's settings.
        control: The control plane.
        run_id: The run that this load belongs to.
        reload: Read everything again, as if nothing had been loaded.
    """
    if name not in SOURCES:
        raise KlantbeeldError(
            f"there is no source {name!r}", f"Known sources: {', '.join(SOURCES)}.", ExitCode.USAGE
        )
    started = time.monotonic()
    with _private_files():
        report = _attempt(name, settings, control, run_id, reload=reload)
    report = replace(report, seconds=round(time.monotonic() - started, 3))
    _record(control, report, run_id)
    return report


def replay_quarantine(
    settings: Settings, control: ControlPlane, source: str | None = None
) -> list[LoadReport]:
    """Validate the rows in quarantine again, and load those that are good now.

    Rows become good when the rules change: a contract is corrected, a new notation is understood.
    What a source corrects comes with the ordinary load.

    Args:
        settings: The home's settings.
        control: The control plane.
        source: Only this source; all that have open rows by default.

    Returns:
        A report per source; rows_loaded and rows_unchanged are those that left the quarantine.
    """
    from ingestion import quarantine

    names = [source] if source else quarantine.sources_with_open_rows(control)
    run_id = f"replay-{uuid.uuid4().hex[:12]}"
    reports = []
    for name in names:
        if name not in SOURCES:
            raise KlantbeeldError(
                f"there is no source {name!r}", f"Known sources: {', '.join(SOURCES)}."
            )
        started = time.monotonic()
        with _private_files():
            report = _attempt_replay(name, settings, control, run_id)
        report = replace(report, seconds=round(time.monotonic() - started, 3))
        _record(control, report, run_id)
        reports.append(report)
    return reports


def ensure_raw_tables(settings: Settings) -> None:
    """Make every raw table of every contract that the build does not have yet, empty.

    dbt may then count on all of them, whichever sources are switched off or have failed.

    Raises:
        KlantbeeldError: The build is in use, or a contract gave a column another type.
    """
    import duckdb

    from ingestion.contracts import landed_files

    tables = [table for name in SOURCES for table in _module(name).TABLES]
    tables += [landed_files(name) for name in file_sources()]
    build = settings.paths.build_file
    private_dir(build.parent)
    try:
        connection = duckdb.connect(str(build))
    except duckdb.IOException as error:
        raise KlantbeeldError(
            f"the build file {build} cannot be opened ({type(error).__name__})",
            "Another process may have it open; `klantbeeld doctor` says more.",
        ) from None
    try:
        build.chmod(PRIVATE_FILE)
        existing: dict[tuple[str, str], dict[str, str]] = {}
        for schema, table_name, column, kind in connection.execute(
            "select schema_name, table_name, column_name, lower(data_type) from duckdb_columns()"
            " where starts_with(schema_name, 'raw_')"
        ).fetchall():
            existing.setdefault((schema, table_name), {})[column] = kind
        for table in tables:
            _ensure(connection, table, existing.get((table.schema, table.name)))
    finally:
        connection.close()


def _ensure(connection: Any, table: "Table", existing: dict[str, str] | None) -> None:
    if existing is None:
        connection.execute(f'create schema if not exists "{table.schema}"')
        connection.execute(table.ddl)
        return
    for column in table.all_columns:
        kind = existing.get(column.name)
        if kind is None:
            connection.execute(
                f'alter table "{table.schema}"."{table.name}"'
                f' add column "{column.name}" {column.sql_type}'
            )
        elif kind != column.sql_type:
            raise KlantbeeldError(
                f"{table.schema}.{table.name}.{column.name} is {kind} in the build and"
                f" {column.sql_type} in its contract",
                "Build anew: remove the home's `build` folder; the next run reads all again.",
            )


# ---- one load -----------------------------------------------------------------------------------


def _attempt(
    name: str, settings: Settings, control: ControlPlane, run_id: str, *, reload: bool
) -> LoadReport:
    try:
        ensure_raw_tables(settings)
        if not settings.source_enabled(name):
            known = name in settings.sources
            why = "switched off in the settings" if known else "not in the settings"
            return LoadReport(name, "disabled", message=f"{name} is {why}")
        module = _module(name)
        config = settings.source(name, module.SETTINGS)
        return _load(module, name, settings, control, config, run_id, reload=reload)
    except KlantbeeldError as error:
        return LoadReport(name, "failed", message=error.message, hint=error.hint)
    except OSError as error:
        return LoadReport(
            name,
            "failed",
            message=f"{name} could not be loaded: {error.strerror or type(error).__name__}",
            hint="Check the disk and the permissions of the home.",
        )


def _load(
    module: ModuleType,
    name: str,
    settings: Settings,
    control: ControlPlane,
    config: "IngestSettings",
    run_id: str,
    *,
    reload: bool,
) -> LoadReport:
    from ingestion.intake import Intake

    notes = _without_foreign_cursors(name, settings)
    with _pipeline(name, settings) as pipeline:
        notes += _finish_pending(pipeline, name)
        with Intake(name, settings, control, config, run_id=run_id, reload=reload) as intake:
            source = module.open_source(intake, config)
            if source is None:
                return _report(name, intake, notes)
            _run(pipeline, source, intake, name)
            return _report(name, intake, notes)


def _attempt_replay(
    name: str, settings: Settings, control: ControlPlane, run_id: str
) -> LoadReport:
    from ingestion.intake import Intake
    from ingestion.replay import replayed_source

    try:
        ensure_raw_tables(settings)
        module = _module(name)
        notes = _without_foreign_cursors(name, settings)
        with _pipeline(name, settings) as pipeline:
            notes += _finish_pending(pipeline, name)
            config = settings.source(name, module.SETTINGS)
            with Intake(name, settings, control, config, run_id=run_id) as intake:
                replay = replayed_source(name, module, intake)
                if replay is None:
                    return LoadReport(name, "unchanged", message=f"{name}: nothing in quarantine")
                _run(pipeline, replay.source, intake, name)
                replay.settle()
                return _report(name, intake, notes)
    except KlantbeeldError as error:
        return LoadReport(name, "failed", message=error.message, hint=error.hint)


def _run(pipeline: Any, source: Any, intake: "Intake", name: str) -> None:
    """Extract, normalize, load; afterwards nothing is pending."""
    _step(lambda: pipeline.extract(source, loader_file_format="parquet"), name, "reading")
    intake.detach()
    failpoint(f"ingestion.{name}.extracted")
    while pipeline.has_pending_data:
        _step(pipeline.normalize, name, "preparing")
        _verify(pipeline, intake)
        failpoint(f"ingestion.{name}.normalized")
        _step(pipeline.load, name, "loading")
    failpoint(f"ingestion.{name}.loaded")
    intake.settle()


def _verify(pipeline: Any, intake: "Intake") -> None:
    """What dlt is about to load is what validation let through, row for row.

    Raises:
        DoesNotBalance: It is not; nothing is loaded.
    """
    handed_on = pipeline.last_trace.last_normalize_info.row_counts
    for table, outcome in intake.outcomes.items():
        expected = outcome.counts.rows_loaded + outcome.counts.rows_deleted
        if handed_on.get(table, 0) != expected:
            pipeline.abort_packages()
            raise DoesNotBalance(
                f"{table}: {expected} rows are valid, {handed_on.get(table, 0)} reach the load"
            )


def _without_foreign_cursors(name: str, settings: Settings) -> list[str]:
    """Remove the cursors of a source if they are not those of this build; a note when they were.

    A build that was removed, or put back from an older copy, does not hold what its cursors say has
    been read; those rows would never be asked for again. dlt keeps the cursors in both places.
    Without them all is read again, and recognised where it is there already.
    """
    working = settings.paths.dlt_dir / name
    try:
        state = json.loads((working / "state.json").read_text())
        version, digest = int(state["_state_version"]), str(state["_version_hash"])
    except (FileNotFoundError, ValueError, KeyError):
        return []
    known_version, known_digest = _cursors_of_build(name, settings)
    pending = [*working.glob("normalize/extracted/*"), *working.glob("load/normalized/*")]
    # A load that was killed is ahead of the build by the package that it left.
    if known_version >= version - 1 if pending else known_digest == digest:
        return []
    shutil.rmtree(working)
    return ["the build is not the one that its cursors belong to: everything was read again"]


def _cursors_of_build(name: str, settings: Settings) -> tuple[int, str]:
    """Version and digest of the cursors that the build was loaded with; 0 for none."""
    import duckdb

    with duckdb.connect(str(settings.paths.build_file), read_only=True) as connection:
        try:
            row = connection.execute(
                f'select version, version_hash from "raw_{name}"._dlt_pipeline_state'
                " order by version desc, created_at desc limit 1"
            ).fetchone()
        except duckdb.CatalogException:
            row = None
    return (int(row[0]), str(row[1])) if row else (0, "")


def _finish_pending(pipeline: Any, name: str) -> list[str]:
    """Finish what an earlier load left; what cannot be finished is set aside."""
    if not pipeline.has_pending_data:
        return []
    try:
        while pipeline.has_pending_data:
            _step(pipeline.normalize, name, "preparing")
            _step(pipeline.load, name, "loading")
    except KlantbeeldError as error:
        # Its rows are not lost: the state goes back to before it, and they are read again.
        _step(pipeline.abort_packages, name, "setting aside")
        if pipeline.has_pending_data:
            shutil.rmtree(pipeline.working_dir, ignore_errors=True)
        note = (
            "a load that an earlier run left unfinished could not be finished and was set aside;"
            f" its rows are read again ({error.message})"
        )
        return [note]
    return ["finished a load that an earlier run was stopped in"]


def _step(step: Any, name: str, doing: str) -> None:
    """Run a step of dlt; its errors carry rows and are told by type only."""
    from dlt.pipeline.exceptions import PipelineStepFailed

    try:
        step()
    except PipelineStepFailed as error:
        causes = list(_causes(error))
        for cause in causes:
            if isinstance(cause, DoesNotBalance | KlantbeeldError):
                raise cause from None
        raise KlantbeeldError(
            f"{name}: {doing} failed ({type(causes[-1]).__name__})",
            "The next run tries again from where the last load ended.",
        ) from None


def _causes(error: BaseException) -> Iterator[BaseException]:
    current: BaseException | None = error
    while current is not None:
        yield current
        current = current.__cause__


def _report(name: str, intake: "Intake", notes: Sequence[str]) -> LoadReport:
    tables: dict[str, TableCounts] = {
        table: outcome.counts for table, outcome in sorted(intake.outcomes.items())
    }
    report = LoadReport(
        name,
        "unchanged",
        tables=tables,
        notes=(*notes, *intake.notes),
        new_quarantined=intake.new_quarantined,
    )
    totals = report.totals
    changed = totals.rows_loaded or totals.rows_deleted or intake.new_quarantined
    status: Status = "loaded" if changed else "unchanged"
    message = f"{name}: {_sentence(totals)}"
    hint = None
    if intake.failures:
        status = "failed"
        first = next(iter(intake.failures.values()))
        hint = first.hint
        told = dict.fromkeys(error.message for error in intake.failures.values())
        message = "; ".join(told)
        if tables:
            message += f". The other tables were read: {_sentence(totals)}"
    return replace(report, status=status, message=message, hint=hint)


def _sentence(counts: TableCounts) -> str:
    if not counts.rows_read and not counts.rows_deleted:
        return "nothing new"
    parts = [f"{counts.rows_read:,} read", f"{counts.rows_loaded:,} loaded"]
    for number, word in (
        (counts.rows_unchanged, "unchanged"),
        (counts.rows_quarantined, "quarantined"),
        (counts.rows_deduplicated, "deduplicated"),
        (counts.rows_deleted, "deleted"),
    ):
        if number:
            parts.append(f"{number:,} {word}")
    return ", ".join(parts)


def _record(control: ControlPlane, report: LoadReport, run_id: str) -> None:
    """Keep the report in the control plane; a load repeated in a run replaces the earlier one."""
    at = datetime.now(UTC)
    message = ""
    for part in (report.message, report.hint, *report.notes):
        message = in_one_line(message, part) if message else part or ""
    with control.begin() as connection:
        for table in (load_runs, load_counts):
            connection.execute(
                table.delete().where(table.c.run_id == run_id, table.c.source == report.source)
            )
        connection.execute(
            sa.insert(load_runs),
            {
                "run_id": run_id,
                "source": report.source,
                "at": at,
                "status": report.status,
                "message": message,
            },
        )
        rows = [
            {
                "run_id": run_id,
                "source": report.source,
                "table_name": table_name,
                "at": at,
                "rows_read": counts.rows_read,
                "rows_loaded": counts.rows_loaded,
                "rows_unchanged": counts.rows_unchanged,
                "rows_quarantined": counts.rows_quarantined,
                "rows_deduplicated": counts.rows_deduplicated,
                "rows_deleted": counts.rows_deleted,
            }
            for table_name, counts in report.tables.items()
        ]
        if rows:
            connection.execute(sa.insert(load_counts), rows)


# ---- dlt ----------------------------------------------------------------------------------------


@contextmanager
def _pipeline(name: str, settings: Settings) -> Iterator[Any]:
    """The dlt pipeline of a source; its working folder and the build are one unit."""
    _configure_dlt(settings)
    import dlt

    private_dir(settings.paths.dlt_dir)
    pipeline = dlt.pipeline(
        pipeline_name=name,
        pipelines_dir=str(settings.paths.dlt_dir),
        destination=dlt.destinations.duckdb(str(settings.paths.build_file)),
        dataset_name=f"raw_{name}",
    )
    try:
        yield pipeline
    finally:
        pipeline.deactivate()
        _sweep(Path(pipeline.working_dir))


def _sweep(working: Path) -> None:
    """Remove what holds rows and is not needed: finished packages, the trace, half a reading."""
    rests = [*working.glob("load/loaded/*"), *working.glob("load/new/*")]
    rests += [path for path in working.glob("normalize/*") if path.name != "extracted"]
    for folder in rests:
        if folder.is_dir():
            shutil.rmtree(folder, ignore_errors=True)
    (working / "trace.pickle").unlink(missing_ok=True)


def _configure_dlt(settings: Settings) -> None:
    os.environ.update(
        {
            "RUNTIME__DLTHUB_TELEMETRY": "false",
            # Its messages may show values of rows; what matters is in the report.
            "RUNTIME__LOG_LEVEL": "CRITICAL",
            "LOAD__DELETE_COMPLETED_JOBS": "true",
            "LOAD__TRUNCATE_STAGING_DATASET": "true",
            # One file, one writer.
            "LOAD__WORKERS": "1",
            "NORMALIZE__WORKERS": "1",
            # One table after the other, in the order the source gives them.
            "EXTRACT__NEXT_ITEM_MODE": "fifo",
            "DLT_DATA_DIR": str(settings.paths.dlt_dir),
        }
    )


def _module(name: str) -> ModuleType:
    """The package of a source, with all that it has to say.

    Raises:
        KlantbeeldError: It leaves something out.
    """
    module = importlib.import_module(f"ingestion.sources.{name}")
    expected = ["SETTINGS", "TABLES", "FROM_FILES", "SYSTEM", "open_source"]
    if getattr(module, "FROM_FILES", False):
        expected.append("read_files")
    if missing := [export for export in expected if not hasattr(module, export)]:
        raise KlantbeeldError(
            f"the source {name!r} lacks {', '.join(missing)}",
            f"Add it to ingestion/sources/{name}/__init__.py; docs/sources.md says what it is.",
        )
    return module


@contextmanager
def _private_files() -> Iterator[None]:
    """Whatever dlt and DuckDB write meanwhile is readable by its owner alone."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)
