"""Around the work: the lock, abandoned runs, the sensor, what a person reads, the exit code."""

import io
import os
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

from klantbeeld.control import open_control
from klantbeeld.settings import Settings, load_settings
from klantbeeld.warehouse import Warehouse
from orchestration.automation import new_files_sensor
from orchestration.event_log import KeptConnectionsEventLog
from orchestration.instance import fail_abandoned_runs, forget_old_runs, open_instance
from orchestration.progress import progress, recording


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("KLANTBEELD_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home" / "dagster"))
    return load_settings()


def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "orchestration.run", *arguments]
    return subprocess.run(command, env=os.environ, capture_output=True, text=True, check=False)


def test_a_second_run_is_refused_with_who_is_working(settings: Settings) -> None:
    control = open_control(settings)
    with Warehouse(settings, control).run_lock("the first run"):
        second = run("--job", "incremental")
    control.close()
    assert second.returncode == 4
    assert "the first run" in second.stderr
    assert "Traceback" not in second.stderr


def test_a_wrong_setting_is_a_matter_of_usage(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KLANTBEELD_TIME_ZONE", "Europe/Atlantis")
    wrong = run("--job", "incremental")
    assert wrong.returncode == 2
    assert "KLANTBEELD_TIME_ZONE" in wrong.stderr


def test_a_run_whose_process_is_gone_is_marked_as_failed(settings: Settings) -> None:
    @dg.job
    def nothing() -> None:
        """A job for the sake of its run."""

    with open_instance(settings) as instance:
        assert isinstance(instance.event_log_storage, KeptConnectionsEventLog)
        left = instance.create_run_for_job(nothing)
        started = dg.DagsterEvent(
            event_type_value="PIPELINE_START", job_name="nothing", message="started"
        )
        instance.report_dagster_event(started, run_id=left.run_id)
        own = instance.create_run_for_job(nothing)
        instance.report_dagster_event(started, run_id=own.run_id)
        assert fail_abandoned_runs(instance, keep_run_id=own.run_id) == 1
        assert instance.get_run_by_id(left.run_id).status is dg.DagsterRunStatus.FAILURE
        assert instance.get_run_by_id(own.run_id).status is dg.DagsterRunStatus.STARTED


def test_only_old_regular_runs_are_forgotten(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    @dg.op
    def nothing() -> None:
        """A step for the sake of its run."""

    @dg.job
    def load_job() -> None:
        nothing()

    @dg.job
    def training_job() -> None:
        nothing()

    with open_instance(settings) as instance:
        loaded = load_job.execute_in_process(instance=instance).run_id
        trained = training_job.execute_in_process(instance=instance).run_id
        assert forget_old_runs(instance) == 0
        monkeypatch.setattr("orchestration.instance._KEPT_DAYS", -1)
        assert forget_old_runs(instance) == 1
        assert instance.get_run_by_id(loaded) is None
        assert instance.get_run_by_id(trained) is not None


def test_the_sensor_starts_a_run_once_for_new_files(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "tills"
    (folder / "0101").mkdir(parents=True)
    monkeypatch.setenv("KLANTBEELD_SOURCES__POS__FOLDER", str(folder))

    def tick(cursor: str | None) -> tuple[int, str | None]:
        context = dg.build_sensor_context(cursor=cursor)
        result = new_files_sensor.evaluate_tick(context)
        return len(result.run_requests or []), result.cursor

    _, cursor = tick(None)
    (folder / "0101" / "receipts_0101_20260301.csv").write_text("bonnummer;regel\n")
    started, cursor = tick(cursor)
    assert started == 1
    assert tick(cursor)[0] == 0


def test_a_line_says_stage_what_counts_and_seconds() -> None:
    stream = io.StringIO()
    with recording(stream) as record:
        progress().done("load", "crm", {"read": 1_234, "loaded": 0, "quarantined": 2}, 1.25)
        progress().done("link", "companies", {"companies": 1, "new_ids": 1, "read": 1})
        progress().problem("load", "crm", "2 rows went into quarantine", "attention")
        progress().problem("load", "crm", "2 rows went into quarantine", "attention")
        progress().warn("raw_crm.leads: expected at least one row")
    line = stream.getvalue()
    assert "crm" in line
    assert "  warning: raw_crm.leads: expected at least one row\n" in line
    assert "1,234 read, 2 quarantined" in line
    assert "1 company, 1 new id, 1 read" in line
    assert len(record.problems) == 1
    assert record.as_dict()["lines"][0]["counts"]["read"] == 1_234
