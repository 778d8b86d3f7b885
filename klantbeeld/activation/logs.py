"""The logs of a sync as rows that can be read: the last result of each row, and conflicts.

Belongs here: reading `outbox` and `sync_conflicts` for people; ids, states and reasons only. A key
that is personal data is shown as its keyed hash.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa

from klantbeeld.activation.preflight import Shown
from klantbeeld.activation.specs import SyncSpec, find_sync, read_manifest
from klantbeeld.control import ControlPlane
from klantbeeld.control.tables import outbox, sync_conflicts
from klantbeeld.settings import Settings
from klantbeeld.warehouse import NothingPublished, Warehouse


def last_results(
    name: str,
    settings: Settings,
    control: ControlPlane,
    warehouse: Warehouse,
    state: str | None = None,
) -> Iterator[dict[str, Any]]:
    """The last operation of each row: key, operation, state, reason, attempts and times.

    Args:
        name: The sync's model.
        settings: The home's settings.
        control: The home's control plane.
        warehouse: The home's warehouse.
        state: Only rows whose last operation is in this state.
    """
    spec = _spec(name, warehouse)
    shown = Shown(spec, settings.home_key())
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
    with control.read() as connection:
        for row in connection.execute(query):
            yield {
                "key": shown(row.destination_key),
                "operation": row.operation,
                "state": row.state,
                "reason": row.reason,
                "attempts": row.attempts,
                "rejections": row.rejections,
                "first_wanted_at": row.created_at,
                "updated_at": row.updated_at,
                "sync_run_id": row.sync_run_id,
            }


def conflicts(
    name: str, settings: Settings, control: ControlPlane, warehouse: Warehouse
) -> Iterator[dict[str, Any]]:
    """The fields that both sides changed since we last wrote them, newest first."""
    spec = _spec(name, warehouse)
    shown = Shown(spec, settings.home_key())
    query = (
        sa.select(sync_conflicts)
        .where(sync_conflicts.c.sync == spec.name)
        .order_by(sync_conflicts.c.last_seen_at.desc(), sync_conflicts.c.destination_key)
    )
    with control.read() as connection:
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


def _spec(name: str, warehouse: Warehouse) -> SyncSpec:
    version = warehouse.current()
    if version is None:
        raise NothingPublished
    return find_sync(read_manifest(version.manifest), name)
