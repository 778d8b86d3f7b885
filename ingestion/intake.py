"""One load of one source: contracts and readers become dlt resources, with validation in between.

    with Intake(...) as intake:
        intake.resource(table, read)      # dlt resource: read -> validate -> what is to be loaded
        ... dlt extracts ...              # cursors move in dlt's state, loaded with the rows
        intake.detach()                   # the build is dlt's now

A reader is a function `read(load: TableLoad)`. It asks `load.since` where to begin, hands over what
it finds (`load.rows.add_rows`, `add_documents`, `delete`, `keep_only`) and may keep something for
the next load in `load.state`, as its last act: what it keeps is committed with the rows, or not at
all.
"""

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any

import duckdb
import pyarrow as pa

from ingestion import quarantine
from ingestion.contracts import DELETED, DIGEST, LOADED_AT, Table, landed_files
from ingestion.landing import LANDED, LOADED, QUARANTINED, LandedFile, Landing
from ingestion.settings import IngestSettings
from ingestion.validation import Outcome, TableValidator
from klantbeeld.clock import Clock
from klantbeeld.control import ControlPlane
from klantbeeld.errors import KlantbeeldError
from klantbeeld.failpoints import failpoint
from klantbeeld.files import private_dir
from klantbeeld.settings import Settings

# How far a source's clock may run ahead of ours before its times are not believed.
CLOCK_TOLERANCE = timedelta(days=1)
# Where a reader's own state is in that of its dlt resource, beside dlt's cursor.
_KEPT = "reader"
_MOMENT = pa.timestamp("us", tz="UTC")


class SourceUnavailable(KlantbeeldError):
    """The source as a whole cannot be read: no use in trying its other tables."""


@dataclass
class TableLoad:
    """What a reader works with.

    Attributes:
        table: The contract.
        rows: Takes what the reader finds.
        since: Ask for what changed from here on; None for everything.
        state: Survives until the next load of this table.
        at: When this load began.
    """

    table: Table
    rows: TableValidator
    since: datetime | None
    state: dict[str, Any]
    at: datetime


Reader = Callable[[TableLoad], None]


