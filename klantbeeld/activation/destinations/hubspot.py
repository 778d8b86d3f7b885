"""HubSpot's CRM API v3: contacts, companies and other objects, in batches.

    creates -> batch/upsert · updates -> batch/update · deletes -> batch/read -> batch/archive
    200 or 207 -> results and errors -> an outcome per row, by trace id or key

Every value is text there, and empty text is nothing. Rows are addressed by a property with unique
values (of contacts also `email`), or by HubSpot's own `hs_object_id`; of rows addressed by the
latter none is made or deleted. An update goes through `batch/update`, so that a row which was
deleted in HubSpot is not made again from half its columns.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import quote

import requests
from pydantic import Field, SecretStr

from klantbeeld.activation.destinations import MISSING, NUMBERS, RowRefused, require_fit
from klantbeeld.activation.destinations.answers import (
    IDEMPOTENT,
    ApiSettings,
    as_text,
    comparable_text,
    comparable_texts,
    dig,
    document,
    needed_document,
    needed_rows,
    send_groups,
    told_reason,
)
from klantbeeld.activation.ledger import Operation, Outcome
from klantbeeld.activation.specs import SyncSpec
from klantbeeld.errors import KlantbeeldError
from klantbeeld.http import HttpError, StaticToken, session
from klantbeeld.settings import Settings

_LARGEST_BATCH = 100
_OWN_ID = "hs_object_id"
_NOT_FOUND = "OBJECT_NOT_FOUND"
# Errors of the moment: the row may have been written or not.
_PASSING = frozenset({"RATE_LIMITS", "INTERNAL_ERROR", "SERVICE_UNAVAILABLE"})

# Which SQL types may be written to a property, by the property's type.
_ACCEPTED: dict[str, tuple[str, ...]] = {
    "string": ("VARCHAR", "UUID", "BOOLEAN", "DATE", "TIMESTAMP", *NUMBERS),
    "phone_number": ("VARCHAR",),
    "number": NUMBERS,
    "date": ("DATE",),
    "datetime": ("DATE", "TIMESTAMP"),
    "enumeration": ("VARCHAR", "BOOLEAN"),
    "bool": ("BOOLEAN",),
}


class HubSpotSettings(ApiSettings):
    """A `[destinations.<name>]` section of this kind."""

    kind: Literal["hubspot"]
    token: SecretStr
    base_url: str = "https://api.hubapi.com"
    timeout_seconds: float = Field(60, gt=0)


@dataclass(frozen=True)
class Property:
    """A property of the object.

    Attributes:
        kind: Its type, such as `enumeration`.
        is_unique: Whether rows can be addressed by it.
        is_writable: Whether a value may be sent.
        options: The option's own value by label and by value, both in lower case.
        labels: The labels as people see them.
    """

    kind: str
    is_unique: bool
    is_writable: bool
    options: Mapping[str, str]
    labels: tuple[str, ...]


class HubSpot:
    """One kind of object in one HubSpot account, as the destination of one sync."""

    settings_type = HubSpotSettings
    largest_batch = _LARGEST_BATCH
    is_readable = True
    is_idempotent = True
    wants_whole_rows = False

    def __init__(self, settings: Settings, spec: SyncSpec) -> None:
        own = settings.destination(spec.destination, self.settings_type)
        self._spec = spec
        self._base = own.base_url.rstrip("/")
        self._objects = f"{self._base}/crm/v3/objects/{quote(spec.entity, safe='')}"
        self._has_own_id = spec.key_column == _OWN_ID
        self._http = session(
            settings,
            base_url=self._base,
            token_provider=StaticToken(own.token.get_secret_value()),
            timeout=(5, own.timeout_seconds),
            requests_per_second=own.requests_per_second,
            retry=IDEMPOTENT,
        )
        self.traffic = self._http.traffic
        self._properties: dict[str, Property] = {}

    # ---- what HubSpot has ----------------------------------------------------------------------

    def check(self, types: Mapping[str, str]) -> None:
        """Compare the sync with the object's properties; see `RecordDestination.check`."""
        self._describe()
        require_fit(self._spec, self._problems(types), "the properties in HubSpot")

    def _problems(self, types: Mapping[str, str]) -> Iterator[str]:
        key = self._properties.get(self._spec.key_column)
        if key is not None and not (key.is_unique or self._has_own_id):
            yield f"{self._spec.key_column} is no property with unique values"
        if self._has_own_id and self._spec.deletes_rows:
            yield f"rows with key {_OWN_ID} are not ours to delete (set on_leave: clear)"
        for model, column in self._spec.columns.items():
            found = self._properties.get(column)
            if found is None:
                yield f"it has no property {column}"
                continue
            if not found.is_writable and column != _OWN_ID:
                yield f"{column} cannot be written"
            if model in self._spec.option_columns and not found.options:
                yield f"{column} is {found.kind}, and has no options"
            if column != _OWN_ID and not types[model].startswith(_ACCEPTED.get(found.kind, ())):
                yield f"{column} is {found.kind}, {model} is {types[model]}"

    def _describe(self) -> None:
        """Read the object's properties, once."""
        if self._properties:
            return
        response = self._http.get(
            f"{self._base}/crm/v3/properties/{quote(self._spec.entity, safe='')}"
        )
        if response.status_code == 404:
            raise KlantbeeldError(
                f"{self._spec.name}: HubSpot has no object {self._spec.entity}",
                "Correct meta.sync.entity, such as contacts; nothing was sent.",
            )
        response.raise_for_status()
        for row in dig(needed_document(response), "results") or ():
            options = row.get("options") or ()
            by_text = {
                str(option["label"]).strip().casefold(): option["value"] for option in options
            }
            by_text |= {str(option["value"]).casefold(): option["value"] for option in options}
            self._properties[row["name"]] = Property(
                kind=row["type"],
                is_unique=bool(row.get("hasUniqueValue"))
                or (self._spec.entity, row["name"]) == ("contacts", "email"),
                is_writable=not (
                    row.get("calculated") or dig(row, "modificationMetadata.readOnlyValue")
                ),
                options=by_text,
                labels=tuple(str(option["label"]) for option in options),
            )

    # ---- rows out ------------------------------------------------------------------------------

    def encode(self, key: str, kind: str, values: Mapping[str, Any]) -> dict[str, Any]:
        """Every value as text; see `RecordDestination.encode`."""
        self._describe()
        return {column: self._encoded(column, value) for column, value in values.items()}

    def _encoded(self, column: str, value: Any) -> str:
        text = as_text(value)
        found = self._properties[column]
        if not found.options or text == "":
            return text
        option = found.options.get(text.strip().casefold())
        if option is None:
            raise RowRefused(
                f"its {column} is no option; the options are {', '.join(found.labels)}"
            )
        return option

    def write(self, operations: Sequence[Operation]) -> dict[str, Outcome]:
        """Send one batch for each kind of operation; see `RecordDestination.write`."""
        by_kind: dict[str, list[Operation]] = {"delete": [], "create": [], "update": []}
        for operation in operations:
            by_kind[operation.kind].append(operation)
        return send_groups(by_kind.values(), self._send)

    def _send(self, operations: Sequence[Operation]) -> dict[str, Outcome]:
        kind = operations[0].kind
        if kind == "delete":
            return self._archive(operations)
        action = "upsert" if kind == "create" and not self._has_own_id else "update"
        inputs = []
        for operation in operations:
            row = {
                "id": operation.key,
                "properties": dict(operation.body),
                "objectWriteTraceId": operation.op_id,
            }
            if not self._has_own_id:
                row["idProperty"] = self._spec.key_column
            inputs.append(row)
        response = self._ask(f"batch/{action}", {"inputs": inputs})
        return self._outcomes(operations, document(response))

    def _outcomes(self, operations: Sequence[Operation], body: Any) -> dict[str, Outcome]:
        """What an answer proves: one that is not complete proves nothing."""
        if dig(body, "status") != "COMPLETE":
            return {}
        known = {operation.op_id: operation for operation in operations}
        known |= {self._key(operation.key): operation for operation in operations}
        told: dict[str, list[Outcome]] = {}
        for result in _rows(body, "results"):
            name = result.get("objectWriteTraceId") or self._key(self._key_of(result))
            if operation := known.get(name):
                told.setdefault(operation.op_id, []).append(Outcome("acknowledged"))
        for error in _rows(body, "errors"):
            for name in _ids(error):
                if operation := known.get(name) or known.get(self._key(name)):
                    outcome = self._refusal(operation, error)
                    told.setdefault(operation.op_id, []).append(outcome)
        # Told twice, in two ways: neither is proven.
        return {
            op_id: outcomes[0]
            for op_id, outcomes in told.items()
            if len(set(outcomes)) == 1 and outcomes[0].state != "unknown"
        }

    def _refusal(self, operation: Operation, error: Mapping[str, Any]) -> Outcome:
        category = str(error.get("category"))
        if category in _PASSING:
            return Outcome("unknown")
        if category == _NOT_FOUND and operation.kind == "update" and not self._has_own_id:
            return Outcome(MISSING)
        columns = self._spec.columns.values()
        return Outcome("rejected", told_reason(207, category, error.get("message"), columns))

    def _archive(self, operations: Sequence[Operation]) -> dict[str, Outcome]:
        """Archive rows by HubSpot's own id, which is looked up first."""
        found = self._found([operation.key for operation in operations], [])
        there = {key: str(row["id"]) for key, row in found.items()}
        if there:
            self._ask("batch/archive", {"inputs": [{"id": own_id} for own_id in there.values()]})
        return {
            operation.op_id: Outcome("acknowledged", None if operation.key in there else "was gone")
            for operation in operations
        }

    def _ask(self, action: str, body: Mapping[str, Any]) -> requests.Response:
        response = self._http.post(f"{self._objects}/{action}", json=body)
        response.raise_for_status()
        return response

    # ---- rows back -----------------------------------------------------------------------------

    def read(self, keys: Iterable[str], columns: Iterable[str]) -> dict[str, dict[str, Any]]:
        """What HubSpot holds, by key; see `RecordDestination.read`."""
        found = self._found(list(keys), list(columns))
        return {key: row["properties"] for key, row in found.items()}

    def _found(self, keys: Sequence[str], columns: Sequence[str]) -> dict[str, dict[str, Any]]:
        rows: dict[str, dict[str, Any]] = {}
        for start in range(0, len(keys), _LARGEST_BATCH):
            body: dict[str, Any] = {
                "inputs": [{"id": key} for key in keys[start : start + _LARGEST_BATCH]],
                "properties": sorted({self._spec.key_column, *columns}),
                "propertiesWithHistory": [],
            }
            if not self._has_own_id:
                body["idProperty"] = self._spec.key_column
            answer = needed_document(self._ask("batch/read", body))
            if dig(answer, "status") != "COMPLETE":
                raise HttpError("HubSpot did not complete a read.", "The next run reads again.")
            for row in needed_rows(answer, "results", "HubSpot"):
                rows[self._key(self._key_of(row))] = row
        return {key: rows[self._key(key)] for key in keys if self._key(key) in rows}

    def read_all(self, columns: Iterable[str]) -> Iterator[dict[str, dict[str, Any]]]:
        """Every row of the object, in pages; see `InspectableDestination.read_all`."""
        wanted = ",".join(sorted({self._spec.key_column, *columns}))
        after: str | None = None
        while True:
            query = {"limit": str(_LARGEST_BATCH), "properties": wanted}
            response = self._http.get(
                self._objects, params=query | ({"after": after} if after else {})
            )
            response.raise_for_status()
            answer = needed_document(response)
            found = needed_rows(answer, "results", "HubSpot")
            rows = {self._key_of(row): row["properties"] for row in found}
            yield {key: row for key, row in rows.items() if key}
            after = dig(answer, "paging.next.after")
            if not after:
                return

    def comparable(self, values: Mapping[str, Any]) -> dict[str, str | None]:
        """Values as texts by property; see `InspectableDestination.comparable`."""
        return comparable_texts(values, self._spec.key_column, self._key)

    def holds(self, operation: Operation, found: Mapping[str, Any] | None) -> bool:
        """Whether HubSpot holds what an operation sent; see `RecordDestination.holds`."""
        if operation.kind == "delete":
            return found is None
        return found is not None and all(
            column in found and comparable_text(found[column]) == comparable_text(sent)
            for column, sent in operation.body.items()
        )

    def _key_of(self, row: Mapping[str, Any]) -> str:
        """The key of a row as HubSpot has it; empty if it has none."""
        if self._has_own_id:
            return str(row.get("id") or "")
        return str(dig(row, f"properties.{self._spec.key_column}") or "")

    def _key(self, key: str) -> str:
        """The form in which keys are the same: HubSpot keeps addresses in lower case."""
        return key.strip().lower() if self._spec.key_column == "email" else key


def _rows(body: Any, name: str) -> Iterator[dict[str, Any]]:
    rows = dig(body, name)
    for row in rows if isinstance(rows, list) else ():
        if isinstance(row, dict):
            yield row


def _ids(error: Mapping[str, Any]) -> set[str]:
    """What an error says it is about: trace ids, or keys."""
    context = error.get("context")
    if not isinstance(context, dict):
        return set()
    return {
        str(name)
        for label in ("objectWriteTraceId", "ids", "id")
        for name in context.get(label) or ()
    }
