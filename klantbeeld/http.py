"""The one way out: every HTTP request of the product goes through a session made here.

Belongs here: what holds for each request whoever sends it: TLS, time-outs, address rules, retries,
tokens, the size of an answer, and errors that can be shown to anybody. What a system's answers mean
belongs to its source or destination, which get a plain ``requests.Session`` (dlt's connectors too).

    source or destination -> session(settings, …) -> guarded connection -> the system

The rules, in the order in which a request meets them:

* one origin: a session is bound to ``base_url``, or else to the origin of its first request, so a
  ``nextLink`` that points elsewhere never receives our token;
* no proxies, netrc or other settings from the environment, and no redirects;
* the host is resolved once per connection and the socket goes to the address that was checked, so
  a name cannot change its address in between; addresses that are not public are refused unless
  ``allow_private_addresses`` is set, and plain ``http://`` works towards such addresses only;
* TLS certificates are verified, against `tls_ca_file` if that is set, and no argument switches
  that off;
* requests are spread to keep below `requests_per_second`, if the system has such a limit;
* connecting, each read and the whole answer (its head too) have time limits, and an answer has a
  largest size;
* what cannot stand in a header (a credential with a line break) is refused before anything is sent;
* requests that may be repeated are repeated after 429, 5xx and transport failures, with exponential
  back-off and jitter or as long as ``Retry-After`` asks; others only when the server said it did
  not take them (429) or was never reached;
* errors and logs say method, host and status; never a path, a query, a header or a body.
"""

from __future__ import annotations

import http.client
import io
import ipaddress
import logging
import random
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any, Protocol, TypeVar
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.utils import rewind_body
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, PoolManager
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError
from urllib3.exceptions import HTTPError as Urllib3Error
from urllib3.exceptions import SSLError as Urllib3SslError
from urllib3.exceptions import TimeoutError as Urllib3Timeout

from klantbeeld.errors import KlantbeeldError
from klantbeeld.settings import Settings

logger = logging.getLogger(__name__)
# Its debug lines hold each request's path and query, and those may hold a key that is personal.
logging.getLogger("urllib3").setLevel(logging.INFO)

REPEATABLE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
RETRIED_STATUSES = frozenset({429, 500, 502, 503, 504})
REDIRECTS = frozenset({301, 302, 303, 307, 308})
USER_AGENT = "klantbeeld"
# What may stand in a header: Latin-1 without control characters, no space at either end.
_HEADER_VALUE = re.compile(r"(?:[!-~\xa0-\xff](?:[\t -~\xa0-\xff]*[!-~\xa0-\xff])?)?")
_Token = TypeVar("_Token", str, str | None)
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


class HttpError(KlantbeeldError, requests.RequestException):
    """Anything that went wrong on the way out or back.

    It is a ``RequestException`` too: libraries that are handed a session (dlt) recognise it.
    """

    def __init__(
        self,
        message: str,
        hint: str | None = None,
        *,
        response: requests.Response | None = None,
    ) -> None:
        super().__init__(message, hint)
        self.response = response
        self.request = None


class TransportError(HttpError, requests.ConnectionError):
    """No complete answer came.

    Attributes:
        was_sent: False only if nothing can have reached the server, by no attempt.
    """

    def __init__(self, message: str, hint: str | None = None, *, was_sent: bool) -> None:
        super().__init__(message, hint)
        self.was_sent = was_sent


class AddressRefused(HttpError):
    """The address, scheme or origin is not one that may be spoken to."""


class RequestRefused(HttpError):
    """A request that cannot be made of its values; nothing was sent."""


class RedirectRefused(HttpError):
    """The server took the request and answered with a redirect, which is not followed."""


class ResponseTooLarge(HttpError):
    """The answer is larger than the session accepts."""


class StatusError(HttpError, requests.HTTPError):
    """The server answered with a status that is not a success."""

    def __init__(
        self,
        message: str,
        hint: str | None = None,
        *,
        status: int,
        response: requests.Response | None = None,
    ) -> None:
        super().__init__(message, hint, response=response)
        self.status = status


class AuthenticationFailed(HttpError):
    """The credentials are not accepted."""


