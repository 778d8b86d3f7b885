"""Sending a plan: claim, send, believe only what is proven, read back what is not.

Belongs here: the order of steps around one batch, and when to give up. What an answer means is the
destination's, what is remembered the ledger's.

    planned rows -> encode -> claim (committed) -> send -> settle (committed) -> next batch
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
from dataclasses import dataclass, replace
from typing import Any, NoReturn

from klantbeeld.activation.destinations import MISSING, RecordDestination, RowRefused
from klantbeeld.activation.ledger import Ledger, Operation, Outcome
from klantbeeld.activation.planning import PlannedRow
from klantbeeld.errors import KlantbeeldError
from klantbeeld.failpoints import failpoint
from klantbeeld.http import (
    AddressRefused,
    AuthenticationFailed,
    HttpError,
    StatusError,
    TransportError,
)

logger = logging.getLogger(__name__)

_ATTEMPTS = 4
_BASE_SECONDS = 1.0
_CAP_SECONDS = 30.0
_REFUSED_AS_A_WHOLE = frozenset({400, 413, 422})

WholeRows = Callable[[Iterable[str]], dict[str, dict[str, Any]]]


class DeliveryStopped(KlantbeeldError):
    """The destination is in no state to go on; what is left stays for the next run."""


@dataclass
class Delivered:
    """What became of a plan's operations."""

    acknowledged: int = 0
    rejected: int = 0
    unknown: int = 0

    def add(self, outcomes: Iterable[Outcome]) -> None:
        """Count outcomes that are final for this run."""
        for outcome in outcomes:
            if outcome.state == "acknowledged":
                self.acknowledged += 1
            elif outcome.state == "rejected":
                self.rejected += 1
            elif outcome.state == "unknown":
                self.unknown += 1


