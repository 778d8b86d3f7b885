"""When what runs: jobs by name, schedules, and a sensor for new files.

Belongs here: selections and moments. Does not: any work.

`full_job` builds and links everything, `reconciliation_job` also freezes the values of the linkage
model anew; `incremental_job` loads, and builds and links only what has a reason; `load_job`,
`build_job` and `send_job` are its three parts, which the command line runs one after the other, so
that a run with nothing to do never pays for the imports of the parts it skips.
"""

from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import dagster as dg

from ingestion.pipelines import file_sources
from klantbeeld.control import open_control
from klantbeeld.settings import load_settings
from klantbeeld.warehouse import Warehouse
from klantbeeld.warehouse.lock import lock_holder
from orchestration.assets.link import LINK_TAG
from orchestration.assets.publish import PUBLISHED_VERSION
from orchestration.assets.send import waiting_sends
from orchestration.assets.training import CANDIDATE_MODEL, CURRENT_MODEL
from orchestration.manifest import read_manifest

# What `dg.define_asset_job` returns; Dagster does not export its type.
Job = Any

BUILD_TAG = "klantbeeld/build"
TRAINING = dg.AssetSelection.assets(CANDIDATE_MODEL, CURRENT_MODEL)
SEND = dg.AssetSelection.groups("send")


def build_jobs(
    raw_keys: Sequence[dg.AssetKey], border_checks: Sequence[dg.AssetChecksDefinition]
) -> list[Job]:
    """Every job."""
    landing = dg.AssetSelection.checks(*border_checks)
    load = dg.AssetSelection.assets(*raw_keys) - landing
    everything = dg.AssetSelection.all() - TRAINING
    return [
        load_job(load),
        dg.define_asset_job(
            "full_job",
            selection=everything,
            tags={BUILD_TAG: "always", LINK_TAG: "all"},
            description="Load every source, build and link everything, publish and send.",
        ),
        dg.define_asset_job(
            "reconciliation_job",
            selection=everything,
            tags={BUILD_TAG: "always", LINK_TAG: "reconcile"},
            description=(
                "As the full job, with the values of the linkage model frozen anew: what "
                "identifies nobody, what is frequent. If that would move too many records to "
                "other profiles, the values wait to be promoted."
            ),
        ),
        dg.define_asset_job(
            "incremental_job",
            selection=everything,
            tags={BUILD_TAG: "if-changed"},
            description=(
                "Load what is new. With nothing new since the current version everything after the "
                "load is skipped."
            ),
        ),
        dg.define_asset_job(
            "build_job",
            selection=(everything - load) | landing,
            tags={BUILD_TAG: "always"},
            description="Build, link, publish and send, from what was loaded before.",
        ),
        send_job(),
        dg.define_asset_job(
            "training_job",
            selection=dg.AssetSelection.assets(CANDIDATE_MODEL),
            description="Train a candidate for the linkage model; promoting it is explicit.",
        ),
    ]


def load_job(selection: dg.AssetSelection) -> Job:
    """The loads by themselves."""
    return dg.define_asset_job(
        "load_job", selection=selection, description="Load what is new in every source."
    )


def send_job() -> Job:
    """The sends by themselves: what the last run could not deliver is tried again."""
    return dg.define_asset_job(
        "send_job",
        selection=SEND,
        description="Send what is published; rows that were rejected before are tried again.",
    )


def build_schedules() -> list[dg.ScheduleDefinition]:
    """The schedules, stopped until somebody switches them on.

    What is due once a day is tried each quarter of an hour until no other run is in its way.
    """
    return [
        _send_schedule(),
        _schedule("incremental_schedule", "incremental_job", ["7 * * * *"], "Every hour."),
        _schedule(
            "full_schedule",
            "full_job",
            ["30,45 2 * * *", "*/15 3-5 * * *"],
            "Every night, after the day's last file.",
            is_daily=True,
        ),
        _schedule(
            "reconciliation_schedule",
            "reconciliation_job",
            ["30,45 3 * * 0", "*/15 4-6 * * 0"],
            "Every Sunday, after the nightly run.",
            is_daily=True,
        ),
        _schedule(
            "training_schedule",
            "training_job",
            ["*/15 5-8 * * 0"],
            "Every Sunday, when it is quiet.",
            is_daily=True,
        ),
    ]


