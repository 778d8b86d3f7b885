"""One export of one audience: from the published version to a file in a destination's place.

    activation.audience_* -> second consent check -> file in the home -> compared with the last one
        -> put in place as a whole -> manifest beside it -> control plane

The file's name ends in its own digest, and the manifest comes last: a receiver that waits for the
manifest never takes half a file. Killed between the two, the next run finds the file by its digest
and completes it. An audience that did not change gives no new file. A file past its expiry, and
one that a newer file has replaced, is removed with its manifest if it is still there: who withdrew
is in the file before.
"""

from __future__ import annotations

import json
import logging
import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
import sqlalchemy as sa

from klantbeeld.activation.consent import current_refusals, withheld_sql
from klantbeeld.activation.destinations import FileDestination, is_switched_off, open_files
from klantbeeld.activation.destinations.stores import Folder, Store
from klantbeeld.activation.guards import Limit, reasons_to_hold_export, upstream_reasons
from klantbeeld.activation.home import Home
from klantbeeld.activation.ledger import Ledger
from klantbeeld.activation.planning import relation_types
from klantbeeld.activation.plans import PlanBook
from klantbeeld.activation.reports import ExportReport
from klantbeeld.activation.specs import AudienceSpec, find_audience, read_manifest
from klantbeeld.clock import Clock
from klantbeeld.control.tables import exports
from klantbeeld.errors import KlantbeeldError, in_one_line, unforeseen_in_one_line
from klantbeeld.failpoints import failpoint
from klantbeeld.files import PRIVATE_FILE, file_digest, private_dir
from klantbeeld.warehouse.lock import run_lock

logger = logging.getLogger(__name__)

_MANIFEST = ".manifest.json"
_BLOCK_ROWS = 50_000


def run_export(audience: str, home: Home, run_id: str) -> ExportReport:
    """Write an audience's file, if the audience changed.

    Args:
        audience: Its name, such as `breakfast_shoppers`.
        home: The home.
        run_id: The run this is part of.

    Raises:
        NothingPublished: No version is published.
        RunInProgress: This export is running in another process.
        KlantbeeldError: There is no such audience in the published version.
    """
    started = time.monotonic()
    export = _Export(audience, home)
    name, ledger = export.name, export.ledger
    with export.lock():
        report = export.report
        sync_run_id = ledger.start_run(run_id, report.version_id)
        try:
            with unforeseen_in_one_line():
                report = export.go()
        except KlantbeeldError as error:
            logger.error("%s failed: %s", name, error.message)
            message = in_one_line(error.message, error.hint)
            report = replace(report, message=message)
        except OSError as error:
            message = f"the folder of {report.destination} cannot be written: {error.strerror}"
            report = replace(report, message=message)
        report = replace(report, seconds=time.monotonic() - started)
        ledger.finish_run(
            sync_run_id,
            report.status,
            unchanged=report.rows if report.status == "unchanged" else 0,
            acknowledged=report.rows if report.status == "written" else 0,
            held=report.rows if report.status == "held" else 0,
            message=report.message,
        )
    return report


def plan_export(audience: str, home: Home) -> ExportReport:
    """Say what a run would write now; nothing leaves the home.

    Args:
        audience: Its name.
        home: The home.

    Returns:
        A report whose status is planned, unchanged, held or disabled.

    Raises:
        KlantbeeldError: The audience cannot be written, or there is none of that name.
    """
    export = _Export(audience, home)
    with export.lock(), unforeseen_in_one_line():
        return export.plan()


