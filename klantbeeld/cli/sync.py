"""`klantbeeld sync`: what would be sent, sending it, and what waits for a person."""

from __future__ import annotations

import json
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from klantbeeld.cli.groups import Group
from klantbeeld.cli.home import open_home
from klantbeeld.errors import ExitCode

if TYPE_CHECKING:
    from klantbeeld.activation import Home
    from klantbeeld.activation.reconcile import Drift
    from klantbeeld.activation.reports import ExportReport, PlanReport, SyncReport

_GOOD = ("synced", "written", "unchanged", "disabled")
_SHOWN_ROWS = 20
_STATES = (
    "pending", "in_flight", "acknowledged", "rejected", "unknown", "cancelled", "superseded",
)  # fmt: skip
_as_json = click.option("--json", "as_json", is_flag=True, help="As JSON.")


@click.group(cls=Group)
def sync() -> None:
    """What is sent to the CRM and the channels: plan it, send it, compare it, approve it."""


@sync.command("status")
def sync_status() -> None:
    """Show the last run of every sync and export."""
    from klantbeeld.cli.status import delivery_lines
    from klantbeeld.status import read_status

    for line in delivery_lines(read_status(*open_home())):
        click.echo(line)


@sync.command()
@click.argument("name")
@click.option("--against-destination", is_flag=True, help="Plan on what the destination holds.")
@_as_json
def plan(name: str, against_destination: bool, as_json: bool) -> None:
    """Show what a run of NAME (a sync or an audience) would do now; nothing is sent.

    Ids and column names only. The plan gets an id, which `klantbeeld sync apply` takes.
    """
    _plan(name, _home(), against_destination=against_destination, as_json=as_json)


@sync.command()
@click.argument("plan_id", metavar="PLAN")
@_as_json
def apply(plan_id: str, as_json: bool) -> ExitCode:
    """Send exactly the plan PLAN, less what consent has cancelled since.

    Refused if the model or what was acknowledged has changed since it was made.
    """
    from klantbeeld.activation import apply_plan

    with _progress("rows sent", as_json) as told:
        report = apply_plan(plan_id, _home(), _run_id(), progress=told)
    return _finish(report, as_json)


@sync.command()
@click.argument("name")
@click.option("--dry-run", is_flag=True, help="Show the plan and send nothing.")
@_as_json
def run(name: str, dry_run: bool, as_json: bool) -> ExitCode:
    """Plan NAME (a sync or an audience) and send the plan, under the guards."""
    from klantbeeld.activation import run_export, run_sync

    home = _home()
    if dry_run:
        _plan(name, home, as_json=as_json)
        return ExitCode.OK
    if audience := _audience_of_files(name, home):
        export = run_export(audience, home, _run_id())
        _show_export(export, as_json)
        return _exit_code(export.status)
    with _progress("rows sent", as_json) as told:
        report = run_sync(name, home, _run_id(), progress=told)
    return _finish(report, as_json)


@sync.command()
@click.argument("name")
@click.option("--repair", is_flag=True, help="Put the ledger right, and send what that makes due.")
@_as_json
def reconcile(name: str, repair: bool, as_json: bool) -> ExitCode:
    """Read what NAME's destination holds and say how it differs from what we know of it."""
    from klantbeeld.activation import reconcile_sync, run_sync

    home = _home()
    with _progress("rows read", as_json) as told:
        drift = reconcile_sync(name, home, repair=repair, progress=told)
    if not repair:
        _show_drift(drift, as_json)
        return ExitCode.ATTENTION if drift.rows else ExitCode.OK
    with _progress("rows sent", as_json) as told:
        report = run_sync(name, home, _run_id(), progress=told)
    if as_json:
        click.echo(json.dumps({**drift.as_dict(), "repair": report.as_dict()}, indent=2))
    else:
        _show_drift(drift, as_json)
        _show_report(report)
    return _exit_code(report.status)


