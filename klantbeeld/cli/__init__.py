"""The command line: what people do without a browser.

Each command lives in a module of its own and is imported when it is called, so that `klantbeeld
--help` answers at once. Exit codes are those of `klantbeeld.errors.ExitCode`.
"""

import importlib
import os
import sys
from pathlib import Path
from typing import Any

import click

from klantbeeld.errors import ExitCode, KlantbeeldError

# Command -> (module, one line of help); the help stands here so that no module is imported for it.
_COMMANDS = {
    "run": ("run", "Run the pipeline: load, build, link, publish, send."),
    "status": ("status", "Show the current version, counts per stage, quarantine and syncs."),
    "ui": ("ui", "Open the Dagster UI on 127.0.0.1."),
    "demo": ("demo", "Start, stop, advance or reset the demo world."),
    "quarantine": ("quarantine", "List and replay rows that could not be loaded."),
    "sync": ("sync", "Show what was sent; approve what is held."),
    "link": ("link", "Link the people of your own CSV and Parquet files."),
    "identity": ("identity", "Explain who is one person; list and promote linkage models."),
    "dev": ("dev", "Work on the dbt project against a private copy of the current version."),
    "backup": ("backup", "Write what can never be rebuilt to one file."),
    "restore": ("backup", "Put a backup back."),
    "roll-back": ("backup", "Make the previous version current again."),
    "doctor": ("doctor", "Say what is wrong with this installation, and what to do."),
}


class _LazyGroup(click.Group):
    """A group that knows its commands by name and imports one when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(f"klantbeeld.cli.{_COMMANDS[cmd_name][0]}")
        command = getattr(module, cmd_name.replace("-", "_"))
        assert isinstance(command, click.Command)  # noqa: S101 - narrows the type
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in _COMMANDS.items()])


@click.group(
    cls=_LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 all good, 1 failed, 2 wrong usage or settings, 3 completed but something "
    "needs attention, 4 another run is in progress.",
)
@click.version_option(package_name="klantbeeld")
def cli() -> None:
    """Klantbeeld: one profile per customer, from every system, given back to the CRM."""


def main(arguments: list[str] | None = None) -> Any:
    """Run the command line; errors a person can act on are printed without a traceback."""
    try:
        code = cli.main(arguments, standalone_mode=False)
    except KlantbeeldError as error:
        code = _tell(error)
    except click.ClickException as error:
        error.show()
        code = ExitCode.USAGE
    except (click.Abort, KeyboardInterrupt):
        click.echo("stopped", err=True)
        code = 130
    except Exception as error:
        from klantbeeld.files import explain_storage

        home = Path(os.environ.get("KLANTBEELD_HOME", ".klantbeeld")).absolute()
        explained = explain_storage(error, home)
        if explained is None:
            raise
        code = _tell(explained)
    sys.exit(int(code) if isinstance(code, int) else 0)


def _tell(error: KlantbeeldError) -> int:
    click.secho(f"error: {error.message}", fg="red", err=True)
    if error.hint:
        click.echo(f"  {error.hint}", err=True)
    return error.exit_code