class TokenProvider(Protocol):
    """Gives the bearer token of a session."""

    def token(self) -> str:
        """The token to send."""
        ...

    def renew(self, refused: str) -> str | None:
        """Another token now that the server refused this one, or None if there is no other."""
        ...


@dataclass(frozen=True)
class RetryPolicy:
    """When to try again, and how long to wait in between.

    Attributes:
        attempts: Requests in all, the first one included.
        base_seconds: Ceiling of the first wait; it doubles each time. The wait is drawn uniformly
            below the ceiling, so that clients do not return in step.
        cap_seconds: Highest ceiling.
        longest_wait_seconds: The answer is returned if ``Retry-After`` asks for more than this.
        silent_seconds: No further attempt is made when so much time has passed without any answer:
            a system that hangs costs this and one time-out, and not a time-out per attempt.
        methods: Methods whose requests may be repeated when the outcome is not known.
    """

    attempts: int = 5
    base_seconds: float = 0.5
    cap_seconds: float = 30.0
    longest_wait_seconds: float = 300.0
    silent_seconds: float = 120.0
    methods: frozenset[str] = REPEATABLE_METHODS


@dataclass
class Traffic:
    """What a session did, for reports: counts only."""

    requests: int = 0
    retries: int = 0
    waited_seconds: float = 0.0
    statuses: dict[int, int] = field(default_factory=dict)


def session(
    settings: Settings,
    *,
    base_url: str | None = None,
    token_provider: TokenProvider | None = None,
    timeout: tuple[float, float] = (5, 60),
    total_timeout: float = 300,
    max_response_bytes: int = 64 * 1024 * 1024,
    retry: RetryPolicy | None = None,
    headers: Mapping[str, str] | None = None,
    requests_per_second: float | None = None,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
    rng: random.Random | None = None,
) -> GuardedSession:
    """Make a session for one system.

    Args:
        settings: Decide whether private addresses may be reached, and whose certificates count.
        base_url: The system's address; the session then refuses every other origin.
        token_provider: Where the bearer token comes from, if the system wants one.
        timeout: Seconds to connect, and between two reads.
        total_timeout: Seconds for one body as a whole, so that a trickle cannot hold a run.
        max_response_bytes: Largest answer accepted, after decompression.
        retry: When to try again; `RetryPolicy()` if not given.
        headers: Sent with each request.
        requests_per_second: What the system allows; retries count.
        sleep: Waits; tests hand in their own.
        clock: Seconds that only rise, for `requests_per_second`.
        rng: Draws the jitter; tests hand in a seeded one.
    """
    made = GuardedSession(
        allow_private_addresses=settings.allow_private_addresses,
        base_url=base_url,
        token_provider=token_provider,
        timeout=timeout,
        total_timeout=total_timeout,
        max_response_bytes=max_response_bytes,
        retry=retry or RetryPolicy(),
        pace=None if requests_per_second is None else _Pace(requests_per_second, clock, sleep),
        sleep=sleep,
        rng=rng or random.Random(),  # noqa: S311 - jitter, no secret
    )
    made.headers.update(headers or {})
    if settings.tls_ca_file is not None:
        made.verify = str(settings.tls_ca_file)
    return made


class StaticToken:
    """A token that was handed out once and does not expire by itself."""

    def __init__(self, token: str) -> None:
        self._token = token

    def token(self) -> str:
        """The token."""
        return self._token

    def renew(self, refused: str) -> str | None:
        """There is no other."""
        del refused
        return None


