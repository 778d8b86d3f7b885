"""Build, check, publish, read: a reader never meets a lock, a killed publish publishes nothing."""

import os
import shutil
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pytest

from klantbeeld.control import ControlPlane, open_control
from klantbeeld.errors import ExitCode, KlantbeeldError
from klantbeeld.settings import Settings, load_settings
from klantbeeld.warehouse import (
    NothingPublished,
    RunInProgress,
    Version,
    Warehouse,
    row_counts,
)

AS_OF = datetime(2026, 3, 1, 22, 59, 59, tzinfo=UTC)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(home=tmp_path / "home")


@pytest.fixture
def control(settings: Settings) -> ControlPlane:
    return open_control(settings)


@pytest.fixture
def warehouse(settings: Settings, control: ControlPlane) -> Warehouse:
    return Warehouse(settings, control)


def build_and_publish(warehouse: Warehouse, value: int) -> Version:
    with warehouse.build() as connection:
        connection.execute("create schema if not exists marts")
        connection.execute(f"create or replace table marts.answer as select {value} as value")
        connection.execute("create or replace view marts.asked as from marts.answer")
    return warehouse.publish(
        run_id="run", as_of=AS_OF, counts={"value": value}, on_commit=lambda _c, _v: None
    )


def read(warehouse: Warehouse, version_id: str | None = None) -> int:
    with warehouse.read(version_id) as connection:
        return int(connection.execute("select value from marts.asked").fetchall()[0][0])


def test_nothing_is_published_at_first(warehouse: Warehouse) -> None:
    assert warehouse.current() is None
    with pytest.raises(NothingPublished), warehouse.read():
        pass


def test_rows_that_were_deleted_are_not_counted(warehouse: Warehouse) -> None:
    with warehouse.build() as connection:
        connection.execute("create schema marts")
        connection.execute("create table marts.dim_profiles as select * from range(10)")
        connection.execute("delete from marts.dim_profiles where range < 4")
        assert row_counts(connection) == {"marts.dim_profiles": 6}


def test_readers_see_the_published_version_while_the_build_goes_on(warehouse: Warehouse) -> None:
    build_and_publish(warehouse, 1)
    with warehouse.build() as build:
        build.execute("create or replace table marts.answer as select 2 as value")
        assert read(warehouse) == 1
    build_and_publish(warehouse, 3)
    assert read(warehouse) == 3


def test_one_older_version_is_kept_and_can_come_back(
    warehouse: Warehouse, settings: Settings
) -> None:
    versions = [build_and_publish(warehouse, value) for value in (1, 2, 3)]
    assert {p.name for p in settings.paths.versions_dir.iterdir()} == {
        version.version_id for version in versions[1:]
    }
    assert read(warehouse, versions[1].version_id) == 2
    with (
        pytest.raises(KlantbeeldError, match="is not kept"),
        warehouse.read(versions[0].version_id),
    ):
        pass
    assert warehouse.roll_back().version_id == versions[1].version_id
    assert read(warehouse) == 2


def test_a_version_without_its_files_is_named_and_never_made_current(
    warehouse: Warehouse, settings: Settings
) -> None:
    older, newer = build_and_publish(warehouse, 1), build_and_publish(warehouse, 2)
    shutil.rmtree(settings.paths.versions_dir)
    with pytest.raises(KlantbeeldError, match=f"files of version {newer.version_id} are gone"):
        read(warehouse)
    with pytest.raises(KlantbeeldError, match="no older version"):
        warehouse.roll_back()
    assert build_and_publish(warehouse, 3).version_id > older.version_id
    assert read(warehouse) == 3


def test_a_version_is_published_with_what_belongs_to_it_or_not_at_all(
    warehouse: Warehouse, settings: Settings
) -> None:
    build_and_publish(warehouse, 1)

    def fails(_connection: object, _version_id: str) -> None:
        raise RuntimeError

    with warehouse.build() as connection:
        connection.execute("create or replace table marts.answer as select 2 as value")
    with pytest.raises(RuntimeError):
        warehouse.publish(run_id="run", as_of=AS_OF, counts={}, on_commit=fails)
    assert read(warehouse) == 1
    build_and_publish(warehouse, 3)
    assert len(list(settings.paths.versions_dir.iterdir())) == 2


