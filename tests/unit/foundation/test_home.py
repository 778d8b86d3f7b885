"""A home as a whole: record ids, clock, backup and restore, doctor, status, the command line."""

import json
import shutil
import socket
import subprocess
import sys
import tarfile
import threading
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from klantbeeld.backup import restore_backup, write_backup
from klantbeeld.cli import main
from klantbeeld.clock import Clock
from klantbeeld.control import open_control
from klantbeeld.control.tables import load_runs, quarantine
from klantbeeld.errors import KlantbeeldError, SettingsError
from klantbeeld.records import keyed_hash, keyed_hash_sql, record_id_sql
from klantbeeld.settings import Settings, load_settings
from klantbeeld.status import StatusReport, read_status
from klantbeeld.warehouse import Warehouse

DOCS = Path(__file__).parents[3] / "docs"


def record_id(source: str, entity: str, key: str) -> str:
    query = f"select {record_id_sql(source, entity, '?')}"
    return str(duckdb.execute(query, [key]).fetchall()[0][0])


@given(st.text(), st.text())
def test_different_keys_never_share_a_record_id(left: str, right: str) -> None:
    assert (record_id("a", "b", left) == record_id("a", "b", right)) == (left == right)


def test_a_record_id_has_three_parts_whatever_the_key_holds() -> None:
    assert record_id("crm", "contact", "a:b%c") == "crm:contact:a%3Ab%25c"


@given(st.text(), st.binary(min_size=32, max_size=32))
def test_the_keyed_hash_is_the_same_in_sql_and_in_python(value: str, key: bytes) -> None:
    query = f"select {keyed_hash_sql('$value', home_key='$home_key')}"
    parameters = {"value": value, "home_key": key.hex()}
    assert duckdb.execute(query, parameters).fetchall() == [(keyed_hash(value, key),)]


def test_the_clock_takes_its_date_from_the_world(tmp_path: Path) -> None:
    file = tmp_path / "clock.json"
    file.write_text('{"as_of": "2026-03-01T23:30:00+00:00"}')
    clock = Clock(load_settings(home=tmp_path, as_of_file=file))
    assert clock.as_of() == datetime(2026, 3, 1, 23, 30, tzinfo=UTC)
    assert clock.business_date().isoformat() == "2026-03-02"


@pytest.mark.parametrize("content", ["{}", "no json", '{"as_of": "2026-03-01T23:30:00"}', "[]"])
def test_a_clock_that_says_nothing_is_named(tmp_path: Path, content: str) -> None:
    file = tmp_path / "clock.json"
    file.write_text(content)
    with pytest.raises(SettingsError, match="as_of_file"):
        Clock(load_settings(home=tmp_path, as_of_file=file)).as_of()


def a_home(path: Path) -> Settings:
    path.mkdir(mode=0o700)
    (path / "klantbeeld.toml").write_text('environment = "demo"\n')
    (path / "landing" / "pos").mkdir(parents=True)
    (path / "landing" / "pos" / "receipts.csv").write_text("a;b\n")
    settings = load_settings(home=path)
    settings.home_key()
    warehouse = Warehouse(settings, open_control(settings))
    with warehouse.build() as connection:
        connection.execute("create schema marts; create table marts.dim_profiles as select 1 as a")
    warehouse.publish(run_id="r", as_of=datetime.now(UTC), counts={}, on_commit=lambda _c, _v: None)
    settings.paths.dlt_dir.mkdir()
    return settings


def test_a_backup_comes_back_in_an_empty_home(tmp_path: Path) -> None:
    settings = a_home(tmp_path / "one")
    control = open_control(settings)
    report = write_backup(settings, control, tmp_path / "b.tar.gz")
    assert report.path.stat().st_mode & 0o077 == 0
    other = tmp_path / "two"
    assert restore_backup(load_settings(home=other), report.path) == 1
    restored = load_settings(home=other)
    assert restored.environment == "demo"
    assert restored.home_key() == settings.home_key()
    assert open_control(restored).value("home_id") == control.value("home_id")
    assert (other / "landing" / "pos" / "receipts.csv").read_text() == "a;b\n"
    assert all(path.stat().st_mode & 0o077 == 0 for path in other.rglob("*"))
    # The warehouse is not in a backup: what cannot be read is not called current.
    assert Warehouse(restored, open_control(restored)).current() is None


def test_a_restore_never_leaves_cursors_without_their_build(tmp_path: Path) -> None:
    settings = a_home(tmp_path / "one")
    report = write_backup(settings, open_control(settings), tmp_path / "b.tar.gz")
    with pytest.raises(KlantbeeldError, match="already holds a home"):
        restore_backup(settings, report.path)
    restore_backup(settings, report.path, force=True)
    assert not settings.paths.build_dir.exists()


