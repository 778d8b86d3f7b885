"""What destinations that speak JSON have in common: values out, and what an answer proves.

Belongs here: rules that hold whichever system answers. What a system's own fields mean belongs to
its file.

    values -> plain -> body -> send_each -> an answer per row -> outcome_of -> outcomes by op_id

An answer proves something only if it can be that system's: a success whose body is a page of HTML
is a sign-in page or a proxy, and proves nothing. Least of all does it prove that a row is not
there: that is believed of a list of rows without it (`needed_rows`), never of an answer that is
something else.
"""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

import requests
from pydantic import Field

from klantbeeld.activation.destinations import MISSING, RowRefused
from klantbeeld.activation.ledger import Operation, Outcome
from klantbeeld.http import (
    REPEATABLE_METHODS,
    AddressRefused,
    AuthenticationFailed,
    HttpError,
    RequestRefused,
    RetryPolicy,
    StatusError,
    TransportError,
)
from klantbeeld.settings import DestinationSettings

# For requests that have the same effect when they are repeated, whatever their method.
IDEMPOTENT = RetryPolicy(attempts=4, methods=REPEATABLE_METHODS | {"POST", "PATCH"})

_SILENT_ROWS = 3  # after so many rows without an answer in a row, the system is left in peace
_NOT_TAKEN = frozenset({401, 403, 429})
_REFUSED_WHOLE = frozenset({400, 413, 422})
_GONE = frozenset({404, 410})
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?")
_MOMENT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ]")
_CODE = re.compile(r"[A-Za-z0-9_.:-]{1,64}")


class ApiSettings(DestinationSettings):
    """What every destination has that is spoken to over HTTP.

    Attributes:
        timeout_seconds: Silence after which a request ends.
        requests_per_second: What the system allows; without it a 429 says so.
    """

    timeout_seconds: float = Field(30, gt=0)
    requests_per_second: float | None = Field(None, gt=0)


Send = Callable[[Operation], Outcome | None]


def plain(value: Any) -> Any:
    """A value as JSON has it: dates and times in ISO 8601, decimals as numbers.

    Raises:
        RowRefused: It is a number that JSON does not have: infinite, or none.
    """
    if isinstance(value, Decimal | float) and not math.isfinite(value):
        raise RowRefused("a value is an infinite number, or none")
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, datetime | date):
        return value.isoformat()
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)


