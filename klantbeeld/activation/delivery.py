"""Sending a plan: claim, send, believe only what is proven, read back what is not.

Belongs here: the order of steps around one batch, and when to give up. What an answer means is the
destination's, what is remembered the ledger's, how a row becomes an operation is in `operations`.

    planned rows -> operations -> claim (committed) -> send -> settle (committed) -> next batch
                                            | no proof
                                            -> read back by key -> acknowledged, or sent again

Killed between any two of these steps, the next run finds the operation in flight in the outbox
and begins with reading back (`resolve`).
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NoReturn, TypeVar

from klantbeeld.activation.destinations import EXISTS, MISSING, RecordDestination
from klantbeeld.activation.destinations.answers import unanswered
from klantbeeld.activation.ledger import Conflict, Ledger, Operation, Outcome
from klantbeeld.activation.operations import NOT_THERE, Maker
from klantbeeld.activation.planning import PlannedRow
from klantbeeld.errors import KlantbeeldError
from klantbeeld.failpoints import failpoint
from klantbeeld.http import (
    AddressRefused,
    AuthenticationFailed,
    HttpError,
    RequestRefused,
    StatusError,
    TransportError,
)

logger = logging.getLogger(__name__)

_ATTEMPTS = 4
_BASE_SECONDS = 1.0
_CAP_SECONDS = 30.0
_TOO_LARGE = 413
_REFUSED_AS_A_WHOLE = frozenset({400, _TOO_LARGE, 422})
# Requests spent on finding rows that spoil their batch without any being accepted in between: a
# batch of 1,000 with one bad row takes 21 in all. Beyond it is not a row that is wrong.
_ISOLATION_REQUESTS = 50
# Batches of the size that was learnt, before one of twice that size is tried: two large rows that
# met must not make a million small batches, and at a real limit one request in 50 is in vain.
_BATCHES_BEFORE_LARGER = 50
_NOT_SENT = Outcome("pending", "not sent")

_Row = TypeVar("_Row")


class DeliveryStopped(KlantbeeldError):
    """The destination is in no state to go on; what is left stays for the next run."""


@dataclass
class Delivered:
    """What became of a plan's operations.

    Attributes:
        skipped: Rows that the mode leaves alone, since the destination does not have them.
        kept: Rows of which nothing had to be written, by what is there and whose it is.
    """

    acknowledged: int = 0
    rejected: int = 0
    unknown: int = 0
    cancelled: int = 0
    skipped: int = 0
    kept: int = 0
    conflicts: int = 0

    def add(self, outcomes: Iterable[Outcome]) -> None:
        """Count outcomes that are final for this run."""
        for outcome in outcomes:
            if outcome.state == "acknowledged":
                self.acknowledged += 1
            elif outcome.state == "rejected" and outcome.reason == NOT_THERE:
                self.skipped += 1
            elif outcome.state in ("rejected", "unknown", "cancelled"):
                setattr(self, outcome.state, getattr(self, outcome.state) + 1)


class _BatchSize:
    """How many rows the destination takes at once, as far as its answers 413 tell."""

    def __init__(self) -> None:
        self._rows: int | None = None
        self._taken = 0

    def parts(self, rows: list[_Row]) -> Iterator[list[_Row]]:
        """Rows in batches that are taken; what is learnt of one counts for the next."""
        start = 0
        while start < len(rows):
            size = self._rows or len(rows)
            yield rows[start : start + size]
            start += size
            if size == self._rows:
                self._taken += 1
                if self._taken == _BATCHES_BEFORE_LARGER:
                    self._rows, self._taken = 2 * size, 0

    def refused(self, rows: int) -> None:
        """A batch was too large: half of it is the most, unless it was one row that is."""
        self._rows, self._taken = (rows - rows // 2 if rows > 1 else None), 0


class Delivery:
    """Sends the operations of one sync run.

    Args:
        sync_run_id: The run.
        ledger: Where every step is written down.
        destination: Where the rows go.
        maker: Makes operations of planned rows.
        withdrawn: Keys of rows whose person withdrew or was erased, as known at this moment.
        patience: Seconds to go on while nothing is accepted.
        quiet: Seconds that a request without an answer may still take effect.
        sleep: Waits; tests hand in their own.
        rng: Draws the jitter.
        progress: Told the number of rows done, after each batch.
    """

    def __init__(
        self,
        sync_run_id: str,
        ledger: Ledger,
        destination: RecordDestination,
        maker: Maker,
        *,
        withdrawn: Callable[[], frozenset[str]] = frozenset,
        patience: float = 300.0,
        quiet: float = 2.0,
        sleep: Callable[[float], None] = time.sleep,
        rng: random.Random | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> None:
        self._sync_run_id = sync_run_id
        self._ledger = ledger
        self._destination = destination
        self._maker = maker
        self._withdrawn = withdrawn
        self._patience = patience
        self._quiet = quiet
        self._sleep = sleep
        self._rng = rng or random.Random()  # noqa: S311 - jitter, no secret
        self._progress = progress
        self._last_good = time.monotonic()
        self._isolations = 0
        self._batch_size = _BatchSize()
        # How a row that has to be sent again stays if the run ends: unknown as soon as one request
        # for it may have been taken.
        self._left: dict[str, Outcome] = {}
        self.delivered = Delivered()

    # ---- what an earlier run left open ---------------------------------------------------------

    def resolve(self, size: int) -> int:
        """Find out about operations whose outcome an earlier run did not learn.

        What the destination holds is acknowledged; the rest is superseded, and wanted again by the
        plan that is made next. Where nothing can be read back, an operation that may be sent twice
        is sent again, and any other stays unknown: a person has to look.

        Returns:
            How many there were.

        Raises:
            HttpError: The destination cannot be read, so nothing may be sent either.
        """
        operations = self._ledger.open_operations()
        if not operations:
            return 0
        if not self._destination.is_readable:
            outcome = Outcome("superseded", "sent again under the same id")
            if not self._destination.is_idempotent:
                outcome = Outcome("unknown", "no answer, and it cannot be read back")
            # Not counted as this run's: the plan counts them as blocked.
            self._ledger.settle(operations, {operation.op_id: outcome for operation in operations})
            return len(operations)
        waited = False
        for block in _blocks(operations, size):
            outcomes = self._read_back(block)
            if len(outcomes) < len(block) and not waited:
                # A request that was on its way when its run ended may arrive after a newer one.
                waited = self._wait_for_quiet()
                if waited:
                    outcomes = self._read_back(block)
            for operation in block:
                outcomes.setdefault(
                    operation.op_id, Outcome("superseded", "not there when read back")
                )
            self._settle(block, outcomes)
        return len(operations)

    def _wait_for_quiet(self) -> bool:
        claimed_at = self._ledger.last_claim()
        if claimed_at is None:
            return False
        left = self._quiet - (datetime.now(UTC) - claimed_at).total_seconds()
        if left <= 0:
            return False
        self._sleep(min(left, self._quiet))
        return True

    # ---- sending -------------------------------------------------------------------------------

    def send(self, batches: Iterable[list[PlannedRow]]) -> None:
        """Send a plan.

        Raises:
            DeliveryStopped: The destination failed for good; everything it answered is settled.
        """
        for batch in batches:
            for part in self._batch_size.parts(batch):
                self._send_batch(self._prepared(part))
                if self._progress is not None:
                    self._progress(len(part))

    def _prepared(self, rows: list[PlannedRow]) -> list[Operation]:
        """The operations of a batch that have to be sent; what needs no sending is settled."""
        withdrawn = self._withdrawn()
        outcome = Outcome("cancelled", "consent was withdrawn, or the person was erased")
        cancelled = [
            self._maker.bare(row)
            for row in rows
            if row.key in withdrawn and row.operation in ("create", "update")
        ]
        self._settle(cancelled, {operation.op_id: outcome for operation in cancelled})
        dropped = {operation.op_id for operation in cancelled}
        try:
            made = self._maker.make([row for row in rows if row.op_id not in dropped])
        except HttpError as error:
            raise DeliveryStopped(error.message, error.hint) from None
        settled = [operation for operation, _ in made.settled]
        self._settle(settled, {operation.op_id: outcome for operation, outcome in made.settled})
        self.delivered.kept += sum(o.state == "acknowledged" for _, o in made.settled)
        self._note(made.conflicts)
        return made.operations

    def _note(self, conflicts: Sequence[Conflict]) -> None:
        self._ledger.record_conflicts(self._sync_run_id, conflicts)
        self.delivered.conflicts += len(conflicts)

    def _send_batch(self, operations: list[Operation]) -> None:
        waiting = operations
        pause = 0.0
        for attempt in range(1, _ATTEMPTS + 1):
            if not waiting:
                return
            if attempt > 1:
                ceiling = min(_CAP_SECONDS, _BASE_SECONDS * 2.0 ** (attempt - 2))
                self._sleep(max(pause, self._rng.uniform(0, ceiling)))
                if time.monotonic() - self._last_good > self._patience:
                    break
            self._ledger.claim(waiting)
            failpoint("sync.before_send")
            try:
                outcomes = self._destination.write(waiting)
            except HttpError as error:
                if _was_refused_whole(error):
                    self._isolate(waiting, error)
                    return
                if _was_not_taken(error):
                    self._leave(waiting, Outcome("pending", f"not sent: {error.message}"))
                    self._stop(waiting, error)
                logger.warning("a batch of %d rows has no usable answer: %s", len(waiting), error)
                outcomes = unanswered(waiting, error)
            if self._destination.is_readable and any(o.is_silent for o in outcomes.values()):
                # It may be at work on it still: read back at once, it would be sent twice.
                self._sleep(self._quiet)
            failpoint("sync.after_send")
            pause = max((outcome.retry_after or 0.0 for outcome in outcomes.values()), default=0.0)
            waiting = self._learn(waiting, outcomes)
        if waiting:
            self._stop(waiting, self._what_is_left(waiting))

    def _learn(
        self, operations: list[Operation], outcomes: Mapping[str, Outcome]
    ) -> list[Operation]:
        """Settle what an answer proves; returns what has to be sent (again)."""
        known: list[tuple[Operation, Outcome]] = []
        unsure: list[Operation] = []
        again: list[Operation] = []
        existing: list[Operation] = []
        for operation in operations:
            outcome = outcomes.get(operation.op_id, Outcome("unknown"))
            match outcome.state:
                case "unknown":
                    unsure.append(operation)
                case "pending":
                    self._leave([operation], Outcome("pending", outcome.reason))
                    again.append(operation)
                case _ if outcome.state == MISSING:
                    again += self._without_row(operation, known)
                case _ if outcome.state == EXISTS:
                    existing.append(operation)
                case _:
                    known.append((operation, outcome))
        if existing:
            made = self._maker.existing(existing)
            known += made.settled
            again += made.operations
            self._note(made.conflicts)
        if known:
            self._last_good = time.monotonic()
            self._isolations = 0
        failpoint("sync.before_ack")
        self._settle([operation for operation, _ in known], {op.op_id: o for op, o in known})
        failpoint("sync.after_ack")
        if unsure:
            again += self._doubted(unsure, again)
        return again

    def _doubted(self, unsure: list[Operation], again: list[Operation]) -> list[Operation]:
        """Read back what nothing was said of; returns what did not take effect."""
        if not self._destination.is_readable:
            if self._destination.is_idempotent:
                self._leave(unsure, Outcome("unknown", "no answer"))
                return unsure
            outcome = Outcome("unknown", "no answer, and it cannot be read back")
            self._settle(unsure, {operation.op_id: outcome for operation in unsure})
            return []
        try:
            proven = self._read_back(unsure)
        except HttpError as error:
            self._leave(unsure, Outcome("unknown", "no answer, and could not be read back"))
            self._stop([*unsure, *again], error)
        if proven:
            self._last_good = time.monotonic()
        self._settle([op for op in unsure if op.op_id in proven], proven)
        absent = [operation for operation in unsure if operation.op_id not in proven]
        self._leave(absent, Outcome("unknown", "no answer, and not there when read back"))
        return absent

    def _without_row(
        self, operation: Operation, known: list[tuple[Operation, Outcome]]
    ) -> list[Operation]:
        """An update whose row is not there: what the mode says of it."""
        made = self._maker.missing(operation)
        known += made.settled
        return made.operations

    def _isolate(self, operations: list[Operation], error: HttpError) -> None:
        """A batch refused as a whole: halve it until the row that spoils it stands alone."""
        if isinstance(error, StatusError):
            what, reason = str(error.status), f"{error.status} for the request as a whole"
            if error.status == _TOO_LARGE:
                self._batch_size.refused(len(operations))
        else:
            what = reason = error.message
        if len(operations) == 1:
            self._settle(operations, {operations[0].op_id: Outcome("rejected", reason)})
            return
        # Nothing was taken: if the run ends before their turn, they are not in flight.
        self._leave(operations, Outcome("pending", reason))
        self._ledger.settle(operations, self._left)
        self._isolations += 2
        if self._isolations > _ISOLATION_REQUESTS:
            self._stop(
                operations,
                KlantbeeldError(
                    f"the destination refuses requests as a whole ({what}), not single rows",
                    "Compare the sync with the destination: `klantbeeld sync plan`.",
                ),
            )
        middle = len(operations) // 2
        for half in (operations[:middle], operations[middle:]):
            for part in self._batch_size.parts(half):
                self._send_batch(part)

    def _read_back(self, operations: Sequence[Operation]) -> dict[str, Outcome]:
        columns = sorted({column for operation in operations for column in operation.body})
        found = self._destination.read([operation.key for operation in operations], columns)
        return {
            operation.op_id: Outcome("acknowledged")
            for operation in operations
            if self._destination.holds(operation, found.get(operation.key))
        }

    def _settle(self, operations: list[Operation], outcomes: Mapping[str, Outcome]) -> None:
        if not operations:
            return
        self._ledger.settle(operations, outcomes)
        self.delivered.add(outcomes[operation.op_id] for operation in operations)
        for operation in operations:
            self._left.pop(operation.op_id, None)

    def _leave(self, operations: Iterable[Operation], outcome: Outcome) -> None:
        """Note how operations stay if the run ends before more is learnt of them."""
        for operation in operations:
            before = self._left.get(operation.op_id)
            if before is None or before.state != "unknown" or outcome.state == "unknown":
                self._left[operation.op_id] = outcome

    def _what_is_left(self, operations: Sequence[Operation]) -> KlantbeeldError:
        """Why operations that were tried so often are not tried once more."""
        left = [self._left.get(operation.op_id, _NOT_SENT) for operation in operations]
        if any(outcome.state == "unknown" for outcome in left):
            return KlantbeeldError(
                f"the destination left {len(left)} rows without an answer, again and again",
                "The next run reads them back first and sends what did not arrive.",
            )
        return KlantbeeldError(
            f"the destination did not take {len(left)} rows, again and again ({left[0].reason})",
            "The next run sends them.",
        )

    def _stop(self, operations: Sequence[Operation], error: KlantbeeldError) -> NoReturn:
        """End the run: what is left stays as it is known to be."""
        left = {op.op_id: self._left.get(op.op_id, _NOT_SENT) for op in operations}
        self._settle(list(operations), left)
        raise DeliveryStopped(error.message, error.hint) from None


def _was_not_taken(error: HttpError) -> bool:
    """Whether it is certain that the destination did nothing."""
    if isinstance(error, AuthenticationFailed | AddressRefused):
        return True
    if isinstance(error, TransportError):
        return not error.was_sent
    return isinstance(error, StatusError) and error.status in (401, 403, 404, 429)


def _was_refused_whole(error: HttpError) -> bool:
    if isinstance(error, RequestRefused):  # by us, before a byte left
        return True
    return isinstance(error, StatusError) and error.status in _REFUSED_AS_A_WHOLE


def _blocks(operations: list[Operation], size: int) -> Iterator[list[Operation]]:
    for start in range(0, len(operations), size):
        yield operations[start : start + size]
