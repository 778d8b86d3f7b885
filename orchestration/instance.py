"""The Dagster instance of a home: where runs, events and logs are kept, and how they behave.

Belongs here: everything that is a property of the instance. Does not: what runs (`definitions.py`).

settings -> <home>/dagster/dagster.yaml -> DAGSTER_HOME
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from klantbeeld.files import private_dir, write_atomic
from klantbeeld.settings import Settings

if TYPE_CHECKING:
    from dagster import DagsterInstance

_KEPT_DAYS = 30
# A few per run, so that no run pays for a long history at once.
_FORGOTTEN_AT_ONCE = 20
_REGULAR_JOBS = (
    "load_job",
    "build_job",
    "send_job",
    "incremental_job",
    "full_job",
    "reconciliation_job",
)

# Dagster reads dagster.yaml from DAGSTER_HOME only, so it is generated rather than kept in the
# repository. Storage is Dagster's default, SQLite files in this folder.
_DAGSTER_YAML = """\
# Written by Klantbeeld at the start of each run and of the UI; changes made here are lost.
telemetry:
  enabled: false
# The welcome dialog of a fresh instance asks for an e-mail address.
nux:
  enabled: false

# For runs that the daemon started (schedules, sensors, UI). Every step may be repeated at any time.
run_retries:
  enabled: true
  max_retries: 1
run_monitoring:
  enabled: true
  start_timeout_seconds: 300
  cancel_timeout_seconds: 60

event_log_storage:
  module: orchestration.event_log
  class: KeptConnectionsEventLog
  config:
    base_dir: {folder}/history/runs

code_servers:
  local_startup_timeout: 300

schedules:
  use_threads: true
  num_workers: 2
sensors:
  use_threads: true
  num_workers: 2

retention:
  schedule:
    purge_after_days: 30
  sensor:
    purge_after_days:
      skipped: 7
      failure: 30
      success: -1
"""


def prepare_dagster_home(settings: Settings) -> Path:
    """Write `dagster.yaml` into the home's Dagster folder and return that folder."""
    folder = settings.paths.dagster_dir
    private_dir(folder)
    config = folder / "dagster.yaml"
    text = _DAGSTER_YAML.replace("{folder}", str(folder))
    if not config.exists() or config.read_text() != text:
        write_atomic(config, text)
    return folder


@contextmanager
def open_instance(settings: Settings) -> Iterator["DagsterInstance"]:
    """The home's instance, for code that runs outside Dagster's own processes."""
    import dagster as dg

    os.environ["DAGSTER_HOME"] = str(prepare_dagster_home(settings))
    with dg.DagsterInstance.get() as instance:
        yield instance


def fail_abandoned_runs(instance: "DagsterInstance", keep_run_id: str | None = None) -> int:
    """Mark runs as failed whose process is gone, and return how many there were.

    Only to be called by the holder of the run lock: the lock dies with the process of a run, so a
    run that is still called started cannot be alive while somebody else holds it.
    """
    import dagster as dg

    abandoned = instance.get_runs(
        dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING])
    )
    for run in abandoned:
        if run.run_id != keep_run_id:
            instance.report_run_failed(
                run, "The process of this run ended without a word; the next run converges."
            )
    return sum(run.run_id != keep_run_id for run in abandoned)


def forget_old_runs(instance: "DagsterInstance") -> int:
    """Remove the history of regular runs that are older than anybody looks, and say how many.

    Dagster keeps everything for ever; hourly runs would come to gigabytes a year.
    """
    import dagster as dg

    before = datetime.now(UTC) - timedelta(days=_KEPT_DAYS)
    forgotten = 0
    for job in _REGULAR_JOBS:
        old = dg.RunsFilter(job_name=job, created_before=before)
        for run in instance.get_runs(old, limit=_FORGOTTEN_AT_ONCE):
            if run.is_finished:
                instance.delete_run(run.run_id)
                forgotten += 1
    return forgotten
