"""Build, publish and read, on DuckDB files.

Both the build and every version are a file called `warehouse.duckdb`, so that views resolve under
the same catalog name in either (a view in a copied file fails when its catalog is called
otherwise).
"""

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import sqlalchemy as sa

from klantbeeld.clock import Clock
from klantbeeld.control.store import ControlPlane
from klantbeeld.control.tables import versions
from klantbeeld.errors import KlantbeeldError
from klantbeeld.failpoints import failpoint
from klantbeeld.files import PRIVATE_FILE, private_dir, sync_dir
from klantbeeld.records import keyed_hash
from klantbeeld.settings import Settings
from klantbeeld.warehouse.lock import run_lock

FILE_NAME = "warehouse.duckdb"
# A killed run's dbt dies within milliseconds of it; a file still locked after this long is in use.
_OPEN_TIMEOUT_SECONDS = 10.0

EngineConfig = dict[str, str | bool | int | float | list[str]]
OnCommit = Callable[[sa.Connection, str], None]


@dataclass(frozen=True)
class Version:
    """A published version of the warehouse."""

    version_id: str
    path: Path
    as_of: datetime
    created_at: datetime
    run_id: str
    counts: Mapping[str, Any]

    @property
    def folder(self) -> Path:
        """The version's folder: the warehouse and what was published with it."""
        return self.path.parent

    @property
    def manifest(self) -> Path:
        """The dbt manifest as it was when this version was built."""
        return self.folder / "manifest.json"


class NothingPublished(KlantbeeldError):
    """There is no current version to read."""

    def __init__(self) -> None:
        super().__init__("nothing has been published in this home yet", "Run `klantbeeld run`.")


class VersionGone(KlantbeeldError):
    """A version is on record, and somebody removed its files."""

    def __init__(self, version_id: str) -> None:
        super().__init__(
            f"the files of version {version_id} are gone",
            "`klantbeeld run` publishes a new version.",
        )