def test_a_damaged_backup_changes_nothing(tmp_path: Path) -> None:
    settings = a_home(tmp_path / "one")
    report = write_backup(settings, open_control(settings), tmp_path / "b.tar.gz")
    before = settings.paths.control_db.read_bytes()
    data = bytearray(report.path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    (tmp_path / "damaged").write_bytes(data)
    (tmp_path / "short").write_bytes(data[:100])
    with tarfile.open(tmp_path / "other", "w") as archive:
        archive.add(DOCS.parent / "LICENSE", "LICENSE")
    for name in ("damaged", "short", "other"):
        with pytest.raises(KlantbeeldError, match="damaged or not a backup"):
            restore_backup(settings, tmp_path / name, force=True)
    assert settings.paths.control_db.read_bytes() == before
    assert settings.paths.build_file.exists()


def test_status_keeps_to_its_documented_schema(tmp_path: Path) -> None:
    settings = a_home(tmp_path / "one")
    schema = json.loads((DOCS / "status.schema.json").read_text())
    assert schema == StatusReport.model_json_schema()
    report = json.loads(read_status(settings, open_control(settings)).model_dump_json())
    jsonschema.validate(report, schema)
    assert report["tables"] == [{"stage": "marts", "table": "dim_profiles", "rows": 1}]


def run_cli(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as caught:
        main(list(arguments))
    output = capsys.readouterr()
    return int(caught.value.code or 0), output.out, output.err


def test_exit_codes_and_messages_without_tracebacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KLANTBEELD_HOME", str(a_home(tmp_path / "one").home))
    assert run_cli(capsys, "status")[0] == 0
    assert run_cli(capsys, "status", "--what")[0] == 2
    assert run_cli(capsys, "dance")[0] == 2
    code, _, error = run_cli(capsys, "restore", str(tmp_path / "none"))
    assert code == 1
    assert "does not exist" in error
    code, _, error = run_cli(capsys, "dev", "compare")
    assert code == 1
    assert "make dev" in error
    monkeypatch.setenv("KLANTBEELD_TIME_ZONE", "nowhere")
    code, _, error = run_cli(capsys, "status")
    assert code == 2
    assert "KLANTBEELD_TIME_ZONE" in error


def test_doctor_names_what_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = a_home(tmp_path / "one")
    monkeypatch.setenv("KLANTBEELD_HOME", str(settings.home))
    monkeypatch.setenv("KLANTBEELD_SOURCES__POS__FOLDER", str(tmp_path / "gone"))
    settings.paths.control_db.chmod(0o644)
    settings.paths.build_file.unlink()
    code, output, _ = run_cli(capsys, "doctor")
    assert code == 1
    assert "control.db is open to others" in output
    assert "rows would be skipped" in output
    assert "gone does not exist" in output


def listening(path: Path, answer: bytes) -> socket.socket:
    """A server at a socket that says one thing to the first who asks."""
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(path))
    server.listen()

    def serve() -> None:
        connection, _ = server.accept()
        with connection:
            if connection.recv(8) and answer:
                connection.sendall(answer)
            connection.recv(8)

    threading.Thread(target=serve, daemon=True).start()
    return server


def test_doctor_asks_a_database_and_is_not_content_with_its_socket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("klantbeeld.doctor._PATIENCE_SECONDS", 0.2)
    monkeypatch.setenv("KLANTBEELD_HOME", str(a_home(tmp_path / "one").home))
    shop = {"HOST": str(tmp_path), "DATABASE": "shop", "USER": "reader", "PORT": "5433"}
    for name, value in shop.items():
        monkeypatch.setenv(f"KLANTBEELD_SOURCES__SHOP__{name}", value)
    place = tmp_path / ".s.PGSQL.5433"
    for answer, told in (
        (b"N", "PostgreSQL answers"),
        (b"", "cannot be reached (timed out)"),
        (b"HTTP/1.1 400", "is not PostgreSQL"),
    ):
        server = listening(place, answer)
        output = run_cli(capsys, "doctor")[1]
        assert told in next(line for line in output.splitlines() if "source shop" in line)
        server.close()
        if answer == b"N":  # what a server that was killed leaves behind
            code, output, _ = run_cli(capsys, "doctor")
            assert code == 1
            assert f"{place} cannot be reached (Connection refused)" in output
        place.unlink()


def test_doctor_does_not_say_that_a_port_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KLANTBEELD_HOME", str(a_home(tmp_path / "one").home))
    with socket.create_server(("127.0.0.1", 0)) as server:
        place = f"127.0.0.1:{server.getsockname()[1]}"
        monkeypatch.setenv("KLANTBEELD_SOURCES__NEWSLETTER__BASE_URL", f"http://{place}")
        output = run_cli(capsys, "doctor")[1]
    assert f"source newsletter: {place} can be connected to" in output


def test_doctor_names_wrong_settings_failed_loads_and_what_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = a_home(tmp_path / "one")
    monkeypatch.setenv("KLANTBEELD_HOME", str(settings.home))
    monkeypatch.setenv("KLANTBEELD_SOURCES__WEB__FOLDER", str(tmp_path))
    monkeypatch.setenv("KLANTBEELD_DESTINATIONS__ADVERTISING__ENABLED", "false")
    code, output, _ = run_cli(capsys, "doctor")
    assert code == 0
    assert "destination advertising: switched off" in output
    at = [datetime(2026, 3, day, tzinfo=UTC) for day in range(1, 6)]
    loads = [
        {"run_id": f"{source}{n}", "source": source, "at": at[n], "status": status, "message": why}
        for source, results in {"web": "gfff", "pos": "fg"}.items()
        for n, letter in enumerate(results)
        for status, why in [("failed", f"why {n}") if letter == "f" else ("loaded", None)]
    ]
    with open_control(settings).begin() as connection:
        connection.execute(load_runs.insert(), loads)
        connection.execute(
            quarantine.insert(),
            [
                {
                    "quarantine_id": f"q{n}", "run_id": "r", "payload_digest": "",
                    "source": "pos", "table_name": "receipts",
                    "position": f"a.csv:{n}", "reason": "no key", "first_seen_at": at[0],
                    "last_seen_at": at[0], "status": "open" if n else "replayed",
                }
                for n in range(3)
            ],
        )  # fmt: skip
    code, output, _ = run_cli(capsys, "doctor")
    assert code == 1
    assert "load of web: fails since 2026-03-02 00:00 UTC: why 3" in output
    assert "load of pos" not in output
    assert "quarantine of pos: 2 row(s)" in output
    # Off, it is no problem; what waits in quarantine alone is none either.
    monkeypatch.setenv("KLANTBEELD_SOURCES__WEB__ENABLED", "false")
    assert run_cli(capsys, "doctor")[0] == 0

    monkeypatch.setenv("KLANTBEELD_SOURCES__POS__FOLDR", str(tmp_path))
    monkeypatch.setenv("KLANTBEELD_SOURCES__POSX__FOLDER", str(tmp_path))
    code, output, _ = run_cli(capsys, "doctor")
    assert code == 1
    assert "source pos: sources.pos.folder: is missing" in output
    assert "\n        sources.pos.foldr: is not a known setting" in output
    assert "there is no source 'posx'" in output
    assert "Known sources: crm, newsletter, pos, shop, web." in output


def test_whoever_asks_for_a_version_without_files_is_told_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = a_home(tmp_path / "one")
    monkeypatch.setenv("KLANTBEELD_HOME", str(settings.home))
    shutil.rmtree(settings.paths.versions_dir)
    for command in (("dev", "prepare"), ("status",), ("doctor",)):
        code, *told = run_cli(capsys, *command)
        assert code == 1
        assert "are gone" in "".join(told)
        assert "`klantbeeld run` publishes a new version." in "".join(told)


def test_a_damaged_control_plane_is_put_back_as_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = a_home(tmp_path / "one")
    report = write_backup(settings, open_control(settings), tmp_path / "b.tar.gz")
    monkeypatch.setenv("KLANTBEELD_HOME", str(settings.home))
    settings.paths.control_db.write_bytes(b"no database" * 1000)
    Path(f"{settings.paths.control_db}-wal").unlink(missing_ok=True)
    for command in ("status", "doctor"):
        code, *told = run_cli(capsys, command)
        assert code == 1
        assert "`klantbeeld restore FILE --force`" in "".join(told)
    assert run_cli(capsys, "restore", str(report.path), "--force")[0] == 0
    assert run_cli(capsys, "status")[0] == 0


def test_help_imports_nothing_heavy() -> None:
    script = (
        "import sys\n"
        "from klantbeeld.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "heavy = {'dagster', 'dbt', 'dlt', 'duckdb', 'pandas', 'splink', 'sqlalchemy', 'numpy'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    output = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    ).stdout
    assert output.endswith("[]\n")
