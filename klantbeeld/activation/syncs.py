"""One run of one sync, from the published version to the report.

    resolve what an earlier run left open -> plan -> guard -> outbox -> deliver -> report

Only a published version is read. A run with nothing to do asks the destination nothing.
"""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from klantbeeld.activation import planning
from klantbeeld.activation.delivery import Delivery
from klantbeeld.activation.destinations import RecordDestination, is_switched_off, open_records
from klantbeeld.activation.guards import Limit, PlanCounts, reasons_to_hold, upstream_reasons
from klantbeeld.activation.ledger import Ledger
from klantbeeld.activation.reports import SyncReport
from klantbeeld.activation.specs import SyncSpec, find_sync, read_manifest
from klantbeeld.clock import Clock
from klantbeeld.control import ControlPlane
from klantbeeld.errors import KlantbeeldError, in_one_line
from klantbeeld.failpoints import failpoint
from klantbeeld.settings import Settings
from klantbeeld.warehouse import NothingPublished, Version, Warehouse
from klantbeeld.warehouse.lock import run_lock

if TYPE_CHECKING:
    import duckdb

logger = logging.getLogger(__name__)

_ENQUEUE_BLOCK = 10_000


def run_sync(
    name: str, settings: Settings, control: ControlPlane, warehouse: Warehouse, run_id: str
) -> SyncReport:
    """Bring a destination up to date with the published version.

    A failing destination is a report with status failed and no exception: other syncs go on.

    Args:
        name: The model's name, such as `sync_crm__customer_profiles`.
        settings: The home's settings.
        control: The home's control plane.
        warehouse: The home's warehouse.
        run_id: The run this is part of.

    Raises:
        NothingPublished: No version is published.
        RunInProgress: This sync is running in another process.
        KlantbeeldError: There is no such sync in the published version.
    """
    started = time.monotonic()
    version = warehouse.current()
    if version is None:
        raise NothingPublished
    spec = find_sync(read_manifest(version.manifest), name)
    ledger = Ledger(control, spec.name, Clock(settings))
    with run_lock(settings.paths.home / "locks" / f"{spec.name}.lock", f"sync {spec.name}"):
        sync_run_id = ledger.start_run(run_id, version.version_id)
        run = _SyncRun(settings, spec, ledger, version, sync_run_id)
        try:
            run.go(warehouse)
        except KlantbeeldError as error:
            run.fail(error)
        report = run.report(time.monotonic() - started)
        ledger.finish_run(
            sync_run_id,
            report.status,
            planned_creates=report.creates,
            planned_updates=report.updates,
            planned_deletes=report.deletes,
            unchanged=report.unchanged,
            acknowledged=report.acknowledged,
            rejected=report.rejected,
            unknown=report.unknown,
            held=report.held,
            message=report.message,
        )
        ledger.prune(settings.activation.outbox_days)
    logger.info(
        "%s %s: %d acknowledged, %d rejected, %d unknown, %d unchanged",
        spec.name,
        report.status,
        report.acknowledged,
        report.rejected,
        report.unknown,
        report.unchanged,
    )
    return report


class _SyncRun:
    """The steps of one run, and what is known of it so far, whichever step fails."""

    def __init__(
        self,
        settings: Settings,
        spec: SyncSpec,
        ledger: Ledger,
        version: Version,
        sync_run_id: str,
    ) -> None:
        self._settings = settings
        self._spec = spec
        self._ledger = ledger
        self._version = version
        self._report = SyncReport(spec.name, "failed", version.version_id, sync_run_id)
        self._destination: RecordDestination | None = None
        self._delivery: Delivery | None = None

    def go(self, warehouse: Warehouse) -> None:
        """Resolve, plan, guard, deliver."""
        if is_switched_off(self._settings, self._spec.destination):
            self._finish("disabled", f"destinations.{self._spec.destination} is switched off")
            return
        with warehouse.read(self._report.version_id) as connection:
            types = planning.check_model(connection, self._spec)
            destination = self._destination = open_records(self._settings, self._spec)
            delivery = self._delivery = Delivery(
                self._ledger,
                destination,
                lambda keys: planning.whole_rows(connection, self._spec, keys),
            )
            size = min(self._settings.activation.batch_size, destination.largest_batch)
            delivery.resolve(size)
            plan = self._plan(connection)
            if self._is_held(plan):
                return
            if plan.operations == 0:
                self._ledger.enqueue(self._report.sync_run_id, [])
                self._finish("unchanged")
                return
            destination.check(types)
            self._ledger.enqueue(
                self._report.sync_run_id,
                planning.planned_operations(connection, _ENQUEUE_BLOCK),
            )
            failpoint("sync.after_plan")
            whole = destination.wants_whole_rows
            delivery.send(planning.planned_rows(connection, self._spec, size, whole=whole))
            self._ledger.release()
            self._finish("synced")

    def _plan(self, connection: duckdb.DuckDBPyConnection) -> planning.Plan:
        plan = planning.make_plan(
            connection,
            self._spec,
            self._ledger,
            home_key=self._settings.home_key(),
            epoch=self._ledger.epoch,
        )
        self._report = replace(
            self._report,
            creates=plan.creates,
            updates=plan.updates,
            deletes=plan.deletes,
            unchanged=plan.unchanged,
        )
        if plan.restamped:
            self._ledger.restamp(planning.restamps(connection, _ENQUEUE_BLOCK))
        return plan

    def _is_held(self, plan: planning.Plan) -> bool:
        limits = self._settings.activation
        reasons = reasons_to_hold(
            PlanCounts(plan.acknowledged, plan.desired, plan.deletes),
            Limit(limits.guard_rows, limits.guard_percent),
        )
        if plan.operations:
            reasons += upstream_reasons(
                self._ledger.rows_when_last_sent(),
                self._version.counts,
                Limit(limits.guard_rows, limits.guard_percent),
            )
        if not reasons:
            return False
        if self._ledger.is_approved(plan.digest):
            logger.warning("%s: approved although %s", self._spec.name, "; ".join(reasons))
            return False
        self._ledger.hold(plan.digest)
        message = f"held for review: {'; '.join(reasons)}. Nothing was sent."
        self._report = replace(self._report, held=plan.operations)
        self._finish("held", message)
        return True

    def _finish(self, status: str, message: str | None = None) -> None:
        delivered = self._delivery.delivered if self._delivery else None
        if delivered and status in ("synced", "unchanged"):
            if delivered.rejected or delivered.unknown:
                status = "degraded"
                message = (
                    f"{delivered.rejected} rows were rejected (reasons in the outbox; tried again"
                    f" every run), {delivered.unknown} have an unknown outcome"
                )
            elif delivered.acknowledged:
                status = "synced"
        self._report = replace(self._report, status=status, message=message)

    def fail(self, error: KlantbeeldError) -> None:
        """Note why the run ended early."""
        logger.error("%s failed: %s", self._spec.name, error.message)
        message = in_one_line(error.message, error.hint)
        self._report = replace(self._report, status="failed", message=message)

    def report(self, seconds: float) -> SyncReport:
        """The report, whatever happened."""
        report = replace(self._report, seconds=seconds)
        if self._delivery is not None:
            delivered = self._delivery.delivered
            report = replace(
                report,
                acknowledged=delivered.acknowledged,
                rejected=delivered.rejected,
                unknown=delivered.unknown,
            )
        if self._destination is not None:
            traffic = self._destination.traffic
            report = replace(
                report,
                requests=traffic.requests,
                retries=traffic.retries,
                waited_seconds=traffic.waited_seconds,
            )
        return report
