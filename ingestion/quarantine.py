"""Quarantine: rows that could not be loaded, kept in the control plane until they can be.

A row's id follows from its source, table, position and content, so that the same row seen again is
the same quarantine row (only `last_seen_at` moves), whatever run or rebuild comes across it.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from itertools import islice
from typing import Any

import pyarrow as pa
import sqlalchemy as sa

from ingestion.validation import Quarantined
from klantbeeld.control import ControlPlane
from klantbeeld.control.tables import quarantine

OPEN, REPLAYED, SUPERSEDED, DISCARDED = "open", "replayed", "superseded", "discarded"
_CHUNK = 500


def record(
    control: ControlPlane, source: str, quarantined: Quarantined, *, run_id: str, at: datetime
) -> int:
    """Keep the rows of one table; how many of them are new (or back).

    Quarantined rows are the exception, and they go to the control plane one by one: this is no hot
    path.
    """
    rows = {}
    for row in quarantined.rows.to_pylist():
        payload = row["payload"]
        digest = hashlib.sha256((payload or "").encode("utf-8", "surrogatepass")).hexdigest()
        name = "\0".join((source, quarantined.table, row["position"], digest))
        quarantine_id = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:32]
        rows[quarantine_id] = {
            "quarantine_id": quarantine_id,
            "source": source,
            "table_name": quarantined.table,
            "position": row["position"],
            "row_key": row["row_key"],
            "reason": row["reason"],
            "payload": payload,
            "payload_digest": digest,
            "status": OPEN,
            "first_seen_at": at,
            "last_seen_at": at,
            "run_id": run_id,
        }
    if not rows:
        return 0
    new = 0
    with control.begin() as connection:
        for ids in _chunks(rows):
            known: dict[str, str] = {
                row.quarantine_id: row.status
                for row in connection.execute(
                    sa.select(quarantine.c.quarantine_id, quarantine.c.status).where(
                        quarantine.c.quarantine_id.in_(ids)
                    )
                )
            }
            for quarantine_id in ids:
                if quarantine_id not in known:
                    continue
                # What a person discarded stays discarded.
                status = DISCARDED if known[quarantine_id] == DISCARDED else OPEN
                connection.execute(
                    quarantine.update()
                    .where(quarantine.c.quarantine_id == quarantine_id)
                    .values(last_seen_at=at, status=status, reason=rows[quarantine_id]["reason"])
                )
                new += known[quarantine_id] in (REPLAYED, SUPERSEDED)
            fresh = [rows[quarantine_id] for quarantine_id in ids if quarantine_id not in known]
            if fresh:
                connection.execute(quarantine.insert(), fresh)
            new += len(fresh)
    return new


def open_rows(control: ControlPlane, source: str, table: str) -> pa.Table:
    """The open rows of a table: quarantine_id, position, row_key, payload."""
    columns = (
        quarantine.c.quarantine_id,
        quarantine.c.position,
        quarantine.c.row_key,
        quarantine.c.payload,
    )
    with control.read() as connection:
        rows = connection.execute(
            sa.select(*columns)
            .where(
                quarantine.c.status == OPEN,
                quarantine.c.source == source,
                quarantine.c.table_name == table,
            )
            .order_by(quarantine.c.first_seen_at, quarantine.c.quarantine_id)
        ).all()
    return pa.table(
        {
            column.name: pa.array([row[index] for row in rows], pa.string())
            for index, column in enumerate(columns)
        }
    )


def sources_with_open_rows(control: ControlPlane) -> list[str]:
    """The sources that have rows in quarantine."""
    with control.read() as connection:
        return list(
            connection.scalars(
                sa.select(quarantine.c.source)
                .where(quarantine.c.status == OPEN)
                .distinct()
                .order_by(quarantine.c.source)
            )
        )


def settle(control: ControlPlane, ids: Sequence[str], status: str, at: datetime) -> None:
    """Close open rows: `superseded` by what loaded since, or `replayed`."""
    if not ids:
        return
    with control.begin() as connection:
        for chunk in _chunks(ids):
            connection.execute(
                quarantine.update()
                .where(quarantine.c.quarantine_id.in_(chunk), quarantine.c.status == OPEN)
                .values(status=status, last_seen_at=at)
            )


def _chunks(values: Iterable[Any]) -> Iterator[list[Any]]:
    rest = iter(values)
    while chunk := list(islice(rest, _CHUNK)):
        yield chunk