class ClientCredentials:
    """Tokens by OAuth 2.0 client credentials: fetched on first use, renewed before they expire."""

    def __init__(
        self,
        settings: Settings,
        *,
        token_url: str,
        client_id: str,
        client_secret: str,
        scope: str | None = None,
        timeout: tuple[float, float] = (5, 60),
        clock: Callable[[], float] = time.monotonic,
        retry: RetryPolicy | None = None,
    ) -> None:
        self._url = token_url
        self._form = {
            "grant_type": "client_credentials",
            "client_id": client_id,
            "client_secret": client_secret,
        }
        if scope:
            self._form["scope"] = scope
        # Asking for a token twice does no harm, so here a POST may be repeated.
        policy = retry or RetryPolicy(attempts=3, methods=frozenset({"POST"}))
        self._session = session(settings, base_url=token_url, retry=policy, timeout=timeout)
        self._clock = clock
        self._lock = threading.Lock()
        self._token: str | None = None
        self._renew_at = 0.0

    def token(self) -> str:
        """The current token; a new one if it has expired or is about to."""
        with self._lock:
            if self._token is None or self._clock() >= self._renew_at:
                self._token = self._fetch()
            return self._token

    def renew(self, refused: str) -> str | None:
        """A new token, unless another thread already fetched one since `refused` was sent."""
        with self._lock:
            if self._token is None or self._token == refused:
                self._token = self._fetch()
            return self._token

    def _fetch(self) -> str:
        host = urlsplit(self._url).hostname
        response = self._session.post(self._url, data=self._form)
        if response.status_code in (400, 401, 403):
            raise AuthenticationFailed(
                f"{host} did not accept the client id and secret ({response.status_code}).",
                hint="Check client_id and client_secret in the settings and secrets file.",
            )
        response.raise_for_status()
        try:
            body = response.json()
            token = body["access_token"]
            lifetime = float(body.get("expires_in", 300))
        except (ValueError, KeyError, TypeError, AttributeError):
            token = None
        if not isinstance(token, str) or not token:
            raise AuthenticationFailed(f"{host} answered without an access token.")
        # A minute early, or a tenth for short-lived tokens: a token must not expire on its way.
        self._renew_at = self._clock() + lifetime - min(60.0, lifetime / 10)
        return token


class _Pace:
    """Turns, so many per second. Time that a slow answer took is made up for, a tenth at most."""

    def __init__(
        self, per_second: float, clock: Callable[[], float], sleep: Callable[[float], None]
    ) -> None:
        # A fiftieth below what is allowed: requests do not arrive as evenly as they leave, and one
        # that is refused costs more (measured: 94 % of the limit used without it).
        self._interval = 1.02 / per_second
        self._slack = max(0.1 - self._interval, 0.0)
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self._next = clock()

    def take_turn(self) -> None:
        """Wait until it is this request's turn."""
        with self._lock:
            now = self._clock()
            turn = max(self._next, now - self._slack)
            self._next = turn + self._interval
        if turn > now:
            self._sleep(turn - now)


class GuardedResponse(requests.Response):
    """An answer whose `raise_for_status` tells no more than method, host and status."""

    def raise_for_status(self) -> None:
        """Raise `StatusError` unless the status is below 400."""
        if self.status_code < 400:
            return
        host = urlsplit(self.url).hostname
        method = self.request.method if self.request is not None else "request"
        if self.status_code in (401, 403):
            hint = "Check the credentials and what they are allowed to do."
        elif self.status_code == 429 or self.status_code >= 500:
            hint = "The system is busy or in trouble; the next run tries again."
        else:
            hint = None
        raise StatusError(
            f"{method} to {host} was answered with {self.status_code}.",
            hint,
            status=self.status_code,
            response=self,
        )


