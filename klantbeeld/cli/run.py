"""`klantbeeld run`: starts the orchestration as its own process and passes on its exit code."""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from types import FrameType

import click

from klantbeeld.errors import SettingsError
from klantbeeld.settings import Settings, load_settings


@click.command()
@click.option("--full", is_flag=True, help="Build and link everything, also what did not change.")
@click.option("--select", metavar="SELECTION", help="Only these assets, such as 'group:staging'.")
@click.option(
    "--json", "json_file", type=click.Path(), help="Write the run's figures to this file."
)
def run(full: bool, select: str | None, json_file: str | None) -> int:
    """Run the pipeline: load, build, link, publish, send.

    A run with nothing to do ends quickly and writes nothing. A run that was killed is simply
    started again: it ends in the same state.
    """
    settings = load_settings()
    require_sources(settings)
    arguments = ["--job", "full" if full else "incremental"]
    if select:
        arguments += ["--select", select]
    if json_file:
        arguments += ["--json", json_file]
    return orchestrate(settings, "orchestration.run", arguments)


def require_sources(settings: Settings) -> None:
    """Refuse a home that nothing could be loaded into.

    Raises:
        SettingsError: No source is set.
    """
    if not settings.sources:
        raise SettingsError(
            f"no source is set in the home {settings.paths.home}",
            f"Add [sources.<name>] to {settings.paths.config}, or try `klantbeeld demo start`.",
        )


def orchestrate(settings: Settings, module: str, arguments: Sequence[str]) -> int:
    """Run a module of the orchestration; returns its exit code.

    The command line may not import the orchestration (the library knows no orchestrator), so it
    starts it. An interrupt reaches the child as well and lets it end cleanly.
    """
    environment = {**os.environ, "KLANTBEELD_HOME": str(settings.paths.home)}
    command = [sys.executable, "-m", module, *arguments]
    child = subprocess.Popen(command, env=environment)

    def forward(number: int, _frame: FrameType | None) -> None:
        child.send_signal(number)

    previous = {number: signal.signal(number, forward) for number in (signal.SIGTERM,)}
    try:
        while True:
            try:
                return child.wait()
            except KeyboardInterrupt:  # the terminal has sent it to the child too
                continue
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
