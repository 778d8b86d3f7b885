"""The logs of a sync as rows that can be read: its runs, the last result of each row, conflicts.

Belongs here: reading `sync_runs`, `outbox` and `sync_conflicts` for people; ids, states and reasons
only. A key that is personal data is shown as its keyed hash.

    control plane -> `klantbeeld sync log | rows | conflicts`, as it is now
                  -> `delivery.sync_runs` and `delivery.sync_rows` of a version, one version behind
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import sqlalchemy as sa

from klantbeeld.activation.home import Home
from klantbeeld.activation.links import Links
from klantbeeld.activation.preflight import Shown
from klantbeeld.activation.specs import (
    SyncSpec,
    find_sync,
    list_syncs,
    read_manifest,
    sent_names,
)
from klantbeeld.clock import Clock
from klantbeeld.control import ControlPlane
from klantbeeld.control.tables import outbox, sync_conflicts, sync_runs
from klantbeeld.errors import KlantbeeldError
from klantbeeld.records import keyed_hash_sql

if TYPE_CHECKING:
    import duckdb

_COUNTS = (
    "planned_creates", "planned_updates", "planned_deletes", "unchanged", "acknowledged",
    "rejected", "unknown", "held",
)  # fmt: skip
_OF_RUNS = (
    "sync_run_id", "sync", "version_id", "run_id", "started_at", "finished_at", "status",
    *_COUNTS, "message",
)  # fmt: skip
_OF_ROWS = (
    "sync", "destination_key", "operation", "state", "reason", "attempts", "rejections",
    "created_at", "updated_at", "sync_run_id",
)  # fmt: skip


def last_results(name: str, home: Home, state: str | None = None) -> Iterator[dict[str, Any]]:
    """The last operation of each row: key, operation, state, reason, attempts and times.

    Args:
        name: The sync's model.
        home: The home.
        state: Only rows whose last operation is in this state.
    """
    spec = _spec(name, home)
    shown = Shown(spec, home.settings.home_key())
    latest = sa.select(
        outbox,
        sa.func.row_number()
        .over(
            partition_by=outbox.c.destination_key,
            # Superseded operations share the moment at which the newer one was written down.
            order_by=(outbox.c.state == "superseded", outbox.c.updated_at.desc()),
        )
        .label("age"),
    ).where(outbox.c.sync == spec.name)
    newest = latest.subquery()
    query = sa.select(newest).where(newest.c.age == 1).order_by(newest.c.destination_key)
    if state is not None:
        query = query.where(newest.c.state == state)
    masters = Links(home.control, spec.name, Clock(home.settings)).masters()
    with home.control.read() as connection:
        for row in connection.execute(query):
            master = masters.get(row.destination_key)
            yield {
                "key": shown(row.destination_key),
                "operation": row.operation,
                "state": row.state,
                "reason": row.reason
                if master is None
                else f"merged there: sent for {shown(master)}",
                "attempts": row.attempts,
                "rejections": row.rejections,
                "first_wanted_at": row.created_at,
                "updated_at": row.updated_at,
                "sync_run_id": row.sync_run_id,
            }


def runs(name: str, home: Home, limit: int | None = None) -> Iterator[dict[str, Any]]:
    """The runs of a sync or export with their counts, newest first.

    Args:
        name: `sync_...` or `audience_...`; with or without that beginning.
        home: The home.
        limit: Runs, at most.

    Raises:
        KlantbeeldError: No such name is published or ever ran.
    """
    query = (
        sa.select(*(sync_runs.c[column] for column in _OF_RUNS))
        .where(sync_runs.c.sync == _name_in_log(name, home))
        .order_by(sync_runs.c.started_at.desc())
        .limit(limit)
    )
    with home.control.read() as connection:
        for row in connection.execute(query):
            yield dict(row._mapping)


def _name_in_log(name: str, home: Home) -> str:
    with home.control.read() as connection:
        known = set(connection.scalars(sa.select(sync_runs.c.sync).distinct()))
    version = home.warehouse.current()
    if version is not None and version.manifest.exists():
        known |= sent_names(read_manifest(version.manifest))
    for candidate in (name, f"sync_{name}", f"audience_{name}"):
        if candidate in known:
            return candidate
    raise KlantbeeldError(
        f"there is no sync or audience {name!r}", f"Known: {', '.join(sorted(known)) or 'none'}."
    )


def write_tables(
    connection: duckdb.DuckDBPyConnection,
    control: ControlPlane,
    manifest: Mapping[str, Any],
    home_key: bytes,
) -> None:
    """Write the logs as tables of a build, for reports and the explorer: one version behind.

    Args:
        connection: A connection to the build.
        control: The home's control plane.
        manifest: dbt's manifest, which says whose keys are personal data. Keys of a sync that it
            does not have are taken for personal.
        home_key: The secret of the hashes.
    """
    queries = {"runs": _as_texts(sync_runs, _OF_RUNS), "rows": _as_texts(outbox, _OF_ROWS)}
    schemas = {
        name: pa.schema([(column.name, pa.string()) for column in query.selected_columns])
        for name, query in queries.items()
    }
    found = control.read_tables(queries, schemas)
    open_keys = [spec.name for spec in list_syncs(manifest) if not spec.is_key_personal]
    hashed = keyed_hash_sql("destination_key", home_key="$home_key")
    connection.register("_sync_runs", found["runs"])
    connection.register("_sync_rows", found["rows"])
    connection.execute("create schema if not exists delivery")
    connection.execute(
        """
        create or replace table delivery.sync_runs as
        select
            * replace (
                nullif(version_id, '') as version_id,
                cast(started_at as timestamp) as started_at,
                cast(nullif(finished_at, '') as timestamp) as finished_at,
                nullif(message, '') as message,
                {counts}
            )
        from _sync_runs
        order by started_at
        """.format(counts=", ".join(f"cast({name} as bigint) as {name}" for name in _COUNTS))
    )
    connection.execute(
        f"""
        create or replace table delivery.sync_rows as
        select
            sync,
            case
                when list_contains($open_keys, sync) then destination_key else {hashed}
            end as destination_key,
            operation,
            state,
            nullif(reason, '') as reason,
            cast(attempts as integer) as attempts,
            cast(rejections as integer) as rejections,
            cast(created_at as timestamp) as first_wanted_at,
            cast(updated_at as timestamp) as updated_at,
            sync_run_id
        from _sync_rows
        qualify row_number() over (
            partition by sync, _sync_rows.destination_key
            order by state = 'superseded', _sync_rows.updated_at desc
        ) = 1
        """,
        {"open_keys": open_keys, "home_key": home_key.hex()},
    )
    connection.unregister("_sync_runs")
    connection.unregister("_sync_rows")


def _as_texts(table: sa.Table, columns: tuple[str, ...]) -> sa.Select[Any]:
    # Nulls as empty texts: the driver takes a column's type from its first rows.
    texts: list[sa.ColumnElement[Any]] = [
        sa.func.coalesce(sa.cast(table.c[column], sa.Text), "").label(column) for column in columns
    ]
    return sa.select(*texts)


def conflicts(name: str, home: Home) -> Iterator[dict[str, Any]]:
    """The fields that both sides changed since we last wrote them, newest first."""
    spec = _spec(name, home)
    shown = Shown(spec, home.settings.home_key())
    query = (
        sa.select(sync_conflicts)
        .where(sync_conflicts.c.sync == spec.name)
        .order_by(sync_conflicts.c.last_seen_at.desc(), sync_conflicts.c.destination_key)
    )
    with home.control.read() as connection:
        for row in connection.execute(query):
            yield {
                "key": shown(row.destination_key),
                "column": row.column_name,
                "owner": row.owner,
                "resolution": row.resolution,
                "times": row.times,
                "first_seen_at": row.first_seen_at,
                "last_seen_at": row.last_seen_at,
            }


def _spec(name: str, home: Home) -> SyncSpec:
    return find_sync(read_manifest(home.published().manifest), name)