class Warehouse:
    """The data plane of one home."""

    def __init__(self, settings: Settings, control: ControlPlane) -> None:
        self._settings = settings
        self._control = control
        self._paths = settings.paths

    def run_lock(self, purpose: str) -> AbstractContextManager[None]:
        """The lock that a run holds from its first to its last step; see `lock.run_lock`."""
        return run_lock(self._paths.lock_file, purpose)

    @contextmanager
    def build(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A read-write connection to the build; close it before dbt or dlt runs.

        Raises:
            KlantbeeldError: Another process holds the file, or it is damaged.
        """
        private_dir(self._paths.build_dir)
        path = self._paths.build_file
        connection = _connect(path, read_only=False, config=self._engine_config())
        path.chmod(PRIVATE_FILE)
        # What a killed process spilled; nobody else has the file open now.
        shutil.rmtree(f"{path}.tmp", ignore_errors=True)
        try:
            yield connection
        finally:
            connection.close()

    @contextmanager
    def read(self, version_id: str | None = None) -> Iterator[duckdb.DuckDBPyConnection]:
        """A read-only connection to the current version, or to a named one that is still kept.

        It can read nothing else: no file, no network, and its settings are locked.

        Raises:
            NothingPublished: No version is published.
            VersionGone: Somebody removed its files.
            KlantbeeldError: The version is not kept any more.
        """
        version = self.current() if version_id is None else self._version(version_id)
        if version is None:
            raise NothingPublished
        if not version.path.exists():
            raise VersionGone(version.version_id)
        with _opened(version.path, self._engine_config()) as engine:
            # Of its own to each reader: temporary tables, and what is registered.
            connection = engine.cursor()
            try:
                yield connection
            finally:
                connection.close()

    def current(self) -> Version | None:
        """The current version, or None when nothing is published."""
        query = sa.select(versions).where(versions.c.status == "current")
        with self._control.read() as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None else self._as_version(row)

    def kept(self) -> list[Version]:
        """The current version and the older ones that are kept, the newest first."""
        query = (
            sa.select(versions)
            .where(versions.c.status != "retired")
            .order_by(versions.c.created_at.desc())
        )
        with self._control.read() as connection:
            return [self._as_version(row) for row in connection.execute(query)]

    def before(self, run_id: str) -> Version | None:
        """The newest kept version that another run than this one published."""
        query = (
            sa.select(versions)
            .where(versions.c.run_id != run_id, versions.c.status != "retired")
            .order_by(versions.c.created_at.desc())
            .limit(1)
        )
        with self._control.read() as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None else self._as_version(row)

    def set_run_context(
        self, connection: duckdb.DuckDBPyConnection, run_id: str, as_of: datetime
    ) -> None:
        """Write what models ask for with `as_of()`: one row in `meta.run_context`.

        A table and not a dbt variable: a changed variable makes dbt parse the whole project again.
        """
        connection.execute("create schema if not exists meta")
        connection.execute(
            """
            create or replace table meta.run_context as
            select
                cast($as_of as timestamptz) as as_of,
                cast(timezone($time_zone, cast($as_of as timestamptz)) as date) as business_date,
                $time_zone::varchar as time_zone,
                $default_country::varchar as default_country,
                $run_id::varchar as run_id,
                $contact_point_secret::varchar as contact_point_secret
            """,
            {
                "as_of": as_of.isoformat(),
                "time_zone": self._settings.time_zone,
                "default_country": self._settings.default_country,
                "run_id": run_id,
                # Not the home's key itself: what is in the warehouse may be read by many.
                "contact_point_secret": keyed_hash("contact_point_key", self._settings.home_key()),
            },
        )

    def publish(
        self,
        *,
        run_id: str,
        as_of: datetime,
        counts: Mapping[str, Any],
        on_commit: OnCommit,
        manifest: Path | None = None,
    ) -> Version:
        """Make a copy of the build the current version.

        The copy is complete and on disk before the row that makes it current is committed, together
        with all that `on_commit` writes. A run killed anywhere in here has published either
        everything or nothing; what it left behind is removed by the next publish.

        Args:
            run_id: The run that built it.
            as_of: The business time it speaks of.
            counts: Figures to keep with the version; no personal data.
            on_commit: Writes to the control plane in the same transaction (profile ids).
            manifest: dbt's manifest to keep with the version.
        """
        with self.build() as connection:
            connection.execute("force checkpoint")
        created_at = Clock(self._settings).now()
        version_id = self._new_version_id(created_at)
        folder = self._paths.versions_dir / version_id
        staging = self._paths.versions_dir / f".{version_id}"
        self._remove_unpublished()
        private_dir(staging)
        _copy(self._paths.build_file, staging / FILE_NAME)
        if manifest is not None:
            _copy(manifest, staging / "manifest.json")
        failpoint("publish.before_rename")
        staging.rename(folder)
        sync_dir(folder.parent)
        failpoint("publish.before_commit")
        with self._control.begin() as connection_:
            connection_.execute(
                versions.update().where(versions.c.status == "current").values(status="previous")
            )
            connection_.execute(
                versions.insert().values(
                    version_id=version_id,
                    created_at=created_at,
                    as_of=as_of,
                    run_id=run_id,
                    status="current",
                    counts=dict(counts),
                )
            )
            on_commit(connection_, version_id)
            self._control.audit(connection_, "publish", version_id, run_id=run_id)
        failpoint("publish.after_commit")
        self._retire_old()
        return Version(version_id, folder / FILE_NAME, as_of, created_at, run_id, dict(counts))

    def roll_back(self) -> Version:
        """Make the version before the current one current again.

        Raises:
            KlantbeeldError: No older version is kept.
        """
        previous = (
            sa.select(versions)
            .where(versions.c.status == "previous")
            .order_by(versions.c.created_at.desc())
            .limit(1)
        )
        with self._control.begin() as connection:
            row = connection.execute(previous).one_or_none()
            if row is None or not self._as_version(row).path.exists():
                raise KlantbeeldError("no older version is kept", "The current version stays.")
            connection.execute(
                versions.update().where(versions.c.status == "current").values(status="retired")
            )
            connection.execute(
                versions.update()
                .where(versions.c.version_id == row.version_id)
                .values(status="current")
            )
            self._control.audit(connection, "roll_back", row.version_id)
        return self._as_version(row)

    def _engine_config(self) -> EngineConfig:
        return {
            "threads": str(self._settings.warehouse.threads),
            "memory_limit": self._settings.warehouse.memory_limit,
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
        }

    def _version(self, version_id: str) -> Version:
        query = sa.select(versions).where(versions.c.version_id == version_id)
        with self._control.read() as connection:
            row = connection.execute(query).one_or_none()
        if row is None or row.status == "retired":
            raise KlantbeeldError(
                f"version {version_id} is not kept",
                "`klantbeeld status` lists the versions that are.",
            )
        return self._as_version(row)

    def _as_version(self, row: sa.Row[Any]) -> Version:
        path = self._paths.versions_dir / row.version_id / FILE_NAME
        return Version(row.version_id, path, row.as_of, row.created_at, row.run_id, row.counts)

    def _new_version_id(self, created_at: datetime) -> str:
        stamp = created_at.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
        with self._control.read() as connection:
            number = connection.scalar(sa.select(sa.func.count()).select_from(versions)) or 0
        return f"{stamp}-{number + 1:04d}"

    def _remove_unpublished(self) -> None:
        """Remove the copies of runs that were killed before they published."""
        folder = self._paths.versions_dir
        if not folder.exists():
            return
        query = sa.select(versions.c.version_id).where(versions.c.status != "retired")
        with self._control.read() as connection:
            kept: set[str] = set(connection.scalars(query))
        for child in folder.iterdir():
            if child.is_dir() and child.name not in kept:
                shutil.rmtree(child)

    def _retire_old(self) -> None:
        query = (
            sa.select(versions.c.version_id)
            .where(versions.c.status == "previous")
            .order_by(versions.c.created_at.desc())
            .offset(self._settings.warehouse.kept_versions)
        )
        with self._control.begin() as connection:
            old: list[str] = list(connection.scalars(query))
            connection.execute(
                versions.update().where(versions.c.version_id.in_(old)).values(status="retired")
            )
        # A reader that still has an old version open keeps its file: unlinking does not disturb it.
        self._remove_unpublished()


def row_counts(connection: duckdb.DuckDBPyConnection) -> dict[str, int]:
    """Rows of every table, as `schema.table`, counted: an estimate still knows what was deleted."""
    tables = connection.execute(
        """
        select schema_name, table_name
        from duckdb_tables()
        where database_name = current_database()
            and schema_name not in ('meta', 'main')
            and not ends_with(schema_name, '_staging')
            and not starts_with(table_name, '_dlt')
        order by all
        """
    ).fetchall()
    counts = [
        f'select \'{schema}.{table}\', count(*) from "{schema}"."{table}"'
        for schema, table in tables
    ]
    return dict(connection.execute(" union all ".join(counts)).fetchall()) if counts else {}


@dataclass
class _Engine:
    connection: duckdb.DuckDBPyConnection
    readers: int = 0


# A process opens a version once: a second opening would set again what the first has locked.
_engines: dict[Path, _Engine] = {}
_engines_lock = threading.Lock()


@contextmanager
def _opened(path: Path, config: EngineConfig) -> Iterator[duckdb.DuckDBPyConnection]:
    """A version's engine, shared by the threads of this process that read it now."""
    with _engines_lock:
        engine = _engines.get(path)
        if engine is None:
            connection = _connect(path, read_only=True, config=config)
            connection.execute("set enable_external_access = false")
            connection.execute("set lock_configuration = true")
            engine = _engines[path] = _Engine(connection)
        engine.readers += 1
    try:
        yield engine.connection
    finally:
        with _engines_lock:
            engine.readers -= 1
            if not engine.readers:
                del _engines[path]
                engine.connection.close()


def _connect(path: Path, *, read_only: bool, config: EngineConfig) -> duckdb.DuckDBPyConnection:
    deadline = time.monotonic() + _OPEN_TIMEOUT_SECONDS
    while True:
        try:
            connection = duckdb.connect(path, read_only=read_only, config=config)
        except duckdb.IOException as error:
            if "lock" not in str(error).lower():
                raise KlantbeeldError(
                    f"{path} cannot be opened: {error}", "`klantbeeld doctor` says what to do."
                ) from None
            if time.monotonic() > deadline:
                raise KlantbeeldError(
                    f"{path} is in use by another process",
                    "Close the program that has it open, such as a database browser.",
                ) from None
            time.sleep(0.2)
        else:
            connection.execute("set global TimeZone = 'UTC'")
            return connection


def _copy(source: Path, target: Path) -> None:
    shutil.copyfile(source, target)
    target.chmod(PRIVATE_FILE)
    with target.open("rb+") as stream:
        os.fsync(stream.fileno())