class GuardedSession(requests.Session):
    """A `requests.Session` that keeps the rules of this module. Make one with `session`."""

    def __init__(
        self,
        *,
        allow_private_addresses: bool,
        base_url: str | None,
        token_provider: TokenProvider | None,
        timeout: tuple[float, float],
        total_timeout: float,
        max_response_bytes: int,
        retry: RetryPolicy,
        pace: _Pace | None,
        sleep: Callable[[float], None],
        rng: random.Random,
    ) -> None:
        super().__init__()
        self.trust_env = False
        self.headers["User-Agent"] = USER_AGENT
        adapter = _GuardedAdapter(allow_private_addresses=allow_private_addresses)
        self.mount("https://", adapter)
        self.mount("http://", adapter)
        self.traffic = Traffic()
        self._origin = _origin(base_url) if base_url else None
        self._token_provider = token_provider
        self._timeout = timeout
        self._total_timeout = total_timeout
        self._max_response_bytes = max_response_bytes
        self._retry = retry
        self._pace = pace
        self._sleep = sleep
        self._rng = rng

    def prepare_request(self, request: requests.Request) -> requests.PreparedRequest:
        """Prepare a request; what is wrong with it is told without any of its values.

        Raises:
            AuthenticationFailed: A credential cannot be sent as a header.
            AddressRefused: The address is none.
            RequestRefused: A header or the body cannot be sent.
        """
        host = urlsplit(request.url or "").hostname or "?"
        _check_headers(host, self.headers, AuthenticationFailed)
        _check_headers(host, request.headers or {}, RequestRefused)
        try:
            return super().prepare_request(request)
        except requests.exceptions.InvalidJSONError:
            raise RequestRefused(f"The body of a request to {host} is no JSON.") from None
        except UnicodeEncodeError:
            raise AuthenticationFailed(
                f"The user name or password for {host} holds characters that cannot be sent.",
                hint="Check the credentials of this system in the secrets file.",
            ) from None
        except (requests.RequestException, ValueError):
            raise AddressRefused(
                "An address of this system is not a valid one.", hint="Check its base_url."
            ) from None

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        """Send a prepared request, again if the rules allow it.

        Returns:
            The last answer, whatever its status, its body read in full.

        Raises:
            TransportError: No complete answer came.
            AuthenticationFailed: 401 to a fresh token as well.
            AddressRefused: The address or the origin is not allowed.
            RedirectRefused: The answer is a redirect.
            ResponseTooLarge: The answer is over the limit.
        """
        method = request.method or "GET"
        self._bind(request)
        kwargs["allow_redirects"] = False
        kwargs["stream"] = True
        kwargs["verify"] = kwargs["verify"] if isinstance(kwargs.get("verify"), str) else True
        kwargs["proxies"] = {}
        kwargs["timeout"] = kwargs.get("timeout") or self._timeout
        renewed = False
        may_have_arrived = False
        attempt = 1
        silent = 0.0
        token = self._authorise(request)
        while True:
            asked_at = time.monotonic()
            try:
                response = self._send_once(request, kwargs)
            except TransportError as error:
                silent += time.monotonic() - asked_at
                error.was_sent = may_have_arrived = may_have_arrived or error.was_sent
                repeatable = not error.was_sent or method in self._retry.methods
                is_last = attempt >= self._retry.attempts or silent >= self._retry.silent_seconds
                if not repeatable or is_last:
                    raise
                self._wait(self._back_off(attempt), request, "no answer")
                attempt += 1
                continue
            if response.status_code == 401 and token is not None and self._token_provider:
                renew = partial(self._token_provider.renew, token)
                other = None if renewed else _obtained(renew, was_sent=may_have_arrived)
                if other is None:
                    raise AuthenticationFailed(
                        f"{_host(request)} does not accept our token (401).",
                        hint="Check the credentials of this system in the secrets file.",
                        response=response,
                    )
                token, renewed = other, True
                request.headers["Authorization"] = f"Bearer {other}"
                continue
            wait = self._wait_after(response, method, attempt)
            if wait is None:
                return response
            may_have_arrived = may_have_arrived or response.status_code != 429
            self._wait(wait, request, str(response.status_code))
            attempt += 1

    def _bind(self, request: requests.PreparedRequest) -> None:
        origin = _origin(request.url or "")
        if self._origin is None:
            self._origin = origin
        if origin != self._origin:
            raise AddressRefused(
                f"A request to {_host(request)} was refused: this session is for another system.",
                hint="Check the system's base_url; a system may not refer us to another host.",
            )

    def _authorise(self, request: requests.PreparedRequest) -> str | None:
        if self._token_provider is None:
            return None
        token = _obtained(self._token_provider.token, was_sent=False)
        authorization = {"Authorization": f"Bearer {token}"}
        _check_headers(_host(request), authorization, AuthenticationFailed)
        request.headers.update(authorization)
        return token

    def _send_once(
        self, request: requests.PreparedRequest, kwargs: dict[str, Any]
    ) -> requests.Response:
        host = _host(request)
        if isinstance(getattr(request, "_body_position", None), int):
            rewind_body(request)  # a file that an earlier attempt has read
        if self._pace is not None:
            self._pace.take_turn()
        self.traffic.requests += 1
        deadline = time.monotonic() + self._total_timeout
        _DEADLINE.set(deadline)
        try:
            response = super().send(request, **kwargs)
            # Hooks (dlt's, for one) have run by now; the class is changed for what comes after.
            response.__class__ = GuardedResponse
            self._read(response, deadline)
        except HttpError:
            raise
        except (requests.RequestException, Urllib3Error) as error:
            # The original is not chained: its text holds the full address of the request.
            raise _transport_error(host, error) from None
        statuses = self.traffic.statuses
        statuses[response.status_code] = statuses.get(response.status_code, 0) + 1
        if response.status_code in REDIRECTS:
            raise RedirectRefused(
                f"{host} answered with a redirect ({response.status_code}), which is not followed.",
                hint="Put the final address in the settings.",
            )
        return response

    def _read(self, response: requests.Response, deadline: float) -> None:
        host = urlsplit(response.url).hostname
        content = bytearray()
        try:
            # read1 returns what is there: reading by blocks would let a trickle pass the deadline.
            while block := response.raw.read1(64 * 1024, decode_content=True):
                content += block
                if len(content) > self._max_response_bytes:
                    raise ResponseTooLarge(
                        f"The answer of {host} is larger than {self._max_response_bytes} bytes.",
                        hint="Ask for smaller pages.",
                    )
                if time.monotonic() > deadline:
                    raise TransportError(
                        f"The answer of {host} took longer than {self._total_timeout:g} s.",
                        was_sent=True,
                    )
            response._content = bytes(content)
            response._content_consumed = True  # type: ignore[attr-defined]
        finally:
            response.close()

    def _wait_after(self, response: requests.Response, method: str, attempt: int) -> float | None:
        """Seconds to wait before the next attempt, or None if this answer is the last."""
        status = response.status_code
        if status not in RETRIED_STATUSES or attempt >= self._retry.attempts:
            return None
        if status != 429 and method not in self._retry.methods:
            return None
        asked = retry_after_seconds(response.headers)
        if asked is None:
            return self._back_off(attempt)
        return asked if asked <= self._retry.longest_wait_seconds else None

    def _back_off(self, attempt: int) -> float:
        ceiling = min(self._retry.cap_seconds, self._retry.base_seconds * 2.0 ** (attempt - 1))
        return self._rng.uniform(0, ceiling)

    def _wait(self, seconds: float, request: requests.PreparedRequest, why: str) -> None:
        logger.info("%s to %s: %s; again in %.1f s", request.method, _host(request), why, seconds)
        self.traffic.retries += 1
        self.traffic.waited_seconds += seconds
        self._sleep(seconds)


