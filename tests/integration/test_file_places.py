"""Audience files in their three formats and places: a folder, a real SFTP server, an S3 service."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import re
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import asyncssh
import pyarrow.parquet as parquet
import pytest

from klantbeeld.activation import ExportReport, run_export
from klantbeeld.activation.destinations import open_files
from klantbeeld.activation.destinations.stores import (
    Bucket,
    PlaceSettings,
    S3Settings,
    Store,
    open_store,
)
from klantbeeld.activation.specs import AudienceSpec
from klantbeeld.control.tables import exports
from klantbeeld.errors import KlantbeeldError, SettingsError
from klantbeeld.http import AuthenticationFailed, StatusError, TransportError
from klantbeeld.settings import load_settings
from tests.fixtures.activation import World
from tests.fixtures.destinations import Asked, Service, Told, settings_with

AUDIENCE = """
    select
        md5(email) as contact_point_key, 'P' || n as profile_id, email,
        case n when 1 then '=HYPERLINK("x")' else 'Lotte ' || n end as first_name,
        case when n < 5 then '+3161234567' || n end as phone,
        (n * 1.25)::decimal(8, 2) as revenue, date '2026-03-01' as since
    from (select n, 'l' || n || '@voorbeeld.example' as email from range({count}) as t(n))
"""
POINTS = """
    create schema if not exists marts;
    create or replace table marts.dim_contact_points as
    select 'email' as channel, md5(email) as contact_point_key, email as value_std
    from (select 'l' || n || '@voorbeeld.example' as email from range(200) as t(n));
    create or replace table marts.fct_consents as
    select 'email' as channel, '' as contact_point_std, 'commercial' as purpose,
        'granted' as status, timestamptz '2026-02-02 00:00:00+00' as effective_at
"""
COLUMNS = ["email", "first_name", "phone", "revenue", "since"]


# ---- an SFTP server ----------------------------------------------------------------------------


class SftpServer:
    """asyncssh's own server in a thread, with one folder and one user."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.logins = 0
        self.key = asyncssh.generate_private_key("ssh-ed25519")
        self.renames: list[str] = []
        outer = self

        class Login(asyncssh.SSHServer):
            def password_auth_supported(self) -> bool:
                return True

            def validate_password(self, username: str, password: str) -> bool:
                outer.logins += 1
                return (username, password) == ("bezorger", "een-wachtwoord")

        class Files(asyncssh.SFTPServer):
            def __init__(self, channel: Any) -> None:
                super().__init__(channel, chroot=str(folder))

            def posix_rename(self, oldpath: bytes, newpath: bytes) -> Any:
                outer.renames.append(f"{oldpath.decode()} {newpath.decode()}")
                return super().posix_rename(oldpath, newpath)

        ready = threading.Event()
        self._loop = asyncio.new_event_loop()

        def serve() -> None:
            asyncio.set_event_loop(self._loop)
            server = self._loop.run_until_complete(
                asyncssh.listen(
                    "127.0.0.1",
                    0,
                    server_factory=Login,
                    server_host_keys=[self.key],
                    sftp_factory=Files,
                )
            )
            self.port = server.sockets[0].getsockname()[1]
            ready.set()
            self._loop.run_forever()

        threading.Thread(target=serve, daemon=True).start()
        assert ready.wait(10)

    def section(self, **more: Any) -> dict[str, Any]:
        own = {
            "host": "127.0.0.1",
            "port": self.port,
            "user": "bezorger",
            "password": "een-wachtwoord",
            "folder": "inbox",
            "host_keys": [self.key.export_public_key().decode().strip()],
        }
        return {"sftp": own | more}

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)


@pytest.fixture
def sftp(tmp_path: Path) -> Iterator[SftpServer]:
    (tmp_path / "there" / "inbox").mkdir(parents=True)
    server = SftpServer(tmp_path / "there")
    yield server
    server.close()


# ---- an S3 service -----------------------------------------------------------------------------

SECRET = "zeer-geheim"