def as_text(value: Any) -> str:
    """A value as text, for systems whose every value is text; null is the empty text."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Decimal):
        return format(value, "f")
    return value.isoformat() if isinstance(value, datetime | date) else str(value)


def comparable_texts(
    values: Mapping[str, Any], key_column: str, key_text: Callable[[str], str]
) -> dict[str, str | None]:
    """Values by column as texts for comparing, the key in the form in which keys are the same."""
    return {
        column: key_text(as_text(value)) if column == key_column else comparable_text(value)
        for column, value in values.items()
    }


def comparable_text(value: Any) -> str | None:
    """A value as text that is the same however a system spells it.

    Empty is nothing, a number is a number also when it comes as text, a time is a moment. A text
    of digits that begins with 0 is no number: a postal code, a telephone.
    """
    text = as_text(value)
    if text == "":
        return None
    if _NUMBER.fullmatch(text):
        whole, _, fraction = text.partition(".")
        fraction = fraction.rstrip("0")
        return f"{whole}.{fraction}" if fraction else whole if whole != "-0" else "0"
    if _MOMENT.match(text):
        try:
            moment = datetime.fromisoformat(text)
            moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
            return moment.astimezone(UTC).isoformat()
        except (ValueError, OverflowError):  # no date, or one beyond the years that there are
            return text
    return text


def key_text(there: Any) -> str | None:
    """A key in an answer as text, whole numbers without a fraction; None if it can be no key."""
    if isinstance(there, float) and there.is_integer():
        return str(int(there))
    if isinstance(there, bool) or not isinstance(there, str | int):
        return None
    return str(there)


def is_other_form(there: Any, key: str) -> bool:
    """Whether a key in an answer is ours in another form, as a system may keep it in its own."""
    text = key_text(there)
    return text is not None and text != key and key_form(text) == key_form(key)


def key_form(key: str) -> str:
    """What two keys have in common that differ in form alone.

    Case, spaces at the ends, leading zeros and the forms of Unicode do not count.
    """
    folded = unicodedata.normalize("NFKC", key).casefold().strip()
    return folded.lstrip("0") or "0" if folded.isdigit() else folded


def send_each(operations: Sequence[Operation], send: Send) -> dict[str, Outcome]:
    """Send operations one by one.

    A row whose request has no usable answer is left out, or unknown if there was none at all, and
    the next one is tried, three times in a row at most. When the system takes nothing at all
    (refused login, 429, unreachable), the rows that are left were certainly not sent: they are
    pending.

    Raises:
        HttpError: Nothing of it was taken.
    """
    outcomes: dict[str, Outcome] = {}
    silent = 0
    for place, operation in enumerate(operations):
        try:
            outcome = send(operation)
        except HttpError as error:
            if was_not_taken(error):
                if place == 0:
                    raise
                return outcomes | _not_sent(operations[place:], f"not sent: {error.message}")
            outcomes |= unanswered([operation], error)
            outcome = None
        if outcome is not None:
            outcomes[operation.op_id] = outcome
        if outcome is not None and outcome.state != "pending":
            silent = 0
            continue
        silent += 1
        if silent == _SILENT_ROWS:
            return outcomes | _not_sent(operations[place + 1 :])
    return outcomes


def send_groups(
    groups: Iterable[Sequence[Operation]],
    send: Callable[[Sequence[Operation]], Mapping[str, Outcome]],
) -> dict[str, Outcome]:
    """Send operations in groups, for systems with a request of its own for each kind of operation.

    When a later group fails, what the earlier ones learnt is kept: its rows are pending if it was
    certainly not taken, and `unanswered` if that is not known; those after it are pending.

    Raises:
        HttpError: The first group failed as a whole.
    """
    outcomes: dict[str, Outcome] = {}
    waiting = [group for group in groups if group]
    for place, group in enumerate(waiting):
        try:
            outcomes |= send(group)
        except HttpError as error:
            if place == 0:
                raise
            later = [operation for rest in waiting[place + 1 :] for operation in rest]
            refused = isinstance(error, StatusError) and error.status in _REFUSED_WHOLE
            if refused or isinstance(error, RequestRefused) or was_not_taken(error):
                return outcomes | _not_sent([*group, *later], f"not sent: {error.message}")
            return outcomes | unanswered(group, error) | _not_sent(later)
    return outcomes


def unanswered(operations: Iterable[Operation], error: HttpError) -> dict[str, Outcome]:
    """What is known of operations whose request ended in an error that proves nothing.

    Nothing; but without any answer, the system may be at work on them still.
    """
    if not isinstance(error, TransportError):
        return {}
    silence = Outcome("unknown", "no answer", is_silent=True)
    return {operation.op_id: silence for operation in operations}


def _not_sent(operations: Iterable[Operation], why: str = "not sent") -> dict[str, Outcome]:
    return {operation.op_id: Outcome("pending", why) for operation in operations}


def was_not_taken(error: HttpError) -> bool:
    """Whether it is certain that the system did nothing, and would do nothing for other rows."""
    if isinstance(error, TransportError):
        return not error.was_sent
    if isinstance(error, StatusError):
        return error.status in _NOT_TAKEN
    return isinstance(error, AuthenticationFailed | AddressRefused)


def outcome_of(
    operation: Operation, response: requests.Response, reason: str = ""
) -> Outcome | None:
    """What the answer to one row's own request says about it; None if it proves nothing.

    Raises:
        StatusError: The answer is about us and not about the row: 401, 403, 429.
    """
    status = response.status_code
    if 200 <= status < 300:
        return Outcome("acknowledged") if is_own(response) else None
    if status in _NOT_TAKEN:
        response.raise_for_status()
    if status in _GONE and operation.kind in ("delete", "remove") and is_own(response):
        return Outcome("acknowledged", "was gone already")
    if status in _GONE and operation.kind == "update" and is_own(response):
        return Outcome(MISSING)
    if 400 <= status < 500 and status != 408:
        return Outcome("rejected", reason or str(status))
    return None


def is_own(response: requests.Response) -> bool:
    """Whether an answer can be that of an API: empty, or JSON."""
    return not response.content or document(response) is not None


def document(response: requests.Response) -> Any:
    """The body of an answer as JSON; None if it is none, or null."""
    try:
        return json.loads(response.content)
    except (ValueError, RecursionError):  # RecursionError: brackets within brackets, without end
        return None


def needed_document(response: requests.Response) -> Any:
    """The body of an answer as JSON.

    Raises:
        HttpError: It is something else.
    """
    found = document(response)
    if found is None:
        raise HttpError(
            f"{urlsplit(response.url).hostname} did not answer in JSON.",
            hint="Check base_url: another service may be answering there.",
        )
    return found


def needed_rows(body: Any, path: str, host: str | None) -> list[dict[str, Any]]:
    """The rows at a path of an answer: a list of them, or one. Null and `{}` there are no rows.

    Raises:
        HttpError: There is something else, or nothing: that says nothing about what is not there.
    """
    above, _, last = path.rpartition(".")
    holder, found = dig(body, above), dig(body, path)
    is_told = not path or isinstance(holder, list) or (isinstance(holder, dict) and last in holder)
    rows = found if isinstance(found, list) else [found] if found else []
    if not is_told or not all(isinstance(row, dict) for row in rows):
        raise HttpError(
            f"{host} answered without the rows that it was asked for.",
            hint="If that was no error of its own, correct in the settings where the rows are.",
        )
    return rows


def dig(found: Any, path: str) -> Any:
    """What is at a path such as `data.0.id` in a JSON document; None if there is nothing."""
    for step in path.split(".") if path else []:
        if isinstance(found, Mapping):
            found = found.get(step)
        elif isinstance(found, list) and step.isdigit() and int(step) < len(found):
            found = found[int(step)]
        else:
            return None
    return found


def told_reason(status: object, code: object, message: object, columns: Iterable[str]) -> str:
    """Status, error code and the columns of ours that a message names: its text may hold values."""
    status = status if _CODE.fullmatch(str(status)) else "refused"
    code = code if isinstance(code, str) and _CODE.fullmatch(code) else ""
    text = message if isinstance(message, str) else ""
    words = set(re.findall(r"[A-Za-z0-9_]+", text))
    return " ".join(
        part
        for part in (str(status), code, *(column for column in columns if column in words))
        if part
    )