def retry_after_seconds(
    headers: Mapping[str, str], now: Callable[[], datetime] = lambda: datetime.now(UTC)
) -> float | None:
    """Seconds that ``Retry-After`` asks to wait; None if it is absent or not readable.

    Both forms are understood: a number of seconds, and a date. A date is compared with the answer's
    own ``Date`` where there is one, so that the difference between two clocks does not count.
    """
    value = (headers.get("Retry-After") or "").strip()
    if not value:
        return None
    if value.isascii() and value.isdigit():
        return float(value)
    moment = _http_date(value)
    if moment is None:
        return None
    answered = _http_date(headers.get("Date") or "") or now()
    return max(0.0, (moment - answered).total_seconds())


def _http_date(value: str) -> datetime | None:
    try:
        parsed = parsedate_to_datetime(value)
    except (ValueError, TypeError, OverflowError):
        return None
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)


def _obtained(ask: Callable[[], _Token], *, was_sent: bool) -> _Token:
    """A token; that there is none is no answer to the request, whatever the token's server said.

    Raises:
        TransportError: There is none now; `was_sent` says whether the request itself was sent.
        AuthenticationFailed: The credentials are not accepted.
        AddressRefused: The address of the token's server is not allowed.
    """
    try:
        return ask()
    except (AuthenticationFailed, AddressRefused):
        raise
    except HttpError as error:
        raise TransportError(
            f"No token was given: {error.message}", error.hint, was_sent=was_sent
        ) from None


