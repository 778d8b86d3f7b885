"""`klantbeeld identity`: who is one person, what people decide, and the models."""

import click
import sqlalchemy as sa

from klantbeeld.cli.explain import how, why
from klantbeeld.cli.home import open_home
from klantbeeld.cli.steward import COMMANDS
from klantbeeld.control.tables import linkage_models


@click.group()
def identity() -> None:
    """Who is one person: explanations, decisions, and the linkage models of this home."""


for _command in (why, how, *COMMANDS):
    identity.add_command(_command)


@identity.command()
def models() -> None:
    """List the models with their figures."""
    query = sa.select(linkage_models).order_by(linkage_models.c.trained_at)
    _, control = open_home()
    with control.read() as connection:
        rows = connection.execute(query).all()
    for row in rows:
        figures = ", ".join(f"{name} {value}" for name, value in sorted(row.metrics.items()))
        click.echo(f"{row.model_version}  {row.status}  {row.trained_at:%Y-%m-%d %H:%M}  {figures}")
    if not rows:
        click.echo("no model trained in this home: the default model that ships is used")


@identity.command()
@click.argument("model_version")
def promote(model_version: str) -> None:
    """Make a candidate the model that daily runs use."""
    from klantbeeld.identity import promote as promote_model

    promote_model(*open_home(), model_version)
    click.echo(f"{model_version} is the current model; the next run links everything with it")
