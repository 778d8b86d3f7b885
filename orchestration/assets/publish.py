"""The publish: when every blocking check passed, the build becomes the version that all read.

Belongs here: the gate and its commit. Does not: what a version is (`klantbeeld.warehouse`).

all last models of the build -> [warehouse, published_version]
"""

import json
import time
from collections.abc import Mapping
from datetime import datetime

import dagster as dg
import duckdb
import sqlalchemy as sa

from klantbeeld.clock import Clock
from klantbeeld.errors import KlantbeeldError
from klantbeeld.transform.project import manifest_path
from klantbeeld.warehouse import row_counts
from orchestration.assets.link import LINKAGE_COMPANIES, LINKAGE_RECORDS, PROFILE_RECORDS
from orchestration.changes import (
    LINKAGE_MODEL,
    current_fingerprint,
    needs_build,
    record_published,
)
from orchestration.manifest import Manifest, asset_path, models
from orchestration.progress import progress
from orchestration.resources import Platform
from orchestration.results import Result

PUBLISHED_VERSION = dg.AssetKey(["warehouse", "published_version"])
RUN_CONTEXT = dg.AssetKey(["meta", "run_context"])
# Written when a whole run begins to build, read when it publishes: what a version was built from.
_BUILDING = "meta.building"


def build_publish_assets(
    manifest: Manifest, raw_keys: list[dg.AssetKey]
) -> list[dg.AssetsDefinition]:
    """The run's context, which begins a build, and the published version, which ends it."""
    whole_build = {RUN_CONTEXT, PROFILE_RECORDS}
    whole_build |= {dg.AssetKey(asset_path(node)) for node in models(manifest)}

    @dg.asset(
        key=RUN_CONTEXT,
        deps=raw_keys,
        group_name="staging",
        kinds={"duckdb", "table"},
        owners=["team:customer-data"],
        output_required=False,
        description=(
            "What models know of the run: its business time, time zone and default country. "
            "One row, the run that is building.\n\n"
            "Not made, and everything after it skipped, when an incremental run finds nothing new "
            "since the current version."
        ),
    )
    def run_context(context: dg.AssetExecutionContext, platform: Platform) -> object:
        reasons = build_reasons(context.run, platform)
        if not reasons:
            version = platform.warehouse.current()
            name = version.version_id if version else ""
            context.log.info(f"Nothing changed since version {name}: there is nothing to build.")
            progress().done("build", "nothing changed", {"since version": name}, status="unchanged")
            return
        context.log.info("Building because of: " + ", ".join(reasons))
        as_of = begin_build(platform, context.run_id)
        yield dg.MaterializeResult(metadata={"as_of": as_of.isoformat(), "because": reasons})

    @dg.asset(
        key=PUBLISHED_VERSION,
        deps=[dg.AssetKey(path) for path in last_models(manifest)],
        group_name="warehouse",
        kinds={"duckdb", "sqlite"},
        owners=["team:customer-data"],
        description=(
            "The version of the warehouse that the explorer, reports and sends read. "
            "One immutable copy of the build per publish.\n\n"
            "Reached only when every blocking check of the run passed; until its row is committed "
            "the previous version stays current."
        ),
    )
    def published_version(context: dg.AssetExecutionContext, platform: Platform) -> Result:
        from klantbeeld.activation.logs import write_tables
        from klantbeeld.identity import ID_SPACES, commit_profile_ids, read_pending_profile_ids

        started = time.monotonic()
        with platform.warehouse.build() as connection:
            counts = row_counts(connection)
            # A run of some assets may publish, but only a whole run says what a version is made of.
            selection = context.run.asset_selection
            is_whole = not selection or selection >= whole_build
            fingerprint = _fingerprint_of(connection, context.run_id) if is_whole else None
            as_of = as_of_of_build(connection)
            pending = [
                read_pending_profile_ids(connection, platform.control, space) for space in ID_SPACES
            ]
            home_key = platform.settings.home_key()
            write_tables(connection, platform.control, manifest, home_key)

        def on_commit(control: sa.Connection, version_id: str) -> None:
            for ids in pending:
                commit_profile_ids(control, ids, version_id)
            record_published(control, version_id, fingerprint)

        version = platform.warehouse.publish(
            run_id=context.run_id,
            as_of=as_of,
            counts=counts,
            on_commit=on_commit,
            manifest=manifest_path(platform.settings),
        )
        _remove_old_models(platform)
        seconds = time.monotonic() - started
        profiles = counts.get("marts.dim_profiles", 0)
        progress().done("publish", "version " + version.version_id, {"profiles": profiles}, seconds)
        return dg.MaterializeResult(
            metadata={
                "version": version.version_id,
                "as_of": version.as_of.isoformat(),
                "profiles": profiles,
                "size_mb": round(version.path.stat().st_size / 1e6, 1),
                "seconds": round(seconds, 2),
                "rows": dg.MetadataValue.json(counts),
            }
        )

    return [run_context, published_version]


