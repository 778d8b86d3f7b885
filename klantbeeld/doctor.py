"""What is wrong with an installation, and what to do about it.

Each check looks at one thing and gives a finding; none changes anything. A check that cannot run is
itself a finding, never a traceback.
"""

import shutil
import socket
import sqlite3
import stat
import struct
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple
from urllib.parse import urlsplit

import duckdb

from klantbeeld.clock import Clock
from klantbeeld.control import open_control
from klantbeeld.control.store import is_gone
from klantbeeld.errors import KlantbeeldError, SettingsError
from klantbeeld.files import require_possible_dir
from klantbeeld.settings import Settings, load_settings
from klantbeeld.transform import project, registry
from klantbeeld.warehouse import VersionGone, Warehouse
from klantbeeld.warehouse.lock import lock_holder

_MINIMUM_FREE_BYTES = 2 * 1024**3
_PATIENCE_SECONDS = 3.0

# A host and its port, or the path of a socket.
_Address = tuple[str, int] | str


class _Protocol(NamedTuple):
    """How a system shows that it is there, before anybody logs in."""

    name: str
    greeting: bytes
    answers: tuple[bytes, ...]


# Asked whether it speaks TLS, PostgreSQL answers yes or no in one byte.
_POSTGRES = _Protocol("PostgreSQL", struct.pack("!ii", 8, 80877103), (b"S", b"N"))
_SSH = _Protocol("SFTP", b"", (b"SSH-",))


@dataclass(frozen=True)
class Finding:
    """The outcome of one check."""

    check: str
    level: Literal["ok", "warning", "problem"]
    message: str
    hint: str | None = None


def examine() -> Iterator[Finding]:
    """Examine this installation and its home; findings in the order a person would look."""
    yield _python()
    try:
        settings = load_settings()
    except SettingsError as error:
        yield Finding("settings", "problem", error.message, error.hint)
        return
    yield Finding("settings", "ok", f"home {settings.paths.home}, {settings.environment}")
    checks: list[Callable[[Settings], Iterator[Finding]]] = [
        _permissions,
        _disk,
        _clock,
        _control_plane,
        _lock,
        _build,
        _version,
        _dbt_project,
        _sources,
        _loads,
        _quarantine,
        _destinations,
    ]
    for check in checks:
        try:
            yield from check(settings)
        except KlantbeeldError as error:
            yield Finding(check.__name__.strip("_"), "problem", error.message, error.hint)
        except OSError as error:
            yield Finding(check.__name__.strip("_"), "problem", str(error))


def _python() -> Finding:
    version = ".".join(str(part) for part in sys.version_info[:3])
    return Finding("python", "ok", f"Python {version}, {sys.executable}")


def _permissions(settings: Settings) -> Iterator[Finding]:
    paths = settings.paths
    if not paths.home.exists():
        require_possible_dir(paths.home)
        yield Finding(
            "home", "warning", f"{paths.home} does not exist yet", "`klantbeeld run` makes it."
        )
        return
    open_to_others = [
        path
        for path in (paths.home, paths.control_db, paths.home_key, paths.build_file, paths.secrets)
        if path.exists() and path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO)
    ]
    for path in open_to_others:
        mode = "700" if path.is_dir() else "600"
        yield Finding(
            "permissions", "problem", f"{path} is open to others", f"Run: chmod {mode} {path}"
        )
    if not open_to_others:
        yield Finding("permissions", "ok", "the home is private")


def _disk(settings: Settings) -> Iterator[Finding]:
    folder = next(p for p in (settings.paths.home, *settings.paths.home.parents) if p.exists())
    free = shutil.disk_usage(folder).free
    build = settings.paths.build_file
    needed = max(_MINIMUM_FREE_BYTES, 3 * build.stat().st_size if build.exists() else 0)
    text = f"{free / 1024**3:.1f} GB free"
    if free < needed:
        yield Finding(
            "disk", "warning", text, f"A publish keeps copies: have {needed / 1024**3:.1f} GB."
        )
    else:
        yield Finding("disk", "ok", text)


def _clock(settings: Settings) -> Iterator[Finding]:
    as_of = Clock(settings).as_of()
    yield Finding("clock", "ok", f"business time {as_of:%Y-%m-%d %H:%M} UTC")


