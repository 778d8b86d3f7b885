"""What a sync remembers: the outbox, the acknowledgements, its runs and its conflicts.

Belongs here: every read and write of the control plane that sending needs, each a short
transaction. Plans that people look at are in `plans`. The states of an operation::

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
from klantbeeld.control.tables import (
    acknowledgements,
    home,
    outbox,
    sync_conflicts,
    sync_runs,
    versions,
)

_BLOCK = 500
# A digest in the ledger: which column, and of what.
TAG_LENGTH = 6
DIGEST_LENGTH = 12
CHUNK = TAG_LENGTH + DIGEST_LENGTH
OPEN_STATES = ("in_flight", "unknown")
SENT = ("synced", "written", "degraded", "unchanged")
_LEAVING = ("delete", "clear", "remove")


@dataclass(frozen=True)
class Operation:
    """One operation as it is sent.

    Attributes:
        op_id: Its id, the same however often it is tried.
        key: The destination's key of the row.
        kind: create, update, delete or remove (from a list).
        body: What is sent, encoded by the destination; empty for a delete.
        row_digest: Digest of the whole row once this is accepted; None if the row leaves.
        column_digests: Digests of its columns.
        must_be_new: A create that is refused when the row is there already.
        leaves: Once accepted, the row is no longer ours to keep up to date.
        written: Digests of what the body writes, in the destination's terms, where it can compare.
        subjects: Keyed hashes of whom the row is about.
        is_created: Whether the row was made by us; None: as the ledger says.
    """

    op_id: str
    key: str
    kind: str
    body: Mapping[str, Any]
    row_digest: str | None
    column_digests: str
    must_be_new: bool = False
    leaves: bool = False
    written: str = ""
    subjects: str = ""
    is_created: bool | None = None

    def to_payload(self) -> str:
        """The form in which it waits in the outbox while it is in flight."""
        return json.dumps({name: getattr(self, name) for name in _IN_FLIGHT})


# What the outbox keeps of an operation in flight, besides its own columns.
_IN_FLIGHT = (
    "body", "column_digests", "kind", "leaves", "must_be_new", "written", "subjects", "is_created",
)  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """What became of one operation.

    Attributes:
        state: acknowledged, rejected, unknown, pending, cancelled or superseded.
        reason: Why it was not acknowledged: codes and column names, never values.
        retry_after: Seconds to wait before it is sent again, if the destination said so.
        is_silent: No answer came at all: the destination may be at work on it still.
    """

    state: str
    reason: str | None = None
    retry_after: float | None = None
    is_silent: bool = False


@dataclass(frozen=True)
class Conflict:
    """A field that both sides changed since we last wrote it.

    Attributes:
        resolution: Whose value stands: ours or theirs.
    """

    key: str
    column: str
    owner: str
    resolution: str


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

    def read(self, *names: str) -> dict[str, pa.Table]:
        """Some of what it knows, all of one moment and from one copy of the store; texts.

        `acknowledged`: destination_key, row_digest, op_id and is_created ('1' or '0') of every
        accepted row. `deleted`: destination_key and op_id of rows taken away: one that returns is a
        new change. `subjects`: destination_key and subjects (keyed hashes with spaces between) of
        accepted rows.
        """
        queries = {name: self._queries[name] for name in names}
        schemas = {
            name: pa.schema([(column.name, pa.string()) for column in query.selected_columns])
            for name, query in queries.items()
        }
        return self._control.read_tables(queries, schemas)

    @property
    def _queries(self) -> dict[str, sa.Select[Any]]:
        accepted = acknowledgements.c
        latest = (
            sa.func.row_number()
            .over(partition_by=outbox.c.destination_key, order_by=outbox.c.updated_at.desc())
            .label("place")
        )
        deletes = (
            sa.select(outbox.c.destination_key, outbox.c.op_id, latest)
            .where(
                outbox.c.sync == self._sync,
                outbox.c.operation.in_(_LEAVING),
                outbox.c.state == "acknowledged",
            )
            .subquery()
        )
        return {
            "acknowledged": sa.select(
                accepted.destination_key,
                accepted.row_digest,
                accepted.op_id,
                sa.cast(accepted.is_created, sa.Text).label("is_created"),
            ).where(accepted.sync == self._sync),
            "deleted": sa.select(deletes.c.destination_key, deletes.c.op_id).where(
                deletes.c.place == 1
            ),
            "subjects": sa.select(accepted.destination_key, accepted.subjects).where(
                accepted.sync == self._sync, accepted.subjects != ""
            ),
        }

    def column_digests(self, keys: Iterable[str]) -> pa.Table:
        """destination_key and column_digests of some rows."""
        names = ("destination_key", "column_digests")
        return _arrow(names, self._known(keys, acknowledgements.c.column_digests))

    def written(self, keys: Iterable[str]) -> dict[str, str]:
        """Digests of what we last wrote, by key, of the rows that have any."""
        return dict(self._known(keys, acknowledgements.c.written_digests))

    def _known(self, keys: Iterable[str], column: sa.Column[str]) -> list[tuple[str, str]]:
        found: list[tuple[str, str]] = []
        with self._control.read() as connection:
            for block in _blocks(list(keys)):
                query = sa.select(acknowledgements.c.destination_key, column).where(
                    acknowledgements.c.sync == self._sync,
                    acknowledgements.c.destination_key.in_(block),
                )
                found += [(row[0], row[1]) for row in connection.execute(query)]
        return found

    def set_aside(self, give_up_after: int) -> pa.Table:
        """destination_key, op_id and fate of operations that are not to be sent now.

        `blocked`: its outcome is unknown, so that nothing may be sent for its key. `given_up`: it
        was refused as often as the policy allows.
        """
        query = sa.select(
            outbox.c.destination_key, outbox.c.op_id, outbox.c.state, outbox.c.rejections
        ).where(outbox.c.sync == self._sync, outbox.c.state.in_((*OPEN_STATES, "rejected")))
        with self._control.read() as connection:
            rows = connection.execute(query).all()
        found = []
        for row in rows:
            if row.state in OPEN_STATES:
                found.append((row.destination_key, row.op_id, "blocked"))
            elif give_up_after and row.rejections >= give_up_after:
                found.append((row.destination_key, row.op_id, "given_up"))
        return _arrow(("destination_key", "op_id", "fate"), found)

    def touched(self, operation: str, since: datetime) -> pa.Table:
        """destination_key of the rows that an operation was accepted for since a moment."""
        kinds = _LEAVING if operation == "delete" else (operation,)
        query = (
            sa.select(outbox.c.destination_key)
            .where(
                outbox.c.sync == self._sync,
                outbox.c.state == "acknowledged",
                outbox.c.operation.in_(kinds),
                outbox.c.updated_at >= since,
            )
            .distinct()
        )
        with self._control.read() as connection:
            return _arrow(("destination_key",), list(connection.execute(query).tuples()))

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

    def rows_when_last_sent(self) -> dict[str, int] | None:
        """Rows per table of the version that was last sent whole.

        Returns:
            Empty before the first; None if that version is not known any more.
        """
        query = (
            sa.select(sync_runs.c.version_id, versions.c.counts)
            .outerjoin(versions, sync_runs.c.version_id == versions.c.version_id)
            .where(sync_runs.c.sync == self._sync, sync_runs.c.status.in_(SENT))
            .order_by(sync_runs.c.started_at.desc())
            .limit(1)
        )
        with self._control.read() as connection:
            row = connection.execute(query).one_or_none()
        return {} if row is None else row.counts

    def has_baseline(self) -> bool:
        """Whether a run of this sync ever sent its whole plan."""
        query = (
            sa.select(sync_runs.c.sync_run_id)
            .where(sync_runs.c.sync == self._sync, sync_runs.c.status.in_(SENT))
            .limit(1)
        )
        with self._control.read() as connection:
            return connection.scalar(query) is not None

    def filled_when_last_sent(self) -> dict[str, int]:
        """Rows with a value by model column, of what was last sent; nothing before the first."""
        query = (
            sa.select(sync_runs.c.filled)
            .where(
                sync_runs.c.sync == self._sync,
                sync_runs.c.status.in_(SENT),
                sync_runs.c.filled.is_not(None),
            )
            .order_by(sync_runs.c.started_at.desc())
            .limit(1)
        )
        with self._control.read() as connection:
            found: dict[str, int] | None = connection.scalar(query)
        return found or {}

    def limits_begin_at(self, days: int) -> datetime:
        """Since when operations count against the limits: the last look of a person at them."""
        earliest = self._clock.now() - timedelta(days=days)
        query = sa.select(sa.func.max(sync_runs.c.finished_at)).where(
            sync_runs.c.sync == self._sync, sync_runs.c.basis.is_not(None)
        )
        with self._control.read() as connection:
            looked = connection.scalar(query)
        if looked is None:
            return earliest
        # The function's result has lost its type: it is the text that is stored.
        moment = looked if isinstance(looked, datetime) else datetime.fromisoformat(looked)
        return max(earliest, moment)

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
        self,
        sync_run_id: str,
        blocks: Iterable[list[tuple[str, str, str, str | None]]],
        *,
        given_up: Sequence[str] = (),
        is_whole: bool = True,
    ) -> None:
        """Put a plan's operations in the outbox; what an earlier plan left is superseded.

        An operation that was planned before and not accepted keeps its row: its id, its attempts,
        its refusals and when it was first wanted.

        Args:
            sync_run_id: The run.
            blocks: op_id, destination_key, operation and row_digest of what is sent.
            given_up: Operations that stay rejected, not being tried again.
            is_whole: False if the rest of the plan is held: what waits then goes on waiting.
        """
        now = self._clock.now()
        with self._control.begin() as connection:
            if is_whole:
                connection.execute(
                    outbox.update()
                    .where(outbox.c.sync == self._sync, outbox.c.state.in_(("pending", "rejected")))
                    .values(state="superseded", payload=None, updated_at=now)
                )
                for part in _blocks(list(given_up)):
                    connection.execute(
                        outbox.update().where(outbox.c.op_id.in_(part)).values(state="rejected")
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
                if not is_whole:
                    self._supersede(connection, [key for _, key, _, _ in block], now)
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

    def _supersede(self, connection: sa.Connection, keys: list[str], now: datetime) -> None:
        for part in _blocks(keys):
            connection.execute(
                outbox.update()
                .where(
                    outbox.c.sync == self._sync,
                    outbox.c.state.in_(("pending", "rejected")),
                    outbox.c.destination_key.in_(part),
                )
                .values(state="superseded", payload=None, updated_at=now)
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
                    rejections=sa.case(
                        (sa.bindparam("new_state") == "rejected", outbox.c.rejections + 1),
                        else_=outbox.c.rejections,
                    ),
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
        stay = [operation for operation in operations if not operation.leaves]
        leave = [operation.key for operation in operations if operation.leaves]
        written = self._merged(connection, stay)
        if stay:
            insert = _insert(connection)(acknowledgements)
            taken = ["row_digest", "column_digests", "written_digests", "op_id", "acknowledged_at"]
            statement = insert.on_conflict_do_update(
                index_elements=["sync", "destination_key"],
                set_={
                    **{name: insert.excluded[name] for name in taken},
                    "subjects": insert.excluded.subjects,
                    "is_created": sa.case(
                        (sa.bindparam("keeps"), acknowledgements.c.is_created),
                        else_=insert.excluded.is_created,
                    ),
                },
            )
            connection.execute(
                statement,
                [
                    {
                        "sync": self._sync,
                        "destination_key": operation.key,
                        "row_digest": operation.row_digest,
                        "column_digests": operation.column_digests,
                        "written_digests": written.get(operation.key, operation.written),
                        "op_id": operation.op_id,
                        "acknowledged_at": now,
                        "subjects": operation.subjects,
                        "is_created": bool(operation.is_created),
                        "keeps": operation.is_created is None,
                    }
                    for operation in stay
                ],
            )
        for block in _blocks(leave):
            connection.execute(
                acknowledgements.delete().where(
                    acknowledgements.c.sync == self._sync,
                    acknowledgements.c.destination_key.in_(block),
                )
            )

    def _merged(self, connection: sa.Connection, operations: Sequence[Operation]) -> dict[str, str]:
        """What we last wrote of rows of which only some columns were written now."""
        new = {op.key: op.written for op in operations if op.kind == "update" and op.written}
        merged = {}
        for block in _blocks(list(new)):
            query = sa.select(
                acknowledgements.c.destination_key, acknowledgements.c.written_digests
            ).where(
                acknowledgements.c.sync == self._sync,
                acknowledgements.c.destination_key.in_(block),
            )
            for key, known in connection.execute(query).tuples():
                chunks = dict(split_chunks(known)) | dict(split_chunks(new[key]))
                merged[key] = "".join(tag + digest for tag, digest in chunks.items())
        return merged

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
                    row_digest=row.row_digest,
                    **{
                        "kind": row.operation,
                        "body": {},
                        "column_digests": "",
                        "leaves": row.operation in _LEAVING,
                        **payload,
                    },
                )
            )
        return found

    def last_claim(self) -> datetime | None:
        """When the last of the open operations was marked as in flight."""
        query = (
            sa.select(outbox.c.updated_at)
            .where(outbox.c.sync == self._sync, outbox.c.state.in_(OPEN_STATES))
            .order_by(outbox.c.updated_at.desc())
            .limit(1)
        )
        with self._control.read() as connection:
            return connection.scalar(query)

    def count(self, state: str) -> int:
        """How many operations are in a state."""
        query = (
            sa.select(sa.func.count())
            .select_from(outbox)
            .where(outbox.c.sync == self._sync, outbox.c.state == state)
        )
        with self._control.read() as connection:
            return connection.scalar(query) or 0

    def oldest_waiting(self) -> datetime | None:
        """Since when the row is wanted that waits longest for a yes; None if none waits."""
        waiting = ("pending", "rejected", *OPEN_STATES)
        query = (
            sa.select(outbox.c.created_at)
            .where(outbox.c.sync == self._sync, outbox.c.state.in_(waiting))
            .order_by(outbox.c.created_at)
            .limit(1)
        )
        with self._control.read() as connection:
            return connection.scalar(query)

    def prune(self, days: int, *, keeps_deletes: bool = True) -> None:
        """Drop settled operations of long ago.

        Accepted deletes stay, see `read`; but not with keys that are personal data, which the
        ledger would know for ever of people who left.
        """
        before = self._clock.now() - timedelta(days=days)
        is_accepted = outbox.c.state == "acknowledged"
        if keeps_deletes:
            is_accepted = sa.and_(is_accepted, outbox.c.operation != "delete")
        with self._control.begin() as connection:
            connection.execute(
                outbox.delete().where(
                    outbox.c.sync == self._sync,
                    outbox.c.updated_at < before,
                    sa.or_(outbox.c.state.in_(("superseded", "cancelled")), is_accepted),
                )
            )

    # ---- both sides ----------------------------------------------------------------------------

    def record_conflicts(self, sync_run_id: str, conflicts: Sequence[Conflict]) -> None:
        """Remember fields that both sides changed; seen again, they are counted."""
        now = self._clock.now()
        if not conflicts:
            return
        with self._control.begin() as connection:
            insert = _insert(connection)(sync_conflicts)
            statement = insert.on_conflict_do_update(
                index_elements=["sync", "destination_key", "column_name"],
                set_={
                    "times": sync_conflicts.c.times + 1,
                    **{
                        name: insert.excluded[name]
                        for name in ("owner", "resolution", "last_seen_at", "sync_run_id")
                    },
                },
            )
            connection.execute(
                statement,
                [
                    {
                        "sync": self._sync,
                        "destination_key": conflict.key,
                        "column_name": conflict.column,
                        "owner": conflict.owner,
                        "resolution": conflict.resolution,
                        "times": 1,
                        "first_seen_at": now,
                        "last_seen_at": now,
                        "sync_run_id": sync_run_id,
                    }
                    for conflict in conflicts
                ],
            )

    # ---- which ledger this is ------------------------------------------------------------------

    @property
    def is_trusted(self) -> bool:
        """Whether it was written in this epoch of the home, or compared with the destination in it.

        The ledger of a restored home is older than what was sent, one of a new home is empty
        whatever the destination holds.
        """
        return self._control.value(f"epoch:{self._sync}") == self.epoch

    def trust(self) -> None:
        """From now on the ledger is what the destination holds."""
        self._keep("epoch", self.epoch)

    def distrust(self) -> None:
        """From now on the ledger may be older than what the destination holds, or of another."""
        self._keep("epoch", "")

    def place(self) -> str | None:
        """Where its rows are, as `keep_place` was told; None if it never was."""
        return self._control.value(f"place:{self._sync}")

    def keep_place(self, place: str) -> None:
        """Remember where its rows are."""
        self._keep("place", place)

    def _keep(self, fact: str, value: str) -> None:
        with self._control.begin() as connection:
            insert = _insert(connection)(home).values(key=f"{fact}:{self._sync}", value=value)
            connection.execute(
                insert.on_conflict_do_update(
                    index_elements=["key"], set_={"value": insert.excluded.value}
                )
            )

    def is_empty(self) -> bool:
        """Whether nothing was ever acknowledged or is on its way."""
        rows = sa.select(acknowledgements.c.sync).where(acknowledgements.c.sync == self._sync)
        waiting = sa.select(outbox.c.sync).where(
            outbox.c.sync == self._sync, outbox.c.state.in_(("in_flight", "unknown"))
        )
        with self._control.read() as connection:
            return connection.execute(sa.union_all(rows, waiting).limit(1)).first() is None

    def knows_run(self, sync_run_id: str) -> bool:
        """Whether a run is written down here."""
        query = sa.select(sync_runs.c.sync_run_id).where(sync_runs.c.sync_run_id == sync_run_id)
        with self._control.read() as connection:
            return connection.scalar(query) is not None

    def relearn(self, learnt: Iterable[list[dict[str, Any]]], forgotten: Iterable[str]) -> None:
        """Put the ledger right where it differs from what the destination holds.

        Args:
            learnt: Values of `acknowledgements` of rows that are there, in blocks, with all columns
                but `sync` and `acknowledged_at`.
            forgotten: Keys of rows that are not there any more.
        """
        now = self._clock.now()
        with self._control.begin() as connection:
            insert = _insert(connection)(acknowledgements)
            own = ("sync", "destination_key")
            statement = insert.on_conflict_do_update(
                index_elements=list(own),
                set_={
                    column.name: insert.excluded[column.name]
                    for column in acknowledgements.c
                    if column.name not in own
                },
            )
            for rows in learnt:
                connection.execute(
                    statement,
                    [{"sync": self._sync, "acknowledged_at": now, **row} for row in rows],
                )
            for block in _blocks(list(forgotten)):
                connection.execute(
                    acknowledgements.delete().where(
                        acknowledgements.c.sync == self._sync,
                        acknowledgements.c.destination_key.in_(block),
                    )
                )


def _insert(connection: sa.Connection) -> Any:
    return postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert


def split_chunks(digests: str) -> Iterator[tuple[str, str]]:
    """Tag and digest of each column in a row's digests."""
    for start in range(0, len(digests), CHUNK):
        yield digests[start : start + TAG_LENGTH], digests[start + TAG_LENGTH : start + CHUNK]


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
