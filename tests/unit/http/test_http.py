"""The outbound module against a real server on the loopback address."""

from __future__ import annotations

import gzip
import json
import logging
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from klantbeeld.errors import SettingsError
from klantbeeld.http import (
    AddressRefused,
    AuthenticationFailed,
    ClientCredentials,
    GuardedSession,
    HttpError,
    RedirectRefused,
    RequestRefused,
    ResponseTooLarge,
    RetryPolicy,
    StaticToken,
    StatusError,
    TransportError,
    _is_public,
    connect,
    retry_after_seconds,
    session,
)
from klantbeeld.settings import Settings, load_settings

Answer = Callable[[BaseHTTPRequestHandler, bytes], None]


class Server:
    """Answers each request with the next of `answers`; the last one is used for the rest."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.seen: list[tuple[str, str, dict[str, str], bytes]] = []
        self.connections = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                outer.connections += 1
                super().setup()

            def handle_one(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                outer.seen.append((self.command, self.path, dict(self.headers), body))
                answers = outer.answers
                (answers.pop(0) if len(answers) > 1 else answers[0])(self, body)

            do_GET = do_POST = do_PUT = do_PATCH = handle_one  # noqa: N815 - http.server's names

            def log_message(self, *_: Any) -> None:
                """Quiet."""

        self._httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._httpd.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._httpd.server_port}/"
        threading.Thread(target=self._httpd.serve_forever, args=(0.01,), daemon=True).start()

    def with_tls(self, certificate: Path, key: Path) -> str:
        """From now on with TLS; returns the address."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self._httpd.socket = context.wrap_socket(self._httpd.socket, server_side=True)
        return f"https://localhost:{self._httpd.server_port}/"

    def close(self) -> None:
        self._httpd.shutdown()
        self._httpd.server_close()


