"""Send: what was published goes to the CRM and to each audience's destination, and is acknowledged.

Belongs here: one asset per sync and per audience, generated from the manifest, so that a new
audience file is an asset with no change in Python. Does not: planning, guards, delivery
(`klantbeeld.activation`).

activation.sync_crm__customer_profiles, published version -> [crm, customer_profiles]
segments.seg_<audience>,                published version -> [exports, <audience>]

All of them are one step, which serves the destinations beside each other: as steps of their own
they would wait in line, behind a destination that hangs.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import dagster as dg
import sqlalchemy as sa

from klantbeeld.activation import ExportReport, SyncReport
from klantbeeld.control import tables
from klantbeeld.control.store import ControlPlane
from klantbeeld.errors import KlantbeeldError, in_one_line
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

_TELL_SECONDS = 15.0

Report = SyncReport | ExportReport


@dataclass(frozen=True)
class Send:
    """What is sent of one model.

    Attributes:
        name: Under which the control plane keeps it: the sync, or `audience_<audience>`.
        key: Its asset.
        destination: Where it goes; sends to one destination wait for each other.
        is_file: An audience as a file, and not row by row.
    """

    node: Node
    name: str
    key: dg.AssetKey
    destination: str
    is_file: bool

    def go(self, platform: Platform, run_id: str) -> Report:
        """Bring the destination up to date."""
        from klantbeeld.activation import Home, run_export, run_sync

        home = Home(platform.settings, platform.control, platform.warehouse)
        if self.is_file:
            return run_export(audience_name(self.node), home, run_id)
        return run_sync(self.name, home, run_id, progress=_Teller(self.name))


class _Teller:
    """Tells how far a long send is, now and then."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._rows = 0
        self._last = time.monotonic()

    def __call__(self, rows: int) -> None:
        self._rows += rows
        if time.monotonic() - self._last > _TELL_SECONDS:
            self._last = time.monotonic()
            progress().say(f"  send {self._name}: {self._rows:,} rows so far")


def sends(manifest: Manifest) -> list[Send]:
    """Every sync and every audience of the project."""
    found = [
        Send(node, str(node["name"]), sync_key(node), str(meta(node)["sync"]["destination"]), False)
        for node in record_syncs(manifest)
    ]
    for node in audiences(manifest):
        about = meta(node)
        name, key = "audience_" + audience_name(node), export_key(node)
        found.append(Send(node, name, key, str(about.get("destination")), "sync" not in about))
    return found


def build_send_assets(manifest: Manifest) -> dg.AssetsDefinition:
    """Every sync and every audience, as one step."""
    known = {str(send.key.path): send for send in sends(manifest)}

    @dg.multi_asset(
        name="send",
        specs=[_spec(send) for send in known.values()],
        check_specs=[_check_spec(send) for send in known.values()],
        can_subset=True,
    )
    def send(
        context: dg.AssetExecutionContext, platform: Platform
    ) -> Iterator[Result | dg.AssetCheckResult]:
        from klantbeeld.activation import side_by_side

        failpoint("send.before")
        lanes: defaultdict[str, list[tuple[str, Callable[[], Report]]]] = defaultdict(list)
        for name, one in known.items():
            if one.key in context.selected_asset_keys:
                lanes[one.destination].append((name, _job(one, platform, context.run_id)))
        failures: list[str] = []
        broken: list[Exception] = []
        for ended in side_by_side(lanes):
            if not isinstance(ended.result, Report | KlantbeeldError):
                broken.append(ended.result)
                continue
            result = _result(known[ended.name], ended.result)
            if isinstance(result, dg.AssetCheckResult):
                failures.append(str(result.description))
            yield result
        if broken:
            raise broken[0]
        if failures:
            raise dg.Failure(description="\n".join(failures), allow_retries=False)

    return send


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


def _job(send: Send, platform: Platform, run_id: str) -> Callable[[], Report]:
    return lambda: send.go(platform, run_id)


def _spec(send: Send) -> dg.AssetSpec:
    about = meta(send.node)
    if str(send.node["name"]).startswith("seg_"):
        how = "as a file" if send.is_file else "row by row"
        description = (
            f"The audience `{audience_name(send.node)}` {how} for `{send.destination}`, for "
            f"{about.get('purpose')} {about.get('channel')}. "
            "One row per contact point that may be used."
        )
    else:
        description = (
            f"What the destination `{send.destination}` has acknowledged of `{send.name}`. "
            "One row per row of the destination, under its own key.\n\n"
            "Only the difference with the last acknowledged state is sent; a rejected row is kept "
            "with its reason and tried again in the next run."
        )
    return dg.AssetSpec(
        send.key,
        deps=[asset_path(send.node), PUBLISHED_VERSION],
        group_name="send",
        kinds={"csv", "file"} if send.is_file else {"http", "crm"},
        owners=["team:customer-data"],
        description=description,
    )


def _check_spec(send: Send) -> dg.AssetCheckSpec:
    said = "All that was planned was acknowledged: none rejected, unknown, held."
    if send.is_file:
        said = "The file was written whole, or was already there."
    return dg.AssetCheckSpec(DELIVERED, asset=send.key, description=said)


def _result(send: Send, report: Report | KlantbeeldError) -> Result | dg.AssetCheckResult:
    """What a send is in the UI: green with its figures, or red with the reason.

    A failed one is a failed check and no materialization.
    """
    if isinstance(report, KlantbeeldError):
        # It did not come to a run of its own: another process is at it, or its model is not there.
        status, message = "failed", in_one_line(report.message, report.hint)
        seconds, counts, metadata = 0.0, {}, {}
    else:
        status, message = report.status, str(report.message or report.status)
        seconds, counts, metadata = report.seconds, _counts(report), _metadata(report)
    name = send.name  # as every command takes it
    good = status in (*GOOD, OFF)
    mark = "done" if good else "attention"
    if status == "failed":
        mark = "failed"
    elif status in ("unchanged", OFF):
        mark = "unchanged"
    progress().done("send", name, {"": "switched off"} if status == OFF else counts, seconds, mark)
    # A file that was written while the one before it, with whoever withdrew, is still there.
    has_rest = good and isinstance(report, ExportReport) and status != OFF and report.message
    if not good or has_rest:
        # The version is published and other sends went out: what is left waits for the next run.
        progress().problem("send", name, message, "attention")
    check = dg.AssetCheckResult(
        asset_key=send.key,
        passed=good,
        check_name=DELIVERED,
        severity=dg.AssetCheckSeverity.ERROR,
        description=message,
        metadata=metadata if status == "failed" else counts,
    )
    if status == "failed":
        return check
    return dg.MaterializeResult(
        asset_key=send.key,
        metadata={**metadata, "seconds": round(seconds, 2)},
        check_results=[check],
    )


def _metadata(report: Report) -> dict[str, Any]:
    """What a run says of itself in the UI: counts, how fast, and since when a row waits."""
    found: dict[str, Any] = {**_counts(report), "status": report.status}
    if isinstance(report, SyncReport):
        found["requests_per_second"] = round(report.requests_per_second, 2)
        found["waited_seconds"] = round(report.waited_seconds, 2)
        oldest = report.oldest_unacknowledged_at
        if oldest is not None:
            found["oldest_unacknowledged"] = dg.MetadataValue.timestamp(oldest)
    return found


def _counts(report: Report) -> dict[str, int | float | str]:
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
    return [send.key for send in sends(manifest) if send.name not in done]