def _schedule(
    name: str, job: str, cron: list[str], description: str, *, is_daily: bool = False
) -> dg.ScheduleDefinition:
    time_zone = load_settings().time_zone
    if is_daily:
        description += " Once that day: the later ticks are for when another run is in its way."

    @dg.schedule(
        name=name,
        job_name=job,
        cron_schedule=cron,
        execution_timezone=time_zone,
        description=description,
        default_status=dg.DefaultScheduleStatus.STOPPED,
    )
    def schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        holder = lock_holder(load_settings().paths.lock_file)
        if holder is not None:
            return dg.SkipReason(f"A run is in progress: {holder.get('purpose', 'unknown')}.")
        if is_daily:
            local = context.scheduled_execution_time.astimezone(ZoneInfo(time_zone))
            started = dg.RunsFilter(
                tags={"dagster/schedule_name": name},
                created_after=local.replace(hour=0, minute=0, second=0, microsecond=0),
            )
            if context.instance.get_runs_count(started):
                return dg.SkipReason("It ran today.")
        return dg.RunRequest()

    return schedule


def _send_schedule() -> dg.ScheduleDefinition:
    @dg.schedule(
        name="send_schedule",
        job_name="send_job",
        cron_schedule="37 * * * *",
        execution_timezone=load_settings().time_zone,
        description="Every hour: what could not be delivered is tried again.",
        default_status=dg.DefaultScheduleStatus.STOPPED,
    )
    def schedule() -> dg.RunRequest | dg.SkipReason:
        settings = load_settings()
        if lock_holder(settings.paths.lock_file) is not None:
            return dg.SkipReason("A run is in progress.")
        control = open_control(settings)
        try:
            waiting = waiting_sends(read_manifest(settings), control, Warehouse(settings, control))
        finally:
            control.close()
        if not waiting:
            return dg.SkipReason("Nothing waits to be sent.")
        return dg.RunRequest(asset_selection=waiting)

    return schedule


@dg.sensor(
    name="new_files_sensor",
    job_name="incremental_job",
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.STOPPED,
    description="Starts an incremental run when a source of files has a new or changed one.",
)
def new_files_sensor(
    context: dg.SensorEvaluationContext,
) -> Iterator[dg.RunRequest | dg.SkipReason]:
    """Compare the newest modification time and the number of files with the last tick's."""
    settings = load_settings()
    folders = {
        source: Path(folder)
        for source in file_sources()
        if settings.source_enabled(source)
        and (folder := settings.sources.get(source, {}).get("folder")) is not None
    }
    if not folders:
        yield dg.SkipReason("No source that reads files is switched on.")
        return
    seen = "; ".join(f"{source}: {_state_of(folder)}" for source, folder in folders.items())
    if seen == context.cursor:
        yield dg.SkipReason("No new files.")
        return
    if lock_holder(settings.paths.lock_file) is not None:
        # The cursor stays, so that the next tick asks again.
        yield dg.SkipReason("New files; a run is in progress.")
        return
    context.update_cursor(seen)
    yield dg.RunRequest(run_key=seen)


def _state_of(folder: Path) -> str:
    moments = [path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()]
    return f"{len(moments)} files, newest {max(moments, default=0)}"


def with_freshness(definitions: dg.Definitions, raw_keys: Sequence[dg.AssetKey]) -> dg.Definitions:
    """Say how old things may become before they show as stale."""
    loaded = dg.FreshnessPolicy.time_window(
        fail_window=timedelta(hours=26), warn_window=timedelta(hours=3)
    )
    published = dg.FreshnessPolicy.time_window(
        fail_window=timedelta(hours=50), warn_window=timedelta(hours=26)
    )

    def policy(spec: dg.AssetSpec) -> dg.AssetSpec:
        if spec.key in raw_keys:
            return spec.replace_attributes(freshness_policy=loaded)
        if spec.key == PUBLISHED_VERSION or spec.group_name == "send":
            return spec.replace_attributes(freshness_policy=published)
        return spec

    return definitions.permissive_map_resolved_asset_specs(policy, selection=None)
