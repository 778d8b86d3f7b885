"""From a planned row to the operation that is sent: what mode, owner and what is there make of it.

Belongs here: which kind of request a row becomes, with which columns, and what follows when the
destination says that the row is there already, or is not. Sending is `delivery`.

    planned row -> (what is there, if the sync has columns that are not ours alone) -> operation
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from klantbeeld.activation.destinations import (
    InspectableDestination,
    RecordDestination,
    RowRefused,
    refuses_existing,
)
from klantbeeld.activation.ledger import Conflict, Ledger, Operation, Outcome, split_chunks
from klantbeeld.activation.ownership import Field, decide, field_digest
from klantbeeld.activation.planning import LEAVING, PlannedRow, column_tag
from klantbeeld.activation.specs import SyncSpec

WholeRows = Callable[[Iterable[str]], dict[str, dict[str, Any]]]

NOT_THERE = "not there (update_only)"


@dataclass
class Made:
    """What became of some rows: operations to send, and outcomes that need no sending."""

    operations: list[Operation] = field(default_factory=list)
    settled: list[tuple[Operation, Outcome]] = field(default_factory=list)
    conflicts: list[Conflict] = field(default_factory=list)

    def settle(self, operation: Operation, state: str, reason: str) -> None:
        """Note an outcome."""
        self.settled.append((operation, Outcome(state, reason)))


class Maker:
    """Makes the operations of one sync.

    Args:
        spec: The sync.
        destination: Where the rows go.
        ledger: What we last wrote.
        whole_rows: Gives all values of rows by key.
        home_key: The secret of the digests.
    """

    def __init__(
        self,
        spec: SyncSpec,
        destination: RecordDestination,
        ledger: Ledger,
        whole_rows: WholeRows,
        home_key: bytes,
    ) -> None:
        self._spec = spec
        self._destination = destination
        self._ledger = ledger
        self._whole_rows = whole_rows
        self._home_key = home_key
        self._rows: dict[str, PlannedRow] = {}

    def bare(self, row: PlannedRow) -> Operation:
        """The operation of a row as far as the ledger is concerned, without a body."""
        kind = row.operation
        if kind == "clear" or (kind == "create" and self._spec.mode == "update_only"):
            kind = "update"
        makes_new = kind == "create" and self._spec.mode in ("mirror", "create_only", "append")
        return Operation(
            op_id=row.op_id,
            key=row.key,
            kind=kind,
            body={},
            row_digest=row.row_digest,
            column_digests=row.column_digests,
            must_be_new=makes_new and refuses_existing(self._destination),
            leaves=row.operation in LEAVING,
            subjects=row.subjects,
            is_created=makes_new if row.operation == "create" else None,
        )

    def make(self, rows: Sequence[PlannedRow]) -> Made:
        """The operations of a batch.

        Raises:
            HttpError: What is there has to be known, and could not be read.
        """
        made = Made()
        self._rows = {row.op_id: row for row in rows}
        there = self._what_is_there(rows)
        known = self._ledger.written(there) if self._spec.reads_first else {}
        for row in rows:
            operation = self.bare(row)
            if row.operation in ("delete", "remove"):
                made.operations.append(operation)
            elif row.operation == "clear":
                self._add(made, operation, dict.fromkeys(row.columns))
            elif row.key not in there:
                self._add(made, operation, row.values)
            elif self._spec.mode in ("create_only", "append"):
                made.settle(replace(operation, is_created=False), "acknowledged", "was there")
            else:
                self._change(made, operation, row.values, there[row.key], known.get(row.key, ""))
        return made

    def existing(self, operations: Sequence[Operation]) -> Made:
        """What follows when rows that were to be made are there already."""
        made = Made()
        if self._spec.mode in ("create_only", "append"):
            for operation in operations:
                made.settle(replace(operation, is_created=False), "acknowledged", "was there")
            return made
        there: Mapping[str, Mapping[str, Any]] = {}
        if self._spec.reads_first:
            there = self._read([operation.key for operation in operations])
        for operation in operations:
            values = self._rows[operation.op_id].values
            if operation.key in there:
                self._change(made, operation, values, there[operation.key], "")
            else:
                changed = replace(operation, kind="update", must_be_new=False, is_created=False)
                self._add(made, changed, values)
        return made

    def missing(self, operation: Operation) -> Made:
        """What follows when a row that was to be changed is not there."""
        made = Made()
        if operation.leaves:
            made.settle(operation, "acknowledged", "was gone already")
            return made
        if self._spec.mode == "update_only":
            made.settle(operation, "rejected", NOT_THERE)
            return made
        values = self._whole_rows([operation.key]).get(operation.key)
        if values is None:
            made.settle(operation, "superseded", "the row left the model")
            return made
        # It was seen not to be there; made by us, whoever made the one that is gone.
        self._add(made, replace(operation, kind="create", is_created=True), values)
        return made

    def _what_is_there(self, rows: Sequence[PlannedRow]) -> Mapping[str, Mapping[str, Any]]:
        """The destination's rows, where the sync or the destination makes it necessary to know."""
        if self._spec.reads_first:
            return self._read([r.key for r in rows if r.operation in ("create", "update")])
        if not self._destination.is_readable or refuses_existing(self._destination):
            return {}
        if self._spec.mode not in ("mirror", "create_only", "append"):
            return {}
        return self._read([row.key for row in rows if row.operation == "create"])

    def _read(self, keys: Sequence[str]) -> Mapping[str, Mapping[str, Any]]:
        columns = list(self._spec.value_columns.values())
        if self._spec.modified_at is not None:
            columns.append(self._spec.modified_at)
        return self._destination.read(keys, columns) if keys else {}

    def _change(
        self,
        made: Made,
        operation: Operation,
        values: Mapping[str, Any],
        found: Mapping[str, Any],
        known: str,
    ) -> None:
        """Write to a row that is there what is ours to write."""
        if operation.kind == "create":
            operation = replace(operation, kind="update", must_be_new=False, is_created=False)
        if not self._spec.reads_first:
            self._add(made, operation, values)
            return
        try:
            body = self._destination.encode(operation.key, "update", values)
        except RowRefused as error:
            made.settle(operation, "rejected", error.message)
            return
        comparable = self._comparable()
        wanted, there = comparable(body), comparable(found)
        last = dict(split_chunks(known))
        row = self._rows.get(operation.op_id)
        written: dict[str, str | None] = {}
        stand = set()
        for column, text in wanted.items():
            owner = self._spec.rule(column).owner
            was = last.get(column_tag(column))
            decision = decide(
                owner,
                Field(
                    wanted=text,
                    there=there.get(column),
                    was_written=was,
                    digest_wanted=field_digest(self._home_key, operation.key, column, text),
                    digest_there=field_digest(
                        self._home_key, operation.key, column, there.get(column)
                    ),
                    ours_at=row.updated_at if row else None,
                    theirs_at=there.get(self._spec.modified_at or ""),
                ),
            )
            if decision.write:
                stand.add(column)
            if decision.write or text == there.get(column):
                written[column] = text
            if decision.conflict:
                made.conflicts.append(Conflict(operation.key, column, owner, decision.conflict))
        operation = replace(operation, written=self._chunks(operation.key, written))
        if stand:
            kept = {column: value for column, value in values.items() if column in stand}
            body = self._destination.encode(operation.key, "update", kept)
            made.operations.append(replace(operation, body=body))
        else:
            made.settle(operation, "acknowledged", "nothing of ours to write")

    def _add(self, made: Made, operation: Operation, values: Mapping[str, Any]) -> None:
        """Add an operation with these values, or its refusal."""
        try:
            body = self._destination.encode(operation.key, operation.kind, values)
        except RowRefused as error:
            made.settle(operation, "rejected", error.message)
            return
        written = ""
        if self._spec.reads_first and not operation.leaves:
            texts = self._comparable()(body)
            mapped = {c: t for c, t in texts.items() if c != self._spec.key_column}
            written = self._chunks(operation.key, mapped)
        made.operations.append(replace(operation, body=body, written=written))

    def _chunks(self, key: str, texts: Mapping[str, str | None]) -> str:
        return "".join(
            column_tag(column) + field_digest(self._home_key, key, column, text)
            for column, text in texts.items()
        )

    def _comparable(self) -> Callable[[Mapping[str, Any]], dict[str, str | None]]:
        # `preflight.check_fit` refused the sync if it has to compare and the destination cannot.
        assert isinstance(self._destination, InspectableDestination)  # noqa: S101
        return self._destination.comparable
