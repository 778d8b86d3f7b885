"""What a home holds now: the report behind `klantbeeld status`.

Ids and counts only. The JSON form is a contract: its schema is `docs/status.schema.json`, written
from the models below (`python -m klantbeeld.status > docs/status.schema.json`), and a test keeps
the two the same.
"""

import json
import sys
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import sqlalchemy as sa
from pydantic import BaseModel

from klantbeeld.activation import read_manifest, sent_names
from klantbeeld.control import ControlPlane
from klantbeeld.control.tables import (
    exports,
    load_counts,
    load_runs,
    outbox,
    quarantine,
    sync_runs,
)
from klantbeeld.identity import evaluate
from klantbeeld.settings import Settings
from klantbeeld.warehouse import Version, Warehouse, row_counts
from klantbeeld.warehouse.lock import lock_holder

# The stages in the order of the data's path; raw_<source> schemas come before them.
STAGES = ("staging", "intermediate", "identity", "marts", "insights", "segments", "activation")


class VersionStatus(BaseModel):
    """The current version."""

    version_id: str
    as_of: datetime
    created_at: datetime
    run_id: str


class TableStatus(BaseModel):
    """A table of the current version."""

    stage: str
    table: str
    rows: int


class SourceStatus(BaseModel):
    """The last load of a source."""

    source: str
    status: Literal["loaded", "unchanged", "failed", "disabled"]
    at: datetime
    message: str | None
    rows_read: int
    rows_loaded: int
    rows_unchanged: int
    rows_quarantined: int
    rows_deduplicated: int
    rows_deleted: int


class QuarantineStatus(BaseModel):
    """Open quarantine rows of one raw table."""

    source: str
    table: str
    rows: int


@dataclass(frozen=True)
class FailingSource:
    """A source whose last load failed.

    Attributes:
        source: The source.
        since: When the first load failed after the last that did not, in UTC.
        message: Why the last one failed.
    """

    source: str
    since: datetime
    message: str


class SyncStatus(BaseModel):
    """The last run of a sync, and what is open in its outbox."""

    sync: str
    status: str
    started_at: datetime
    finished_at: datetime | None
    version_id: str | None
    creates: int
    updates: int
    deletes: int
    unchanged: int
    acknowledged: int
    rejected: int
    unknown: int
    held: int
    open_rejected: int
    waiting: int
    message: str | None


class ExportStatus(BaseModel):
    """The newest file of an audience."""

    sync: str
    rows: int
    version_id: str
    written_at: datetime


class LinkageStatus(BaseModel):
    """Figures of the last linkage, and its quality where the truth is known."""

    figures: dict[str, Any]
    quality: dict[str, float] | None


class StatusReport(BaseModel):
    """All that `klantbeeld status --json` prints."""

    schema_version: Literal[1] = 1
    home: str
    environment: str
    running: dict[str, str] | None
    version: VersionStatus | None
    tables: list[TableStatus]
    linkage: LinkageStatus | None
    sources: list[SourceStatus]
    quarantine: list[QuarantineStatus]
    syncs: list[SyncStatus]
    exports: list[ExportStatus]


def read_status(settings: Settings, control: ControlPlane) -> StatusReport:
    """Read the state of a home; takes no lock and disturbs no run."""
    warehouse = Warehouse(settings, control)
    version = warehouse.current()
    rows, linkage = ([], None) if version is None else _read_version(settings, warehouse, version)
    sent = None
    if version is not None and version.manifest.exists():
        sent = sent_names(read_manifest(version.manifest))
    with control.read() as connection:
        return StatusReport(
            home=str(settings.paths.home),
            environment=settings.environment,
            running=lock_holder(settings.paths.lock_file),
            version=None if version is None else VersionStatus.model_validate(vars(version)),
            tables=rows,
            linkage=linkage,
            sources=_sources(connection),
            quarantine=open_quarantine(connection),
            syncs=[_as_it_is(settings, sync, sent) for sync in _syncs(connection)],
            exports=_exports(connection),
        )


def _read_version(
    settings: Settings, warehouse: Warehouse, version: Version
) -> tuple[list[TableStatus], LinkageStatus | None]:
    with warehouse.read(version.version_id) as connection:
        found = row_counts(connection)
        linkage = None
        if "identity.linkage_report" in found:
            report = connection.execute("from identity.linkage_report").to_arrow_table().to_pylist()
            quality = evaluate(connection, settings) if report else None
            if report:
                linkage = LinkageStatus(
                    figures=report[0], quality=None if quality is None else quality.as_dict()
                )
    order = {stage: number for number, stage in enumerate(STAGES)}
    tables = [
        TableStatus(stage=schema, table=table, rows=rows)
        for (schema, _, table), rows in ((name.partition("."), n) for name, n in found.items())
        if (schema in order or schema.startswith("raw_"))
        and table != "landed_files"  # which file a row came from: no rows of the source
    ]
    tables.sort(key=lambda table: (order.get(table.stage, -1), table.stage, table.table))
    return tables, linkage


