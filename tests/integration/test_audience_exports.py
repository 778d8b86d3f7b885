"""Audience files: what is in them, when a new one is written, and what is held back."""

from __future__ import annotations

import csv
import hashlib
import json
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from klantbeeld.activation import ExportReport, approve, run_export
from klantbeeld.activation.destinations.stores import Folder
from klantbeeld.cli import main
from klantbeeld.control.tables import consent_events, exports, tombstones
from klantbeeld.errors import ExitCode
from klantbeeld.records import keyed_hash
from tests.fixtures.activation import AS_OF, World

AUDIENCE = """
    select
        md5(email) as contact_point_key, 'P' || n as profile_id, email,
        case n when 1 then '=HYPERLINK("x")' else 'Lotte ' || n end as first_name,
        case when n < 5 then '+3161234567' || n end as phone
    from (select n, 'l' || n || '@voorbeeld.example' as email from range({count}) as t(n))
"""


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path / "home", "http://127.0.0.1:1/")
    yield made
    made.close()


POINTS = """
    create schema if not exists marts;
    create or replace table marts.dim_contact_points as
    select 'email' as channel, md5(email) as contact_point_key, email as value_std
    from (select 'l' || n || '@voorbeeld.example' as email from range(200) as t(n))
    union all
    select 'phone', md5('+3161234567' || n), '+3161234567' || n from range(5) as t(n);
    create or replace table marts.fct_consents as
    select 'email' as channel, 'l2@voorbeeld.example' as contact_point_std,
        'commercial' as purpose, 'granted' as status,
        timestamptz '2026-02-02 00:00:00+00' as effective_at
"""


def publish(world: World, count: int = 8, **segment: Any) -> None:
    with world.warehouse.build() as connection:
        connection.execute(POINTS)
    world.publish([], audience=AUDIENCE.format(count=count), segment=segment)


def receive(
    world: World,
    channel: str,
    point: str,
    status: str,
    at: datetime,
    *,
    until: datetime | None = None,
    purpose: str = "commercial",
) -> None:
    """A consent event arrives in the control plane."""
    with world.control.begin() as connection:
        connection.execute(
            consent_events.insert().values(
                consent_event_id=uuid.uuid4().hex,
                channel=channel,
                contact_point_hash=keyed_hash(point, world.settings.home_key()),
                purpose=purpose,
                status=status,
                effective_at=at,
                expires_at=until,
                received_at=at,
                origin="test",
            )
        )


def export(world: World) -> ExportReport:
    return run_export("early_birds", world.place, "run")


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_an_audience_is_written_with_its_manifest(world: World) -> None:
    publish(world)
    report = export(world)
    inbox = world.home / "inbox"
    assert (report.status, report.rows) == ("written", 8)
    assert report.file is not None
    assert report.file.startswith("early_birds_20260301_")
    assert files(inbox) == [report.file, f"{report.file}.manifest.json"]
    assert {oct(path.stat().st_mode & 0o777) for path in inbox.iterdir()} == {"0o600"}
    rows = {row["email"]: row for row in read(inbox / report.file)}
    assert list(rows["l1@voorbeeld.example"]) == ["email", "first_name", "phone"]
    assert rows["l1@voorbeeld.example"]["first_name"] == '\'=HYPERLINK("x")'
    assert rows["l1@voorbeeld.example"]["phone"] == "+31612345671"
    assert rows["l7@voorbeeld.example"]["phone"] == ""
    manifest = json.loads((inbox / f"{report.file}.manifest.json").read_text())
    assert manifest["rows"] == 8
    assert manifest["columns"] == ["email", "first_name", "phone"]
    assert manifest["sha256"] == hashlib.sha256((inbox / report.file).read_bytes()).hexdigest()
    assert manifest["as_of"] == AS_OF.isoformat()
    written, expires = (
        datetime.fromisoformat(manifest[name]) for name in ("written_at", "expires_at")
    )
    assert expires - written == timedelta(days=30)