def _origin(url: str) -> tuple[str, str, int]:
    parts = urlsplit(url)
    scheme = parts.scheme.lower()
    try:
        port = parts.port or {"http": 80, "https": 443}[scheme]
    except (KeyError, ValueError):
        raise AddressRefused(
            "An address must begin with https:// (or http:// on this machine)."
        ) from None
    return scheme, (parts.hostname or "").lower(), port


def _host(request: requests.PreparedRequest) -> str:
    return urlsplit(request.url or "").hostname or "?"


def _check_headers(
    host: str, headers: Mapping[str, str | bytes | None], refused: type[HttpError]
) -> None:
    for name, value in headers.items():
        if isinstance(value, str) and not _HEADER_VALUE.fullmatch(value):
            raise refused(
                f"The header {name} of requests to {host} holds characters that cannot be sent.",
                hint="Check the setting that it is made of: a line break at its end, perhaps.",
            )


def _transport_error(host: str, error: Exception) -> TransportError:
    causes = list(_causes(error))
    if any(isinstance(cause, ssl.SSLCertVerificationError) for cause in causes):
        return TransportError(
            f"The certificate of {host} could not be verified.",
            hint="Nothing was sent. Check the address, or install the authority's certificate.",
            was_sent=False,
        )
    if any(isinstance(cause, _HandshakeFailed) for cause in causes):
        return TransportError(
            f"No encrypted connection to {host} could be made.",
            hint="Nothing was sent. Does it speak TLS 1.2 or later at this port? Is tls_ca_file,"
            " if it is set, a file of certificates?",
            was_sent=False,
        )
    if any(isinstance(cause, NewConnectionError | ConnectTimeoutError) for cause in causes):
        return TransportError(
            f"{host} could not be reached.",
            hint="Check that the system runs and that its address is right.",
            was_sent=False,
        )
    if isinstance(error, requests.Timeout | Urllib3Timeout):
        return TransportError(f"{host} did not answer in time.", was_sent=True)
    return TransportError(f"The connection to {host} broke before its answer ended.", was_sent=True)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error and what it wraps: libraries keep the original as argument, reason or cause."""
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        current = waiting.pop()
        if not isinstance(current, BaseException) or id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        waiting += [getattr(current, "reason", None), current.__cause__, current.__context__]
        waiting += [part for part in current.args if isinstance(part, BaseException)]


# ---- connections that look at the address before they open -----------------------------------


def _is_public(address: str) -> bool:
    ip = ipaddress.ip_address(address.split("%", 1)[0])
    if isinstance(ip, ipaddress.IPv6Address):
        ip = _embedded(ip) or ip
    return ip.is_global and not ip.is_multicast


def _embedded(ip: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that a gateway would make of it: mapped, 6to4 or NAT64."""
    if ip in _NAT64:
        return ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    return ip.ipv4_mapped or ip.sixtofour


class _AddressNotAllowed(Urllib3Error):
    """Raised inside urllib3; the adapter turns it into `AddressRefused`."""


def connect(settings: Settings, host: str, port: int, *, timeout: float = 10) -> socket.socket:
    """Connect for a protocol that encrypts by itself, by the same rules of addresses.

    Raises:
        AddressRefused: The address is private, and such addresses are not allowed.
        TransportError: No address answered.
    """
    try:
        return _reach(
            host,
            port,
            allow_private=settings.allow_private_addresses,
            encrypted=True,
            timeout=timeout,
        )
    except _AddressNotAllowed:
        raise _private_refused(host) from None
    except OSError:
        raise TransportError(
            f"{host} could not be reached.",
            hint="Check that the system runs and that its address is right.",
            was_sent=False,
        ) from None


