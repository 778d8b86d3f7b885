"""The control plane: migrated, bound to its environment, consistent to copy."""

import sqlite3
import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pyarrow as pa
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from klantbeeld.control import open_control, store
from klantbeeld.control.store import raise_epoch
from klantbeeld.control.tables import metadata, versions
from klantbeeld.errors import KlantbeeldError, SettingsError
from klantbeeld.identity.decisions import read_decisions
from klantbeeld.settings import load_settings


def test_migrations_and_tables_say_the_same(tmp_path: Path) -> None:
    control = open_control(load_settings(home=tmp_path))
    with control.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []


def test_decisions_of_an_older_schema_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = load_settings(home=tmp_path)
    with monkeypatch.context() as older:
        older.setattr(store, "SCHEMA_REVISION", "0003")
        open_control(settings).close()
    with sqlite3.connect(settings.paths.control_db) as connection:
        connection.execute(
            "insert into steward_decisions (decision_id, record_id_l, record_id_r, verdict,"
            " decided_by, decided_at) values ('1', 'a:b:1', 'a:b:2', 'same', 'ann',"
            " '2026-03-01T12:00:00+00:00')"
        )
    connection.close()
    (decision,) = read_decisions(open_control(settings))
    assert (decision.decision_id, decision.action_id) == ("1", "1")
    assert (decision.about, decision.decided_by) == (("same", "a:b:1", "a:b:2"), "ann")


def test_a_home_belongs_to_one_environment_once_it_has_published(tmp_path: Path) -> None:
    open_control(load_settings(home=tmp_path, environment="development"))
    control = open_control(load_settings(home=tmp_path, environment="demo"))
    now = datetime.now(UTC)
    version = {"version_id": "v", "created_at": now, "as_of": now, "run_id": "r", "counts": {}}
    with control.begin() as connection:
        connection.execute(versions.insert().values(**version, status="current"))
    with pytest.raises(SettingsError, match="belongs to 'demo'"):
        open_control(load_settings(home=tmp_path, environment="production"))


def test_a_store_of_a_newer_release_is_refused(tmp_path: Path) -> None:
    settings = load_settings(home=tmp_path)
    open_control(settings).close()
    with sqlite3.connect(settings.paths.control_db) as connection:
        connection.execute("update alembic_version set version_num = '9999'")
    with pytest.raises(KlantbeeldError, match="newer release"):
        open_control(settings)


def test_a_damaged_store_is_named(tmp_path: Path) -> None:
    settings = load_settings(home=tmp_path)
    settings.paths.control_db.write_bytes(b"this is no database" * 100)
    with pytest.raises(KlantbeeldError, match="cannot be read"):
        open_control(settings)


def test_a_store_that_is_gone_is_not_begun_anew(tmp_path: Path) -> None:
    settings = load_settings(home=tmp_path)
    open_control(settings).close()
    (settings.paths.versions_dir / "20260301T000000Z-0001").mkdir(parents=True)
    for file in settings.paths.home.glob("control.db*"):
        file.unlink()
    with pytest.raises(KlantbeeldError, match="is gone"):
        open_control(settings)
    assert not settings.paths.control_db.exists()


def test_a_home_keeps_its_key(tmp_path: Path) -> None:
    settings = load_settings(home=tmp_path)
    open_control(settings).close()
    key = settings.paths.home_key.read_bytes()
    settings.paths.home_key.write_bytes(bytes(32))
    with pytest.raises(SettingsError, match="is not the key"):
        open_control(settings)
    settings.paths.home_key.unlink()
    with pytest.raises(SettingsError, match="is gone"):
        open_control(settings)
    assert not settings.paths.home_key.exists()
    settings.paths.home_key.touch(mode=0o600)
    settings.paths.home_key.write_bytes(key)
    open_control(settings).close()


def test_times_keep_their_moment_and_their_order(tmp_path: Path) -> None:
    control = open_control(load_settings(home=tmp_path))
    amsterdam = timezone(timedelta(hours=2))
    moments = [
        datetime(2026, 7, 1, 1, 0, tzinfo=amsterdam),
        datetime(2026, 6, 30, 23, 30, tzinfo=UTC),
    ]
    with control.begin() as connection:
        for number, moment in enumerate(moments):
            connection.execute(
                versions.insert().values(
                    version_id=str(number),
                    created_at=moment,
                    as_of=moment,
                    run_id="r",
                    status="retired",
                    counts={},
                )
            )
    with control.read() as connection:
        query = sa.select(versions.c.created_at).order_by(versions.c.created_at)
        assert list(connection.scalars(query)) == moments
        assert moments == sorted(moments)


def test_a_transaction_that_fails_writes_nothing(tmp_path: Path) -> None:
    control = open_control(load_settings(home=tmp_path))

    def fail() -> None:
        with control.begin() as connection:
            control.audit(connection, "test", "subject")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    with control.read() as connection:
        assert (
            connection.scalar(sa.select(sa.func.count()).select_from(metadata.tables["audit_log"]))
            == 0
        )


def test_a_restored_copy_gets_a_new_epoch(tmp_path: Path) -> None:
    control = open_control(load_settings(home=tmp_path))
    assert control.value("epoch") == "0"
    assert raise_epoch(control.path) == 1
    assert control.value("epoch") == "1"


def test_bulk_reading_loses_no_later_commit(tmp_path: Path) -> None:
    control = open_control(load_settings(home=tmp_path))
    log = metadata.tables["audit_log"]
    query = sa.select(log.c.subject)
    schema = pa.schema([("subject", pa.string())])
    for number in range(3):
        with control.begin() as connection:
            control.audit(connection, "test", f"subject {number}")
        read = control.read_tables({"log": query}, {"log": schema})["log"]
        assert read["subject"].to_pylist() == [f"subject {n}" for n in range(number + 1)]
    script = (
        "import sqlite3, sys\n"
        "print(sqlite3.connect(sys.argv[1]).execute(sys.argv[2]).fetchone()[0])"
    )
    seen_elsewhere = subprocess.run(
        [sys.executable, "-c", script, str(control.path), "select count(*) from audit_log"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert seen_elsewhere == "3\n"
    assert list(tmp_path.glob(".read-*")) == []
