"""Send: what was published goes to the CRM and to each audience's destination, and is acknowledged.

Belongs here: one asset per sync and per export, generated from the manifest, so that a new audience
file is an asset with no change in Python. Does not: planning, guards, delivery
(`klantbeeld.activation`).

activation.sync_crm__customer_profiles, published version -> [crm, customer_profiles]
segments.seg_<audience>,                published version -> [exports, <audience>]
"""

import time
from typing import Any

import dagster as dg
import sqlalchemy as sa

from klantbeeld.activation import SyncReport
from klantbeeld.control import tables
from klantbeeld.control.store import ControlPlane
from klantbeeld.failpoints import failpoint
from klantbeeld.warehouse import Warehouse
from orchestration.assets.publish import PUBLISHED_VERSION
from orchestration.manifest import Manifest, Node, asset_path, audiences, meta, record_syncs
from orchestration.progress import progress
from orchestration.resources import Platform
from orchestration.results import Result

DELIVERED = "delivered"
# What a report says when there is nothing that a person has to look at.
GOOD = ("synced", "written", "unchanged")
# Nothing to look at either, but still to be sent when somebody switches the destination on.
OFF = "disabled"


def build_send_assets(manifest: Manifest) -> list[dg.AssetsDefinition]:
    """Every record sync and every audience export."""
    return [
        *(_record_sync(node) for node in record_syncs(manifest)),
        *(_audience_export(node) for node in audiences(manifest)),
    ]


def sync_key(node: Node) -> dg.AssetKey:
    """`sync_crm__customer_profiles` -> [crm, customer_profiles]."""
    destination, _, objects = str(node["name"]).removeprefix("sync_").partition("__")
    return dg.AssetKey([destination, objects])


def export_key(node: Node) -> dg.AssetKey:
    """`seg_breakfast_shoppers` -> [exports, breakfast_shoppers]."""
    return dg.AssetKey(["exports", audience_name(node)])


def audience_name(node: Node) -> str:
    """`seg_breakfast_shoppers` -> `breakfast_shoppers`."""
    return str(node["name"]).removeprefix("seg_")


def export_sync_name(node: Node) -> str:
    """The name under which the control plane keeps the exports of an audience."""
    return "audience_" + audience_name(node)


def _record_sync(node: Node) -> dg.AssetsDefinition:
    key = sync_key(node)
    destination = meta(node)["sync"]["destination"]

    @dg.asset(
        key=key,
        deps=[asset_path(node), PUBLISHED_VERSION],
        group_name="send",
        kinds={"http", "crm"},
        owners=["team:customer-data"],
        description=(
            f"What the destination `{destination}` has acknowledged of `{node['name']}`. "
            "One row per row of the destination, under its own key.\n\n"
            "Only the difference with the last acknowledged state is sent; a rejected row is kept "
            "with its reason and tried again in the next run."
        ),
        check_specs=[
            dg.AssetCheckSpec(
                DELIVERED,
                asset=key,
                description="All that was planned was acknowledged: none rejected, unknown, held.",
            )
        ],
    )
    def sync(context: dg.AssetExecutionContext, platform: Platform) -> Result:
        from klantbeeld.activation import run_sync

        started = time.monotonic()
        failpoint("send.before")
        report = run_sync(
            str(node["name"]),
            platform.settings,
            platform.control,
            platform.warehouse,
            context.run_id,
        )
        return _result(key, report, time.monotonic() - started)

    return sync


def _audience_export(node: Node) -> dg.AssetsDefinition:
    audience = audience_name(node)
    key = export_key(node)
    about = meta(node)

    @dg.asset(
        key=key,
        deps=[asset_path(node), PUBLISHED_VERSION],
        group_name="send",
        kinds={"csv", "file"},
        owners=["team:customer-data"],
        description=(
            f"The audience `{audience}` as a file for `{about.get('destination')}`, for "
            f"{about.get('purpose')} {about.get('channel')}. "
            "One row per contact point that may be used."
        ),
        check_specs=[
            dg.AssetCheckSpec(
                DELIVERED,
                asset=key,
                description="The file was written whole, or was already there.",
            )
        ],
    )
    def export(context: dg.AssetExecutionContext, platform: Platform) -> Result:
        from klantbeeld.activation import run_export

        started = time.monotonic()
        report = run_export(
            audience, platform.settings, platform.control, platform.warehouse, context.run_id
        )
        return _result(key, report, time.monotonic() - started)

    return export