def build_reasons(run: dg.DagsterRun, platform: Platform) -> list[str]:
    """Why this run builds; only an incremental run may find no reason."""
    if run.tags.get("klantbeeld/build") != "if-changed":
        return ["asked for"]
    return needs_build(platform.settings, platform.control, platform.warehouse)


def begin_build(platform: Platform, run_id: str) -> datetime:
    """Write the run's context and what it builds from, before the first model."""
    as_of = Clock(platform.settings).as_of()
    fingerprint = current_fingerprint(platform.settings, platform.control)
    with platform.warehouse.build() as connection:
        platform.warehouse.set_run_context(connection, run_id, as_of)
        connection.execute(
            f"create or replace table {_BUILDING} as select $run_id as run_id, $f as fingerprint",
            {"run_id": run_id, "f": json.dumps(fingerprint)},
        )
    return as_of


def as_of_of_build(connection: duckdb.DuckDBPyConnection) -> datetime:
    """The business time that the build speaks of.

    Raises:
        KlantbeeldError: The build was never begun.
    """
    try:
        row = connection.execute("select as_of from meta.run_context").fetchone()
    except duckdb.CatalogException:
        row = None
    if row is None:
        raise KlantbeeldError("there is no build to publish", "Run `klantbeeld run`.")
    as_of: datetime = row[0]
    return as_of


def last_models(manifest: Manifest) -> list[list[str]]:
    """The models that neither another model nor the link stage reads."""
    read = {parent for node in models(manifest) for parent in node["depends_on"].get("nodes", [])}
    linked = {LINKAGE_RECORDS.path[-1], LINKAGE_COMPANIES.path[-1]}
    return sorted(
        asset_path(node)
        for node in models(manifest)
        if node["unique_id"] not in read and node["name"] not in linked
    )


def _remove_old_models(platform: Platform) -> None:
    """Remove linkage models of long ago, but for those that a kept version was linked with."""
    from klantbeeld.identity import list_old, remove_values

    old = set(list_old(platform.control))
    if not old:
        return
    query = "select model_version from identity.linkage_report"
    for version in platform.warehouse.kept():
        try:
            with platform.warehouse.read(version.version_id) as connection:
                old -= {str(name) for (name,) in connection.execute(query).fetchall()}
        except (duckdb.CatalogException, KlantbeeldError):
            # What it was linked with is not known: nothing is removed as long as it is kept.
            return
    remove_values(platform.settings, platform.control, old)


def _fingerprint_of(connection: duckdb.DuckDBPyConnection, run_id: str) -> Mapping[str, str] | None:
    row = connection.execute(f"select run_id, fingerprint from {_BUILDING}").fetchone()
    if row is None or row[0] != run_id:
        return None
    # Linking may freeze a version of its own, so what was used is known only afterwards.
    used = connection.execute("select model_version from identity.linkage_report").fetchone()
    return {**json.loads(row[1]), LINKAGE_MODEL: str(used and used[0])}