class Intake:
    """The validation side of one load of one source.

    Attributes:
        settings: The home's settings.
        control: The control plane.
        landing: The source's landing folder.
        at: When this load began, wall-clock.
        outcomes: What became of each table that could be read.
        failures: Why others could not be.
        notes: Remarks for the report.
        new_quarantined: Rows in quarantine since this load.
    """

    def __init__(
        self,
        source: str,
        settings: Settings,
        control: ControlPlane,
        config: IngestSettings,
        *,
        run_id: str,
        reload: bool = False,
    ) -> None:
        self.settings = settings
        self.control = control
        self.landing = Landing(settings, control, source)
        self.at = datetime.now(UTC)
        self.outcomes: dict[str, Outcome] = {}
        self.failures: dict[str, KlantbeeldError] = {}
        self.notes: list[str] = []
        self.new_quarantined = 0
        self._source = source
        self._run_id = run_id
        self._config = config
        self._reload = reload
        self._latest = max(Clock(settings).as_of(), self.at) + CLOCK_TOLERANCE
        self._settled_files: dict[str, list[dict[str, Any]]] = {}
        self._on_exit = ExitStack()
        self._attached = False
        self._spill = settings.paths.build_dir / "intake.tmp"
        self._con = self._open()

    def __enter__(self) -> "Intake":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._on_exit.close()
        self._con.close()
        shutil.rmtree(self._spill, ignore_errors=True)

    # ---- for sources ----------------------------------------------------------------------------

    def on_exit(self, close: Callable[[], None]) -> None:
        """Call this when the load has ended, however it did."""
        self._on_exit.callback(close)

    def resource(self, table: Table, read: Reader, *, lag: timedelta = timedelta()) -> Any:
        """A dlt resource that loads one table.

        Args:
            table: The contract.
            read: Reads the source.
            lag: How far before the last row seen an incremental table is asked for again.
        """
        import dlt

        table = self._with_policy(table)
        # dlt drops rows from before its cursor, so a reload goes without; the cursor stays where it
        # is.
        if table.is_incremental and not self._reload:
            cursor: Any = dlt.sources.incremental(
                str(table.cursor),
                lag=lag.total_seconds(),
                # The keys of deleted rows go along without one.
                on_cursor_value_missing="include",
            )

            def rows(since: Any = cursor) -> Iterator[pa.Table]:
                yield from self._load(table, read, since.start_value, dlt.current.resource_state())

        else:

            def rows() -> Iterator[pa.Table]:  # type: ignore[misc]
                yield from self._load(table, read, None, dlt.current.resource_state())

        return dlt.resource(rows, **self._hints(table))()

    def replay_resource(self, table: Table, read: Reader) -> Any:
        """A dlt resource that loads quarantined rows again; no cursor moves by it."""
        import dlt

        # In quarantine a row grows old: it must not replace what was loaded since.
        table = replace(
            self._with_policy(table), is_incremental=False, newest_wins=table.cursor is not None
        )

        def rows() -> Iterator[pa.Table]:
            yield from self._load(table, read, None, {}, is_replay=True)

        return dlt.resource(rows, **self._hints(table))()

    def landed(self, files: dict[str, list[LandedFile]]) -> Any:
        """A dlt resource that remembers, in the build itself, which files it holds.

        Args:
            files: Per table, the files that are loaded into it. This resource comes after the
            tables.
        """
        import dlt

        table = landed_files(self._source)

        def rows() -> Iterator[pa.Table]:
            read = [
                (file, counts.get((file.name, file.digest), 0))
                for name, found in files.items()
                if name not in self.failures
                for counts in [self._rows_read(name)]
                for file in found
            ]
            if read:
                yield pa.table(
                    {
                        "name": [file.name for file, _ in read],
                        "digest": [file.digest for file, _ in read],
                        "rows_read": pa.array([rows for _, rows in read], pa.int64()),
                        "received_at": pa.array([file.received_at for file, _ in read], _MOMENT),
                        DIGEST: [file.digest[:32] for file, _ in read],
                        LOADED_AT: pa.array([self.at] * len(read), _MOMENT),
                        DELETED: pa.array([False] * len(read), pa.bool_()),
                    }
                )

        return dlt.resource(rows, **self._hints(table))()

    def _rows_read(self, table: str) -> dict[tuple[str, str], int]:
        if table not in self.outcomes:
            raise AssertionError(f"{table} has to be read before its files count as read")
        rows = self._settled_files.get(table, [])
        return {(row["name"], row["digest"]): row["rows_read"] for row in rows}

    def unread_files(self) -> list[LandedFile]:
        """Landed files that this build does not hold, oldest first."""
        versions = self.landing.versions()
        if self._reload or not versions:
            return versions
        table = landed_files(self._source)
        held = {
            (name, digest): (received_at, rows_read)
            for name, digest, received_at, rows_read in self._con.execute(
                "select name, digest, received_at, rows_read"
                f' from build."{table.schema}"."{table.name}"'
            ).fetchall()
        }
        unread, unmarked = [], []
        for file in versions:
            received_at, rows_read = held.get((file.name, file.digest), (None, 0))
            if received_at is None or received_at < file.received_at:
                unread.append(file)
            elif file.status == LANDED:
                unmarked.append(_settled(file, rows_read, None))
        # A load that was killed between its last two steps did not get to mark these.
        self.landing.settle(unmarked, self.at)
        return unread

    def settle_file(
        self,
        table: Table,
        file: LandedFile,
        rows_read: int,
        *,
        quarantined_because: str | None = None,
    ) -> None:
        """Say what became of a landed file; it is entered in the manifest after the load."""
        self._settled_files.setdefault(table.name, []).append(
            _settled(file, rows_read, quarantined_because)
        )

    # ---- for pipelines --------------------------------------------------------------------------

    def validator(self, table: Table, *, compare: bool = True) -> TableValidator:
        """A validator of one table, in this load."""
        return TableValidator(
            self._con, table, latest=self._latest, loaded_at=self.at, compare=compare
        )

    def detach(self) -> None:
        """Let go of the build, so that dlt can write to it."""
        if self._attached:
            self._con.execute("detach build")
            self._attached = False

    def settle(self) -> None:
        """After the load: mark its files in the manifest."""
        for table, rows in self._settled_files.items():
            if table in self.outcomes:
                self.landing.settle(rows, self.at)

    # ---- inside ---------------------------------------------------------------------------------

    def _open(self) -> duckdb.DuckDBPyConnection:
        shutil.rmtree(self._spill, ignore_errors=True)  # what a killed load left behind
        private_dir(self._spill)
        connection = duckdb.connect(
            config={
                "threads": self.settings.warehouse.threads,
                "memory_limit": self.settings.warehouse.memory_limit,
                "temp_directory": str(self._spill),
            }
        )
        connection.execute("set timezone = 'UTC'")
        connection.execute(f"set variable home_key = '{self.settings.home_key().hex()}'")
        build = str(self.settings.paths.build_file).replace("'", "''")
        connection.execute(f"attach '{build}' as build (read_only)")
        self._attached = True
        return connection

    def _load(
        self,
        table: Table,
        read: Reader,
        since: datetime | None,
        state: dict[str, Any],
        *,
        is_replay: bool = False,
    ) -> Iterator[pa.Table]:
        if any(isinstance(error, SourceUnavailable) for error in self.failures.values()):
            return
        validator = self.validator(table)
        load = TableLoad(
            table=table,
            rows=validator,
            since=None if self._reload else since,
            state={} if self._reload else dict(state.get(_KEPT, {})),
            at=self.at,
        )
        try:
            read(load)
            # A replayed row is not superseded by itself.
            earlier = (
                None if is_replay else quarantine.open_rows(self.control, self._source, table.name)
            )
            outcome = validator.finish(earlier)
        except KlantbeeldError as error:
            self.failures[table.name] = error
            validator.close()
            return
        # The cursor moves with the load, so this comes before it. Killed in between, the load reads
        # the same rows once more and recognises them; a row that turns out bad again is opened
        # again.
        self.new_quarantined += quarantine.record(
            self.control, self._source, outcome.quarantined, run_id=self._run_id, at=self.at
        )
        quarantine.settle(self.control, outcome.superseded, quarantine.SUPERSEDED, self.at)
        failpoint(f"ingestion.{self._source}.validated")
        self.outcomes[table.name] = outcome
        self.notes += outcome.notes
        yield from validator.batches()
        validator.close()
        if load.state != state.get(_KEPT, {}):
            state[_KEPT] = load.state

    def _with_policy(self, table: Table) -> Table:
        policy = self._config.new_columns.get(table.name)
        return replace(table, new_columns=policy) if policy else table

    @staticmethod
    def _hints(table: Table) -> dict[str, Any]:
        return {
            "name": table.name,
            "primary_key": list(table.key),
            "write_disposition": {"disposition": "merge", "strategy": "delete-insert"},
            "columns": table.hints,
            # Validation has decided what gets here; anything else would be a defect, and fails.
            "schema_contract": {
                "tables": "evolve",
                "columns": "evolve" if table.new_columns == "evolve" else "freeze",
                "data_type": "freeze",
            },
        }


def _settled(file: LandedFile, rows_read: int, quarantined_because: str | None) -> dict[str, Any]:
    return {
        "name": file.name,
        "digest": file.digest,
        "rows_read": rows_read,
        "status": QUARANTINED if quarantined_because else LOADED,
        "message": quarantined_because,
    }