class S3:
    """A bucket that takes only requests whose signature it can make itself."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.page = 2

    def __call__(self, asked: Asked) -> Told:
        if not self.is_signed(asked):
            return Told(403, body=b"<Error><Code>SignatureDoesNotMatch</Code></Error>")
        key = unquote(asked.path.removeprefix("/postbus").removeprefix("/"))
        if asked.method == "PUT":
            if asked.headers["x-amz-content-sha256"] != hashlib.sha256(asked.body).hexdigest():
                return Told(400)
            self.objects[key] = asked.body
            return Told(200)
        if asked.method == "DELETE":
            return Told(204 if self.objects.pop(key, None) is not None else 404)
        prefix = asked.query.get("prefix", [""])[0]
        after = asked.query.get("continuation-token", [""])[0]
        found = sorted(key for key in self.objects if key.startswith(prefix) and key > after)
        page = found[: self.page]
        text = "".join(f"<Contents><Key>{quote(key)}</Key></Contents>" for key in page)
        if len(found) > self.page:
            text += f"<NextContinuationToken>{page[-1]}</NextContinuationToken>"
        return Told(200, body=f"<ListBucketResult>{text}</ListBucketResult>".encode())

    def is_signed(self, asked: Asked) -> bool:
        """Signature version 4, as its specification describes it."""
        told = re.fullmatch(
            r"AWS4-HMAC-SHA256 Credential=sleutel/(\d{8})/nl-1/s3/aws4_request, "
            r"SignedHeaders=([a-z0-9;-]+), Signature=([0-9a-f]{64})",
            asked.headers.get("authorization", ""),
        )
        if told is None:
            return False
        day, names, signature = told.groups()
        assert {"host", "x-amz-date", "x-amz-content-sha256"} <= set(names.split(";"))
        query = sorted((name, values[0]) for name, values in asked.query.items())
        canonical = "\n".join(
            [
                asked.method,
                asked.path,
                "&".join(f"{quote(n, safe='-_.~')}={quote(v, safe='-_.~')}" for n, v in query),
                *(f"{name}:{asked.headers[name].strip()}" for name in names.split(";")),
                "",
                names,
                asked.headers["x-amz-content-sha256"],
            ]
        )
        text = "\n".join(
            [
                "AWS4-HMAC-SHA256",
                asked.headers["x-amz-date"],
                f"{day}/nl-1/s3/aws4_request",
                hashlib.sha256(canonical.encode()).hexdigest(),
            ]
        )
        key = b"AWS4" + SECRET.encode()
        for part in (day, "nl-1", "s3", "aws4_request"):
            key = hmac.digest(key, part.encode(), "sha256")
        return hmac.digest(key, text.encode(), "sha256").hex() == signature


@pytest.fixture
def s3() -> S3:
    return S3()


@pytest.fixture
def service(s3: S3) -> Iterator[Service]:
    running = Service(s3)
    yield running
    running.close()


def s3_section(service: Service, **more: Any) -> dict[str, Any]:
    own = {
        "bucket": "postbus",
        "prefix": "vos & linde/",
        "region": "nl-1",
        "endpoint": service.url,
        "access_key_id": "sleutel",
        "secret_access_key": SECRET,
    }
    return {"s3": own | more}


# ---- what every place does ---------------------------------------------------------------------


class Place:
    """One of the three, with a look at what it holds that does not go through the product."""

    def __init__(self, section: dict[str, Any], held: Any) -> None:
        self.section = section
        self.held = held


@pytest.fixture(params=["folder", "sftp", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "folder":
        folder = tmp_path / "inbox"
        return Place({"folder": str(folder)}, lambda: _in(folder))
    if request.param == "sftp":
        server: SftpServer = request.getfixturevalue("sftp")
        return Place(server.section(), lambda: _in(server.folder / "inbox"))
    bucket: S3 = request.getfixturevalue("s3")
    section = s3_section(request.getfixturevalue("service"))
    prefix = section["s3"]["prefix"]
    return Place(
        section, lambda: {key.removeprefix(prefix): body for key, body in bucket.objects.items()}
    )


def _in(folder: Path) -> dict[str, bytes]:
    if not folder.exists():
        return {}
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def store(tmp_path: Path, section: dict[str, Any]) -> Store:
    settings = load_settings(home=tmp_path / "home", allow_private_addresses=True)
    return open_store(settings, PlaceSettings(kind="files", **section))


def test_a_file_is_put_replaced_listed_and_removed(tmp_path: Path, place: Place) -> None:
    there = store(tmp_path, place.section)
    source = tmp_path / "source"
    assert there.names() == []
    for name, content in (("een & ander.csv", b"1"), ("b.csv", b"2"), ("c", b""), ("b.csv", b"3")):
        source.write_bytes(content)
        there.put(source, name)
    assert place.held() == {"een & ander.csv": b"1", "b.csv": b"3", "c": b""}
    assert sorted(there.names()) == ["b.csv", "c", "een & ander.csv"]
    there.remove("b.csv")
    there.remove("b.csv")
    assert set(place.held()) == {"een & ander.csv", "c"}


def world_with(tmp_path: Path, section: dict[str, Any]) -> World:
    made = World(tmp_path / "home", "http://127.0.0.1:1/")
    values = {"kind": "files", "environment": "demo", **section}
    made.settings = made.settings.model_copy(
        update={"destinations": {**made.settings.destinations, "newsletter": values}}
    )
    return made


def publish(world: World, count: int = 8) -> None:
    with world.warehouse.build() as connection:
        connection.execute(POINTS)
    world.publish([], audience=AUDIENCE.format(count=count), segment={"columns": COLUMNS})


def export(world: World) -> ExportReport:
    return run_export("early_birds", world.place, "run")


def test_an_audience_arrives_with_its_manifest_once_and_expires(
    tmp_path: Path, place: Place
) -> None:
    world = world_with(tmp_path, place.section)
    publish(world)
    first = export(world)
    assert first.status == "written", first.message
    assert first.file is not None
    held = place.held()
    assert set(held) == {first.file, f"{first.file}.manifest.json"}
    manifest = json.loads(held[f"{first.file}.manifest.json"])
    assert manifest["sha256"] == hashlib.sha256(held[first.file]).hexdigest()
    assert b"'=HYPERLINK" in held[first.file]
    assert export(world).status == "unchanged"
    assert not any((world.home / "exports").iterdir()), "nothing of it stays in the home"
    with world.control.begin() as connection:
        connection.execute(
            exports.update().values(expires_at=datetime.now(UTC) - timedelta(seconds=1))
        )
    publish(world, 9)
    second = export(world)
    world.close()
    assert second.status == "written"
    assert set(place.held()) == {second.file, f"{second.file}.manifest.json"}


def test_what_a_killed_run_left_is_completed_or_cleared(tmp_path: Path, place: Place) -> None:
    world = world_with(tmp_path, place.section)
    publish(world)
    first = export(world)
    assert first.file is not None
    there = store(tmp_path, place.section)
    there.remove(f"{first.file}.manifest.json")
    source = tmp_path / "half"
    source.write_bytes(b"half a file")
    there.put(source, ".early_birds_20260301_0123456789ab.csv.partial")
    there.put(source, ".early_birds_2_20260301_0123456789ab.csv.partial")
    with world.control.begin() as connection:
        connection.execute(exports.delete())
    second = export(world)
    world.close()
    assert (second.status, second.file) == ("written", first.file)
    assert set(place.held()) == {
        first.file,
        f"{first.file}.manifest.json",
        ".early_birds_2_20260301_0123456789ab.csv.partial",
    }, "another audience's is another run's"


# ---- formats -----------------------------------------------------------------------------------


def test_json_lines_and_parquet_hold_exact_values(tmp_path: Path) -> None:
    for suffix in ("jsonl", "parquet"):
        inbox = tmp_path / suffix
        world = world_with(tmp_path / f"of {suffix}", {"folder": str(inbox), "format": suffix})
        publish(world)
        report = export(world)
        assert report.file is not None, report.message
        assert report.file.endswith(f".{suffix}")
        if suffix == "jsonl":
            lines = (inbox / report.file).read_text().splitlines()
            rows = [json.loads(line) for line in lines]
        else:
            table = parquet.read_table(inbox / report.file)
            assert str(table.schema.field("revenue").type) == "decimal128(8, 2)"
            rows = json.loads(json.dumps(table.to_pylist(), default=str))
            rows = [row | {"revenue": float(row["revenue"])} for row in rows]
        by_email = {row["email"]: row for row in rows}
        assert len(rows) == report.rows == 8
        assert by_email["l1@voorbeeld.example"] == {
            "email": "l1@voorbeeld.example",
            "first_name": '=HYPERLINK("x")',
            "phone": "+31612345671",
            "revenue": 1.25,
            "since": "2026-03-01",
        }
        assert by_email["l7@voorbeeld.example"]["phone"] is None
        publish(world)
        assert export(world).status == "unchanged", "the same rows are the same bytes"
        world.close()


# ---- what goes wrong ---------------------------------------------------------------------------


def test_a_server_with_another_key_gets_nothing(tmp_path: Path, sftp: SftpServer) -> None:
    other = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()
    with pytest.raises(TransportError, match="shows another key"):
        store(tmp_path, sftp.section(host_keys=[other])).names()
    assert sftp.logins == 0
    both = [other, sftp.key.export_public_key().decode()]
    assert store(tmp_path, sftp.section(host_keys=both)).names() == []
    with pytest.raises(KlantbeeldError, match="host key in the settings is none"):
        store(tmp_path, sftp.section(host_keys=["ssh-ed25519 geen"]))


def test_a_wrong_password_is_tried_once_and_is_a_report(
    tmp_path: Path, sftp: SftpServer, caplog: pytest.LogCaptureFixture
) -> None:
    world = world_with(tmp_path, sftp.section(password="fout-wachtwoord"))
    publish(world)
    with caplog.at_level("DEBUG"):
        report = export(world)
    world.close()
    assert report.status == "failed"
    assert "does not accept bezorger" in str(report.message)
    assert sftp.logins == 1
    assert "fout-wachtwoord" not in caplog.text + str(report.message)


def test_sftp_keeps_to_the_rules_of_addresses_and_of_renaming(
    tmp_path: Path, sftp: SftpServer
) -> None:
    settings = load_settings(home=tmp_path / "home")
    with pytest.raises(KlantbeeldError, match="private address"):
        open_store(settings, PlaceSettings(kind="files", **sftp.section())).names()
    source = tmp_path / "source"
    source.write_bytes(b"x")
    store(tmp_path, sftp.section()).put(source, "a.csv")
    assert sftp.renames == ["inbox/.a.csv.partial inbox/a.csv"]
    with pytest.raises(TransportError, match="failed"):
        store(tmp_path, sftp.section(folder="bestaat niet")).put(source, "a.csv")


def test_a_key_logs_in_where_it_is_known(tmp_path: Path, sftp: SftpServer) -> None:
    key = tmp_path / "key"
    asyncssh.generate_private_key("ssh-ed25519").write_private_key(str(key))
    section = sftp.section(private_key_file=str(key))
    del section["sftp"]["password"]
    with pytest.raises(AuthenticationFailed):
        store(tmp_path, section).names()
    assert sftp.logins == 0, "no password was offered"


def test_a_wrong_secret_is_refused_by_the_bucket(tmp_path: Path, service: Service, s3: S3) -> None:
    there = store(tmp_path, s3_section(service, secret_access_key="fout"))
    with pytest.raises(StatusError):
        there.names()
    assert len(service.seen) == 1


def test_a_bucket_that_was_busy_gets_the_whole_file(
    tmp_path: Path, service: Service, s3: S3, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("klantbeeld.http.GuardedSession._back_off", lambda *_: 0.01)
    service.damages = [lambda *_: Told(503), lambda *_: None]
    source = tmp_path / "source"
    source.write_bytes(b"0123456789" * 10_000)
    store(tmp_path, s3_section(service)).put(source, "a.csv")
    assert s3.objects == {"vos & linde/a.csv": source.read_bytes()}
    assert len(service.seen) == 3


def test_amazon_is_where_its_region_is(tmp_path: Path) -> None:
    own = S3Settings(bucket="postbus", region="eu-west-1", access_key_id="k", secret_access_key="g")
    there = Bucket(load_settings(home=tmp_path), own)
    assert there.address == "s3://s3.eu-west-1.amazonaws.com/postbus"


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({}, "exactly one of folder, sftp or s3"),
        ({"folder": "/a", "s3": {"bucket": "b" * 3, "access_key_id": "k",
                                 "secret_access_key": "g"}}, "exactly one of"),
        ({"sftp": {"host": "h", "user": "u", "host_keys": ["k"]}}, "either password or"),
        ({"folder": "/a", "format": "xlsx"}, "format"),
    ],
)  # fmt: skip
def test_a_place_is_named_once_and_in_full(
    tmp_path: Path, section: dict[str, Any], message: str
) -> None:
    settings = settings_with(tmp_path, {"kind": "files", **section})
    spec = AudienceSpec("a", "activation.a", "x", "email", "commercial", "us", ("email",))
    with pytest.raises(SettingsError, match=message):
        open_files(settings, spec)