@sync.command()
@click.argument("name")
@click.option(
    "--limit", type=click.IntRange(min=1), default=20, show_default=True, help="Runs to show."
)
@_as_json
def log(name: str, limit: int, as_json: bool) -> None:
    """List the runs of NAME (sync_... or audience_...) with their counts, newest first."""
    from klantbeeld.activation.logs import runs

    for row in runs(name, _home(), limit):
        if as_json:
            click.echo(json.dumps(row, default=str))
            continue
        click.echo(
            f"{row['started_at']:%Y-%m-%d %H:%M:%S}  {row['status']:<9}"
            f" {row['acknowledged']:>9,} acknowledged {row['rejected']:>7,} rejected"
            f" {row['unknown']:>7,} unknown {row['held']:>7,} held"
        )
        if row["message"]:
            click.echo(f"  {row['message']}")


@sync.command()
@click.argument("name")
@click.option(
    "--state",
    type=click.Choice(_STATES),
    help="Only rows whose last operation is in this state.",
)
@_as_json
def rows(name: str, state: str | None, as_json: bool) -> None:
    """List the last operation of each row of NAME with its state and reason; ids only."""
    from klantbeeld.activation.logs import last_results

    number = 0
    for number, row in enumerate(last_results(name, _home(), state), 1):  # noqa: B007
        if as_json:
            click.echo(json.dumps(row, default=str))
        else:
            reason = f"  {row['reason']}" if row["reason"] else ""
            click.echo(f"{row['key']}  {row['operation']}  {row['state']}{reason}")
    if not number:
        click.echo(f"no row of {name}" + (f" is {state}" if state else " was sent yet"), err=True)


@sync.command()
@click.argument("name")
@_as_json
def conflicts(name: str, as_json: bool) -> None:
    """List the fields of NAME that both sides changed, and whose value stands; ids only."""
    from klantbeeld.activation.logs import conflicts as recorded

    number = 0
    for number, row in enumerate(recorded(name, _home()), 1):  # noqa: B007
        if as_json:
            click.echo(json.dumps(row, default=str))
        else:
            click.echo(f"{row['key']}  {row['column']}  {row['resolution']}  {row['times']} times")
    if not number:
        click.echo(f"no field of {name} was changed by both sides", err=True)


