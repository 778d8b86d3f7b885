"""`klantbeeld backup`, `restore` and `roll-back`."""

from datetime import UTC, datetime
from pathlib import Path

import click

from klantbeeld.cli.home import open_home
from klantbeeld.settings import load_settings


@click.command()
@click.argument("file", type=click.Path(path_type=Path), required=False)
def backup(file: Path | None) -> None:
    """Write what can never be rebuilt to FILE (default: klantbeeld-<time>.tar.gz here).

    The file holds secrets and personal data: it is private (0600), keep it so.
    """
    from klantbeeld.backup import write_backup

    settings, control = open_home()
    target = file or Path(f"klantbeeld-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.tar.gz")
    report = write_backup(settings, control, target)
    click.echo(f"{report.path}: {report.files} files, {report.bytes:,} bytes")


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="Replace what the home holds now.")
def restore(file: Path, force: bool) -> None:
    """Put the backup FILE back into this home; the next run builds the warehouse again."""
    from klantbeeld.backup import restore_backup

    epoch = restore_backup(load_settings(), file, force=force)
    click.echo(f"restored; this home is now in epoch {epoch}. Next: `klantbeeld run`")


@click.command("roll-back")
def roll_back() -> None:
    """Make the previous version current again, until the next run publishes."""
    from klantbeeld.warehouse import Warehouse

    settings, control = open_home()
    warehouse = Warehouse(settings, control)
    with warehouse.run_lock("roll-back"):
        version = warehouse.roll_back()
    click.echo(f"{version.version_id} (as of {version.as_of:%Y-%m-%d %H:%M} UTC) is current again")
