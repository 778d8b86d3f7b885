"""A private copy of the current version to develop models on, and what a change did to it.

`prepare` copies the current version; dbt then builds in that copy and nowhere else: it takes no
lock of a run and touches no build. `compare` sets the copy beside the version it was made from.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import duckdb

from klantbeeld.control import ControlPlane
from klantbeeld.errors import KlantbeeldError
from klantbeeld.files import PRIVATE_FILE, private_dir
from klantbeeld.settings import Settings
from klantbeeld.transform import registry
from klantbeeld.transform.project import EXECUTABLE, environment
from klantbeeld.warehouse import NothingPublished, VersionGone, Warehouse
from klantbeeld.warehouse.warehouse import FILE_NAME


@dataclass(frozen=True)
class AudienceChange:
    """Members of one audience before and after; None where the audience is not there.

    Attributes:
        reachable: Contact points that may be written to after the change, by consent: the rows that
            would leave; None where the audience is not there.
    """

    audience: str
    before: int | None
    after: int | None
    joined: int
    left: int
    reachable: int | None


@dataclass(frozen=True)
class FieldChange:
    """Profiles whose golden value of one field, or whose measure, differs; a new one is filled."""

    field: str
    profiles: int
    filled: int
    emptied: int


def prepare(settings: Settings, control: ControlPlane) -> dict[str, str]:
    """Copy the current version and bring the generated files up to date.

    Returns:
        The environment for dbt.

    Raises:
        NothingPublished: There is no version to copy.
        VersionGone: Somebody removed its files.
    """
    version = Warehouse(settings, control).current()
    if version is None:
        raise NothingPublished
    if not version.path.exists():
        raise VersionGone(version.version_id)
    folder = private_dir(settings.paths.dev_dir)
    baseline, copy = _baseline(settings), folder / FILE_NAME
    baseline.parent.mkdir(mode=0o700, exist_ok=True)
    baseline.unlink(missing_ok=True)
    # A second name for the same file: it stays when the version itself is retired.
    os.link(version.path, baseline)
    Path(f"{copy}.wal").unlink(missing_ok=True)
    shutil.copyfile(version.path, copy)
    copy.chmod(PRIVATE_FILE)
    registry.refresh()
    _make_dbt(settings)
    return environment(settings, copy, folder)


def commands_dir(settings: Settings) -> Path:
    """A folder with a `dbt` that sees new audiences and columns as soon as their file is there."""
    return settings.paths.dev_dir / "bin"


def _make_dbt(settings: Settings) -> None:
    command = private_dir(commands_dir(settings)) / "dbt"
    command.unlink(missing_ok=True)
    command.symlink_to(EXECUTABLE)


def compare(settings: Settings) -> tuple[list[AudienceChange], list[FieldChange]]:
    """What the models in the private copy changed, against the version it was made from.

    Raises:
        KlantbeeldError: There is no private copy, or a dbt command has it open.
    """
    with _both(settings) as connection:
        fields = _fields(connection, "marts", "dim_profiles")
        return _audiences(connection), fields + _fields(connection, "insights", "profile_measures")


def _baseline(settings: Settings) -> Path:
    return settings.paths.dev_dir / "baseline" / FILE_NAME


@contextmanager
def _both(settings: Settings) -> Iterator[duckdb.DuckDBPyConnection]:
    copy = settings.paths.dev_dir / FILE_NAME
    if not copy.exists():
        raise KlantbeeldError("there is no private copy yet", "Make it with `make dev`.")
    with duckdb.connect() as connection:
        try:
            connection.execute(f"attach '{copy}' as after (read_only)")
            connection.execute(f"attach '{_baseline(settings)}' as before (read_only)")
        except duckdb.IOException as error:
            raise KlantbeeldError(
                f"the private copy cannot be read: {str(error).splitlines()[0]}",
                "Wait for the dbt command that has it open, or make it again with `make dev`.",
            ) from None
        yield connection


def _tables(connection: duckdb.DuckDBPyConnection, database: str, schema: str) -> set[str]:
    rows = connection.execute(
        "select table_name from duckdb_tables() where database_name = ? and schema_name = ?",
        [database, schema],
    ).fetchall()
    return {name for (name,) in rows}


def _audiences(connection: duckdb.DuckDBPyConnection) -> list[AudienceChange]:
    before = _tables(connection, "before", "segments")
    after = _tables(connection, "after", "segments")
    shaped = _tables(connection, "after", "activation")
    changes = []
    for table in sorted(before | after):
        sides = [
            f"select distinct profile_id from {side}.segments.{table}"
            if table in tables
            else "select null::varchar as profile_id where false"
            for side, tables in (("before", before), ("after", after))
        ]
        old, new, joined, left = connection.execute(
            f"""
            with before_members as ({sides[0]}), after_members as ({sides[1]})
            select
                (select count(*) from before_members),
                (select count(*) from after_members),
                (select count(*) from after_members anti join before_members using (profile_id)),
                (select count(*) from before_members anti join after_members using (profile_id))
            """
        ).fetchall()[0]
        name = table.removeprefix("seg_")
        reachable = None
        if table in after and f"audience_{name}" in shaped:
            reachable = connection.execute(
                f"select count(*) from after.activation.audience_{name}"
            ).fetchall()[0][0]
        changes.append(
            AudienceChange(
                name,
                old if table in before else None,
                new if table in after else None,
                joined,
                left,
                reachable,
            )
        )
    return changes


def _fields(connection: duckdb.DuckDBPyConnection, schema: str, table: str) -> list[FieldChange]:
    """What differs in a table of one row per profile, the fields that differ most first."""
    before, after = (
        {
            name
            for (name,) in connection.execute(
                "select column_name from duckdb_columns() where database_name = ? "
                "and schema_name = ? and table_name = ?",
                [database, schema, table],
            ).fetchall()
        }
        for database in ("before", "after")
    )
    fields = sorted((before | after) - {"profile_id"})
    if not before or not after:
        return []
    parts = []
    for field in fields:
        old = f"old.{field}" if field in before else "null"
        new = f"new.{field}" if field in after else "null"
        parts.append(
            f"""
            select
                '{field}' as field,
                count(*) filter ({old} is distinct from {new}) as profiles,
                count(*) filter ({old} is null and {new} is not null) as filled,
                count(*) filter ({old} is not null and {new} is null) as emptied
            from before.{schema}.{table} as old
            inner join after.{schema}.{table} as new using (profile_id)
            """
        )
    rows = connection.execute(
        f"{' union all '.join(parts)} order by profiles desc, field"
    ).fetchall()
    # A new column is told even if nothing fills it: it is what was worked on.
    return [FieldChange(*row) for row in rows if row[1] or row[0] not in before]
