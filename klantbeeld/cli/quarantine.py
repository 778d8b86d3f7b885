"""`klantbeeld quarantine`: rows that could not be loaded."""

import json

import click
import sqlalchemy as sa

from klantbeeld.cli.home import open_home
from klantbeeld.control.tables import quarantine as table
from klantbeeld.errors import ExitCode


@click.group()
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
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1))
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
def list_rows(source: str | None, status: str, limit: int, as_json: bool) -> None:
    """List quarantined rows: source, place and reason. Their content is never shown."""
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
    query = sa.select(*columns).order_by(table.c.first_seen_at.desc(), table.c.quarantine_id)
    count = sa.select(sa.func.count()).select_from(table)
    for condition in (
        [] if source is None else [table.c.source == source],
        [] if status == "all" else [table.c.status == status],
    ):
        query, count = query.where(*condition), count.where(*condition)
    _, control = open_home()
    with control.read() as connection:
        total = connection.scalar(count) or 0
        rows = connection.execute(query.limit(limit)).mappings().all()
    for row in rows:
        if as_json:
            click.echo(json.dumps(dict(row), default=str))
        else:
            click.echo(
                f"{row['source']}.{row['table_name']}  {row['position']}  {row['reason']}"
                f"  ({row['status']}, first seen {row['first_seen_at']:%Y-%m-%d %H:%M})"
            )
    if not as_json:
        more = f", {total - len(rows)} more: --limit" if total > len(rows) else ""
        click.echo(f"{total} row(s){more}")


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
        click.echo(f"{report.source}: {report.message}")
    with control.read() as connection:
        still_open = connection.scalar(
            sa.select(sa.func.count()).select_from(table).where(table.c.status == "open")
        )
    click.echo(f"{still_open} row(s) still open; `klantbeeld run` takes up what was loaded")
    return ExitCode.ATTENTION if still_open else ExitCode.OK