def _sources(connection: sa.Connection) -> list[SourceStatus]:
    newest = sa.select(
        load_runs,
        sa.func.row_number()
        .over(partition_by=load_runs.c.source, order_by=load_runs.c.at.desc())
        .label("age"),
    ).subquery()
    counts = [column for column in load_counts.c if column.name.startswith("rows_")]
    query = (
        sa.select(
            newest.c.source,
            newest.c.status,
            newest.c.at,
            newest.c.message,
            *(sa.func.coalesce(sa.func.sum(column), 0).label(column.name) for column in counts),
        )
        .select_from(
            newest.outerjoin(
                load_counts,
                sa.and_(
                    load_counts.c.run_id == newest.c.run_id,
                    load_counts.c.source == newest.c.source,
                ),
            )
        )
        .where(newest.c.age == 1)
        .group_by(newest.c.source, newest.c.status, newest.c.at, newest.c.message)
        .order_by(newest.c.source)
    )
    return [SourceStatus.model_validate(dict(row)) for row in connection.execute(query).mappings()]


def failing_sources(connection: sa.Connection) -> list[FailingSource]:
    """The sources whose last load failed, by name."""
    failed = load_runs.c.status == "failed"
    last_good = (
        sa.select(load_runs.c.source, sa.func.max(load_runs.c.at).label("at"))
        .where(~failed)
        .group_by(load_runs.c.source)
        .subquery()
    )
    after = sa.or_(last_good.c.at.is_(None), load_runs.c.at > last_good.c.at)
    query = (
        sa.select(load_runs.c.source, load_runs.c.at, load_runs.c.message)
        .select_from(load_runs.outerjoin(last_good, last_good.c.source == load_runs.c.source))
        .where(failed, after)
        .order_by(load_runs.c.source, load_runs.c.at)
    )
    found: dict[str, FailingSource] = {}
    for row in connection.execute(query):
        since = found[row.source].since if row.source in found else row.at
        found[row.source] = FailingSource(row.source, since, row.message or "no reason was given")
    return list(found.values())


def open_quarantine(connection: sa.Connection) -> list[QuarantineStatus]:
    """The rows that wait in quarantine, per raw table."""
    query = (
        sa.select(
            quarantine.c.source,
            quarantine.c.table_name.label("table"),
            sa.func.count().label("rows"),
        )
        .where(quarantine.c.status == "open")
        .group_by(quarantine.c.source, quarantine.c.table_name)
        .order_by(quarantine.c.source, quarantine.c.table_name)
    )
    return [QuarantineStatus.model_validate(dict(r)) for r in connection.execute(query).mappings()]


def _syncs(connection: sa.Connection) -> list[SyncStatus]:
    newest = sa.select(
        sync_runs,
        sa.func.row_number()
        .over(partition_by=sync_runs.c.sync, order_by=sync_runs.c.started_at.desc())
        .label("age"),
    ).subquery()
    is_rejected = sa.cast(outbox.c.state == "rejected", sa.Integer)
    still_open = (
        sa.select(
            outbox.c.sync,
            sa.func.sum(is_rejected).label("open_rejected"),
            sa.func.sum(1 - is_rejected).label("waiting"),
        )
        .where(outbox.c.state.in_(("pending", "in_flight", "unknown", "rejected")))
        .group_by(outbox.c.sync)
        .subquery()
    )
    query = (
        sa.select(
            newest,
            newest.c.planned_creates.label("creates"),
            newest.c.planned_updates.label("updates"),
            newest.c.planned_deletes.label("deletes"),
            sa.func.coalesce(still_open.c.open_rejected, 0).label("open_rejected"),
            sa.func.coalesce(still_open.c.waiting, 0).label("waiting"),
        )
        .select_from(newest.outerjoin(still_open, still_open.c.sync == newest.c.sync))
        .where(newest.c.age == 1)
        .order_by(newest.c.sync)
    )
    return [SyncStatus.model_validate(dict(row)) for row in connection.execute(query).mappings()]


def _as_it_is(settings: Settings, sync: SyncStatus, sent: set[str] | None) -> SyncStatus:
    """A run as what it is: of a sync that the project has no more, or killed while it ran.

    Args:
        settings: The home's settings.
        sync: Its last run as it was written down; a killed one still says that it runs.
        sent: What the current version sends; None if nothing is published.
    """
    if sent is not None and sync.sync not in sent:
        message = "No longer in the published version; what it sent is still there."
        return sync.model_copy(update={"status": "ended", "message": message})
    lock = settings.paths.home / "locks" / f"{sync.sync}.lock"
    if sync.status != "running" or lock_holder(lock) is not None:
        return sync
    message = "The process ended early; the next run goes on where it was."
    return sync.model_copy(update={"status": "failed", "message": message})


def _exports(connection: sa.Connection) -> list[ExportStatus]:
    newest = sa.select(
        exports,
        sa.func.row_number()
        .over(partition_by=exports.c.sync, order_by=exports.c.written_at.desc())
        .label("age"),
    ).subquery()
    query = sa.select(newest).where(newest.c.age == 1).order_by(newest.c.sync)
    return [ExportStatus.model_validate(dict(row)) for row in connection.execute(query).mappings()]


if __name__ == "__main__":
    sys.stdout.write(json.dumps(StatusReport.model_json_schema(), indent=2) + "\n")