def _control_plane(settings: Settings) -> Iterator[Finding]:
    path = settings.paths.control_db
    if is_gone(settings):
        open_control(settings)  # says so
    if not path.exists():
        yield Finding("control plane", "warning", "not made yet", "`klantbeeld run` makes it.")
        return
    try:
        with closing(sqlite3.connect(path)) as connection:
            result = connection.execute("pragma quick_check(1)").fetchone()[0]
    except sqlite3.DatabaseError as error:
        result = str(error)
    if result != "ok":
        yield Finding(
            "control plane",
            "problem",
            f"{path}: {result}",
            "Restore a backup: `klantbeeld restore FILE --force`.",
        )
        return
    open_control(settings).close()
    yield Finding("control plane", "ok", "readable, schema up to date")


def _lock(settings: Settings) -> Iterator[Finding]:
    holder = lock_holder(settings.paths.lock_file)
    if holder is None:
        yield Finding("run lock", "ok", "no run in progress")
    else:
        yield Finding(
            "run lock",
            "ok",
            f"{holder.get('purpose')} runs in process {holder.get('pid')} since "
            f"{holder.get('since')}",
        )


def _build(settings: Settings) -> Iterator[Finding]:
    paths = settings.paths
    if lock_holder(paths.lock_file) is not None:
        return
    has_build, has_cursors = paths.build_file.exists(), paths.dlt_dir.exists()
    if not has_build and not has_cursors:
        yield Finding("build", "warning", "not made yet", "`klantbeeld run` makes it.")
    elif has_cursors and not has_build:
        yield Finding(
            "build",
            "problem",
            "the build file is gone but the cursors are there: rows would be skipped",
            f"Remove {paths.build_dir} as a whole; the next run builds it again.",
        )
    else:
        try:
            with closing(duckdb.connect(paths.build_file, read_only=True)) as connection:
                connection.execute("select count(*) from duckdb_tables()")
            yield Finding("build", "ok", "opens")
        except duckdb.Error as error:
            yield Finding(
                "build",
                "problem",
                f"{paths.build_file} does not open: {str(error).splitlines()[0]}",
                f"Remove {paths.build_dir} as a whole; the next run builds it again.",
            )


def _version(settings: Settings) -> Iterator[Finding]:
    if not settings.paths.control_db.exists():
        return
    version = Warehouse(settings, open_control(settings)).current()
    if version is None:
        yield Finding("version", "warning", "nothing published yet", "Run `klantbeeld run`.")
    elif not version.path.exists():
        raise VersionGone(version.version_id)
    else:
        yield Finding("version", "ok", f"{version.version_id} is current")


def _dbt_project(_settings: Settings) -> Iterator[Finding]:
    if not project.EXECUTABLE.exists():
        yield Finding(
            "dbt", "problem", f"{project.EXECUTABLE} is missing", "Install again: `make install`."
        )
    drifted = registry.drift()
    if drifted:
        names = ", ".join(path.name for path in drifted)
        yield Finding(
            "dbt project", "warning", f"generated files are behind: {names}", "`make dev` or a run."
        )
    else:
        yield Finding("dbt project", "ok", "generated files are up to date")


def _sources(settings: Settings) -> Iterator[Finding]:
    from ingestion.pipelines import SOURCES, check_settings, system_of

    if not settings.sources:
        yield Finding(
            "sources",
            "problem",
            "no source is set",
            f"Add [sources.<name>] to {settings.paths.config}, or try `klantbeeld demo start`.",
        )
    for name, values in settings.sources.items():
        try:
            enabled = settings.source_enabled(name)
            if enabled or name not in SOURCES:
                check_settings(settings, name)
        except KlantbeeldError as error:
            yield Finding(f"source {name}", "problem", error.message, error.hint)
            continue
        is_postgres = enabled and system_of(name) == "postgres"
        yield from _reachable(f"source {name}", values, enabled, is_postgres)


def _loads(settings: Settings) -> Iterator[Finding]:
    from klantbeeld.status import failing_sources

    if not settings.paths.control_db.exists():
        return
    with open_control(settings).read() as connection:
        failing = failing_sources(connection)
    for found in failing:
        if settings.source_enabled(found.source):
            yield Finding(
                f"load of {found.source}",
                "problem",
                f"fails since {found.since:%Y-%m-%d %H:%M} UTC: {found.message}",
                "Mend it, then `klantbeeld run`: it goes on where the last good load ended.",
            )


