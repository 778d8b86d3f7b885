"""`klantbeeld quarantine`: rows that could not be loaded."""

import json
from collections.abc import Mapping
from typing import Any

import click
import sqlalchemy as sa

from klantbeeld.cli.groups import Group
from klantbeeld.cli.home import open_home
from klantbeeld.control.tables import quarantine as table
from klantbeeld.errors import ExitCode

# Rows of one file with the same reason that are listed one by one, at most.
_TOLD_EACH = 5


@click.group(cls=Group)
def quarantine() -> None:
    """Rows that could not be loaded: where they were, why, and trying again."""


@quarantine.command("list")
@click.option("--source", help="Only this source.")
@click.option(
    "--status",
    default="open",
    show_default=True,
    type=click.Choice(["open", "replayed", "superseded", "discarded", "all"]),
)
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1), help="Lines.")
@click.option("--all", "each", is_flag=True, help="Each row, also where many are alike.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
def list_rows(source: str | None, status: str, limit: int, each: bool, as_json: bool) -> None:
    """List quarantined rows: source, place and reason. Their content is never shown.

    By source, table, file and line. Rows of one file with the same reason are told together.
    """
    # A place is `file:line` or `key=value`.
    file = sa.func.rtrim(table.c.position, "0123456789")
    line = sa.cast(sa.func.substr(table.c.position, sa.func.length(file) + 1), sa.Integer)
    order = [table.c.source, table.c.table_name, file, line, table.c.reason]
    alike = [table.c.source, table.c.table_name, file, table.c.reason, table.c.status]
    columns = [
        table.c.quarantine_id,
        table.c.source,
        table.c.table_name,
        table.c.position,
        table.c.reason,
        table.c.status,
        table.c.first_seen_at,
        table.c.last_seen_at,
    ]
    ordered = [*order, table.c.quarantine_id]
    query = sa.select(
        *columns,
        file.label("file"),
        sa.func.count().over(partition_by=alike).label("alike"),
        sa.func.row_number().over(partition_by=alike, order_by=ordered).label("place"),
        sa.func.row_number().over(order_by=ordered).label("number"),
    )
    count = sa.select(sa.func.count()).select_from(table)
    for condition in (
        [] if source is None else [table.c.source == source],
        [] if status == "all" else [table.c.status == status],
    ):
        query, count = query.where(*condition), count.where(*condition)
    _, control = open_home()
    found = query.subquery()
    shown = sa.select(found).order_by(found.c.number).limit(limit)
    if not (each or as_json):
        shown = shown.where(sa.or_(found.c.alike <= _TOLD_EACH, found.c.place == 1))
    with control.read() as connection:
        total = connection.scalar(count) or 0
        rows = connection.execute(shown).mappings().all()
    told = 0
    for row in rows:
        if as_json:
            click.echo(json.dumps({c.name: row[c.name] for c in columns}, default=str))
            continue
        is_one = each or row["alike"] <= _TOLD_EACH
        told += 1 if is_one else row["alike"]
        click.echo(
            f"{row['source']}.{row['table_name']}  {_place(row, is_one)}  {row['reason']}"
            f"  ({row['status']}, first seen {row['first_seen_at']:%Y-%m-%d %H:%M})"
        )
    if not as_json:
        more = f", {total - told} more: --limit" if total > told else ""
        grouped = "; --all lists each" if told > len(rows) else ""
        click.echo(f"{total} row(s){more}{grouped}")


def _place(row: Mapping[Any, Any], is_one: bool) -> str:
    """Where a row is, or a number of rows that are alike."""
    if is_one:
        return str(row["position"])
    file = str(row["file"])
    where = f" of {file.removesuffix(':')}" if file.endswith(":") else ""
    return f"{row['alike']:,} rows{where}"


@quarantine.command()
@click.option("--source", help="Only this source.")
def replay(source: str | None) -> int:
    """Try the open rows again, with the rules of today; what is good is loaded."""
    from ingestion.pipelines import replay_quarantine
    from klantbeeld.warehouse import Warehouse

    settings, control = open_home()
    with Warehouse(settings, control).run_lock("quarantine replay"):
        reports = replay_quarantine(settings, control, source)
    for report in reports:
        click.echo(f"{report.source}: {report.message.removeprefix(f'{report.source}: ')}")
        if report.hint:
            click.echo(f"  {report.hint}")
    with control.read() as connection:
        still_open = connection.scalar(
            sa.select(sa.func.count()).select_from(table).where(table.c.status == "open")
        )
    click.echo(f"{still_open} row(s) still open; `klantbeeld run` takes up what was loaded")
    return ExitCode.ATTENTION if still_open else ExitCode.OK