@sync.command()
@click.argument("name")
@click.argument("keys", metavar="[KEY]...", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Every row whose outcome is unknown.")
@click.option(
    "--arrived/--not-arrived", default=None, help="Whether the destination has what was sent."
)
def settle(name: str, keys: tuple[str, ...], everything: bool, arrived: bool | None) -> None:
    """Say what became of rows of NAME whose outcome is unknown and cannot be read back.

    For destinations that can only add: look there first. What arrived is acknowledged; what did not
    is sent by the next run. `klantbeeld sync rows NAME --state unknown` lists the keys.
    """
    from klantbeeld.activation import settle_unknown

    if arrived is None:
        raise click.UsageError("Say --arrived or --not-arrived.")
    if bool(keys) == everything:
        raise click.UsageError("Name the keys of the rows, or say --all.")
    settled = settle_unknown(name, _home(), arrived=arrived, keys=None if everything else keys)
    click.echo(f"{name}: {settled:,} rows settled; the next run goes on from there")


@sync.command()
@click.argument("name")
def approve(name: str) -> None:
    """Approve what is held of NAME (sync_... or audience_...).

    The next run sends exactly that plan, or holds again if it is another one by then. An approval
    is for once, and expires (activation.approval_hours).
    """
    from klantbeeld.activation import approve as approve_plan

    plan_id = approve_plan(name, *open_home())
    click.echo(f"{name}: plan {plan_id} approved; the next run sends it")


# ---- what is shown ---------------------------------------------------------------------------


def _home() -> Home:
    from klantbeeld.activation import Home
    from klantbeeld.warehouse import Warehouse

    settings, control = open_home()
    return Home(settings, control, Warehouse(settings, control))


def _audience_of_files(name: str, home: Home) -> str | None:
    """The audience that a name stands for, if it goes as a file."""
    from klantbeeld.activation import list_audiences, read_manifest

    version = home.warehouse.current()
    known = [] if version is None else list_audiences(read_manifest(version.manifest))
    short = name.removeprefix("audience_").removeprefix("seg_")
    return short if any(spec.name == short for spec in known) else None


def _plan(name: str, home: Home, *, against_destination: bool = False, as_json: bool) -> None:
    from klantbeeld.activation import plan_export, plan_sync

    if audience := _audience_of_files(name, home):
        _show_export(plan_export(audience, home), as_json)
        return
    report = plan_sync(
        name,
        home,
        against_destination=against_destination,
        limit=None if as_json else _SHOWN_ROWS,
    )
    _show_plan(report, as_json)


def _run_id() -> str:
    return f"cli-{uuid.uuid4().hex[:12]}"


@contextmanager
def _progress(what: str, is_quiet: bool) -> Iterator[Callable[[int], None] | None]:
    """Count rows on one line of a terminal; silent where nobody watches."""
    if is_quiet or not sys.stderr.isatty():
        yield None
        return
    done = 0

    def told(rows: int) -> None:
        nonlocal done
        done += rows
        click.echo(f"\r{done:,} {what}", err=True, nl=False)

    yield told
    if done:
        click.echo(err=True)


def _show_plan(report: PlanReport, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(report.as_dict(), indent=2))
        return
    click.echo(f"{report.sync}, version {report.version_id}")
    counts = {
        "create": report.creates,
        "update": report.updates,
        report.on_leave if report.deletes else "delete": report.deletes,
        "take away for privacy": report.withdrawals,
        "not sent: person withdrew": report.cancelled,
        "not sent: refused too often": report.given_up,
        "not sent: outcome unknown": report.blocked,
    }
    for word, count in counts.items():
        if count or word in ("create", "update", "delete"):
            click.echo(f"  {word:<28} {count:>10,}")
    click.echo(f"  {'unchanged':<28} {report.unchanged:>10,}")
    for column, count in report.columns.items():
        click.echo(f"    writes {column:<23} {count:>8,}")
    for row in report.rows:
        told = f" ({', '.join(row['columns'])})" if row["columns"] else ""
        click.echo(f"  {row['operation']:<7} {row['key']}{told}")
    total = report.creates + report.updates + report.deletes + report.withdrawals
    if total > len(report.rows):
        click.echo(f"  ... and {total - len(report.rows):,} more; --json lists them all")
    if report.drift is not None:
        click.echo(f"  read from the destination: {report.drift['drift']:,} rows drifted")
    for warning in report.warnings:
        click.echo(f"  note: {warning}")
    for reason in report.reasons:
        click.echo(f"  held: {reason}")
    if report.plan_id is not None:
        done = {
            "held": f"`klantbeeld sync approve {report.sync}` lets it go",
            "approved": "approved; the next run sends it",
        }
        sends = f"`klantbeeld sync apply {report.plan_id}` sends it" if total else "nothing to send"
        hint = done.get(report.status, sends)
        click.echo(f"Plan {report.plan_id}: {hint}")


def _show_export(report: ExportReport, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(report.as_dict(), indent=2))
        return
    before = "no file before" if report.rows_before is None else f"{report.rows_before:,} before"
    click.echo(
        f"audience_{report.audience}: {report.status}; {report.rows:,} rows for"
        f" {report.destination} ({before}), {report.withheld:,} withheld by consent"
    )
    if report.message:
        click.echo(f"  {report.message}")


def _show_drift(drift: Drift, as_json: bool) -> None:
    from klantbeeld.activation.reconcile import DRIFT, NO_DRIFT

    if as_json:
        click.echo(json.dumps(drift.as_dict(), indent=2))
        return
    told = {kind: f"{meaning}; a repair: {action}" for kind, (meaning, action) in DRIFT.items()}
    for kind, words in (told | NO_DRIFT).items():
        if drift.kinds[kind]:
            click.echo(f"  {kind:<11} {drift.kinds[kind]:>10,}  {words}")
    for column, count in drift.columns.items():
        click.echo(f"    {column:<24} {count:>8,} changed")
    click.echo(f"{drift.rows:,} rows drifted")


def _show_report(report: SyncReport) -> None:
    click.echo(
        f"{report.sync}: {report.status}; {report.acknowledged:,} acknowledged,"
        f" {report.rejected:,} rejected, {report.unknown:,} unknown, {report.held:,} held,"
        f" {report.unchanged:,} unchanged"
    )
    if report.message:
        click.echo(f"  {report.message}")


def _finish(report: SyncReport, as_json: bool) -> ExitCode:
    if as_json:
        click.echo(json.dumps(report.as_dict(), indent=2))
    else:
        _show_report(report)
    return _exit_code(report.status)


def _exit_code(status: str) -> ExitCode:
    if status == "failed":
        return ExitCode.FAILED
    return ExitCode.OK if status in _GOOD else ExitCode.ATTENTION
