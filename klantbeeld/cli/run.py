"""`klantbeeld run`: hands over to the orchestration, whose exit code is the command's."""

import os
import sys
from collections.abc import Sequence
from typing import NoReturn

import click

from klantbeeld.errors import SettingsError
from klantbeeld.files import require_possible_dir
from klantbeeld.settings import Settings, load_settings


@click.command()
@click.option("--full", is_flag=True, help="Build and link everything, also what did not change.")
@click.option(
    "--reconcile",
    is_flag=True,
    help="As --full, and count anew which values identify nobody and which are frequent.",
)
@click.option("--select", metavar="SELECTION", help="Only these assets, such as 'group:staging'.")
@click.option(
    "--json", "json_file", type=click.Path(), help="Write the run's figures to this file."
)
def run(full: bool, reconcile: bool, select: str | None, json_file: str | None) -> NoReturn:
    """Run the pipeline: load, build, link, publish, send.

    A run with nothing to do ends quickly and writes nothing. A run that was killed is simply
    started again: it ends in the same state.
    """
    settings = load_settings()
    require_sources(settings)
    job = "reconciliation" if reconcile else "full" if full else "incremental"
    arguments = ["--job", job]
    if select:
        arguments += ["--select", select]
    if json_file:
        arguments += ["--json", json_file]
    orchestrate(settings, "orchestration.run", arguments)


def require_sources(settings: Settings) -> None:
    """Refuse a home that nothing could be loaded into, or that names a source there is not.

    Raises:
        KlantbeeldError: The home cannot be made.
        SettingsError: No source is set, or one that is not known.
    """
    from ingestion.pipelines import require_known_sources

    require_possible_dir(settings.paths.home)
    require_known_sources(settings)
    if not settings.sources:
        raise SettingsError(
            f"no source is set in the home {settings.paths.home}",
            f"Add [sources.<name>] to {settings.paths.config}, or try `klantbeeld demo start`.",
        )


def orchestrate(settings: Settings, module: str, arguments: Sequence[str]) -> NoReturn:
    """Become a module of the orchestration, which ends with the exit code of the command.

    The command line may not import the orchestration (the library knows no orchestrator), so it
    starts it: in this very process. With a child, a kill of the command would leave the run going.
    """
    environment = {**os.environ, "KLANTBEELD_HOME": str(settings.paths.home)}
    sys.stdout.flush()
    sys.stderr.flush()
    command = [sys.executable, "-m", module, *arguments]
    os.execve(sys.executable, command, environment)  # noqa: S606 - our own module, no shell
