"""Opening, migrating, backing up and auditing the control plane."""

import sqlite3
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from klantbeeld.control import tables
from klantbeeld.errors import KlantbeeldError, SettingsError
from klantbeeld.files import PRIVATE_FILE, private_dir
from klantbeeld.records import keyed_hash
from klantbeeld.settings import Settings

if TYPE_CHECKING:
    import pyarrow as pa

SCHEMA_REVISION = "0006"
_KEY_CHECK = "home_key_check"
_MIGRATIONS = Path(__file__).parent / "migrations"


class ControlPlane:
    """The open control plane of one home.

    Attributes:
        engine: The SQLAlchemy engine; its connections are in WAL mode with `synchronous=FULL`.
        path: The SQLite file.
    """

    def __init__(self, engine: sa.Engine, path: Path) -> None:
        self.engine = engine
        self.path = path

    @contextmanager
    def begin(self) -> Iterator[sa.Connection]:
        """A transaction that takes the write lock at once: it never fails half-way on it."""
        with (
            self.engine.connect().execution_options(writes=True) as connection,
            connection.begin(),
        ):
            yield connection

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """A connection for reading; it never waits for a writer."""
        with self.engine.connect() as connection:
            yield connection

    def value(self, key: str) -> str | None:
        """A fact that the home knows of itself: `home_id`, `environment`, `epoch`."""
        with self.read() as connection:
            query = sa.select(tables.home.c.value).where(tables.home.c.key == key)
            value: str | None = connection.scalar(query)
        return value

    def audit(self, connection: sa.Connection, action: str, subject: str, **detail: Any) -> None:
        """Write down who did what; ids and counts only."""
        connection.execute(
            tables.audit_log.insert().values(
                at=datetime.now(UTC),
                actor=current_user(),
                action=action,
                subject=subject,
                detail=detail,
            )
        )

    def read_tables(
        self, queries: Mapping[str, sa.Select[Any]], schemas: Mapping[str, "pa.Schema"]
    ) -> dict[str, "pa.Table"]:
        """Read the results of queries in bulk, as Arrow.

        From a copy, through ADBC: a third of the CPU time of rows through Python (a million rows of
        three columns: 1.0 s against 3.7 s). Never from the store itself: the driver brings a SQLite
        of its own, and two of them on one file in one process undo each other's locks. The driver
        then takes itself for the last user and removes the write-ahead log, so that what is
        committed afterwards goes to a deleted file.

        Args:
            queries: By name. The driver takes a column's type from its first rows: give a column
                that may begin with nulls a default.
            schemas: The columns and types of each result.
        """
        # Late: most commands read a few rows, and pay for neither.
        import adbc_driver_sqlite.dbapi as adbc

        tables = {}
        with tempfile.TemporaryDirectory(dir=self.path.parent, prefix=".read-") as folder:
            copy = Path(folder) / "control.db"
            self.copy_to(copy)
            with adbc.connect(str(copy)) as connection, connection.cursor() as cursor:
                for name, query in queries.items():
                    compiled = query.compile(
                        dialect=self.engine.dialect, compile_kwargs={"literal_binds": True}
                    )
                    cursor.execute(str(compiled))
                    table = cursor.fetch_arrow_table()
                    schema = schemas[name]
                    tables[name] = table.cast(schema) if table.num_rows else schema.empty_table()
        return tables

    def copy_to(self, target: Path) -> None:
        """Write a consistent copy of the store, also while it is in use."""
        with (
            closing(sqlite3.connect(self.path)) as source,
            closing(sqlite3.connect(target)) as copy,
        ):
            source.backup(copy)
        target.chmod(PRIVATE_FILE)

    def close(self) -> None:
        """Close every pooled connection."""
        self.engine.dispose()