@pytest.mark.parametrize("failpoint", ["publish.before_rename", "publish.before_commit"])
def test_a_publish_that_is_killed_publishes_nothing(
    settings: Settings, warehouse: Warehouse, failpoint: str
) -> None:
    build_and_publish(warehouse, 1)
    script = (
        "from tests.unit.foundation.test_warehouse import *\n"
        f"s = load_settings(home={str(settings.home)!r})\n"
        "build_and_publish(Warehouse(s, open_control(s)), 2)\n"
    )
    environment = {**os.environ, "KLANTBEELD_FAILPOINT": failpoint}
    result = subprocess.run([sys.executable, "-c", script], env=environment, check=False)
    assert result.returncode == -signal.SIGKILL
    assert read(warehouse) == 1
    assert build_and_publish(warehouse, 2).version_id
    assert read(warehouse) == 2
    assert len(list(settings.paths.versions_dir.iterdir())) == 2


@pytest.mark.parametrize(
    "statement",
    [
        "create table marts.mine as select 1",
        "drop table marts.answer",
        "select * from read_text('/etc/hostname')",
        "copy marts.answer to 'out.csv'",
        "attach 'other.duckdb'",
        "set enable_external_access = true",
        "select 1; drop table marts.answer",
    ],
)
def test_a_reader_can_only_read(warehouse: Warehouse, statement: str) -> None:
    build_and_publish(warehouse, 1)
    with warehouse.read() as connection, pytest.raises(duckdb.Error):
        connection.execute(statement)
    assert read(warehouse) == 1


def test_readers_of_one_process_share_a_version_and_no_temporary_table(
    warehouse: Warehouse,
) -> None:
    build_and_publish(warehouse, 2)
    with warehouse.read() as one:
        one.execute("create temp table mine as select 1")
        with warehouse.read() as other:
            with pytest.raises(duckdb.CatalogException):
                other.execute("from mine")
            with pytest.raises(duckdb.Error):
                other.execute("set threads = 1")
            zone = other.execute("select current_setting('TimeZone')").fetchone()
            assert zone == ("UTC",)
        assert one.execute("from mine").fetchall() == [(1,)], "a reader that ends ends no other"


def test_files_of_the_data_plane_are_private(warehouse: Warehouse, settings: Settings) -> None:
    version = build_and_publish(warehouse, 1)
    for path in (settings.paths.build_file, version.path):
        assert path.stat().st_mode & 0o077 == 0
    assert settings.paths.versions_dir.stat().st_mode & 0o077 == 0


def test_one_run_at_a_time_and_the_lock_dies_with_its_process(
    settings: Settings, warehouse: Warehouse
) -> None:
    script = (
        "import sys, time\n"
        "from klantbeeld.warehouse.lock import run_lock\n"
        "from pathlib import Path\n"
        "with run_lock(Path(sys.argv[1]), 'test'):\n"
        "    print('held', flush=True)\n"
        "    time.sleep(60)\n"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", script, str(settings.paths.lock_file)],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(RunInProgress) as caught, warehouse.run_lock("other"):
            pass
        assert str(holder.pid) in caught.value.message
        assert caught.value.exit_code == ExitCode.BUSY
    finally:
        holder.kill()
        holder.wait()
        assert holder.stdout is not None
        holder.stdout.close()
    with warehouse.run_lock("after"):
        pass


def test_a_child_dies_with_its_parent(tmp_path: Path) -> None:
    mark = tmp_path / "child.pid"
    child = (
        "import os, pathlib, sys, time\n"
        "from klantbeeld.processes import die_with_parent\n"
        "die_with_parent()\n"
        "pathlib.Path(sys.argv[1]).write_text(str(os.getpid()))\n"
        "time.sleep(60)\n"
    )
    parent = (
        "import subprocess, sys, time\n"
        f"subprocess.Popen([sys.executable, '-c', {child!r}, sys.argv[1]])\n"
        "time.sleep(60)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", parent, str(mark)])
    deadline = time.monotonic() + 20
    while not (mark.exists() and mark.read_text()) and time.monotonic() < deadline:
        time.sleep(0.05)
    pid = int(mark.read_text())
    process.kill()
    process.wait()
    while is_running(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_running(pid)


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"
