"""`klantbeeld doctor`: what is wrong, and what to do."""

import click

from klantbeeld.doctor import examine
from klantbeeld.errors import ExitCode

_MARK = {
    "ok": ("ok      ", "green"),
    "warning": ("look    ", "yellow"),
    "problem": ("PROBLEM ", "red"),
}


@click.command()
def doctor() -> int:
    """Examine this installation and its home; exit code 1 when there is a problem."""
    problems = 0
    for finding in examine():
        mark, colour = _MARK[finding.level]
        problems += finding.level == "problem"
        message = finding.message.replace("\n", "\n        ")
        click.echo(f"{click.style(mark, fg=colour)}{finding.check}: {message}")
        if finding.hint:
            click.echo(f"        {finding.hint}")
    return ExitCode.FAILED if problems else ExitCode.OK