def test_a_plan_says_what_would_be_written_and_writes_nothing(
    world: World, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KLANTBEELD_HOME", str(world.home))

    def invoke(*arguments: str, code: int = 0) -> dict[str, Any]:
        with pytest.raises(SystemExit) as ended:
            main(["sync", *arguments, "--json"])
        told = capsys.readouterr()
        assert ended.value.code == code, told
        report: dict[str, Any] = json.loads(told.out)
        return report

    publish(world)
    receive(world, "email", "l2@voorbeeld.example", "denied", datetime.now(UTC))
    planned = invoke("plan", "audience_early_birds")
    assert (planned["status"], planned["rows"], planned["withheld"]) == ("planned", 7, 1)
    assert invoke("run", "early_birds", "--dry-run") == planned
    assert not (world.home / "inbox").exists() or files(world.home / "inbox") == []
    assert invoke("run", "early_birds")["digest"] == planned["digest"]
    assert len(files(world.home / "inbox")) == 2
    assert invoke("plan", "early_birds")["status"] == "unchanged"
    publish(world, 2)
    held = invoke("plan", "early_birds")
    assert (held["status"], held["rows"], held["rows_before"]) == ("held", 2, 7)
    assert invoke("run", "early_birds", code=ExitCode.ATTENTION)["status"] == "held"


def test_an_unchanged_audience_gives_no_new_file(world: World) -> None:
    publish(world)
    first = export(world)
    publish(world)
    second = export(world)
    assert (second.status, second.file) == ("unchanged", first.file)
    assert len(files(world.home / "inbox")) == 2
    publish(world, 9)
    third = export(world)
    assert third.status == "written"
    assert files(world.home / "inbox") == [third.file, f"{third.file}.manifest.json"]


def test_who_withdrew_is_in_no_file_that_is_left(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(world)
    inbox = world.home / "inbox"
    first = export(world)
    receive(world, "email", "l2@voorbeeld.example", "denied", datetime.now(UTC))
    remove = Folder.remove

    def refuse(folder: Folder, name: str) -> None:
        if name == first.file:
            raise PermissionError(13, "Permission denied")
        remove(folder, name)

    with monkeypatch.context() as patched:
        patched.setattr(Folder, "remove", refuse)
        second = export(world)
    assert second.status == "written"
    assert second.message is not None
    assert "could not be removed (Permission denied)" in second.message
    assert first.file in files(inbox)
    third = export(world)
    assert (third.status, third.file, third.message) == ("unchanged", second.file, None)
    assert files(inbox) == [second.file, f"{second.file}.manifest.json"]
    moved = world.home / "elsewhere"
    section = world.settings.destinations["newsletter"]
    world.settings.destinations["newsletter"] = section | {"folder": str(moved)}
    fourth = export(world)
    assert (fourth.status, fourth.file) == ("written", second.file)
    assert files(moved) == [second.file, f"{second.file}.manifest.json"]
    assert files(inbox) == []


def test_a_withdrawal_after_the_version_is_kept_to(world: World) -> None:
    publish(world)
    now = datetime.now(UTC)
    hour, day = timedelta(hours=1), timedelta(days=1)
    receive(world, "email", "l2@voorbeeld.example", "denied", now)
    receive(world, "email", "l3@voorbeeld.example", "denied", now - 2 * hour)
    receive(world, "email", "l3@voorbeeld.example", "granted", now - hour)
    receive(world, "email", "l4@voorbeeld.example", "granted", now)
    receive(world, "email", "l4@voorbeeld.example", "denied", now)
    receive(world, "email", "l5@voorbeeld.example", "denied", now, purpose="transactional")
    receive(world, "email", "l6@voorbeeld.example", "granted", now - 2 * day, until=now - day)
    receive(world, "phone", "+31612345671", "denied", now)
    receive(world, "phone", "l5@voorbeeld.example", "denied", now)
    receive(world, "email", "l0@voorbeeld.example", "denied", now + day)
    with world.control.begin() as connection:
        erased = keyed_hash("l7@voorbeeld.example", world.settings.home_key())
        connection.execute(
            tombstones.insert().values(kind="email", value_hash=erased, erased_at=now)
        )
    report = export(world)
    assert report.file is not None
    left = {row["email"][:2] for row in read(world.home / "inbox" / report.file)}
    assert left == {"l0", "l3", "l5"}, "equal times mean no; another purpose or channel is another"
    assert (report.rows, report.withheld) == (3, 5)


def test_a_consent_given_after_the_withdrawal_counts_again(world: World) -> None:
    publish(world)
    receive(world, "email", "l2@voorbeeld.example", "denied", datetime(2026, 2, 1, tzinfo=UTC))
    assert export(world).withheld == 0, "the warehouse knows of a later yes"
    receive(world, "email", "l2@voorbeeld.example", "denied", datetime(2026, 2, 3, tzinfo=UTC))
    assert export(world).withheld == 1


@pytest.mark.parametrize("spelled", ["1234AB|12|a", "1234AB|12|A", "1234ab|12|a"])
def test_a_letterbox_that_said_no_is_known_however_it_is_spelled(
    world: World, spelled: str
) -> None:
    with world.warehouse.build() as connection:
        connection.execute(POINTS)
        connection.execute(
            "update marts.dim_contact_points set channel = 'postal', value_std = '1234AB|12|a'"
            " where value_std = 'l2@voorbeeld.example'"
        )
    world.publish([], audience=AUDIENCE.format(count=8))
    receive(world, "postal", spelled, "denied", datetime.now(UTC))
    assert export(world).withheld == 1


def test_a_withdrawal_makes_a_send_wait_although_nothing_was_published(world: World) -> None:
    from orchestration.assets.send import waiting_sends

    publish(world)
    manifest = json.loads(world.warehouse.current().manifest.read_text())

    def waiting() -> list[str]:
        found = waiting_sends(manifest, world.control, world.warehouse)
        return ["/".join(key.path) for key in found if key.path[0] == "exports"]

    assert waiting() == ["exports/early_birds"]
    export(world)
    assert waiting() == []
    receive(world, "email", "l2@voorbeeld.example", "denied", datetime.now(UTC))
    assert waiting() == ["exports/early_birds"]
    assert export(world).withheld == 1
    assert waiting() == []


def test_an_audience_that_vanished_is_held_and_the_file_before_stays(world: World) -> None:
    publish(world, 100)
    first = export(world)
    publish(world, 40)
    held = export(world)
    assert held.status == "held"
    assert held.message is not None
    assert "shrank from 100 to 40" in held.message
    assert files(world.home / "inbox") == [first.file, f"{first.file}.manifest.json"]
    approve("audience_early_birds", world.settings, world.control)
    assert export(world).status == "written"


def test_an_expired_file_is_removed_and_written_anew(world: World) -> None:
    publish(world)
    first = export(world)
    with world.control.begin() as connection:
        connection.execute(
            exports.update().values(expires_at=datetime.now(UTC) - timedelta(seconds=1))
        )
    second = export(world)
    assert (second.status, second.file) == ("written", first.file)
    assert len(files(world.home / "inbox")) == 2


@pytest.mark.parametrize("failpoint", ["export.before_rename", "export.after_rename"])
def test_killed_around_the_rename_the_next_run_completes_it(world: World, failpoint: str) -> None:
    publish(world)
    code = (
        "import sys; from pathlib import Path; from klantbeeld.activation import Home, run_export;"
        "from klantbeeld.control import open_control; from klantbeeld.settings import *;"
        "from klantbeeld.warehouse import Warehouse; s = load_settings(home=Path(sys.argv[1]));"
        "c = open_control(s); run_export('early_birds', Home(s, c, Warehouse(s, c)), 'killed')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(world.home)],
        env={"KLANTBEELD_FAILPOINT": failpoint, "PATH": ""},
        capture_output=True,
        timeout=60,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    report = export(world)
    assert report.status == "written"
    assert files(world.home / "inbox") == [report.file, f"{report.file}.manifest.json"]


def test_an_advertising_platform_gets_hashes_and_nothing_else(world: World) -> None:
    publish(world, destination="advertising", columns=["email", "phone"])
    report = export(world)
    assert report.file is not None
    text = (world.home / "ads" / report.file).read_text()
    rows = read(world.home / "ads" / report.file)
    assert len(rows) == 8
    assert set(rows[0]) == {"Email", "Phone"}, "as the platform calls them"
    email = hashlib.sha256(b"l1@voorbeeld.example").hexdigest()
    phone = hashlib.sha256(b"+31612345671").hexdigest()
    assert {"Email": email, "Phone": phone} in rows
    assert [row["Email"] for row in rows] == sorted(row["Email"] for row in rows)
    assert "voorbeeld" not in text
    publish(world, destination="advertising", columns=["email", "profile_id"])
    refused = export(world)
    assert refused.status == "failed"
    assert refused.message is not None
    assert "profile_id may not go to an advertising platform" in refused.message


def test_a_column_that_is_not_there_and_a_shared_contact_point_are_refused(world: World) -> None:
    publish(world, columns=["email", "shoe_size"])
    missing = export(world)
    assert missing.message is not None
    assert "no column shoe_size" in missing.message
    twice = AUDIENCE.format(count=3).replace("md5(email)", "'same'")
    world.publish([], audience=twice)
    shared = export(world)
    assert shared.status == "failed"
    assert shared.message is not None
    assert "2 share one" in shared.message
    assert not any(world.home.joinpath("inbox").iterdir())


def test_a_folder_that_cannot_be_written_is_a_report(world: World) -> None:
    publish(world)
    (world.home / "inbox").write_text("a file where a folder should be")
    report = export(world)
    assert report.status == "failed"
    assert report.message is not None
    assert "cannot be written" in report.message
