"""`klantbeeld ui`: the Dagster UI of this home."""

from typing import NoReturn

import click

from klantbeeld.cli.run import orchestrate, require_sources
from klantbeeld.settings import load_settings


@click.command()
@click.option("--port", default=3000, show_default=True, help="Port on 127.0.0.1.")
def ui(port: int) -> NoReturn:
    """Open the Dagster UI on 127.0.0.1, with schedules and sensors running; Ctrl-C stops it.

    In the demo the source systems are started too, so that the CRM can be looked at beside it.
    """
    settings = load_settings()
    require_sources(settings)
    if settings.environment == "demo":
        from klantbeeld.cli.demo import start_world

        start_world(settings)
    orchestrate(settings, "orchestration.ui", ["--port", str(port)])
