"""Klaviyo's profiles, and who is on one of its lists, by its JSON:API.

    operation -> POST /api/profile-import -> 200 (was there) or 201 (made) -> outcome
                 of a list: -> POST or DELETE /api/lists/<id>/relationships/profiles -> outcome

Rows are addressed by `external_id`, `email` or `phone_number`. A column goes to an attribute
(`first_name`), into an object of it (`location.city`), or to a property of your own
(`properties.loyalty_tier`). What is not sent stays as it is; null clears an attribute, and takes a
property of your own away. The entity is `profiles`, or `lists/<id>`, whose rows are its members;
those have to be addressed by `email` or `phone_number`, by which Klaviyo can search a list. Being
on a list says nothing of consent, and nobody is subscribed here: that needs fresh evidence, and
would lift a suppression.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Literal
from urllib.parse import quote

from pydantic import SecretStr

from klantbeeld.activation.destinations import MISSING, require_fit
from klantbeeld.activation.destinations.answers import (
    IDEMPOTENT,
    ApiSettings,
    comparable_text,
    comparable_texts,
    dig,
    document,
    needed_document,
    needed_rows,
    outcome_of,
    plain,
    send_each,
    send_groups,
    told_reason,
    unanswered,
    was_not_taken,
)
from klantbeeld.activation.ledger import Operation, Outcome
from klantbeeld.activation.specs import SyncSpec
from klantbeeld.errors import KlantbeeldError
from klantbeeld.http import HttpError, session
from klantbeeld.settings import Settings

_REVISION = "2026-07-15"
_MEDIA_TYPE = "application/vnd.api+json"
_PAGE = 100
_KEYS = ("external_id", "email", "phone_number")
_LIST = re.compile(r"lists/([A-Za-z0-9]+)")
_LIST_KEYS = ("email", "phone_number")
_TEXTS = ("first_name", "last_name", "organization", "locale", "title", "image")
_LOCATION = (
    *("address1", "address2", "city", "country", "latitude", "longitude", "region", "zip"),
    *("timezone", "ip"),
)
_OWN = "properties."
_PLACE = "location."


class KlaviyoSettings(ApiSettings):
    """A `[destinations.<name>]` section of this kind."""

    kind: Literal["klaviyo"]
    api_key: SecretStr
    base_url: str = "https://a.klaviyo.com"


class Klaviyo:
    """The profiles of one Klaviyo account, as the destination of one sync."""

    settings_type = KlaviyoSettings
    largest_batch = 1_000
    is_readable = True
    is_idempotent = True
    wants_whole_rows = False

    def __init__(self, settings: Settings, spec: SyncSpec) -> None:
        own = settings.destination(spec.destination, self.settings_type)
        self._spec = spec
        self._base = own.base_url.rstrip("/")
        found = _LIST.fullmatch(spec.entity)
        self._list = None if found is None else f"{self._base}/api/lists/{found[1]}"
        self.can_remove = self._list is not None
        self._http = session(
            settings,
            base_url=self._base,
            timeout=(5, own.timeout_seconds),
            requests_per_second=own.requests_per_second,
            retry=IDEMPOTENT,
            headers={
                "Authorization": f"Klaviyo-API-Key {own.api_key.get_secret_value()}",
                "revision": _REVISION,
                "Accept": _MEDIA_TYPE,
                "Content-Type": _MEDIA_TYPE,
            },
        )
        self.traffic = self._http.traffic

    def check(self, types: Mapping[str, str]) -> None:
        """Compare the sync with what a profile has; see `RecordDestination.check`."""
        require_fit(self._spec, self._problems(types), "what Klaviyo has")
        if self._list is not None:
            response = self._http.get(self._list)
            if response.status_code == 404:
                raise KlantbeeldError(
                    f"{self._spec.name}: Klaviyo has no list {self._spec.entity}",
                    "The id is in the list's address in Klaviyo; correct meta.sync.entity.",
                )
            response.raise_for_status()

    def _problems(self, types: Mapping[str, str]) -> Iterator[str]:
        if self._spec.entity != "profiles" and self._list is None:
            yield f"the entity is profiles or lists/<id>, not {self._spec.entity}"
        keys = _KEYS if self._list is None else _LIST_KEYS
        if self._spec.key_column not in keys:
            yield f"the key {self._spec.key_column} is none of {', '.join(keys)}"
        if self._spec.on_leave == "delete" or (self._spec.deletes_rows and self._list is None):
            yield "profiles are not deleted by a sync (set on_leave: clear, or remove of a list)"
        known = {*_KEYS, *_TEXTS, *(_PLACE + name for name in _LOCATION)}
        for model, column in self._spec.columns.items():
            if column.startswith(_OWN) and len(column) > len(_OWN):
                continue
            if column not in known:
                yield f"a profile has no attribute {column} (your own begin with {_OWN})"
            elif not types[model].startswith(("VARCHAR", "UUID")):
                yield f"{column} is text, {model} is {types[model]}"

    # ---- rows out ------------------------------------------------------------------------------

    def encode(self, key: str, kind: str, values: Mapping[str, Any]) -> dict[str, Any]:
        """The values as JSON, by column; see `RecordDestination.encode`."""
        return {column: plain(value) for column, value in values.items()}

    def write(self, operations: Sequence[Operation]) -> dict[str, Outcome]:
        """Send profiles one by one, and a list's members at once; see `RecordDestination.write`."""
        leaving = [operation for operation in operations if operation.kind in ("delete", "remove")]
        others = [
            operation for operation in operations if operation.kind not in ("delete", "remove")
        ]
        return send_groups([leaving, others], self._send_group)

    def _send_group(self, operations: Sequence[Operation]) -> dict[str, Outcome]:
        if operations[0].kind in ("delete", "remove"):
            return self._take_off(operations)
        ids: dict[str, str] = {}
        outcomes = send_each(operations, partial(self._send, ids))
        added = [
            operation
            for operation in operations
            if operation.op_id in outcomes and outcomes[operation.op_id].state == "acknowledged"
        ]
        if self._list is None or not added:
            return outcomes
        try:
            self._change_list("POST", [ids[operation.op_id] for operation in added])
        except HttpError as error:
            # The profiles are there, the list has not changed or may not have.
            for operation in added:
                del outcomes[operation.op_id]
            if not was_not_taken(error):
                return outcomes | unanswered(added, error)
            lost = Outcome("pending", "not put on the list")
            outcomes |= {operation.op_id: lost for operation in added}
        return outcomes

    def _take_off(self, operations: Sequence[Operation]) -> dict[str, Outcome]:
        """Take profiles off the list; they stay."""
        if self._list is None:
            refusal = Outcome("rejected", "profiles are not deleted by a sync")
            return {operation.op_id: refusal for operation in operations}
        members = self._members([operation.key for operation in operations])
        if members:
            self._change_list("DELETE", list(members.values()))
        return {
            operation.op_id: Outcome(
                "acknowledged", None if operation.key in members else "was gone already"
            )
            for operation in operations
        }

    def _change_list(self, method: str, ids: Sequence[str]) -> None:
        data = [{"type": "profile", "id": own_id} for own_id in dict.fromkeys(ids)]
        response = self._http.request(
            method, f"{self._list}/relationships/profiles", data=json.dumps({"data": data})
        )
        response.raise_for_status()
        if response.status_code != 204:
            raise HttpError("Klaviyo did not confirm a change of a list.", "It is tried again.")

    def _send(self, ids: dict[str, str], operation: Operation) -> Outcome | None:
        response = self._http.post(
            f"{self._base}/api/profile-import",
            data=json.dumps({"data": self._profile(operation)}),
        )
        body = document(response)
        outcome = outcome_of(operation, response, self._reason(response.status_code, body))
        if outcome is None or outcome.state != "acknowledged":
            return outcome
        ids[operation.op_id] = str(dig(body, "data.id"))
        there = dig(body, f"data.attributes.{self._spec.key_column}")
        if dig(body, "data.type") != "profile" or not self._is_key(there, operation.key):
            return None
        # An update that made a profile: it had been deleted, and has half its columns now.
        return (
            Outcome(MISSING)
            if response.status_code == 201 and operation.kind == "update"
            else outcome
        )

    def _profile(self, operation: Operation) -> dict[str, Any]:
        attributes: dict[str, Any] = {self._spec.key_column: operation.key}
        unset: list[str] = []
        for column, value in operation.body.items():
            if column.startswith(_OWN):
                name = column.removeprefix(_OWN)
                if value is None:
                    unset.append(name)
                else:
                    attributes.setdefault("properties", {})[name] = value
            elif column.startswith(_PLACE):
                attributes.setdefault("location", {})[column.removeprefix(_PLACE)] = value
            else:
                attributes[column] = value
        profile: dict[str, Any] = {"type": "profile", "attributes": attributes}
        if unset:
            profile["meta"] = {"patch_properties": {"unset": sorted(unset)}}
        return profile

    def _reason(self, status: int, body: Any) -> str:
        error = dig(body, "errors.0")
        pointer = str(dig(error, "source.pointer") or "").removeprefix("/data/attributes/")
        # Of the error's text nothing is kept: it may repeat the address.
        reason = told_reason(status, dig(error, "code"), "", ())
        named = pointer.replace("/", ".")
        return f"{reason} {named}" if named in self._spec.columns.values() else reason

    # ---- rows back -----------------------------------------------------------------------------

    def read(self, keys: Iterable[str], columns: Iterable[str]) -> dict[str, dict[str, Any]]:
        """What Klaviyo holds, by key; see `RecordDestination.read`."""
        found = self._found(list(keys))
        return {key: _flat(row["attributes"]) for key, row in found.items()}

    def _members(self, keys: Sequence[str]) -> dict[str, str]:
        return {key: str(row["id"]) for key, row in self._found(keys).items()}

    def _found(self, keys: Sequence[str]) -> dict[str, dict[str, Any]]:
        rows: dict[str, dict[str, Any]] = {}
        for start in range(0, len(keys), _PAGE):
            texts = ",".join(json.dumps(key) for key in keys[start : start + _PAGE])
            for page in self._pages(f"any({self._spec.key_column},[{texts}])"):
                rows |= {self._key(key): row for key, row in page.items()}
        return {key: rows[self._key(key)] for key in keys if self._key(key) in rows}

    def read_all(self, columns: Iterable[str]) -> Iterator[dict[str, dict[str, Any]]]:
        """Every profile that has a key, in pages; see `InspectableDestination.read_all`."""
        for page in self._pages(None):
            yield {key: _flat(row["attributes"]) for key, row in page.items()}

    def _pages(self, condition: str | None) -> Iterator[dict[str, dict[str, Any]]]:
        profiles = f"{self._list or self._base + '/api'}/profiles"
        url: str | None = f"{profiles}?page[size]={_PAGE}"
        if condition is not None:
            url = f"{url}&filter={quote(condition, safe='')}"
        while url:
            response = self._http.get(url)
            response.raise_for_status()
            body = needed_document(response)
            found = {}
            for row in needed_rows(body, "data", "Klaviyo"):
                key = dig(row, f"attributes.{self._spec.key_column}")
                if key:
                    found[str(key)] = row
            yield found
            url = dig(body, "links.next")

    def comparable(self, values: Mapping[str, Any]) -> dict[str, str | None]:
        """Values as texts by column; see `InspectableDestination.comparable`."""
        return comparable_texts(values, self._spec.key_column, self._key)

    def holds(self, operation: Operation, found: Mapping[str, Any] | None) -> bool:
        """Whether Klaviyo holds what was sent; see `RecordDestination.holds`."""
        if operation.kind in ("delete", "remove"):
            return found is None
        return found is not None and all(
            comparable_text(found.get(column)) == comparable_text(sent)
            for column, sent in operation.body.items()
        )

    def _is_key(self, there: Any, key: str) -> bool:
        return isinstance(there, str) and self._key(there) == self._key(key)

    def _key(self, key: str) -> str:
        """The form in which keys are the same: addresses are kept in lower case."""
        return key.strip().lower() if self._spec.key_column == "email" else key


def _flat(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """A profile's attributes by column, those of `location` and `properties` with their path."""
    flat: dict[str, Any] = {}
    for name, value in attributes.items():
        if name in ("location", "properties") and isinstance(value, dict):
            flat |= {f"{name}.{inner}": there for inner, there in value.items()}
        else:
            flat[name] = value
    return flat