class Delivery:
    """Sends the operations of one sync run.

    Args:
        ledger: Where every step is written down.
        destination: Where the rows go.
        whole_rows: Gives all values of rows by key, for rows that have gone from the destination.
        sleep: Waits; tests hand in their own.
        rng: Draws the jitter.
    """

    def __init__(
        self,
        ledger: Ledger,
        destination: RecordDestination,
        whole_rows: WholeRows,
        *,
        sleep: Callable[[float], None] = time.sleep,
        rng: random.Random | None = None,
    ) -> None:
        self._ledger = ledger
        self._destination = destination
        self._whole_rows = whole_rows
        self._sleep = sleep
        self._rng = rng or random.Random()  # noqa: S311 - jitter, no secret
        self.delivered = Delivered()

    def resolve(self, size: int) -> int:
        """Find out about operations whose outcome an earlier run did not learn.

        What the destination holds is acknowledged; the rest is superseded, and wanted again by the
        plan that is made next.

        Returns:
            How many there were.

        Raises:
            HttpError: The destination cannot be read, so nothing may be sent either.
        """
        operations = self._ledger.open_operations()
        for block in _blocks(operations, size):
            outcomes = self._read_back(block)
            for operation in block:
                outcomes.setdefault(
                    operation.op_id, Outcome("superseded", "not there when read back")
                )
            self._settle(block, outcomes)
        return len(operations)

    def send(self, batches: Iterable[list[PlannedRow]]) -> None:
        """Send a plan.

        Raises:
            DeliveryStopped: The destination failed for good; everything it answered is settled.
        """
        for batch in batches:
            self._send_batch(self._encoded(batch))

    def _encoded(self, rows: list[PlannedRow]) -> list[Operation]:
        operations = []
        refused = []
        outcomes = {}
        for row in rows:
            operation = Operation(
                row.op_id, row.key, row.operation, {}, row.row_digest, row.column_digests
            )
            try:
                if row.operation != "delete":
                    body = self._destination.encode(row.key, row.operation, row.values)
                    operation = replace(operation, body=body)
            except RowRefused as error:
                refused.append(operation)
                outcomes[row.op_id] = Outcome("rejected", error.message)
            else:
                operations.append(operation)
        self._settle(refused, outcomes)
        return operations

    def _send_batch(self, operations: list[Operation]) -> None:
        waiting = operations
        pause = 0.0
        for attempt in range(1, _ATTEMPTS + 1):
            if not waiting:
                return
            if attempt > 1:
                ceiling = min(_CAP_SECONDS, _BASE_SECONDS * 2.0 ** (attempt - 2))
                self._sleep(max(pause, self._rng.uniform(0, ceiling)))
            self._ledger.claim(waiting)
            failpoint("sync.before_send")
            try:
                outcomes = self._destination.write(waiting)
            except HttpError as error:
                if _was_refused_whole(error):
                    self._isolate(waiting, error)
                    return
                if _was_not_taken(error):
                    self._stop(waiting, Outcome("pending", "not sent"), error)
                logger.warning("a batch of %d rows has no usable answer: %s", len(waiting), error)
                outcomes = {}
            failpoint("sync.after_send")
            pause = max((outcome.retry_after or 0.0 for outcome in outcomes.values()), default=0.0)
            waiting = self._learn(waiting, outcomes)
        if waiting:
            self._stop(
                waiting,
                Outcome("unknown", "no answer, and not there when read back"),
                KlantbeeldError(
                    f"the destination left {len(waiting)} rows without an answer {_ATTEMPTS} times",
                    "The next run reads them back first and sends what did not arrive.",
                ),
            )

    def _learn(
        self, operations: list[Operation], outcomes: Mapping[str, Outcome]
    ) -> list[Operation]:
        """Settle what an answer proves; returns what has to be sent (again)."""
        known: list[Operation] = []
        unsure: list[Operation] = []
        again: list[Operation] = []
        for operation in operations:
            outcome = outcomes.get(operation.op_id, Outcome("unknown"))
            match outcome.state:
                case "unknown":
                    unsure.append(operation)
                case "pending":
                    again.append(operation)
                case _ if outcome.state == MISSING:
                    again += self._recreated(operation)
                case _:
                    known.append(operation)
        failpoint("sync.before_ack")
        self._settle(known, outcomes)
        failpoint("sync.after_ack")
        if unsure:
            try:
                proven = self._read_back(unsure)
            except HttpError as error:
                self._stop(
                    [*unsure, *again],
                    Outcome("unknown", "no answer, and could not be read back"),
                    error,
                )
            self._settle([op for op in unsure if op.op_id in proven], proven)
            again += [operation for operation in unsure if operation.op_id not in proven]
        return again

    def _recreated(self, operation: Operation) -> list[Operation]:
        """An update of a row that is not there any more becomes the whole row."""
        values = self._whole_rows([operation.key]).get(operation.key)
        if values is None:
            outcome = Outcome("superseded", "the row left the model")
            self._settle([operation], {operation.op_id: outcome})
            return []
        try:
            body = self._destination.encode(operation.key, "create", values)
        except RowRefused as error:
            outcome = Outcome("rejected", error.message)
            self._settle([operation], {operation.op_id: outcome})
            return []
        return [replace(operation, kind="create", body=body)]

    def _isolate(self, operations: list[Operation], error: HttpError) -> None:
        """A batch refused as a whole: halve it until the row that spoils it stands alone."""
        if len(operations) == 1:
            status = error.status if isinstance(error, StatusError) else 0
            outcome = Outcome("rejected", f"{status} for the request as a whole")
            self._settle(operations, {operations[0].op_id: outcome})
            return
        middle = len(operations) // 2
        self._send_batch(operations[:middle])
        self._send_batch(operations[middle:])

    def _read_back(self, operations: Sequence[Operation]) -> dict[str, Outcome]:
        columns = sorted({column for operation in operations for column in operation.body})
        found = self._destination.read([operation.key for operation in operations], columns)
        return {
            operation.op_id: Outcome("acknowledged")
            for operation in operations
            if self._destination.holds(operation, found.get(operation.key))
        }

    def _settle(self, operations: list[Operation], outcomes: Mapping[str, Outcome]) -> None:
        self._ledger.settle(operations, outcomes)
        self.delivered.add(outcomes[operation.op_id] for operation in operations)

    def _stop(
        self, operations: list[Operation], outcome: Outcome, error: KlantbeeldError
    ) -> NoReturn:
        self._settle(operations, dict.fromkeys((op.op_id for op in operations), outcome))
        raise DeliveryStopped(error.message, error.hint) from None


def _was_not_taken(error: HttpError) -> bool:
    """Whether it is certain that the destination did nothing."""
    if isinstance(error, AuthenticationFailed | AddressRefused):
        return True
    if isinstance(error, TransportError):
        return not error.was_sent
    return isinstance(error, StatusError) and error.status in (401, 403, 404, 429)


def _was_refused_whole(error: HttpError) -> bool:
    return isinstance(error, StatusError) and error.status in _REFUSED_AS_A_WHOLE


def _blocks(operations: list[Operation], size: int) -> Iterator[list[Operation]]:
    for start in range(0, len(operations), size):
        yield operations[start : start + size]
