"""How a group of commands lists them: the whole first sentence of each, wrapped and not cut off.

Belongs here: that one difference from Click. Does not: commands.
"""

import click


class Group(click.Group):
    """A group, and groups within it, whose `--help` cuts no sentence off."""

    group_class = type

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands."""
        found = [self.commands[name] for name in self.list_commands(ctx)]
        rows = [(str(command.name), _first_sentence(command)) for command in found]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


def _first_sentence(command: click.Command) -> str:
    return command.get_short_help_str(limit=len(command.help or ""))
