"""One sync against one published version: planned, applied, run, reconciled.

    resolve what an earlier run left open -> plan -> guard -> outbox -> deliver -> report

Only a published version is read. A run with nothing to do asks the destination nothing. A home
whose ledger is not of its epoch (restored, or new) is compared with the destination first.

The functions take the sync's name (its model's, such as `sync_crm__customer_profiles`, or its
audience's) and the home. `run_id` is the run that they are
part of; `progress` is told a number of rows done, or read, after each batch or page. All of them
raise `NothingPublished`, `RunInProgress` when another process is at this sync, and a
`KlantbeeldError` when the published version has no such sync.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from klantbeeld.activation import places, planning, preflight
from klantbeeld.activation.consent import RefusedSubjects
from klantbeeld.activation.delivery import Delivery
from klantbeeld.activation.destinations import RecordDestination, is_switched_off, open_records
from klantbeeld.activation.guards import (
    Limit,
    Limits,
    PlanCounts,
    emptied_reasons,
    reasons_to_hold,
    upstream_reasons,
)
from klantbeeld.activation.home import Home
from klantbeeld.activation.ledger import Ledger, Outcome
from klantbeeld.activation.links import Links, relinked
from klantbeeld.activation.operations import Maker
from klantbeeld.activation.plans import PlanBook, SavedPlan, find_plan
from klantbeeld.activation.reconcile import Drift, Reconciliation, can_compare
from klantbeeld.activation.reports import PlanReport, SyncReport
from klantbeeld.activation.specs import SyncSpec, find_sync, list_syncs, read_manifest
from klantbeeld.clock import Clock
from klantbeeld.errors import KlantbeeldError, in_one_line, unforeseen_in_one_line
from klantbeeld.failpoints import failpoint
from klantbeeld.files import write_atomic
from klantbeeld.warehouse.lock import run_lock

if TYPE_CHECKING:
    import duckdb

logger = logging.getLogger(__name__)

_ENQUEUE_BLOCK = 10_000
Progress = Callable[[int], None]


def run_sync(
    name: str,
    home: Home,
    run_id: str,
    *,
    progress: Progress | None = None,
) -> SyncReport:
    """Bring a destination up to date with the published version.

    A failing destination is a report with status failed and no exception: other syncs go on.
    """
    return _run(_Sync(name, home), run_id, None, progress)


def apply_plan(
    plan_id: str,
    home: Home,
    run_id: str,
    *,
    progress: Progress | None = None,
) -> SyncReport:
    """Send exactly a plan that `plan_sync` gave the id of, less what consent has cancelled since.

    Raises:
        KlantbeeldError: There is no such plan, it is too old or was applied already. That the world
            moved since is a report with status failed: nothing was sent.
    """
    sync = _Sync(find_plan(home.control, plan_id).sync, home)
    return _run(sync, run_id, sync.plans.require(plan_id), progress)


def plan_sync(
    name: str,
    home: Home,
    *,
    against_destination: bool = False,
    limit: int | None = None,
) -> PlanReport:
    """Say what a run would do now, with at most `limit` of its rows; sends nothing.

    With `against_destination` it is planned on what the destination holds, read from it, and not on
    what it acknowledged.

    Raises:
        KlantbeeldError: The model cannot be sent, or the destination cannot be read.
    """
    sync = _Sync(name, home)
    with sync.lock(), unforeseen_in_one_line(), sync.open() as connection:
        return sync.plan_report(connection, against_destination, limit)


def reconcile_sync(
    name: str,
    home: Home,
    *,
    repair: bool = False,
    progress: Progress | None = None,
) -> Drift:
    """Read what the destination holds and say how it differs from what we know of it.

    With `repair` the ledger is put right, so that the next run sends what repairs the drift, under
    the ordinary guards.

    Raises:
        KlantbeeldError: The model cannot be sent, or the destination cannot be read and compared.
    """
    sync = _Sync(name, home)
    with sync.lock(), unforeseen_in_one_line(), sync.open() as connection:
        return sync.reconcile(connection, repair=repair, progress=progress)


def settle_unknown(
    name: str,
    home: Home,
    *,
    arrived: bool,
    keys: Collection[str] | None = None,
) -> int:
    """Say by hand what became of operations whose outcome is unknown and cannot be read back.

    What arrived is acknowledged; what did not is wanted again, and sent by the next run. `keys` are
    those of the rows as `klantbeeld sync rows` shows them; None is all that are unknown.

    Returns:
        How many operations were settled.

    Raises:
        KlantbeeldError: A key has no operation whose outcome is unknown.
    """
    sync = _Sync(name, home)
    with sync.lock():
        return sync.settle(arrived, keys)


class _Sync:
    """A sync of the current version, with its memory."""

    def __init__(self, name: str, home: Home) -> None:
        self.version = home.published()
        self.settings = settings = home.settings
        self.control = control = home.control
        self.warehouse = home.warehouse
        manifest = read_manifest(self.version.manifest)
        self._all_syncs = list_syncs(manifest)
        self.spec: SyncSpec = find_sync(manifest, name)
        self.clock = Clock(settings)
        self.ledger = Ledger(control, self.spec.name, self.clock)
        self.links = Links(control, self.spec.name, self.clock)
        hours = settings.activation.approval_hours
        self.plans = PlanBook(control, self.spec.name, self.clock, hours)
        self.shown = preflight.Shown(self.spec, settings.home_key())
        self.place = places.place_of(settings, self.spec)
        self._refused: RefusedSubjects | None = None
        self._withdrawn: frozenset[str] = frozenset()

    def lock(self) -> AbstractContextManager[None]:
        """The lock of this sync: one process at a time plans, sends or repairs it."""
        path = self.settings.paths.home / "locks" / f"{self.spec.name}.lock"
        return run_lock(path, f"sync {self.spec.name}")

    def start_run(self, run_id: str) -> str:
        """Write down that a run starts; returns its id.

        The last run's id is kept beside the control plane too: one that does not know it was put
        back by hand, so its ledger is older than what was sent.
        """
        last = self.settings.paths.home / "locks" / f"{self.spec.name}.last_run"
        if last.exists() and not self.ledger.knows_run(last.read_text()):
            self.ledger.distrust()
        sync_run_id = self.ledger.start_run(run_id, self.version.version_id)
        write_atomic(last, sync_run_id.encode())
        return sync_run_id

    @contextmanager
    def open(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """The version, as the sync sees it: merged keys replaced, and who may not be sent.

        The model is `self.spec.relation` from then on.

        Raises:
            KlantbeeldError: The ledger is of other rows than those that this sync would write now,
                or its rows are another sync's too.
        """
        places.refuse_other_rows(self.spec, self.place, self.ledger)
        preflight.refuse_rivals(self.spec, self._all_syncs)
        with self.warehouse.read(self.version.version_id) as connection:
            self.spec = relinked(connection, self.spec, self.links.masters())
            if self.spec.privacy is not None:
                self._refused = RefusedSubjects(
                    connection,
                    self.control,
                    self.spec.privacy,
                    self.clock,
                    self.settings.home_key(),
                )
            yield connection

    @property
    def limits(self) -> Limits:
        """The limits of the settings, and of the sync where it has its own."""
        common = self.settings.activation

        def limit(operation: str, percent: int) -> Limit:
            return Limit(*self.spec.limits.get(operation, (common.guard_rows, percent)))

        baseline = self.spec.baseline
        leaving = common.export_shrink_percent if self.spec.is_audience else common.guard_percent
        return Limits(
            creates=limit("creates", common.guard_create_percent),
            updates=limit("updates", common.guard_update_percent),
            deletes=limit("deletes", leaving),
            upstream=limit("deletes", common.guard_percent),
            emptied=Limit(common.guard_rows, common.guard_emptied_percent),
            baseline=common.guard_baseline if baseline is None else baseline,
            days=common.guard_days,
        )

    # ---- planning ------------------------------------------------------------------------------

    def plan(
        self, connection: duckdb.DuckDBPyConnection, ledger: planning.Acknowledged | None = None
    ) -> planning.Plan:
        """Make the plan; its rows are in `_sync_plan`."""
        refused = None
        if self._refused is not None:
            self._refused.refresh()
            refused = None if self._refused.is_empty else self._refused.table
        give_up_after = self.spec.give_up_after
        return planning.make_plan(
            connection,
            self.spec,
            ledger or self.ledger,
            home_key=self.settings.home_key(),
            epoch=self.ledger.epoch,
            give_up_after=(
                self.settings.activation.give_up_after if give_up_after is None else give_up_after
            ),
            refused=refused,
            may_leave=not self.is_first,
        )

    @property
    def is_first(self) -> bool:
        """Whether no run of this sync ever ended well: what it does is the baseline."""
        return not self.ledger.has_baseline()

    def withdrawn(self, connection: duckdb.DuckDBPyConnection) -> frozenset[str]:
        """Keys of rows that must not be written, by what is known at this moment."""
        if self._refused is None:
            return frozenset()
        if self._refused.refresh():
            self._withdrawn = planning.refused_keys(
                connection, self.spec, self.settings.home_key(), self._refused.table
            )
        return self._withdrawn

    def reasons(self, connection: duckdb.DuckDBPyConnection, plan: planning.Plan) -> list[str]:
        """Why the plan is held; nothing if it may go."""
        limits = self.limits
        since = self.ledger.limits_begin_at(limits.days)
        counted = {"create": plan.creates, "update": plan.updates, "delete": plan.deletes}
        before = dict.fromkeys(counted, 0)
        unlimited = {"update"} if limits.updates.percent == 100 else set()
        for operation, rows in counted.items():
            if rows and not self.is_first and operation not in unlimited:
                touched = self.ledger.touched(operation, since)
                before[operation] = touched.num_rows
                counted[operation] = planning.count_union(connection, operation, touched)
        reasons = reasons_to_hold(
            PlanCounts(
                acknowledged=plan.acknowledged,
                desired=plan.desired,
                creates=counted["create"],
                updates=counted["update"],
                deletes=counted["delete"],
                is_first=self.is_first,
                created_before=before["create"],
                deleted_before=before["delete"],
            ),
            limits,
        )
        if plan.ordinary and not self.is_first:
            reasons += upstream_reasons(
                self.ledger.rows_when_last_sent(), self.version.counts, limits.upstream
            )
            reasons += emptied_reasons(
                self.ledger.filled_when_last_sent(),
                planning.filled(connection, self.spec),
                limits.emptied,
            )
        return reasons

    def plan_report(
        self, connection: duckdb.DuckDBPyConnection, against_destination: bool, limit: int | None
    ) -> PlanReport:
        """What a run would do now."""
        types = preflight.check_model(connection, self.spec, self.shown)
        warnings = []
        ledger: planning.Acknowledged | None = None
        drift = None
        waiting = self.ledger.count("in_flight") + self.ledger.count("unknown")
        if waiting:
            warnings.append(
                f"{waiting} operations of an earlier run have an unknown outcome: the next run"
                " reads them back first, and plans anew"
            )
        if against_destination:
            destination = open_records(self.settings, self.spec)
            preflight.check_fit(self.spec, destination, types)
            reconciliation = self._reconciliation(connection, destination, None)
            drift = self.told(reconciliation.compare())
            ledger = reconciliation.learn()
            warnings += preflight.refused_labels(connection, self.spec, destination, self.shown)
        elif not self.ledger.is_trusted or places.is_moved(self.place, self.ledger):
            warnings.append(
                "the ledger is new, was restored, or is of another address: the next run compares"
                " it with the destination first, as --against-destination does"
            )
        plan = self.plan(connection, ledger)
        reasons = self.reasons(connection, plan)
        plan_id = None
        status = "held" if reasons else "planned"
        if ledger is None:
            counts = {k: v for k, v in vars(plan).items() if isinstance(v, int)}
            saved = self.plans.record(plan.digest, self.version.version_id, counts, reasons)
            plan_id, status = saved.plan_id, saved.status
        return PlanReport(
            sync=self.spec.name,
            plan_id=plan_id,
            version_id=self.version.version_id,
            status=status,
            creates=plan.creates,
            updates=plan.updates,
            deletes=plan.deletes,
            unchanged=plan.unchanged,
            withdrawals=plan.withdrawals,
            cancelled=plan.cancelled,
            given_up=plan.given_up,
            blocked=plan.blocked,
            on_leave=self.spec.on_leave,
            columns=planning.changed_columns(connection),
            reasons=tuple(reasons),
            warnings=tuple(warnings),
            drift=None if drift is None else drift.as_dict(),
            rows=tuple(
                {**row, "key": self.shown(row["key"])}
                for row in planning.shown_rows(connection, limit)
            ),
        )

    # ---- reconciling ---------------------------------------------------------------------------

    def reconcile(
        self,
        connection: duckdb.DuckDBPyConnection,
        *,
        repair: bool,
        progress: Progress | None,
    ) -> Drift:
        """Compare, and put the ledger right if asked to."""
        types = preflight.check_model(connection, self.spec, self.shown)
        destination = open_records(self.settings, self.spec)
        preflight.check_fit(self.spec, destination, types)
        if repair:
            places.keep(self.place, self.ledger)
            self.delivery("", connection, destination).resolve(self.batch_size(destination))
        reconciliation = self._reconciliation(connection, destination, progress)
        drift = reconciliation.compare()
        if repair:
            changed = self._repair(reconciliation)
            self.ledger.trust()
            with self.control.begin() as transaction:
                self.control.audit(transaction, "reconcile", self.spec.name, entries=changed)
        return self.told(drift)

    def trust_ledger(
        self,
        connection: duckdb.DuckDBPyConnection,
        destination: RecordDestination,
        types: dict[str, str],
    ) -> None:
        """Compare a ledger that is not of this epoch with the destination, and put it right."""
        if self.ledger.is_trusted:
            return
        preflight.check_fit(self.spec, destination, types)
        if can_compare(destination):
            reconciliation = self._reconciliation(connection, destination, None)
            reconciliation.compare()
            self._repair(reconciliation)
        else:
            logger.warning(
                "%s: the destination cannot be compared; what is sent follows the ledger as it is",
                self.spec.name,
            )
        self.ledger.trust()

    def _repair(self, reconciliation: Reconciliation) -> int:
        """Put the ledger right; what was merged there is sent for what is left from then on."""
        changed = reconciliation.repair_ledger()
        self.links.replace(reconciliation.masters())
        return changed

    def told(self, drift: Drift) -> Drift:
        """A drift with its keys as they may be shown."""
        keys = {kind: tuple(map(self.shown, some)) for kind, some in drift.keys.items()}
        return replace(drift, keys=keys)

    def _reconciliation(
        self,
        connection: duckdb.DuckDBPyConnection,
        destination: RecordDestination,
        progress: Progress | None,
    ) -> Reconciliation:
        home_key = self.settings.home_key()
        return Reconciliation(connection, self.spec, self.ledger, destination, home_key, progress)

    def settle(self, arrived: bool, keys: Collection[str] | None) -> int:
        """Settle unknown operations as a person says."""
        unknown = {self.shown(one.key): one for one in self.ledger.open_operations()}
        strangers = sorted(set(keys or ()) - set(unknown))
        if strangers:
            raise KlantbeeldError(
                f"{self.spec.name}: no unknown outcome of {', '.join(strangers)}",
                f"`klantbeeld sync rows {self.spec.name} --state unknown` lists them.",
            )
        chosen = [one for key, one in unknown.items() if keys is None or key in keys]
        state = "acknowledged" if arrived else "superseded"
        outcome = Outcome(state, f"{'arrived' if arrived else 'did not arrive'}, says a person")
        self.ledger.settle(chosen, {one.op_id: outcome for one in chosen})
        with self.control.begin() as transaction:
            counts = {"rows": len(chosen), "arrived": arrived}
            self.control.audit(transaction, "settle_sync", self.spec.name, **counts)
        return len(chosen)

    # ---- sending -------------------------------------------------------------------------------

    def batch_size(self, destination: RecordDestination) -> int:
        """Rows in one request."""
        return min(self.settings.activation.batch_size, destination.largest_batch)

    def delivery(
        self,
        sync_run_id: str,
        connection: duckdb.DuckDBPyConnection,
        destination: RecordDestination,
        progress: Progress | None = None,
    ) -> Delivery:
        """What sends the rows of a plan."""
        maker = Maker(
            self.spec,
            destination,
            self.ledger,
            lambda keys: planning.whole_rows(connection, self.spec, keys),
            self.settings.home_key(),
        )
        return Delivery(
            sync_run_id,
            self.ledger,
            destination,
            maker,
            withdrawn=lambda: self.withdrawn(connection),
            patience=self.settings.activation.patience_seconds,
            quiet=self.settings.activation.quiet_seconds,
            progress=progress,
        )


def _run(
    sync: _Sync, run_id: str, required: SavedPlan | None, progress: Progress | None
) -> SyncReport:
    started = time.monotonic()
    with sync.lock():
        sync_run_id = sync.start_run(run_id)
        run = _SyncRun(sync, sync_run_id, required, progress)
        try:
            with unforeseen_in_one_line():
                run.go()
        except KlantbeeldError as error:
            run.fail(error)
        report = run.report(time.monotonic() - started)
        sync.ledger.finish_run(
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
            basis=run.basis,
            filled=run.filled,
            figures=report.figures(),
        )
        days = sync.settings.activation.outbox_days
        sync.ledger.prune(days, keeps_deletes=not sync.spec.is_key_personal)
    logger.info(
        "%s %s: %d acknowledged, %d rejected, %d unknown, %d unchanged",
        sync.spec.name,
        report.status,
        report.acknowledged,
        report.rejected,
        report.unknown,
        report.unchanged,
    )
    return report


class _SyncRun:
    """The steps of one run, and what is known of it so far, whichever step fails.

    Attributes:
        basis: `baseline` for a first sync, `approved` if a person let the plan go.
        filled: Rows with a value by model column, of what was sent.
    """

    def __init__(
        self,
        sync: _Sync,
        sync_run_id: str,
        required: SavedPlan | None,
        progress: Progress | None,
    ) -> None:
        self._sync = sync
        self._required = required
        self._progress = progress
        self._report = SyncReport(sync.spec.name, "failed", sync.version.version_id, sync_run_id)
        self._destination: RecordDestination | None = None
        self._delivery: Delivery | None = None
        self.basis: str | None = None
        self.filled: dict[str, int] | None = None

    def go(self) -> None:
        """Resolve, plan, guard, deliver."""
        sync, name = self._sync, self._sync.spec.destination
        if is_switched_off(sync.settings, name):
            self._finish("disabled", f"destinations.{name} is switched off")
            return
        with sync.open() as connection:
            spec = sync.spec
            types = preflight.check_model(connection, spec, sync.shown)
            destination = self._destination = open_records(sync.settings, spec)
            delivery = self._delivery = sync.delivery(
                self._report.sync_run_id, connection, destination, self._progress
            )
            size = sync.batch_size(destination)
            places.keep(sync.place, sync.ledger)
            delivery.resolve(size)
            sync.trust_ledger(connection, destination, types)
            plan = self._plan(connection)
            is_held = self._is_held(connection, plan)
            if is_held and not plan.withdrawals:
                return
            given_up = planning.given_up(connection)
            run_id = self._report.sync_run_id
            if plan.operations == 0:
                sync.ledger.enqueue(run_id, [], given_up=given_up)
                sync.plans.close()
                self._finish("unchanged")
                return
            preflight.check_fit(spec, destination, types)
            sync.ledger.enqueue(
                run_id,
                planning.planned_operations(connection, _ENQUEUE_BLOCK),
                given_up=given_up,
                is_whole=not is_held,
            )
            failpoint("sync.after_plan")
            whole = destination.wants_whole_rows
            home_key = sync.settings.home_key()
            rows = planning.planned_rows(connection, spec, home_key, size, whole=whole)
            delivery.send(rows)
            if not is_held:
                sync.plans.close()
                self._finish("synced")

    def _plan(self, connection: duckdb.DuckDBPyConnection) -> planning.Plan:
        sync = self._sync
        plan = sync.plan(connection)
        if self._required is not None and plan.digest != self._required.digest:
            raise KlantbeeldError(
                f"plan {self._required.plan_id} is not what would be sent now: the model or what"
                " was acknowledged has changed since; nothing was sent",
                f"Look at the new one: `klantbeeld sync plan {sync.spec.name}`.",
            )
        self._report = replace(
            self._report,
            creates=plan.creates,
            updates=plan.updates,
            deletes=plan.deletes,
            unchanged=plan.unchanged,
            withdrawals=plan.withdrawals,
            cancelled=plan.cancelled,
            given_up=plan.given_up,
            blocked=plan.blocked,
        )
        self.filled = planning.filled(connection, sync.spec)
        if plan.restamped:
            sync.ledger.restamp(planning.restamps(connection, _ENQUEUE_BLOCK))
        if sync.is_first:
            self.basis = "baseline"
        return plan

    def _is_held(self, connection: duckdb.DuckDBPyConnection, plan: planning.Plan) -> bool:
        sync = self._sync
        reasons = sync.reasons(connection, plan)
        if not reasons:
            return False
        if sync.plans.is_approved(plan.digest):
            logger.warning("%s: approved although %s", sync.spec.name, "; ".join(reasons))
            self.basis = "approved"
            return False
        counts = {name: value for name, value in vars(plan).items() if isinstance(value, int)}
        saved = sync.plans.record(plan.digest, sync.version.version_id, counts, reasons)
        planning.hold(connection)
        sent = "Nothing was sent."
        if plan.withdrawals:
            sent = "Only rows of people who withdrew or were erased were taken away."
        message = f"held for review: {'; '.join(reasons)}. {sent} (plan {saved.plan_id})"
        self._report = replace(self._report, held=plan.ordinary)
        self._finish("held", message)
        return True

    def _finish(self, status: str, message: str | None = None) -> None:
        delivered = self._delivery.delivered if self._delivery else None
        unsure = self._report.blocked + self._report.given_up
        if delivered and status in ("synced", "unchanged"):
            if delivered.rejected or delivered.unknown or unsure:
                status = "degraded"
                message = _what_is_wrong(delivered.rejected, delivered.unknown, self._report)
            elif delivered.acknowledged:
                status = "synced"
        self._report = replace(self._report, status=status, message=message)

    def fail(self, error: KlantbeeldError) -> None:
        """Note why the run ended early."""
        logger.error("%s failed: %s", self._sync.spec.name, error.message)
        message = in_one_line(error.message, error.hint)
        self._report = replace(self._report, status="failed", message=message)

    def report(self, seconds: float) -> SyncReport:
        """The report, whatever happened."""
        report = replace(
            self._report,
            seconds=seconds,
            oldest_unacknowledged_at=self._sync.ledger.oldest_waiting(),
        )
        if self._delivery is not None:
            delivered = self._delivery.delivered
            report = replace(
                report,
                acknowledged=delivered.acknowledged,
                rejected=delivered.rejected,
                unknown=delivered.unknown,
                cancelled=report.cancelled + delivered.cancelled,
                skipped=delivered.skipped,
                kept=delivered.kept,
                conflicts=delivered.conflicts,
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


def _what_is_wrong(rejected: int, unknown: int, report: SyncReport) -> str:
    told = [
        f"{rejected} rows were rejected (tried again every run)" if rejected else "",
        f"{unknown} have an unknown outcome" if unknown else "",
        f"{report.given_up} were refused too often and wait for other data"
        if report.given_up
        else "",
        f"{report.blocked} wait for an outcome that cannot be read back" if report.blocked else "",
    ]
    rows = "; see `klantbeeld sync rows " + report.sync + "`"
    return ", ".join(text for text in told if text) + rows