def _reach(
    host: str, port: int, *, allow_private: bool, encrypted: bool, timeout: object
) -> socket.socket:
    """Resolve the host, check what it resolves to, and connect to exactly that."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError:
        raise OSError("name not found") from None
    for *_, sockaddr in found:
        public = _is_public(str(sockaddr[0]))
        if not public and not allow_private:
            raise _AddressNotAllowed("private")
        if public and not encrypted:
            raise _AddressNotAllowed("plain")
    for family, kind, protocol, _, sockaddr in found:
        opened = socket.socket(family, kind, protocol)
        try:
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if isinstance(timeout, int | float):
                opened.settimeout(timeout)
            opened.connect(sockaddr)
        except OSError:
            opened.close()
            continue
        return opened
    raise OSError("no address answered")


def _open_checked(
    connection: HTTPConnection, *, allow_private: bool, encrypted: bool
) -> socket.socket:
    host = connection._dns_host.strip("[]")
    try:
        return _reach(
            host,
            connection.port,
            allow_private=allow_private,
            encrypted=encrypted,
            timeout=connection.timeout,
        )
    except OSError as error:
        raise NewConnectionError(connection, str(error)) from None


def _private_refused(host: str) -> AddressRefused:
    return AddressRefused(
        f"{host} is a private address, which requests may not go to.",
        hint="Set allow_private_addresses = true if this system really is on your network.",
    )


class _HandshakeFailed(NewConnectionError):
    """The address was reached, and TLS could not be agreed upon."""


# When the answer to the request that this thread is at must be complete, in `time.monotonic`.
_DEADLINE: ContextVar[float] = ContextVar("_DEADLINE", default=float("inf"))


class _UntilDeadline(io.RawIOBase):
    """What arrives at a socket, until `_DEADLINE`: no byte-wise head of an answer passes it."""

    def __init__(self, arriving: io.RawIOBase) -> None:
        self._arriving = arriving

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        if time.monotonic() > _DEADLINE.get():
            raise TimeoutError("the answer took too long")
        return self._arriving.readinto(buffer)

    def close(self) -> None:
        self._arriving.close()
        super().close()


class _Answer(http.client.HTTPResponse):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fp = io.BufferedReader(_UntilDeadline(self.fp.detach()))


class _PlainConnection(HTTPConnection):
    allow_private = False
    response_class = _Answer

    def _new_conn(self) -> socket.socket:
        return _open_checked(self, allow_private=self.allow_private, encrypted=False)


class _PlainConnectionPrivate(_PlainConnection):
    allow_private = True


class _TlsConnection(HTTPSConnection):
    allow_private = False
    response_class = _Answer

    def _new_conn(self) -> socket.socket:
        return _open_checked(self, allow_private=self.allow_private, encrypted=True)

    def connect(self) -> None:
        try:
            super().connect()
        except ssl.SSLCertVerificationError:
            raise
        except (OSError, Urllib3SslError) as error:
            # A broken connection says the same, but by now nothing of a request has left.
            raise _HandshakeFailed(self, str(error)) from None


class _TlsConnectionPrivate(_TlsConnection):
    allow_private = True


class _PlainPool(HTTPConnectionPool):
    ConnectionCls = _PlainConnection


class _PlainPoolPrivate(HTTPConnectionPool):
    ConnectionCls = _PlainConnectionPrivate


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


class _TlsPoolPrivate(HTTPSConnectionPool):
    ConnectionCls = _TlsConnectionPrivate


class _GuardedAdapter(HTTPAdapter):
    def __init__(self, *, allow_private_addresses: bool) -> None:
        self._allow_private = allow_private_addresses
        super().__init__(max_retries=0)

    def init_poolmanager(
        self, connections: int, maxsize: int, block: bool = False, **pool_kwargs: Any
    ) -> None:
        manager = PoolManager(
            num_pools=connections,
            maxsize=maxsize,
            block=block,
            ssl_minimum_version=ssl.TLSVersion.TLSv1_2,
            **pool_kwargs,
        )
        manager.pool_classes_by_scheme = (
            {"http": _PlainPoolPrivate, "https": _TlsPoolPrivate}
            if self._allow_private
            else {"http": _PlainPool, "https": _TlsPool}
        )
        self.poolmanager = manager

    def send(
        self, request: requests.PreparedRequest, *args: Any, **kwargs: Any
    ) -> requests.Response:
        try:
            return super().send(request, *args, **kwargs)
        except _AddressNotAllowed as error:
            host = _host(request)
            if error.args == ("plain",):
                raise AddressRefused(
                    f"{host} is a public address and is asked for without TLS.",
                    hint="Use https:// in the settings.",
                ) from None
            raise _private_refused(host) from None
