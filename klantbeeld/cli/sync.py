"""`klantbeeld sync`: what is sent, and what waits for a person."""

import click

from klantbeeld.cli.home import open_home


@click.group()
def sync() -> None:
    """What is sent to the CRM and the channels: the last runs, and approving what is held."""


@sync.command("status")
def sync_status() -> None:
    """Show the last run of every sync and export."""
    from klantbeeld.cli.status import delivery_lines
    from klantbeeld.status import read_status

    for line in delivery_lines(read_status(*open_home())):
        click.echo(line)


@sync.command()
@click.argument("name")
def approve(name: str) -> None:
    """Approve what is held of NAME (sync_... or audience_...).

    The next run sends exactly that plan, or holds again if it is another one by then.
    """
    from klantbeeld.activation import approve as approve_plan

    approve_plan(name, *open_home())
    click.echo(f"{name}: approved; the next run sends it")
