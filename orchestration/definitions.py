"""Everything that Dagster shows and runs, gathered. `workspace.yaml` names this module."""

import dagster as dg

from klantbeeld.settings import load_settings
from orchestration.assets.dbt import build_dbt_assets
from orchestration.assets.link import link, linkage_charts
from orchestration.assets.load import build_load_assets, raw_asset_keys
from orchestration.assets.publish import build_publish_assets
from orchestration.assets.send import build_send_assets
from orchestration.assets.training import candidate_model, current_model
from orchestration.automation import (
    build_jobs,
    build_schedules,
    new_files_sensor,
    with_freshness,
)
from orchestration.checks import build_egress_checks, build_landing_checks, linkage_quality
from orchestration.manifest import read_manifest
from orchestration.resources import Platform


@dg.definitions
def defs() -> dg.Definitions:
    """All stages of the data's path."""
    settings = load_settings()
    dbt_models = build_dbt_assets(settings)
    manifest = read_manifest(settings)
    raw_keys = raw_asset_keys()
    landing_checks = build_landing_checks()
    definitions = dg.Definitions(
        assets=[
            *build_load_assets(),
            dbt_models,
            link,
            linkage_charts,
            *build_publish_assets(manifest, raw_keys),
            build_send_assets(manifest),
            candidate_model,
            current_model,
        ],
        asset_checks=[*landing_checks, build_egress_checks(manifest), linkage_quality],
        jobs=build_jobs(raw_keys, landing_checks),
        schedules=build_schedules(),
        sensors=[new_files_sensor],
        resources={"platform": Platform()},
        # One DuckDB file has one writer, and a process per step would be mostly imports: the same
        # six steps took 32 s in one process and 100 s in several.
        executor=dg.in_process_executor,
    )
    return with_freshness(definitions, raw_keys)
