"""Signed events to a system of your own, by the Standard Webhooks specification.

    operation -> {"type": "<entity>.updated", "data": {…}} -> POST with webhook-id, -timestamp,
    -signature -> 2xx -> acknowledged

An event holds the whole row, so that one that comes late or twice does no harm: `webhook-id` is the
operation's id, the same however often it is sent, and the receiver takes each id once. The
signature is HMAC-SHA-256 over id, time and body; while a secret is being replaced, an event has two
signatures, one by each secret, and the receiver accepts either.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator

from klantbeeld.activation.destinations.answers import ApiSettings, outcome_of, plain, send_each
from klantbeeld.activation.ledger import Operation, Outcome
from klantbeeld.activation.specs import SyncSpec
from klantbeeld.http import REPEATABLE_METHODS, AddressRefused, RetryPolicy, session
from klantbeeld.settings import Settings

_PREFIX = "whsec_"
_SECRET_BYTES = range(24, 65)
_EVENTS = {"create": "created", "update": "updated", "delete": "deleted"}
# Within the five minutes for which receivers believe a time: a repeat has the time of the first.
_RETRY = RetryPolicy(
    attempts=3, longest_wait_seconds=60, methods=REPEATABLE_METHODS | frozenset({"POST"})
)


class WebhookSettings(ApiSettings):
    """A `[destinations.<name>]` section of this kind."""

    kind: Literal["webhook"]
    url: str = Field(pattern=r"^https?://", description="an address that begins with https://")
    secret: SecretStr
    previous_secret: SecretStr | None = None
    timeout_seconds: float = Field(15, gt=0)

    @field_validator("secret", "previous_secret")
    @classmethod
    def _is_a_key(cls, secret: SecretStr | None) -> SecretStr | None:
        if secret is not None and len(_key(secret)) not in _SECRET_BYTES:
            raise ValueError(f"expected {_PREFIX} and then 24 to 64 random bytes in base64")
        return secret


class Webhook:
    """One address that takes events, as the destination of one sync."""

    settings_type = WebhookSettings
    largest_batch = 1_000
    is_readable = False
    is_idempotent = True
    wants_whole_rows = True

    def __init__(
        self, settings: Settings, spec: SyncSpec, *, now: Callable[[], float] = time.time
    ) -> None:
        own = settings.destination(spec.destination, self.settings_type)
        self._url = own.url
        self._keys = [_key(secret) for secret in (own.secret, own.previous_secret) if secret]
        self._spec = spec
        self._now = now
        self._http = session(
            settings,
            base_url=own.url,
            timeout=(5, own.timeout_seconds),
            requests_per_second=own.requests_per_second,
            retry=_RETRY,
            headers={"Content-Type": "application/json"},
        )
        self.traffic = self._http.traffic

    def check(self, types: Mapping[str, str]) -> None:
        """Any column can be sent; see `RecordDestination.check`."""

    def encode(self, key: str, kind: str, values: Mapping[str, Any]) -> dict[str, Any]:
        """The values as JSON; see `RecordDestination.encode`."""
        return {column: plain(value) for column, value in values.items()}

    def write(self, operations: Sequence[Operation]) -> dict[str, Outcome]:
        """Send one event for each operation; see `RecordDestination.write`."""
        return send_each(operations, self._send)

    def _send(self, operation: Operation) -> Outcome | None:
        event = {
            "type": f"{self._spec.entity}.{_EVENTS[operation.kind]}",
            "data": {self._spec.key_column: operation.key, **operation.body},
        }
        body = json.dumps(event, separators=(",", ":")).encode()
        moment = int(self._now())
        signatures = (signature(key, operation.op_id, moment, body) for key in self._keys)
        response = self._http.post(
            self._url,
            data=body,
            headers={
                "webhook-id": operation.op_id,
                "webhook-timestamp": str(moment),
                "webhook-signature": " ".join(signatures),
            },
        )
        if response.status_code in (404, 410):
            raise AddressRefused(
                f"{urlsplit(self._url).hostname} has no receiver there ({response.status_code}).",
                hint="Ask its owner for the address, and correct url in the settings.",
            )
        content_type = response.headers.get("Content-Type", "").lower()
        if 200 <= response.status_code < 300 and "html" not in content_type:
            return Outcome("acknowledged")  # whatever its words: receivers say "ok", or nothing
        return outcome_of(operation, response)

    def read(self, keys: Iterable[str], columns: Iterable[str]) -> dict[str, dict[str, Any]]:
        """A receiver cannot be asked; see `RecordDestination.read`."""
        return {}

    def holds(self, operation: Operation, found: Mapping[str, Any] | None) -> bool:
        """Nothing can be read that would prove it; see `RecordDestination.holds`."""
        return False


def signature(key: bytes, message_id: str, moment: int, body: bytes) -> str:
    """The signature of a message, as it stands in the header."""
    signed = f"{message_id}.{moment}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()


def _key(secret: SecretStr) -> bytes:
    """The bytes of a secret; none if it is not written as it should be."""
    text = secret.get_secret_value()
    try:
        return base64.b64decode(text.removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        return b""
