"""What a sync remembers: the outbox, the acknowledgements, its runs, and what is held for review.

Belongs here: every read and write of the control plane that sending needs, each a short
transaction. The states of an operation::

    pending -> in_flight -> acknowledged     the destination said yes to this very row
                         -> rejected         it said no; recorded with the reason, tried every run
                         -> unknown          no answer, or one that proves nothing: read back first
                         -> pending          it was certainly not taken (429, never reached)
    pending, rejected, unknown -> superseded by the next plan, cancelled when consent was withdrawn

An operation's id is derived from the sync, the key, what was acknowledged before and what is
wanted now, so a change has one id however often it is tried, and each new change another. The id
and the values are committed before the first byte leaves; the values are cleared when the outcome
is known.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from klantbeeld.clock import Clock
from klantbeeld.control import ControlPlane
from klantbeeld.control.tables import acknowledgements, home, outbox, sync_runs, versions
from klantbeeld.errors import KlantbeeldError

_BLOCK = 500
OPEN_STATES = ("in_flight", "unknown")
_SENT = ("synced", "written", "degraded", "unchanged")


@dataclass(frozen=True)
class Operation:
    """One operation as it is sent.

    Attributes:
        op_id: Its id, the same however often it is tried.
        key: The destination's key of the row.
        kind: create, update or delete.
        body: What is sent, encoded by the destination; empty for a delete.
        row_digest: Digest of the whole row once this is accepted; None for a delete.
        column_digests: Digests of its columns.
        must_be_new: A create that is refused when the row is there already.
    """

    op_id: str
    key: str
    kind: str
    body: Mapping[str, Any]
    row_digest: str | None
    column_digests: str
    must_be_new: bool = False

    def to_payload(self) -> str:
        """The form in which it waits in the outbox while it is in flight."""
        return json.dumps({"body": self.body, "column_digests": self.column_digests})


@dataclass(frozen=True)
class Outcome:
    """What became of one operation.

    Attributes:
        state: acknowledged, rejected, unknown, pending or superseded.
        reason: Why it was not acknowledged: codes and column names, never values.
        retry_after: Seconds to wait before it is sent again, if the destination said so.
    """

    state: str
    reason: str | None = None
    retry_after: float | None = None


class Ledger:
    """The memory of one sync."""

    def __init__(self, control: ControlPlane, sync: str, clock: Clock) -> None:
        self._control = control
        self._sync = sync
        self._clock = clock

    @property
    def epoch(self) -> str:
        """The home's epoch, part of every operation id."""
        return self._control.value("epoch") or "0"

    # ---- what the planner reads ----------------------------------------------------------------

    def acknowledged(self) -> pa.Table:
        """destination_key, row_digest and op_id of every row the destination has accepted."""
        return self._table(
            sa.select(
                acknowledgements.c.destination_key,
                acknowledgements.c.row_digest,
                acknowledgements.c.op_id,
            ).where(acknowledgements.c.sync == self._sync)
        )

    def deleted(self) -> pa.Table:
        """destination_key and op_id of accepted deletes: a row that returns is a new change."""
        latest = (
            sa.func.row_number()
            .over(partition_by=outbox.c.destination_key, order_by=outbox.c.updated_at.desc())
            .label("place")
        )
        deletes = (
            sa.select(outbox.c.destination_key, outbox.c.op_id, latest)
            .where(
                outbox.c.sync == self._sync,
                outbox.c.operation == "delete",
                outbox.c.state == "acknowledged",
            )
            .subquery()
        )
        return self._table(
            sa.select(deletes.c.destination_key, deletes.c.op_id).where(deletes.c.place == 1)
        )

    def column_digests(self, keys: Iterable[str]) -> pa.Table:
        """destination_key and column_digests of some rows."""
        found: list[tuple[str, str]] = []
        with self._control.read() as connection:
            for block in _blocks(list(keys)):
                query = sa.select(
                    acknowledgements.c.destination_key, acknowledgements.c.column_digests
                ).where(
                    acknowledgements.c.sync == self._sync,
                    acknowledgements.c.destination_key.in_(block),
                )
                found += [(row[0], row[1]) for row in connection.execute(query)]
        return _arrow(("destination_key", "column_digests"), found)

    # ---- runs ----------------------------------------------------------------------------------

    def start_run(self, run_id: str, version_id: str) -> str:
        """Open a run's row; runs that were killed are closed as failed first."""
        sync_run_id = uuid.uuid4().hex
        now = self._clock.now()
        with self._control.begin() as connection:
            connection.execute(
                sync_runs.update()
                .where(sync_runs.c.sync == self._sync, sync_runs.c.status == "running")
                .values(status="failed", finished_at=now, message="The process ended early.")
            )
            connection.execute(
                sync_runs.insert().values(
                    sync_run_id=sync_run_id,
                    sync=self._sync,
                    version_id=version_id,
                    run_id=run_id,
                    started_at=now,
                    status="running",
                )
            )
        return sync_run_id

    def rows_when_last_sent(self) -> dict[str, int]:
        """Rows per table of the version that was last sent whole; nothing before the first."""
        query = (
            sa.select(versions.c.counts)
            .join(sync_runs, sync_runs.c.version_id == versions.c.version_id)
            .where(sync_runs.c.sync == self._sync, sync_runs.c.status.in_(_SENT))
            .order_by(sync_runs.c.started_at.desc())
            .limit(1)
        )
        with self._control.read() as connection:
            counts: dict[str, int] | None = connection.scalar(query)
        return counts or {}

    def finish_run(self, sync_run_id: str, status: str, **values: Any) -> None:
        """Close a run's row with its counts."""
        with self._control.begin() as connection:
            connection.execute(
                sync_runs.update()
                .where(sync_runs.c.sync_run_id == sync_run_id)
                .values(status=status, finished_at=self._clock.now(), **values)
            )

    # ---- the outbox ----------------------------------------------------------------------------

    def enqueue(
        self, sync_run_id: str, blocks: Iterable[list[tuple[str, str, str, str | None]]]
    ) -> None:
        """Put a plan's operations in the outbox; what an earlier plan left is superseded.

        An operation that was planned before and not accepted keeps its row: its id, its
        attempts and when it was first wanted.
        """
        now = self._clock.now()
        with self._control.begin() as connection:
            connection.execute(
                outbox.update()
                .where(outbox.c.sync == self._sync, outbox.c.state.in_(("pending", "rejected")))
                .values(state="superseded", payload=None, updated_at=now)
            )
            insert = _insert(connection)(outbox)
            statement = insert.on_conflict_do_update(
                index_elements=["op_id"],
                set_={
                    "state": "pending",
                    "sync_run_id": insert.excluded.sync_run_id,
                    "updated_at": insert.excluded.updated_at,
                },
            )
            for block in blocks:
                connection.execute(
                    statement,
                    [
                        {
                            "op_id": op_id,
                            "sync": self._sync,
                            "destination_key": key,
                            "operation": operation,
                            "row_digest": row_digest,
                            "state": "pending",
                            "attempts": 0,
                            "sync_run_id": sync_run_id,
                            "created_at": now,
                            "updated_at": now,
                        }
                        for op_id, key, operation, row_digest in block
                    ],
                )

    def restamp(self, blocks: Iterable[list[tuple[str, str, str]]]) -> None:
        """Bring the ledger up to date with a mapping that lost a column; nothing was sent."""
        with self._control.begin() as connection:
            statement = (
                acknowledgements.update()
                .where(
                    acknowledgements.c.sync == self._sync,
                    acknowledgements.c.destination_key == sa.bindparam("key"),
                )
                .values(row_digest=sa.bindparam("digest"), column_digests=sa.bindparam("digests"))
            )
            for block in blocks:
                connection.execute(
                    statement,
                    [
                        {"key": key, "digest": digest, "digests": digests}
                        for key, digest, digests in block
                    ],
                )

    def claim(self, operations: Sequence[Operation]) -> None:
        """Mark operations as in flight, with what is about to be sent: on disk before it leaves."""
        if not operations:
            return
        now = self._clock.now()
        statement = (
            outbox.update()
            .where(outbox.c.op_id == sa.bindparam("id"))
            .values(
                state="in_flight",
                payload=sa.bindparam("body"),
                attempts=outbox.c.attempts + 1,
                updated_at=now,
            )
        )
        with self._control.begin() as connection:
            connection.execute(
                statement,
                [
                    {"id": operation.op_id, "body": operation.to_payload()}
                    for operation in operations
                ],
            )

    def settle(self, operations: Sequence[Operation], outcomes: Mapping[str, Outcome]) -> None:
        """Write down what became of operations, by id.

        An operation that `outcomes` says nothing about is unknown: silence proves nothing.
        """
        now = self._clock.now()
        settled = [
            (operation, outcomes.get(operation.op_id, Outcome("unknown", "no answer for this row")))
            for operation in operations
        ]
        if not settled:
            return
        with self._control.begin() as connection:
            connection.execute(
                outbox.update()
                .where(outbox.c.op_id == sa.bindparam("id"))
                .values(
                    state=sa.bindparam("new_state"),
                    reason=sa.bindparam("why"),
                    # What is unknown keeps its values: they are compared with what is read back.
                    payload=sa.case(
                        (sa.bindparam("new_state") == "unknown", outbox.c.payload), else_=None
                    ),
                    updated_at=now,
                ),
                [
                    {"id": operation.op_id, "new_state": outcome.state, "why": outcome.reason}
                    for operation, outcome in settled
                ],
            )
            accepted = [
                operation for operation, outcome in settled if outcome.state == "acknowledged"
            ]
            self._acknowledge(connection, accepted, now)

    def _acknowledge(
        self, connection: sa.Connection, operations: Sequence[Operation], now: datetime
    ) -> None:
        written = [operation for operation in operations if operation.kind != "delete"]
        deleted = [operation.key for operation in operations if operation.kind == "delete"]
        if written:
            insert = _insert(connection)(acknowledgements)
            connection.execute(
                insert.on_conflict_do_update(
                    index_elements=["sync", "destination_key"],
                    set_={
                        name: insert.excluded[name]
                        for name in ("row_digest", "column_digests", "op_id", "acknowledged_at")
                    },
                ),
                [
                    {
                        "sync": self._sync,
                        "destination_key": operation.key,
                        "row_digest": operation.row_digest,
                        "column_digests": operation.column_digests,
                        "op_id": operation.op_id,
                        "acknowledged_at": now,
                    }
                    for operation in written
                ],
            )
        for block in _blocks(deleted):
            connection.execute(
                acknowledgements.delete().where(
                    acknowledgements.c.sync == self._sync,
                    acknowledgements.c.destination_key.in_(block),
                )
            )

    def open_operations(self) -> list[Operation]:
        """Operations whose outcome is not known: in flight when a run was killed, or unknown."""
        query = (
            sa.select(outbox)
            .where(outbox.c.sync == self._sync, outbox.c.state.in_(OPEN_STATES))
            .order_by(outbox.c.destination_key)
        )
        with self._control.read() as connection:
            rows = connection.execute(query).all()
        found = []
        for row in rows:
            payload = json.loads(row.payload) if row.payload else {}
            found.append(
                Operation(
                    op_id=row.op_id,
                    key=row.destination_key,
                    kind=row.operation,
                    body=payload.get("body", {}),
                    row_digest=row.row_digest,
                    column_digests=payload.get("column_digests", ""),
                )
            )
        return found

    def count(self, state: str) -> int:
        """How many operations are in a state."""
        query = (
            sa.select(sa.func.count())
            .select_from(outbox)
            .where(outbox.c.sync == self._sync, outbox.c.state == state)
        )
        with self._control.read() as connection:
            return connection.scalar(query) or 0

    def prune(self, days: int) -> None:
        """Drop settled operations of long ago; accepted deletes stay, see `deleted`."""
        before = self._clock.now() - timedelta(days=days)
        with self._control.begin() as connection:
            connection.execute(
                outbox.delete().where(
                    outbox.c.sync == self._sync,
                    outbox.c.updated_at < before,
                    sa.or_(
                        outbox.c.state.in_(("superseded", "cancelled")),
                        sa.and_(outbox.c.state == "acknowledged", outbox.c.operation != "delete"),
                    ),
                )
            )

    # ---- held plans ----------------------------------------------------------------------------

    def hold(self, digest: str) -> None:
        """Remember which plan is held, so that a person can approve exactly that one."""
        with self._control.begin() as connection:
            _put(connection, f"held:{self._sync}", digest)

    def approve(self) -> None:
        """Approve the plan that is held.

        Raises:
            KlantbeeldError: Nothing is held.
        """
        digest = self._control.value(f"held:{self._sync}")
        if digest is None:
            raise KlantbeeldError(f"{self._sync} is not held", "There is nothing to approve.")
        with self._control.begin() as connection:
            _put(connection, f"approved:{self._sync}", digest)
            self._control.audit(connection, "approve_sync", self._sync, plan=digest)

    def is_approved(self, digest: str) -> bool:
        """Whether a person approved exactly this plan."""
        return self._control.value(f"approved:{self._sync}") == digest

    def release(self) -> None:
        """Forget what was held and approved: the plan is being sent, or there is none any more."""
        with self._control.begin() as connection:
            connection.execute(
                home.delete().where(
                    home.c.key.in_((f"held:{self._sync}", f"approved:{self._sync}"))
                )
            )

    # ---- reading in bulk -----------------------------------------------------------------------

    def _table(self, query: sa.Select[Any]) -> pa.Table:
        schema = pa.schema([(column.name, pa.string()) for column in query.selected_columns])
        return self._control.read_tables({"rows": query}, {"rows": schema})["rows"]


def _insert(connection: sa.Connection) -> Any:
    return postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert


def _put(connection: sa.Connection, key: str, value: str) -> None:
    insert = _insert(connection)(home).values(key=key, value=value)
    connection.execute(insert.on_conflict_do_update(index_elements=["key"], set_={"value": value}))


def _blocks(keys: list[str]) -> Iterator[list[str]]:
    for start in range(0, len(keys), _BLOCK):
        yield keys[start : start + _BLOCK]


def _arrow(names: tuple[str, ...], rows: Sequence[tuple[Any, ...]]) -> pa.Table:
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(names)
    return pa.table(
        {
            name: pa.array(list(column), pa.string())
            for name, column in zip(names, columns, strict=True)
        }
    )
