"""`klantbeeld demo`: the small world to try everything on."""

import importlib
from types import ModuleType

import click

from klantbeeld.cli.groups import Group
from klantbeeld.errors import KlantbeeldError
from klantbeeld.settings import Settings, load_settings


@click.group(cls=Group)
def demo() -> None:
    """A small Dutch company with five systems that know its customers."""


@demo.command()
def start() -> None:
    """Make the world if it is not there, and start its systems on 127.0.0.1."""
    start_world(load_settings())


@demo.command()
def stop() -> None:
    """Stop the systems; the world stays as it is."""
    _world().stop(load_settings())
    click.echo("the demo's systems are stopped")


@demo.command()
def status() -> None:
    """Show what runs, and where to look."""
    world = _world().status(load_settings())
    if not world.exists:
        click.echo("there is no demo world yet: `klantbeeld demo start` makes it")
        return
    click.echo(f"{world.persons:,} persons; it is {world.business_date} there")
    for system, runs in world.running.items():
        state = "runs" if runs else "stopped"
        click.echo(f"  {system:<12} {state:<8} {world.urls.get(system, '')}")
    crm = world.urls.get("crm")
    if crm and all(world.running.values()):
        click.echo("\nWhere to look next")
        click.echo(f"  {crm:<40} the CRM: open a contact, its profile is beside it")
        click.echo(f"  {'make ui':<40} the lineage, runs and checks")
        click.echo(
            f"  {'klantbeeld demo advance --days 1':<40} let a day pass, then `klantbeeld run`"
        )
        click.echo(f"  {'make dev':<40} change an audience, see who joins and leaves")
    if world.is_interrupted:
        click.echo("\na day was interrupted: `klantbeeld demo advance` finishes it")


@demo.command()
@click.option("--days", default=1, show_default=True, type=click.IntRange(1, 366))
def advance(days: int) -> None:
    """Let the world live: orders, moves, opens, withdrawals, deletions, new customers."""
    _world().advance(load_settings(), days, progress=lambda text: click.echo(text, err=True))


@demo.command()
@click.confirmation_option("--yes", prompt="Remove the demo world and start over next time?")
def reset() -> None:
    """Stop the systems and remove the world."""
    _world().reset(load_settings())
    click.echo("the demo world is removed; `klantbeeld demo start` makes it again")


def start_world(settings: Settings) -> None:
    """Start the world with its progress on standard error."""
    _world().start(settings, progress=lambda text: click.echo(text, err=True))


def _world() -> ModuleType:
    # The product does not depend on its demo: it is loaded by name, and may be left out.
    try:
        return importlib.import_module("demo.world")
    except ModuleNotFoundError as error:
        raise KlantbeeldError(
            f"the demo is not installed ({error.name} is missing)",
            "Install it with `make install`, or `pip install 'klantbeeld[demo]'` from a clone.",
        ) from None