class _Export:
    """An audience of the current version, and the steps of its export.

    Attributes:
        report: What is known before the first step.
    """

    def __init__(self, audience: str, home: Home) -> None:
        self._version = version = home.published()
        self._spec: AudienceSpec = find_audience(read_manifest(version.manifest), audience)
        self._settings = settings = home.settings
        self._control = control = home.control
        self._warehouse = home.warehouse
        clock = Clock(settings)
        self._now = clock.now()
        self.name = f"audience_{self._spec.name}"
        self.ledger = Ledger(control, self.name, clock)
        self.report = ExportReport(
            self._spec.name, "failed", version.version_id, self._spec.destination
        )
        self._left_over = re.compile(
            rf"\.{re.escape(self._spec.name)}_\d{{8}}_[0-9a-f]{{12}}\.[a-z.]+\.partial"
        )
        self._plans = PlanBook(control, self.name, clock, settings.activation.approval_hours)

    def lock(self) -> AbstractContextManager[None]:
        """The lock of this export: one process at a time writes it."""
        path = self._settings.paths.home / "locks" / f"{self.name}.lock"
        return run_lock(path, f"export {self._spec.name}")

    def plan(self) -> ExportReport:
        """Write the file in the home, compare, and throw it away."""
        if self._is_switched_off:
            return self._disabled()
        with self._partial() as partial:
            return self._compared(open_files(self._settings, self._spec), partial)[0]

    def go(self) -> ExportReport:
        """Write, compare, and put in place."""
        if self._is_switched_off:
            return self._disabled()
        destination = open_files(self._settings, self._spec)
        store = destination.store
        there = store.names()
        for name in there:
            if self._left_over.fullmatch(name):
                store.remove(name)  # of a run that was killed: the lock says there is no other
        self._remove(store, exports.c.expires_at <= self._now)
        with self._partial() as partial:
            report, columns, reasons = self._compared(destination, partial)
            digest = str(report.digest)
            if report.status == "unchanged":
                self._plans.close()
                kept = f"{store.address}/{report.file}"
                return replace(report, message=self._remove_replaced(store, kept))
            if report.status == "held":
                self._plans.record(digest, self._version.version_id, {"rows": report.rows}, reasons)
                return report
            size = partial.stat().st_size
            name = self._file_name(there, digest, destination.suffix)
            failpoint("export.before_rename")
            store.put(partial, name)
            failpoint("export.after_rename")
            expires_at = self._now + timedelta(days=self._settings.activation.export_days)
            partial.write_text(
                self._manifest(name, columns, report.rows, report.withheld, digest, expires_at)
            )
            store.put(partial, name + _MANIFEST)
        written = f"{store.address}/{name}"
        self._record(written, report.rows, digest, expires_at)
        message = self._remove_replaced(store, written)
        return replace(report, status="written", file=name, bytes=size, message=message)

    @property
    def _is_switched_off(self) -> bool:
        return is_switched_off(self._settings, self._spec.destination)

    def _disabled(self) -> ExportReport:
        message = f"destinations.{self._spec.destination} is switched off"
        return replace(self.report, status="disabled", message=message)

    @contextmanager
    def _partial(self) -> Iterator[Path]:
        """A file in the home for the audience while it is written; gone afterwards."""
        # One name for all runs: what a killed one left is written over.
        partial = private_dir(self._settings.paths.exports_dir) / self._spec.name
        partial.unlink(missing_ok=True)
        try:
            os.close(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE_FILE))
            yield partial
        finally:
            partial.unlink(missing_ok=True)

    def _compared(
        self, destination: FileDestination, partial: Path
    ) -> tuple[ExportReport, list[str], list[str]]:
        """Write the rows that may leave to a file of ours and compare it with the last one sent.

        Returns:
            A report (unchanged, held or planned), the columns, and the reasons to hold it.
        """
        with self._warehouse.read(self._version.version_id) as connection:
            columns, rows, withheld = self._write(connection, destination, partial)
        digest = file_digest(partial)
        last = self._last()
        before = None if last is None else last.rows
        report = replace(
            self.report, rows=rows, rows_before=before, withheld=withheld, digest=digest
        )
        # A file in the place that the destination was before is not where it is looked for now.
        is_here = (
            last is not None and last.file == f"{destination.store.address}/{_name(last.file)}"
        )
        if last is not None and last.digest == digest and is_here:
            return replace(report, status="unchanged", file=_name(last.file)), columns, []
        limits = self._settings.activation
        reasons = reasons_to_hold_export(rows, before, limits.export_shrink_percent)
        if last is not None:
            reasons += upstream_reasons(
                self.ledger.rows_when_last_sent(),
                self._version.counts,
                Limit(limits.guard_rows, limits.guard_percent),
            )
        if reasons and not self._plans.is_approved(digest):
            message = f"held for review: {'; '.join(reasons)}. The file before stays."
            return replace(report, status="held", message=message), columns, reasons
        return replace(report, status="planned"), columns, []

    def _write(
        self,
        connection: duckdb.DuckDBPyConnection,
        destination: FileDestination,
        partial: Path,
    ) -> tuple[list[str], int, int]:
        """Write the rows that may leave; returns columns, rows, and rows withheld."""
        spec = self._spec
        types = relation_types(connection, spec.relation)
        self._check_key(connection, types)
        columns, select = destination.select(spec, types)
        refusals = current_refusals(self._control, spec.purpose, self._now)
        withheld = withheld_sql(connection, spec, types, refusals, self._settings.home_key())
        counted = connection.execute(
            f"select count(*) from {spec.relation} where {withheld}"
        ).fetchone()
        source = f"with audience as (select * from {spec.relation} where not ({withheld}))"
        reader = connection.execute(f"{source} {select}").to_arrow_reader(_BLOCK_ROWS)
        rows = destination.write(reader, partial)
        return columns, rows, counted[0] if counted else 0

    def _check_key(self, connection: duckdb.DuckDBPyConnection, types: Mapping[str, str]) -> None:
        relation = self._spec.relation
        if "contact_point_key" not in types:
            raise KlantbeeldError(
                f"{relation} has no contact_point_key",
                "The shaping of the segments' folder makes it; run `klantbeeld run`.",
            )
        found = connection.execute(
            f"""
            select
                count(*) - count(contact_point_key),
                count(contact_point_key) - count(distinct contact_point_key)
            from {relation}
            """
        ).fetchone()
        nulls, twice = found or (0, 0)
        if nulls or twice:
            raise KlantbeeldError(
                f"{relation}: {nulls} rows have no contact point, {twice} share one",
                "One row per contact point: a person is not written to twice.",
            )

    def _file_name(self, there: Iterable[str], digest: str, suffix: str) -> str:
        """The file's name; that of a killed run's file with this content, if there is one."""
        date = self._version.as_of.astimezone(ZoneInfo(self._settings.time_zone))
        present = set(there)
        alike = re.compile(
            rf"{re.escape(self._spec.name)}_\d{{8}}_{digest[:12]}{re.escape(suffix)}"
        )
        for left in sorted(present):
            if alike.fullmatch(left) and left + _MANIFEST not in present:
                return left
        return f"{self._spec.name}_{date:%Y%m%d}_{digest[:12]}{suffix}"

    def _manifest(
        self,
        name: str,
        columns: list[str],
        rows: int,
        withheld: int,
        digest: str,
        expires_at: datetime,
    ) -> str:
        manifest = {
            "audience": self._spec.name,
            "owner": self._spec.owner,
            "purpose": self._spec.purpose,
            "channel": self._spec.channel,
            "file": name,
            "rows": rows,
            "withheld": withheld,
            "columns": columns,
            "sha256": digest,
            "version": self._version.version_id,
            "as_of": self._version.as_of.isoformat(),
            "written_at": self._now.isoformat(timespec="seconds"),
            "expires_at": expires_at.isoformat(timespec="seconds"),
        }
        return json.dumps(manifest, indent=2) + "\n"

    def _record(self, file: str, rows: int, digest: str, expires_at: datetime) -> None:
        with self._control.begin() as connection:
            connection.execute(
                exports.delete().where(exports.c.sync == self.name, exports.c.file == file)
            )
            connection.execute(
                exports.insert().values(
                    sync=self.name,
                    version_id=self._version.version_id,
                    file=file,
                    rows=rows,
                    digest=digest,
                    written_at=self._now,
                    expires_at=expires_at,
                )
            )
            self._control.audit(connection, "export", self.name, file=_name(file), rows=rows)
        self._plans.close()

    def _last(self) -> sa.Row[Any] | None:
        """The newest export of this audience that has not expired."""
        query = (
            sa.select(exports)
            .where(exports.c.sync == self.name)
            .order_by(exports.c.written_at.desc())
            .limit(1)
        )
        with self._control.read() as connection:
            return connection.execute(query).one_or_none()

    def _remove_replaced(self, store: Store, kept: str) -> str | None:
        """Remove every file of this audience but the last; what could not be done, in words."""
        try:
            left = self._remove(store, exports.c.file != kept)
        except (KlantbeeldError, OSError) as error:
            why = error.message if isinstance(error, KlantbeeldError) else error.strerror
            logger.warning("%s: a file before it could not be removed: %s", self.name, why)
            return f"a file before it could not be removed ({why}); the next run tries again"
        if not left:
            return None
        return f"remove what is left where the destination was before: {', '.join(left)}"

    def _remove(self, store: Store, which: sa.ColumnElement[bool]) -> list[str]:
        """Remove files of this audience; the names of those that are out of reach."""
        query = sa.select(exports.c.file).where(exports.c.sync == self.name, which)
        with self._control.read() as connection:
            files = [row.file for row in connection.execute(query)]
        left = []
        for file in files:
            name = _name(file)
            if file == f"{store.address}/{name}":
                place = store
            elif file.startswith("/"):
                place = Folder(Path(file).parent)
            else:
                logger.warning(
                    "%s: %s is out of date in a place that is not set any more: remove it there",
                    self.name,
                    name,
                )
                left.append(name)
                continue
            # The manifest goes first: without it a receiver takes nothing.
            place.remove(name + _MANIFEST)
            place.remove(name)
            with self._control.begin() as connection:
                connection.execute(
                    exports.delete().where(exports.c.sync == self.name, exports.c.file == file)
                )
        return left


def _name(file: str) -> str:
    """The name of a file whose place stands in front."""
    return file.rpartition("/")[2]
