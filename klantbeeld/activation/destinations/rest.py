"""Any JSON API, described in the settings: which request writes a row, and what its answer means.

    operation -> template of the entity -> request -> answer -> outcome, by key and never by place

An entity is written in one of three ways, whichever its API has:

* `batch`: many rows in one request, answered row by row with their key;
* `upsert`: one request per row that creates it or changes it, addressed by our key;
* `find`, then `create` or `update`: an API whose rows have ids of its own.

Templates are JSON with placeholders in braces. A text that is one placeholder becomes its value
with its type; elsewhere its text is filled in, percent-encoded in a path:

`{key}` the row's key · `{id}` the system's own id, as `find` gave it · `{op_id}` the operation's
id, the same however often it is sent · `{values}` the values to write, an object · `{row}` the same
with the key · `{rows}` all rows of a batch · `{cursor}` what leads to the next page of a list · any
other name: that column's value. A member whose column is not part of the operation is left out.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Annotated, Any, Literal
from urllib.parse import quote, urlsplit

import requests
from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from klantbeeld.activation.destinations import EXISTS, MISSING, RowRefused
from klantbeeld.activation.destinations.answers import (
    IDEMPOTENT,
    ApiSettings,
    comparable_text,
    comparable_texts,
    dig,
    document,
    is_other_form,
    is_own,
    key_form,
    key_text,
    needed_document,
    needed_rows,
    outcome_of,
    plain,
    send_each,
    send_groups,
    told_reason,
    was_not_taken,
)
from klantbeeld.activation.ledger import Operation, Outcome
from klantbeeld.activation.specs import SyncSpec
from klantbeeld.errors import KlantbeeldError
from klantbeeld.http import (
    RETRIED_STATUSES,
    ClientCredentials,
    HttpError,
    RequestRefused,
    RetryPolicy,
    StaticToken,
    TokenProvider,
    session,
)
from klantbeeld.settings import Settings

logger = logging.getLogger(__name__)

_PLACEHOLDER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
_LEAVING = ("delete", "remove")
# Where nothing can be proved afterwards, what was claimed when a run is killed waits for a person,
# though most of it was never sent: few rows are claimed at a time.
_UNPROVABLE = 10
_OTHER_FORM = Outcome(
    "rejected", "the system keeps its key in another form: case, zeros, spaces, marks"
)
_OWN = frozenset({"key", "id", "op_id", "values", "row", "rows", "cursor"})


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Bearer(_Section):
    """A token that was handed out once."""

    kind: Literal["bearer"]
    token: SecretStr


class Basic(_Section):
    """A user name and a password."""

    kind: Literal["basic"]
    user: str
    password: SecretStr


class Header(_Section):
    """A key in a header of its own."""

    kind: Literal["header"]
    name: str = Field(pattern=r"^[A-Za-z][A-Za-z0-9-]*$")
    value: SecretStr


class Client(_Section):
    """Tokens by OAuth 2.0 client credentials."""

    kind: Literal["client_credentials"]
    token_url: str
    client_id: str
    client_secret: SecretStr
    scope: str | None = None


class Answer(_Section):
    """What proves that a row was taken, beside a status of success.

    Attributes:
        key: Path of the key in the answer; it must be the row's own.
        errors: Path that is filled when the row was refused, whatever the status; without it,
            `errors` or `error` is.
        code: Path of the code in an error: what `errors` points to, the first one of a list, or
            else the whole answer.
        message: Path of the text in an error. Only the column names in it are kept.
    """

    key: str | None = None
    errors: str | None = None
    code: str = "code"
    message: str = "message"


class Request(_Section):
    """One request, as templates."""

    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
    path: str
    query: dict[str, str] = {}
    headers: dict[str, str] = {}
    body: Any = None
    answer: Answer = Answer()


class Find(Request):
    """How a row is found by our key.

    Attributes:
        rows: Path of the rows in the answer: a list, or the one row.
        key: Path of the key in a row: proof that it is the row that was asked for.
        id: Path of the system's own id in a row.
        values: Path of the values in a row.
    """

    method: Literal["GET", "POST"] = "GET"
    rows: str = ""
    key: str
    id: str | None = None
    values: str = ""


class Listing(Request):
    """How all rows are listed, page by page.

    Attributes:
        rows: Path of the rows in the answer.
        key: Path of the key in a row.
        values: Path of the values in a row.
        next: Path of what leads to the next page: its address, or what `{cursor}` stands for.
    """

    method: Literal["GET", "POST"] = "GET"
    rows: str
    key: str
    values: str = ""
    next: str | None = None


class Batch(Request):
    """Many rows in one request, answered one by one.

    Attributes:
        largest: Rows in one request.
        row: Template of one of `{rows}`.
        rows: Path of the results in the answer.
        key: Path of the key in a result.
        status: Path of a result's status; without it, a result without `answer.errors` is a
            success.
        ok: The statuses that are a success.
        errors: Path of the refused rows, if they are a list of their own. They need a key too.
    """

    method: Literal["POST", "PUT", "PATCH"] = "POST"
    largest: int = Field(100, ge=1, le=10_000)
    row: Any = "{row}"
    rows: str
    key: str
    status: str | None = None
    ok: tuple[str | int, ...] = ()
    errors: str | None = None


class Entity(_Section):
    """How one kind of row is written, found and deleted."""

    batch: Batch | None = None
    upsert: Request | None = None
    find: Find | None = None
    create: Request | None = None
    update: Request | None = None
    delete: Request | None = None
    remove: Request | None = None  # from a list, while the row itself stays
    listing: Listing | None = Field(None, alias="list")
    whole_rows: bool = Field(False, description="a change is sent with all columns, for PUT")

    @model_validator(mode="after")
    def _complete(self) -> Entity:
        ways = [self.batch is not None, self.upsert is not None, self.create is not None]
        if sum(ways) != 1:
            raise ValueError("expected exactly one of batch, upsert or create")
        if self.create is None and self.update is not None:
            raise ValueError(
                "update needs create: what changes a row must first be able to make it"
            )
        needs_id = [
            request
            for request in (self.update, self.delete, self.remove)
            if request and "id" in _names(request)
        ]
        if needs_id and (self.find is None or self.find.id is None):
            raise ValueError("{id} needs a find request with the path of the id")
        for request in (self.upsert, self.find, self.create):
            if request is not None and "id" in _names(request):
                raise ValueError("{id} is known in update, delete and remove only")
        if self.batch is not None and self.batch.status is not None and not self.batch.ok:
            raise ValueError("batch.status needs batch.ok: the statuses that are a success")
        return self


class RestSettings(ApiSettings):
    """A `[destinations.<name>]` section of this kind."""

    kind: Literal["rest"]
    base_url: str = Field(pattern=r"^https?://", description="an address that begins with https://")
    auth: Annotated[Bearer | Basic | Header | Client, Field(discriminator="kind")] | None = None
    headers: dict[str, str] = Field(default_factory=dict)
    entities: dict[str, Entity] = Field(min_length=1)


class Rest:
    """One entity of one API, as the destination of one sync."""

    settings_type = RestSettings

    def __init__(self, settings: Settings, spec: SyncSpec) -> None:
        own = settings.destination(spec.destination, self.settings_type)
        entity = own.entities.get(spec.entity)
        if entity is None:
            raise KlantbeeldError(
                f"destinations.{spec.destination} has no entity {spec.entity}",
                f"Add [destinations.{spec.destination}.entities.{spec.entity}], or correct"
                f" meta.sync.entity of {spec.name}.",
            )
        self._spec = spec
        self._entity = entity
        self._base = own.base_url.rstrip("/") + "/"
        self._host = urlsplit(self._base).hostname
        self.is_readable = entity.find is not None
        self.is_idempotent = entity.create is None or "op_id" in _names(entity.create)
        self.largest_batch = 1_000 if self.is_readable or self.is_idempotent else _UNPROVABLE
        if entity.batch is not None:
            self.largest_batch = entity.batch.largest
        self.refuses_existing = entity.find is not None and entity.create is not None
        self.wants_whole_rows = entity.whole_rows
        self.can_remove = entity.remove is not None
        self._http = session(
            settings,
            base_url=self._base,
            token_provider=_token_provider(settings, own),
            timeout=(5, own.timeout_seconds),
            requests_per_second=own.requests_per_second,
            headers={"Accept": "application/json", **_credentials(own), **own.headers},
            retry=IDEMPOTENT if self.is_idempotent else RetryPolicy(attempts=4),
        )
        if isinstance(own.auth, Basic):
            self._http.auth = (own.auth.user, own.auth.password.get_secret_value())
        self.traffic = self._http.traffic
        if entity.listing is not None:
            # Only an API that can list its rows makes this an `InspectableDestination`.
            self.read_all = partial(self._read_all, entity.listing)

    def check(self, types: Mapping[str, str]) -> None:
        """Compare the templates with the sync; see `RecordDestination.check`."""
        columns = set(self._spec.columns.values())
        templates = self._entity.model_dump(exclude={"whole_rows"}, exclude_none=True)
        for name, template in templates.items():
            unknown = set(_placeholders(template)) - _OWN - columns
            if unknown:
                raise KlantbeeldError(
                    f"{self._spec.name}: {name} of {self._spec.entity} has placeholders that are"
                    f" no columns of the sync: {', '.join(sorted(unknown))}",
                    f"The columns are {', '.join(sorted(columns))}; nothing was sent.",
                )
        is_made_only = self._entity.create is not None and self._entity.update is None
        if is_made_only and self._spec.mode not in ("append", "create_only"):
            raise KlantbeeldError(
                f"{self._spec.name} changes rows, and {self._spec.entity} has no update request",
                "Describe one in the settings, or set meta.sync.mode: append or create_only.",
            )
        if self._spec.deletes_rows and self._entity.delete is None:
            raise KlantbeeldError(
                f"{self._spec.name} deletes rows, and {self._spec.entity} has no delete request",
                "Describe one in the settings, or set meta.sync.on_leave: clear; nothing will do"
                " without a privacy rule.",
            )

    def encode(self, key: str, kind: str, values: Mapping[str, Any]) -> dict[str, Any]:
        """The values as JSON; see `RecordDestination.encode`."""
        if key in (".", ".."):
            raise RowRefused("its key cannot be part of an address")
        return {column: plain(value) for column, value in values.items()}

    def write(self, operations: Sequence[Operation]) -> dict[str, Outcome]:
        """Send operations in a batch or one by one; see `RecordDestination.write`."""
        if self._entity.batch is None:
            return send_each(operations, self._send)
        leaving = [operation for operation in operations if operation.kind in _LEAVING]
        others = [operation for operation in operations if operation.kind not in _LEAVING]
        return send_groups([leaving, others], self._send_group)

    def _send_group(self, operations: Sequence[Operation]) -> dict[str, Outcome]:
        batch = self._entity.batch
        if batch is None or operations[0].kind in _LEAVING:
            return send_each(operations, self._send)
        return self._send_batch(batch, operations)

    def _send(self, operation: Operation) -> Outcome | None:
        entity = self._entity
        rows: list[dict[str, Any]] = []
        if entity.find is not None and (entity.create or operation.kind in _LEAVING):
            try:
                rows = self._find(entity.find, operation.key)
            except (RowRefused, RequestRefused) as error:
                return Outcome("rejected", error.message)
            except HttpError as error:
                if was_not_taken(error):
                    raise
                logger.warning(
                    "a row was not sent, as it could not be looked up: %s", error.message
                )
                return Outcome("pending", "not sent: it could not be looked up")
            if not rows and operation.kind in _LEAVING:
                return Outcome("acknowledged", "was gone already")
            if not rows and operation.kind == "update":
                return Outcome(MISSING)
            if rows and operation.must_be_new:
                return Outcome(EXISTS)
        if operation.kind in _LEAVING:
            request = entity.delete if operation.kind == "delete" else entity.remove
        elif entity.upsert is not None:
            request = entity.upsert
        elif not rows and operation.kind == "create":
            request = entity.create
        else:
            request = entity.update
        if request is None:
            return Outcome("rejected", f"no {operation.kind} request is described")
        known = self._known(operation)
        if entity.find is not None and rows and entity.find.id is not None:
            known["id"] = dig(rows[0], entity.find.id)
        try:
            response = self._ask(request, known)
        except RequestRefused as error:
            return Outcome("rejected", error.message)
        body = document(response)
        outcome = outcome_of(operation, response, self._reason(request, response.status_code, body))
        if outcome is None or outcome.state != "acknowledged" or response.status_code >= 400:
            return outcome
        answer = request.answer
        if _errors(answer, body):
            return Outcome("rejected", self._reason(request, response.status_code, body))
        there = None if answer.key is None else dig(body, answer.key)
        if answer.key is not None and key_text(there) != operation.key:
            # Sent again by a later run it is found, or has the same effect; made again otherwise.
            is_told = entity.create is None or entity.find is not None
            return _OTHER_FORM if is_told and is_other_form(there, operation.key) else None
        if operation.kind in _LEAVING and len(rows) > 1:
            return Outcome("pending", "another row with its key is left")
        return outcome

    def _reason(self, request: Request, status: object, body: Any) -> str:
        answer = request.answer
        errors = _errors(answer, body) or body
        first = errors[0] if isinstance(errors, list) and errors else errors
        return told_reason(
            status, dig(first, answer.code), dig(first, answer.message), self._spec.columns.values()
        )

    def _known(self, operation: Operation) -> dict[str, Any]:
        """What placeholders stand for."""
        values = dict(operation.body)
        return values | {
            "key": operation.key,
            "op_id": operation.op_id,
            "values": values,
            "row": {self._spec.key_column: operation.key} | values,
            self._spec.key_column: operation.key,
        }

    def _ask(self, request: Request, known: Mapping[str, Any]) -> requests.Response:
        path = _PLACEHOLDER.sub(lambda found: quote(str(known[found[1]]), safe=""), request.path)
        body = _filled(request.body, known)
        return self._http.request(
            request.method,
            self._base + path.lstrip("/"),
            params={
                name: str(_filled(value, known))
                for name, value in request.query.items()
                if not _is_absent(value, known)
            },
            headers={name: str(_filled(value, known)) for name, value in request.headers.items()},
            json=body,
        )

    # ---- batches -------------------------------------------------------------------------------

    def _send_batch(self, batch: Batch, operations: Sequence[Operation]) -> dict[str, Outcome]:
        rows = [_filled(batch.row, self._known(operation)) for operation in operations]
        response = self._ask(batch, {"rows": rows, "op_id": operations[0].op_id})
        response.raise_for_status()
        body = document(response)
        by_key = {operation.key: operation for operation in operations}
        outcomes: dict[str, Outcome] = {}
        told_twice: set[str] = set()
        for operation, outcome in self._results(batch, body, by_key):
            if outcomes.setdefault(operation.op_id, outcome) != outcome:
                told_twice.add(operation.op_id)
        return {op_id: outcome for op_id, outcome in outcomes.items() if op_id not in told_twice}

    def _results(
        self, batch: Batch, body: Any, by_key: Mapping[str, Operation]
    ) -> Iterator[tuple[Operation, Outcome]]:
        by_form: dict[str, list[Operation]] = {}
        for path, is_refusal in ((batch.rows, False), (batch.errors, True)):
            results = dig(body, path) if path is not None else None
            for result in results if isinstance(results, list) else ():
                key = key_text(dig(result, batch.key)) or ""
                operation = by_key.get(key)
                if operation is None:
                    if not by_form:
                        for own, one in by_key.items():
                            by_form.setdefault(key_form(own), []).append(one)
                    alike = by_form.get(key_form(key), [])
                    if len(alike) == 1:
                        yield alike[0], _OTHER_FORM
                    continue
                status = dig(result, batch.status) if batch.status else ""
                is_status = status is None or isinstance(status, str | int)
                if not is_status:
                    continue
                if status not in batch.ok and status in RETRIED_STATUSES:
                    continue
                is_judged = batch.status is None or batch.answer.errors is not None
                failed = is_judged and bool(_errors(batch.answer, result))
                if is_refusal or failed or (batch.status and status not in batch.ok):
                    yield operation, Outcome("rejected", self._reason(batch, status or 200, result))
                else:
                    yield operation, Outcome("acknowledged")

    # ---- rows back -----------------------------------------------------------------------------

    def read(self, keys: Iterable[str], columns: Iterable[str]) -> dict[str, dict[str, Any]]:
        """What the system holds, by key; see `RecordDestination.read`."""
        find = self._entity.find
        if find is None:
            return {}
        found: dict[str, dict[str, Any]] = {}
        for key in keys:
            try:
                rows = self._find(find, key)
            except (RowRefused, RequestRefused):  # refused when it is sent, with the reason
                continue
            values = dig(rows[0], find.values) if rows else None
            if isinstance(values, dict):
                found[key] = values
        return found

    def _find(self, find: Find, key: str) -> list[dict[str, Any]]:
        """The row of a key, or the rows if it was made more than once.

        Raises:
            HttpError: The system did not answer as it should: whether it has the row is not known.
            RowRefused: It has a row whose key is this one in another form: made again and again, it
                would be there many times.
        """
        known = {"key": key, self._spec.key_column: key}
        response = self._ask(find, known)
        if response.status_code in (404, 410) and is_own(response):
            return []
        rows = [(self._row_key(find.key, row), row) for row in self._rows(find, response)]
        found = [row for there, row in rows if there == key]
        if not found and any(is_other_form(there, key) for there, _ in rows):
            raise RowRefused(str(_OTHER_FORM.reason))
        return found

    def _rows(self, request: Find | Listing, response: requests.Response) -> list[dict[str, Any]]:
        """The rows of an answer to a request for rows.

        Raises:
            HttpError: It is an error, or has none.
        """
        response.raise_for_status()
        body = needed_document(response)
        if _errors(request.answer, body):
            reason = self._reason(request, response.status_code, body)
            raise HttpError(f"{self._host} answered with an error inside a success: {reason}.")
        return needed_rows(body, request.rows, self._host)

    def _row_key(self, path: str, row: Mapping[str, Any]) -> str | None:
        """The key of a row, None if it has none: then it is nothing of ours.

        Raises:
            HttpError: It is something that cannot be a key, or it is not where it should be.
        """
        there = dig(row, path)
        above, _, last = path.rpartition(".")
        holder = dig(row, above)
        if key_text(there) is None and not (
            there is None and isinstance(holder, dict) and last in holder
        ):
            raise HttpError(
                f"{self._host} answered with rows that have no key at {path}.",
                hint="Correct `key` of its find and list requests in the settings.",
            )
        return key_text(there)

    def _read_all(
        self, listing: Listing, columns: Iterable[str]
    ) -> Iterator[dict[str, dict[str, Any]]]:
        """Every row, in pages; see `InspectableDestination.read_all`."""
        response = self._ask(listing, {})
        seen: set[str] = set()
        while True:
            page: dict[str, dict[str, Any]] = {}
            for row in self._rows(listing, response):
                key, values = self._row_key(listing.key, row), dig(row, listing.values)
                if not isinstance(values, dict):
                    raise HttpError(
                        f"{self._host} listed rows that have no values at {listing.values}.",
                        hint="Correct `values` of its list request in the settings.",
                    )
                if key in page:  # there twice, which only another page can tell
                    yield page
                    page = {}
                if key is not None:
                    page[key] = values
            yield page
            following = listing.next and dig(document(response), listing.next)
            if not following:
                return
            if str(following) in seen:
                raise HttpError(
                    f"{self._host} gives the same page again and again.",
                    hint="Correct `next` of its list request in the settings.",
                )
            seen.add(str(following))
            if str(following).startswith(("http://", "https://")):
                response = self._http.get(str(following))
            else:
                response = self._ask(listing, {"cursor": following})

    def comparable(self, values: Mapping[str, Any]) -> dict[str, str | None]:
        """Values as texts by column; see `InspectableDestination.comparable`."""
        return comparable_texts(values, self._spec.key_column, str)

    def holds(self, operation: Operation, found: Mapping[str, Any] | None) -> bool:
        """Whether the system holds what was sent; see `RecordDestination.holds`."""
        if operation.kind in _LEAVING:
            return self.is_readable and found is None
        return found is not None and all(
            comparable_text(sent) == comparable_text(found.get(column))
            for column, sent in operation.body.items()
        )


def _token_provider(settings: Settings, own: RestSettings) -> TokenProvider | None:
    match own.auth:
        case Bearer():
            return StaticToken(own.auth.token.get_secret_value())
        case Client():
            return ClientCredentials(
                settings,
                token_url=own.auth.token_url,
                client_id=own.auth.client_id,
                client_secret=own.auth.client_secret.get_secret_value(),
                scope=own.auth.scope,
                timeout=(5, own.timeout_seconds),
            )
        case _:
            return None


def _credentials(own: RestSettings) -> dict[str, str]:
    if isinstance(own.auth, Header):
        return {own.auth.name: own.auth.value.get_secret_value()}
    return {}


def _errors(answer: Answer, body: Any) -> Any:
    """What is filled where an answer has its errors; nothing if it has none."""
    if answer.errors is not None:
        return dig(body, answer.errors)
    return dig(body, "errors") or dig(body, "error")


def _names(request: Request) -> set[str]:
    return set(_placeholders(request.model_dump()))


def _placeholders(template: Any) -> Iterator[str]:
    """The names in braces anywhere in a template."""
    if isinstance(template, str):
        yield from _PLACEHOLDER.findall(template)
    elif isinstance(template, Mapping):
        for name, value in template.items():
            yield from _placeholders(name)
            yield from _placeholders(value)
    elif isinstance(template, list | tuple):
        for part in template:
            yield from _placeholders(part)


def _filled(template: Any, known: Mapping[str, Any]) -> Any:
    """A template with its placeholders filled in."""
    if isinstance(template, str):
        whole = _PLACEHOLDER.fullmatch(template)
        if whole is not None:
            return known.get(whole[1])
        return _PLACEHOLDER.sub(lambda found: _text(known.get(found[1])), template)
    if isinstance(template, Mapping):
        return {
            name: _filled(value, known)
            for name, value in template.items()
            if not _is_absent(value, known)
        }
    if isinstance(template, list | tuple):
        return [_filled(part, known) for part in template if not _is_absent(part, known)]
    return template


def _is_absent(template: Any, known: Mapping[str, Any]) -> bool:
    """Whether a template is the value of a column that the operation does not write."""
    whole = _PLACEHOLDER.fullmatch(template) if isinstance(template, str) else None
    return whole is not None and whole[1] not in known


def _text(value: Any) -> str:
    return "" if value is None else str(value)