def _quarantine(settings: Settings) -> Iterator[Finding]:
    from klantbeeld.status import open_quarantine

    if not settings.paths.control_db.exists():
        return
    rows: Counter[str] = Counter()
    with open_control(settings).read() as connection:
        for table in open_quarantine(connection):
            rows[table.source] += table.rows
    for source, count in rows.items():
        yield Finding(
            f"quarantine of {source}",
            "warning",
            f"{count:,} row(s) could not be loaded and wait",
            "`klantbeeld quarantine list` says why; mend the cause, then `klantbeeld quarantine"
            " replay`.",
        )


def _destinations(settings: Settings) -> Iterator[Finding]:
    from klantbeeld.activation.destinations import check_settings

    for name, values in settings.destinations.items():
        bound = values.get("environment")
        if bound is not None and bound != settings.environment:
            yield Finding(
                f"destination {name}",
                "problem",
                f"is bound to environment {bound!r}; this home is {settings.environment!r}",
                "Nothing is sent there from this home, which is as it should be for a copy.",
            )
        else:
            try:
                enabled = settings.destination_enabled(name)
                if enabled:
                    check_settings(settings, name)
            except KlantbeeldError as error:
                yield Finding(f"destination {name}", "problem", error.message, error.hint)
                continue
            is_postgres = values.get("kind") == "postgres"
            yield from _reachable(f"destination {name}", values, enabled, is_postgres)


def _reachable(
    what: str, values: dict[str, object], is_enabled: bool, is_postgres: bool
) -> Iterator[Finding]:
    if not is_enabled:
        yield Finding(what, "ok", "switched off")
        return
    sftp, s3 = (_table(values.get(name)) for name in ("sftp", "s3"))
    folder, host = values.get("folder"), values.get("host")
    url = values.get("base_url") or values.get("url") or s3.get("endpoint")
    if isinstance(folder, str):
        if Path(folder).is_dir():
            yield Finding(what, "ok", f"folder {folder}")
        else:
            yield Finding(
                what, "problem", f"folder {folder} does not exist", "Make it, or mount it."
            )
    elif isinstance(url, str):
        parts = urlsplit(url)
        try:
            port = parts.port or (443 if parts.scheme == "https" else 80)
        except ValueError:
            yield Finding(what, "problem", "its address has a port that cannot be", "Correct it.")
            return
        yield _connects(what, (parts.hostname or "", port), None)
    elif isinstance(sftp.get("host"), str):
        yield _connects(what, (str(sftp["host"]), int(str(sftp.get("port", 22)))), _SSH)
    elif isinstance(host, str):
        port = int(str(values.get("port", 5432)))
        at: _Address = f"{host}/.s.PGSQL.{port}" if host.startswith("/") else (host, port)
        yield _connects(what, at, _POSTGRES if is_postgres else None)


def _table(value: object) -> dict[str, object]:
    return value if isinstance(value, dict) else {}


def _connects(what: str, address: _Address, protocol: _Protocol | None) -> Finding:
    """Whether a system is there: by its own first words, where these need no credentials."""
    place = address if isinstance(address, str) else f"{address[0]}:{address[1]}"
    try:
        with _connected(address) as connection:
            if protocol is None:
                return Finding(what, "ok", f"{place} can be connected to; nothing was asked")
            connection.sendall(protocol.greeting)
            answer = connection.recv(64)
    except OSError as error:
        return Finding(
            what,
            "problem",
            f"{place} cannot be reached ({error.strerror or error})",
            "Start that system (demo: `klantbeeld demo start`), or correct its address.",
        )
    if not answer.startswith(protocol.answers):
        return Finding(
            what,
            "problem",
            f"what answers at {place} is not {protocol.name}",
            "Correct its address.",
        )
    return Finding(what, "ok", f"{protocol.name} answers at {place}")


def _connected(address: _Address) -> socket.socket:
    if not isinstance(address, str):
        return socket.create_connection(address, timeout=_PATIENCE_SECONDS)
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(_PATIENCE_SECONDS)
    try:
        connection.connect(address)
    except OSError:
        connection.close()
        raise
    return connection