def _result(key: dg.AssetKey, report: Any, seconds: float) -> Result:
    name = key.path[-1]
    counts = _counts(report)
    message = str(getattr(report, "message", "") or report.status)
    if report.status == "failed":
        progress().done("send", name, counts, seconds, status="failed")
        # The version is published and other sends went out: what is left waits for the next run.
        progress().problem("send", name, message, "attention")
        raise dg.Failure(description=message, metadata=_metadata(report), allow_retries=False)
    good = report.status in (*GOOD, OFF)
    status = "done" if good else "attention"
    if report.status in ("unchanged", OFF):
        status = "unchanged"
    shown = {"": "switched off"} if report.status == OFF else counts
    progress().done("send", name, shown, seconds, status)
    if not good:
        progress().problem("send", name, message, "attention")
    return dg.MaterializeResult(
        metadata={**_metadata(report), "seconds": round(seconds, 2)},
        check_results=[
            dg.AssetCheckResult(
                passed=good,
                check_name=DELIVERED,
                severity=dg.AssetCheckSeverity.ERROR,
                description=message,
                metadata=dict(counts),
            )
        ],
    )


def _metadata(report: Any) -> dict[str, Any]:
    """What a run says of itself in the UI: counts, how fast, and since when a row waits."""
    found: dict[str, Any] = {**_counts(report), "status": report.status}
    if isinstance(report, SyncReport):
        found["requests_per_second"] = round(report.requests_per_second, 2)
        found["waited_seconds"] = round(report.waited_seconds, 2)
        oldest = report.oldest_unacknowledged_at
        if oldest is not None:
            found["oldest_unacknowledged"] = dg.MetadataValue.timestamp(oldest)
    return found


def _counts(report: Any) -> dict[str, int | float | str]:
    return {
        name: value
        for name, value in vars(report).items()
        if isinstance(value, int) and not isinstance(value, bool)
    }


def waiting_sends(
    manifest: Manifest, control: ControlPlane, warehouse: Warehouse
) -> list[dg.AssetKey]:
    """The sends that have something to do although nothing new was published.

    A send is done with a version when its last run for that version completed, no operation of it
    waits, and nobody withdrew or was erased since: everything else (killed, failed, held, rejected
    rows) is tried again.
    """
    version = warehouse.current()
    if version is None:
        return []
    sent = (
        sa.select(tables.sync_runs.c.sync, tables.sync_runs.c.status, tables.sync_runs.c.started_at)
        .where(tables.sync_runs.c.version_id == version.version_id)
        .order_by(tables.sync_runs.c.started_at)
    )
    open_states = ("pending", "in_flight", "rejected", "unknown")
    open_operations = (
        sa.select(tables.outbox.c.sync).where(tables.outbox.c.state.in_(open_states)).distinct()
    )
    arrivals = [
        sa.select(tables.consent_events.c.received_at)
        .order_by(tables.consent_events.c.received_at.desc())
        .limit(1),
        sa.select(tables.tombstones.c.erased_at)
        .order_by(tables.tombstones.c.erased_at.desc())
        .limit(1),
    ]
    with control.read() as connection:
        last = {name: (status, at) for name, status, at in connection.execute(sent)}
        waiting: set[str] = set(connection.scalars(open_operations))
        arrived = [at for query in arrivals if (at := connection.scalar(query)) is not None]
    done = {
        name
        for name, (status, started_at) in last.items()
        if status in GOOD and all(at < started_at for at in arrived)
    } - waiting
    keys = {str(node["name"]): sync_key(node) for node in record_syncs(manifest)}
    keys |= {export_sync_name(node): export_key(node) for node in audiences(manifest)}
    return [key for name, key in keys.items() if name not in done]
