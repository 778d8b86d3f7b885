"""`klantbeeld dev`: plain dbt against a private copy of the current version."""

import os
import shlex
import sys
from pathlib import Path

import click

from klantbeeld.cli.groups import Group
from klantbeeld.cli.home import open_home
from klantbeeld.settings import load_settings
from klantbeeld.transform.dev import AudienceChange, FieldChange


@click.group(cls=Group)
def dev() -> None:
    """Work on the dbt project without touching or blocking a run."""


@dev.command()
def prepare() -> None:
    """Copy the current version and print the variables that plain dbt needs."""
    for name, value in _prepare().items():
        click.echo(f"export {name}={shlex.quote(value)}")


@dev.command()
def shell() -> None:
    """Copy the current version and open a shell in which `dbt` works on that copy."""
    from klantbeeld.transform.dev import commands_dir

    variables = _prepare()
    folders = [commands_dir(load_settings()), Path(sys.executable).parent]
    path = os.pathsep.join([*map(str, folders), os.environ.get("PATH", "")])
    click.echo("A private copy of the current version is ready; runs are not touched. Try:")
    click.echo("  dbt build --select seg_breakfast_shoppers     edit models/segments/ first")
    click.echo("  klantbeeld dev compare                        what your change did")
    click.echo("  exit                                          leave")
    os.chdir(variables["DBT_PROJECT_DIR"])
    program = os.environ.get("SHELL", "/bin/sh")
    os.execvpe(program, [program], {**os.environ, **variables, "PATH": path})  # noqa: S606


@dev.command()
def compare() -> None:
    """Show how audiences, golden values and measures differ from the version that was copied."""
    from klantbeeld.transform.dev import compare as compare_versions

    audiences, fields = compare_versions(load_settings())
    click.echo(
        f"{'audience':<32} {'before':>9} {'after':>9} {'joined':>8} {'left':>8} {'reachable':>10}"
    )
    for audience in audiences:
        click.echo(_audience_line(audience))
    click.echo("reachable: who may be written to, by consent; each mailbox or letterbox once")
    if fields:
        click.echo(f"\n{'field or measure':<32} {'profiles':>9} {'filled':>9} {'emptied':>8}")
        for field in fields:
            click.echo(_field_line(field))
    else:
        click.echo("\nno golden value and no measure differs")
    click.echo(
        "\nWhat you did not build is as it was: `dbt build --select MODEL+` builds a model and all"
        " that depends on it."
    )


def _prepare() -> dict[str, str]:
    from klantbeeld.transform.dev import prepare as prepare_copy

    return prepare_copy(*open_home())


def _audience_line(change: AudienceChange) -> str:
    before, after, reachable = (
        "-" if n is None else f"{n:,}" for n in (change.before, change.after, change.reachable)
    )
    return (
        f"{change.audience:<32} {before:>9} {after:>9} {change.joined:>8,} {change.left:>8,}"
        f" {reachable:>10}"
    )


def _field_line(change: FieldChange) -> str:
    return f"{change.field:<32} {change.profiles:>9,} {change.filled:>9,} {change.emptied:>8,}"
