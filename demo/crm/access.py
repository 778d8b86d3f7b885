"""Who may call, and how often: client-credentials tokens and service-protection limits.

Tokens are signed, not stored, so that they outlive a restart of the service. Limits are kept per
client, as Dataverse keeps them per user: a new token does not buy a new allowance.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import math
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from demo.crm.errors import CrmError


@dataclass(frozen=True)
class Limits:
    """Service-protection limits of one client.

    Attributes:
        requests: Requests within the window; a batch counts as one.
        window_seconds: Length of the sliding window.
        concurrent: Requests at one moment.
    """

    requests: int = 6000
    window_seconds: float = 300.0
    concurrent: int = 52


class Tokens:
    """Issues and checks bearer tokens of one client.

    Args:
        client_id: The client that may ask for tokens.
        client_secret: Its secret, which also signs the tokens.
        lifetime_seconds: How long a token is good.
        now: Wall-clock time in seconds.
    """

    def __init__(
        self,
        client_id: str,
        client_secret: str,
        lifetime_seconds: float,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._client_id = client_id
        self._client_secret = client_secret
        self._key = hashlib.sha256(b"token:" + client_secret.encode()).digest()
        self._lifetime = lifetime_seconds
        self._now = now

    def issue(self, client_id: str, client_secret: str) -> dict[str, object] | None:
        """The token endpoint's answer, or None for a wrong client or secret."""
        known = hmac.compare_digest(client_id.encode(), self._client_id.encode())
        right = hmac.compare_digest(client_secret.encode(), self._client_secret.encode())
        if not (known and right):
            return None
        claims = {
            "appid": client_id,
            "exp": self._now() + self._lifetime,
            "uti": secrets.token_urlsafe(9),
        }
        body = _encode(json.dumps(claims).encode())
        seconds = int(self._lifetime)
        return {
            "token_type": "Bearer",
            "expires_in": seconds,
            "ext_expires_in": seconds,
            "access_token": f"{body}.{self._sign(body)}",
        }

    def client_of(self, authorization: str | None) -> str:
        """The client that an `Authorization` header stands for.

        Raises:
            CrmError: 401, when the token is missing, wrong or expired.
        """
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise _unauthorized("The request has no bearer token.")
        body, _, signature = token.strip().partition(".")
        if not hmac.compare_digest(self._sign(body).encode(), signature.encode()):
            raise _unauthorized("The token is not one of this service.")
        claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
        if claims["exp"] <= self._now():
            raise _unauthorized("The token has expired.")
        return str(claims["appid"])

    def _sign(self, body: str) -> str:
        return _encode(hmac.digest(self._key, body.encode(), "sha256"))


class ServiceProtection:
    """Counts the requests of each client within a sliding window.

    Args:
        limits: What one client may do.
        now: A clock in seconds that never goes back.
    """

    def __init__(self, limits: Limits, now: Callable[[], float] = time.monotonic) -> None:
        self._limits = limits
        self._now = now
        self._lock = threading.Lock()
        self._started: dict[str, deque[float]] = {}
        self._running: dict[str, int] = {}

    @contextmanager
    def request(self, client: str) -> Iterator[int]:
        """Let one request of `client` run; gives how many more may follow now.

        Raises:
            CrmError: 429 with `Retry-After`; the request that is refused is not counted.
        """
        remaining = self._enter(client)
        try:
            yield remaining
        finally:
            with self._lock:
                self._running[client] -= 1

    def _enter(self, client: str) -> int:
        limits = self._limits
        with self._lock:
            now = self._now()
            started = self._started.setdefault(client, deque())
            while started and started[0] <= now - limits.window_seconds:
                started.popleft()
            running = self._running.get(client, 0)
            if running >= limits.concurrent:
                raise _too_many(
                    "0x80072326",
                    f"Number of concurrent requests exceeded the limit of {limits.concurrent}.",
                    1,
                )
            if len(started) >= limits.requests:
                wait = started[0] + limits.window_seconds - now
                raise _too_many(
                    "0x80072322",
                    f"Number of requests exceeded the limit of {limits.requests} over time window"
                    f" of {limits.window_seconds:g} seconds.",
                    max(1, math.ceil(wait)),
                )
            started.append(now)
            self._running[client] = running + 1
            return limits.requests - len(started)


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _unauthorized(message: str) -> CrmError:
    return CrmError(401, "0x80072560", message, {"WWW-Authenticate": "Bearer"})


def _too_many(code: str, message: str, wait: int) -> CrmError:
    return CrmError(429, code, message, {"Retry-After": str(wait)})
