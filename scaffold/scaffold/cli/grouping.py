"""A group of commands whose help does not truncate the commands' first sentences."""

from __future__ import annotations

import click

_LONGEST = 500


class WholeSentences(click.Group):
    """Like click's group, but shows the first sentence of each command in full."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the subcommands."""
        found = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl([(name, each.get_short_help_str(_LONGEST)) for name, each in found if each is not None])