def self_signed(folder: Path) -> tuple[Path, Path]:
    """A certificate for localhost that no authority vouches for, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate, key_file = folder / "certificate.pem", folder / "key.pem"
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return certificate, key_file


def answer(status: int, body: bytes = b"", **headers: str) -> Answer:
    def write(handler: BaseHTTPRequestHandler, _: bytes) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return write


def hang_up(handler: BaseHTTPRequestHandler, _: bytes) -> None:
    handler.close_connection = True
    handler.connection.close()


def cut_off(handler: BaseHTTPRequestHandler, _: bytes) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "100")
    handler.end_headers()
    handler.wfile.write(b"only this")
    handler.close_connection = True


def trickle(handler: BaseHTTPRequestHandler, _: bytes) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    for _ in range(20):
        handler.wfile.write(b"x")
        time.sleep(0.05)


def trickling_head(handler: BaseHTTPRequestHandler, _: bytes) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
    for _ in range(20):
        handler.wfile.write(b"X")
        time.sleep(0.05)


def never_at_the_answer(handler: BaseHTTPRequestHandler, _: bytes) -> None:
    for _ in range(20):
        handler.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        time.sleep(0.05)


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.close()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(home=tmp_path, allow_private_addresses=True)


@pytest.fixture
def waits() -> list[float]:
    return []


@pytest.fixture
def http(settings: Settings, server: Server, waits: list[float]) -> GuardedSession:
    return session(settings, base_url=server.url, sleep=waits.append)


def test_a_repeatable_request_is_tried_again_with_growing_waits(
    http: GuardedSession, server: Server, waits: list[float]
) -> None:
    server.answers = [answer(503), answer(500), hang_up, answer(200, b"{}")]
    assert http.get(server.url).status_code == 200
    assert len(server.seen) == 4
    assert all(wait <= 0.5 * 2**n for n, wait in enumerate(waits))
    assert http.traffic.requests == 4
    assert http.traffic.retries == 3


def test_a_connection_is_used_again(http: GuardedSession, server: Server) -> None:
    server.answers = [
        answer(200, b"{}"),
        answer(200, gzip.compress(b"{}"), Content_Encoding="gzip"),
    ]
    assert [http.get(server.url).json() for _ in range(4)] == [{}] * 4
    assert server.connections == 1


def test_a_chunked_answer_is_read_whole(http: GuardedSession, server: Server) -> None:
    def chunked(handler: BaseHTTPRequestHandler, _: bytes) -> None:
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        handler.wfile.write(b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")

    def chunked_and_cut_off(handler: BaseHTTPRequestHandler, _: bytes) -> None:
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        handler.wfile.write(b"3\r\nabc\r\n")
        handler.close_connection = True

    server.answers = [chunked_and_cut_off, chunked]
    with pytest.raises(TransportError):
        http.post(server.url)
    assert http.get(server.url).text == "abcde"


def test_the_last_answer_is_returned_when_the_attempts_are_used_up(
    http: GuardedSession, server: Server
) -> None:
    server.answers = [answer(503)]
    assert http.get(server.url).status_code == 503
    assert len(server.seen) == 5


@pytest.mark.parametrize("method", ["POST", "PATCH"])
def test_a_write_is_not_repeated_when_its_outcome_is_unknown(
    http: GuardedSession, server: Server, method: str
) -> None:
    server.answers = [answer(500)]
    assert http.request(method, server.url, data=b"x").status_code == 500
    server.answers = [hang_up]
    with pytest.raises(TransportError) as caught:
        http.request(method, server.url, data=b"x")
    assert caught.value.was_sent
    assert len(server.seen) == 2


def test_a_write_that_was_refused_with_429_waits_as_long_as_it_is_told(
    http: GuardedSession, server: Server, waits: list[float]
) -> None:
    server.answers = [answer(429, Retry_After="7"), answer(200)]
    assert http.post(server.url, data=b"x").status_code == 200
    assert waits == [7.0]


def test_a_very_long_retry_after_is_not_waited_for(
    http: GuardedSession, server: Server, waits: list[float]
) -> None:
    server.answers = [answer(429, Retry_After="86400")]
    assert http.get(server.url).status_code == 429
    assert waits == []


def test_a_date_in_retry_after_is_compared_with_the_servers_own_clock() -> None:
    date = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
    later = format_datetime(date + timedelta(seconds=90), usegmt=True)
    assert retry_after_seconds({"Retry-After": later, "Date": format_datetime(date)}) == 90.0
    assert retry_after_seconds({"Retry-After": later}, now=lambda: date) == 90.0
    assert retry_after_seconds({"Retry-After": "soon"}) is None
    endless = f"{later.removesuffix('GMT')}+{'9' * 17}"
    assert retry_after_seconds({"Retry-After": endless}) is None
    assert retry_after_seconds({"Retry-After": "-3"}) is None
    assert retry_after_seconds({}) is None
    assert retry_after_seconds({"Retry-After": format_datetime(date)}) == 0.0


@pytest.mark.parametrize("seconds_per_answer", [0.0, 0.015, 0.3])
def test_requests_keep_below_what_the_system_allows(
    settings: Settings, server: Server, seconds_per_answer: float
) -> None:
    now = [100.0]
    asked: list[float] = []

    def slow(handler: BaseHTTPRequestHandler, body: bytes) -> None:
        asked.append(now[0])
        now[0] += seconds_per_answer if len(asked) != 5 else 2.0
        answer(200)(handler, body)

    def wait(seconds: float) -> None:
        now[0] += seconds

    server.answers = [slow]
    http = session(
        settings,
        base_url=server.url,
        requests_per_second=50,
        clock=lambda: now[0],
        sleep=wait,
    )
    for _ in range(60):
        http.get(server.url)
    for second in asked:
        inside = sum(second <= other < second + 1 for other in asked)
        assert inside <= 50 + 5, "a tenth of a second may be made up for"
    took = asked[-1] - asked[0] - 2.0
    expected = 59 * max(0.02, seconds_per_answer)
    assert expected * 0.9 <= took <= expected / 0.95


def test_nothing_listens(settings: Settings, waits: list[float]) -> None:
    gone = Server()
    gone.close()
    http = session(settings, base_url=gone.url, sleep=waits.append, retry=RetryPolicy(attempts=2))
    with pytest.raises(TransportError) as caught:
        http.post(gone.url + "people?email=lotte@voorbeeld.example")
    assert not caught.value.was_sent
    assert len(waits) == 1, "nothing was sent, so even a POST may be repeated"
    assert "lotte" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_what_one_attempt_may_have_brought_there_was_sent(settings: Settings) -> None:
    ending = Server()
    ending.answers = [cut_off]
    http = session(
        settings,
        base_url=ending.url,
        sleep=lambda _: ending.close(),
        retry=RetryPolicy(attempts=2),
    )
    with pytest.raises(TransportError) as caught:
        http.put(ending.url)
    assert caught.value.was_sent, "nobody listened any more, but somebody had"


def test_a_file_is_sent_from_its_beginning_again(
    http: GuardedSession, server: Server, tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(b"0123456789" * 10_000)
    server.answers = [answer(503), answer(200)]
    with (tmp_path / "file").open("rb") as stream:
        assert http.put(server.url, data=stream).status_code == 200
    assert [len(body) for *_, body in server.seen] == [100_000, 100_000]


def test_another_protocol_keeps_to_the_same_addresses(
    settings: Settings, server: Server, tmp_path: Path
) -> None:
    port = int(server.url.rstrip("/").rpartition(":")[2])
    connect(settings, "localhost", port).close()
    with pytest.raises(AddressRefused, match="private address"):
        connect(load_settings(home=tmp_path), "localhost", port)
    with pytest.raises(TransportError, match="could not be reached"):
        connect(settings, "bestaat.niet.invalid", port)


def test_a_cut_off_answer_is_no_answer(http: GuardedSession, server: Server) -> None:
    server.answers = [cut_off]
    with pytest.raises(TransportError) as caught:
        http.post(server.url)
    assert caught.value.was_sent


def test_a_silent_server_times_out(settings: Settings, server: Server) -> None:
    server.answers = [lambda *_: time.sleep(1)]
    http = session(settings, base_url=server.url, timeout=(1, 0.1), retry=RetryPolicy(attempts=1))
    started = time.monotonic()
    with pytest.raises(TransportError):
        http.get(server.url)
    assert time.monotonic() - started < 0.8


def test_a_system_that_hangs_costs_no_time_out_per_attempt(
    settings: Settings, server: Server
) -> None:
    server.answers = [lambda *_: time.sleep(1)] * 5
    http = session(
        settings,
        base_url=server.url,
        timeout=(1, 0.1),
        retry=RetryPolicy(attempts=5, silent_seconds=0.15),
        sleep=lambda _: None,
    )
    with pytest.raises(TransportError):
        http.get(server.url)
    assert http.traffic.requests == 2, "0.1 s of silence are borne, 0.2 s are not"


@pytest.mark.parametrize("slow", [trickle, trickling_head, never_at_the_answer])
def test_a_trickling_server_times_out(settings: Settings, server: Server, slow: Answer) -> None:
    server.answers = [slow]
    http = session(settings, base_url=server.url, total_timeout=0.2, retry=RetryPolicy(attempts=1))
    started = time.monotonic()
    with pytest.raises(TransportError) as raised:
        http.get(server.url)
    assert raised.value.was_sent
    assert time.monotonic() - started < 0.8


def test_an_answer_has_a_largest_size_also_when_compressed(
    settings: Settings, server: Server
) -> None:
    bomb = gzip.compress(b"0" * 5_000_000)
    server.answers = [answer(200, bomb, Content_Encoding="gzip")]
    http = session(settings, base_url=server.url, max_response_bytes=100_000)
    with pytest.raises(ResponseTooLarge):
        http.get(server.url)


def test_redirects_are_not_followed(http: GuardedSession, server: Server) -> None:
    server.answers = [answer(302, Location="http://127.0.0.1:1/")]
    with pytest.raises(RedirectRefused, match="redirect"):
        http.get(server.url)
    assert len(server.seen) == 1


def test_another_origin_never_sees_the_token(settings: Settings, server: Server) -> None:
    other = Server()
    other.answers = [answer(200)]
    server.answers = [answer(200)]
    http = session(settings, token_provider=StaticToken("geheim"))
    http.get(server.url)
    with pytest.raises(AddressRefused):
        http.get(other.url)
    assert other.seen == []
    other.close()


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:9/", "https://127.0.0.1:9/", "http://localhost:9/", "http://[::1]:9/"]
)
def test_private_addresses_are_refused_by_default(tmp_path: Path, url: str) -> None:
    with pytest.raises(AddressRefused, match="private address"):
        session(load_settings(home=tmp_path)).get(url)


@pytest.mark.parametrize("allowed", [True, False])
def test_plain_http_is_for_private_addresses_only(tmp_path: Path, allowed: bool) -> None:
    http = session(load_settings(home=tmp_path, allow_private_addresses=allowed))
    with pytest.raises(AddressRefused, match="without TLS"):
        http.get("http://93.184.215.14/")


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/", "file:///etc/passwd", "127.0.0.1"])
def test_other_schemes_are_refused(settings: Settings, url: str) -> None:
    with pytest.raises((HttpError, ValueError)):
        session(settings).get(url)


def test_which_addresses_are_public() -> None:
    private = ["10.0.0.1", "192.168.1.1", "169.254.169.254", "127.0.0.1", "0.0.0.0", "100.64.0.1"]
    private += ["::1", "fe80::1%eth0", "fc00::1", "::ffff:10.0.0.1", "224.0.0.1", "ff02::1"]
    private += ["64:ff9b::10.0.0.1", "64:ff9b::169.254.169.254", "2002:0a00:0001::1"]
    assert not any(_is_public(address) for address in private)
    assert _is_public("93.184.215.14")
    assert _is_public("2606:2800:21f:cb07:6820:80da:af6b:8b2c")


def test_verification_cannot_be_switched_off(settings: Settings) -> None:
    http = session(settings)
    http.verify = False
    seen: list[Any] = []

    class StopError(Exception):
        pass

    class Spy:
        def send(self, request: Any, **kwargs: Any) -> Any:
            seen.append(kwargs["verify"])
            raise StopError

        def close(self) -> None:
            """Nothing to close."""

    http.mount("https://", Spy())  # type: ignore[arg-type]
    with pytest.raises(StopError):
        http.get("https://127.0.0.1/", verify=False)
    assert seen == [True]
    assert ssl.create_default_context().verify_mode is ssl.CERT_REQUIRED


def test_a_certificate_of_nobody_we_know_is_refused_until_its_authority_is_set(
    tmp_path: Path, server: Server
) -> None:
    certificate, key = self_signed(tmp_path)
    server.answers = [answer(200, b"{}")]
    url = server.with_tls(certificate, key)
    once = RetryPolicy(attempts=1)
    doubtful = load_settings(home=tmp_path, allow_private_addresses=True)
    with pytest.raises(TransportError, match="certificate of localhost could not be verified"):
        session(doubtful, retry=once).post(url, data=b"geheim")
    assert server.seen == []
    known = load_settings(home=tmp_path, allow_private_addresses=True, tls_ca_file=certificate)
    assert session(known, retry=once).post(url).status_code == 200
    with pytest.raises(TransportError, match=r"certificate of 127\.0\.0\.1"):
        session(known, retry=once).post(url.replace("localhost", "127.0.0.1"))
    with pytest.raises(SettingsError, match="tls_ca_file"):
        load_settings(home=tmp_path, tls_ca_file=tmp_path / "absent.pem")


def test_a_handshake_that_fails_is_known_to_have_sent_nothing(
    tmp_path: Path, settings: Settings, server: Server
) -> None:
    plain = server.url.replace("http://", "https://")
    with pytest.raises(TransportError, match="No encrypted connection") as raised:
        session(settings, retry=RetryPolicy(attempts=1)).post(plain)
    assert not raised.value.was_sent
    no_certificate = tmp_path / "no.pem"
    no_certificate.write_text("not one")
    broken = load_settings(home=tmp_path, allow_private_addresses=True, tls_ca_file=no_certificate)
    url = server.with_tls(*self_signed(tmp_path))
    with pytest.raises(TransportError, match="No encrypted connection") as raised:
        session(broken, retry=RetryPolicy(attempts=1)).post(url)
    assert not raised.value.was_sent


@pytest.mark.parametrize("end", ["\n", "€", "\x00"])
def test_a_secret_that_cannot_stand_in_a_header_is_not_shown(
    settings: Settings, server: Server, end: str
) -> None:
    server.answers = [answer(200, b"{}")]
    by_token = session(
        settings, base_url=server.url, token_provider=StaticToken("zeer-geheim" + end)
    )
    by_header = session(settings, base_url=server.url, headers={"X-Key": "zeer-geheim" + end})
    for http in (by_token, by_header):
        with pytest.raises(AuthenticationFailed, match="cannot be sent") as raised:
            http.get(server.url)
        assert "geheim" not in str(raised.value)
    with pytest.raises(RequestRefused) as refused:
        session(settings, base_url=server.url).get(server.url, headers={"X-Id": "lotte" + end})
    assert "lotte" not in str(refused.value)
    with pytest.raises(AddressRefused):
        session(settings).get("https://voor beeld.example/")
    assert server.seen == []


def test_no_log_line_tells_a_secret_a_path_or_a_query(
    settings: Settings, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    http = session(
        settings,
        base_url=server.url,
        token_provider=credentials(settings, server),
        sleep=lambda _: None,
    )
    server.answers = [token_answer("een-token"), answer(503), answer(200, b"lotte@voorbeeld")]
    assert http.get(server.url + "people/lotte?phone=0612345678").ok
    with pytest.raises(AddressRefused):
        http.get("https://elders.example/people/lotte?phone=0612345678")
    assert "again in" in caplog.text, "what happened is told all the same"
    for told in ("een-token", "zeer-geheim", "lotte", "0612345678"):
        assert told not in caplog.text


def test_the_environments_proxies_are_ignored(
    http: GuardedSession, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    server.answers = [answer(200)]
    assert http.get(server.url).status_code == 200


def test_a_status_error_tells_no_path_query_or_body(http: GuardedSession, server: Server) -> None:
    server.answers = [answer(422, b'{"email": "lotte@voorbeeld.example"}')]
    response = http.get(server.url + "people/lotte?phone=0612345678")
    with pytest.raises(StatusError) as caught:
        response.raise_for_status()
    assert str(caught.value) == "GET to 127.0.0.1 was answered with 422."
    assert caught.value.status == 422


# ---- tokens ----------------------------------------------------------------------------------


def token_answer(token: str, lifetime: int = 3600) -> Answer:
    return answer(200, json.dumps({"access_token": token, "expires_in": lifetime}).encode())


def credentials(settings: Settings, server: Server, **extra: Any) -> ClientCredentials:
    return ClientCredentials(
        settings,
        token_url=server.url + "token",
        client_id="klantbeeld",
        client_secret="zeer-geheim",
        **extra,
    )


def test_a_token_is_fetched_once_and_renewed_when_it_is_about_to_expire(
    settings: Settings, server: Server
) -> None:
    now = [0.0]
    provider = credentials(settings, server, clock=lambda: now[0])
    server.answers = [token_answer("eerste"), token_answer("tweede")]
    assert [provider.token(), provider.token()] == ["eerste", "eerste"]
    now[0] = 3541.0
    assert provider.token() == "tweede"
    assert len(server.seen) == 2
    assert b"grant_type=client_credentials" in server.seen[0][3]


def test_a_refused_token_is_renewed_once(settings: Settings, server: Server) -> None:
    http = session(settings, base_url=server.url, token_provider=credentials(settings, server))
    server.answers = [token_answer("oud"), answer(401), token_answer("nieuw"), answer(200)]
    assert http.post(server.url).status_code == 200
    assert [headers.get("Authorization") for _, _, headers, _ in server.seen] == [
        None, "Bearer oud", None, "Bearer nieuw",
    ]  # fmt: skip


def test_a_token_refused_twice_ends_after_two_requests(settings: Settings, server: Server) -> None:
    http = session(settings, base_url=server.url, token_provider=credentials(settings, server))
    server.answers = [token_answer("oud"), answer(401), token_answer("nieuw"), answer(401)]
    with pytest.raises(AuthenticationFailed):
        http.get(server.url)
    assert [path for _, path, *_ in server.seen] == ["/token", "/", "/token", "/"]


def test_a_wrong_secret_ends_after_one_request_and_is_not_shown(
    settings: Settings, server: Server
) -> None:
    http = session(settings, base_url=server.url, token_provider=credentials(settings, server))
    server.answers = [answer(401, b"zeer-geheim is wrong")]
    with pytest.raises(AuthenticationFailed) as caught:
        http.get(server.url)
    assert len(server.seen) == 1
    assert "zeer-geheim" not in str(caught.value)


def test_without_a_token_nothing_was_sent(settings: Settings, server: Server) -> None:
    provider = credentials(settings, server, retry=RetryPolicy(attempts=1))
    http = session(settings, base_url=server.url, token_provider=provider)
    server.answers = [answer(503)]
    with pytest.raises(TransportError, match="No token") as caught:
        http.post(server.url)
    assert not caught.value.was_sent
    assert [path for _, path, *_ in server.seen] == ["/token"]


def test_a_static_token_that_is_refused_is_not_tried_again(
    settings: Settings, server: Server
) -> None:
    http = session(settings, base_url=server.url, token_provider=StaticToken("geheim"))
    server.answers = [answer(401)]
    with pytest.raises(AuthenticationFailed):
        http.get(server.url)
    assert len(server.seen) == 1


def test_dlt_can_page_through_a_guarded_session(http: GuardedSession, server: Server) -> None:
    from dlt.sources.helpers.rest_client import RESTClient
    from dlt.sources.helpers.rest_client.paginators import JSONLinkPaginator

    following = server.url + "2"
    server.answers = [
        answer(200, json.dumps({"value": [1, 2], "next": following}).encode()),
        answer(503),
        answer(200, json.dumps({"value": [3]}).encode()),
    ]
    client = RESTClient(
        server.url, session=http, paginator=JSONLinkPaginator("next"), data_selector="value"
    )
    assert [row for page in client.paginate("1") for row in page] == [1, 2, 3]