def open_control(settings: Settings) -> ControlPlane:
    """Open the control plane of a home, making or migrating it first where needed.

    Raises:
        KlantbeeldError: The store is damaged or gone, or was written by a newer release.
        SettingsError: The home belongs to another environment than the settings say, or its key
            is not the one it was made with.
    """
    path = settings.paths.control_db
    private_dir(path.parent)
    if not path.exists():
        if is_gone(settings):
            raise KlantbeeldError(
                f"the control plane {path} is gone, while this home has published versions",
                "Restore it with `klantbeeld restore FILE`. To begin anew, with profile ids that"
                " may have been given to others before, remove the folders `build` and `versions`.",
            )
        path.touch(mode=PRIVATE_FILE)
    engine = sa.create_engine(f"sqlite:///{path}", connect_args={"timeout": 30})

    @sa.event.listens_for(engine, "connect")
    def _configure(connection: sqlite3.Connection, _record: object) -> None:
        # The driver begins no transactions of its own; `_begin` does.
        connection.isolation_level = None
        connection.execute("pragma journal_mode=wal")
        connection.execute("pragma synchronous=full")
        connection.execute("pragma foreign_keys=on")
        # What an operation or a quarantined row held is gone from the file when it is settled.
        connection.execute("pragma secure_delete=on")
        # 64 MB: with the default of 2 MB, a million ledger rows are mostly pages read again.
        connection.execute("pragma cache_size=-65536")

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        writes = connection.get_execution_options().get("writes", False)
        connection.exec_driver_sql("begin immediate" if writes else "begin")

    control = ControlPlane(engine, path)
    try:
        revision = _revision(engine)
        if revision != SCHEMA_REVISION:
            _migrate(engine, revision)
        _claim(control, settings)
        _require_own_key(control, settings)
    except sa.exc.DatabaseError as error:
        raise KlantbeeldError(
            f"the control plane {path} cannot be read: {error.orig}",
            "Restore it with `klantbeeld restore FILE --force`; `klantbeeld doctor` says more.",
        ) from None
    return control


def is_gone(settings: Settings) -> bool:
    """Whether there is no control plane although there was one: versions are published with it."""
    paths = settings.paths
    return not paths.control_db.exists() and any(paths.versions_dir.glob("[!.]*"))


def raise_epoch(path: Path) -> int:
    """Raise the epoch of a control plane that was restored from a copy.

    Ids and operations issued after the copy was made are unknown to it; a new epoch keeps them from
    being issued a second time for something else.
    """
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("begin immediate")
        row = connection.execute("select value from home where key = 'epoch'").fetchone()
        epoch = int(row[0]) + 1 if row else 1
        connection.execute("insert or replace into home values ('epoch', ?)", (str(epoch),))
        connection.execute("commit")
    return epoch


def _revision(engine: sa.Engine) -> str | None:
    with engine.connect() as connection:
        if not sa.inspect(connection).has_table("alembic_version"):
            return None
        revision: str | None = connection.scalar(sa.text("select version_num from alembic_version"))
    return revision


def _migrate(engine: sa.Engine, revision: str | None) -> None:
    # Late: only a home that is new or behind pays for the import.
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if revision is not None and revision not in known:
        raise KlantbeeldError(
            f"the control plane was written by a newer release (schema {revision})",
            "Use that release, or put back a backup made with schema"
            f" {SCHEMA_REVISION} or older: `klantbeeld restore FILE --force`.",
        )
    try:
        with (
            engine.connect().execution_options(writes=True) as connection,
            connection.begin(),
        ):
            config.attributes["connection"] = connection
            command.upgrade(config, SCHEMA_REVISION)
    except CommandError as error:
        raise KlantbeeldError(f"the control plane could not be migrated: {error}") from None


def _claim(control: ControlPlane, settings: Settings) -> None:
    """Bind a new home to its environment; refuse a home that belongs to another."""
    environment = control.value("environment")
    if environment is None:
        with control.begin() as connection:
            insert = sqlite_insert(tables.home).on_conflict_do_nothing()
            connection.execute(
                insert,
                [
                    {"key": "home_id", "value": uuid.uuid4().hex},
                    {"key": "environment", "value": settings.environment},
                    {"key": "epoch", "value": "0"},
                ],
            )
    elif environment != settings.environment:
        with control.begin() as connection:
            if connection.scalar(sa.select(sa.func.count()).select_from(tables.versions)) == 0:
                # Nothing was ever published here: only somebody's first look made this home.
                connection.execute(
                    tables.home.update()
                    .where(tables.home.c.key == "environment")
                    .values(value=settings.environment)
                )
                return
        raise SettingsError(
            f"environment: this home belongs to {environment!r}, the settings say "
            f"{settings.environment!r}",
            "Use another KLANTBEELD_HOME: a home is never shared between two environments.",
        )


def _require_own_key(control: ControlPlane, settings: Settings) -> None:
    """Refuse another `home.key`: every profile id and keyed hash would silently be another."""
    known = control.value(_KEY_CHECK)
    path = settings.paths.home_key
    hint = "Put back the one of a backup of this home: it is in the archive."
    if known is not None and not path.exists():
        raise SettingsError(f"{path} is gone", hint)
    check = keyed_hash(_KEY_CHECK, settings.home_key())
    if known is None:
        with control.begin() as connection:
            connection.execute(
                sqlite_insert(tables.home)
                .on_conflict_do_nothing()
                .values(key=_KEY_CHECK, value=check)
            )
    elif known != check:
        raise SettingsError(f"{path} is not the key that this home was made with", hint)


def current_user() -> str:
    """Who is working: the name of the operating system's user."""
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container without a user database
        return "unknown"
