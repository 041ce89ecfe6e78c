"""The command `scaffold`.

Every subcommand is imported when it is called, so that `scaffold --help` is fast.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Sequence
from importlib import import_module
from io import TextIOWrapper

import click

from scaffold.cli.ending import BAD_INPUT, FAILED, INTERRUPTED
from scaffold.starting import starting

# Where each command is, and its line in the help: known without importing it.
_COMMANDS = {
    "solve": ("scaffold.cli.solve:solve", "Solve a task file."),
    "resume": ("scaffold.cli.solve:resume", "Resume a run that was paused or cut off."),
    "batch": ("scaffold.cli.batch:batch", "Solve many tasks, a few at once; run again to continue."),
    "worker": ("scaffold.cli.worker:worker", "Carry on runs that an engine hands out, on any machine."),
    "database": ("scaffold.cli.database:database", "Create, upgrade or check the PostgreSQL tables."),
    "eval": ("scaffold.cli.eval:evaluate", "Solve and score a suite of cases; compare two evaluations."),
    "estimate": ("scaffold.cli.estimate:estimate", "Estimate a task's chance of success and its cost."),
    "stop": ("scaffold.cli.stop:stop", "Stop a run before its next action."),
    "settle": ("scaffold.cli.settle:settle", "List actions with unknown outcomes; say whether one happened."),
    "approvals": ("scaffold.cli.approvals:approvals", "What waits for a person: list, show, approve, deny, serve."),
    "audit": ("scaffold.cli.audit:audit", "What runs did: show, why, verify, report, export, import, review, prune."),
    "policy": ("scaffold.cli.policy:policy", "Policy files: check, test, explain."),
    "mcp": ("scaffold.cli.mcp:mcp", "MCP servers: list their tools, accept their descriptions."),
    "plugins": ("scaffold.cli.plugins:plugins", "List the installed planners, monitors and backends."),
    "models": ("scaffold.cli.models:models", "Local models: list, pull, path, verify, remove."),
    "schema": ("scaffold.cli.schema:schema", "Print the JSON Schema of task files, for editors."),
    "init": ("scaffold.cli.init:init", "Write a small task file to start from."),
}


class _Commands(click.Group):
    """Subcommands that are imported only when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names, in the order of the help."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a subcommand."""
        found = _COMMANDS.get(cmd_name)
        if found is None:
            return None
        module, _, name = found[0].partition(":")
        with starting():
            command: click.Command = getattr(import_module(module), name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the subcommand, or say which one may have been meant."""
        if args and args[0] not in _COMMANDS and not args[0].startswith("-"):
            from scaffold.errors import nearest

            ctx.fail(f"no command {args[0]!r}{nearest(args[0], _COMMANDS)}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the subcommands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in _COMMANDS.items()])


@click.group(cls=_Commands, no_args_is_help=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="system2-scaffold", prog_name="scaffold")
def cli() -> None:
    """System-2 agents: hand-coded planners, pluggable models, every plan checked before any action runs.

    Exit status: 0 solved, 1 failed, 2 bad input, 3 stopped by oversight, 4 budget spent,
    5 a backend or the place of runs is unavailable, 6 waiting for a person, 130 interrupted.
    """


def _open_what_is_closed() -> None:
    """Open missing standard streams: a daemon may start us without, and the next file would get their descriptors."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: PTH123, SIM115 - open to the end


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status; a user's mistake gives one line, never a traceback."""
    _open_what_is_closed()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal's encoding may lack letters
    with warnings.catch_warnings():
        warnings.showwarning = _warner()
        return _run(arguments)


def _warner() -> Callable[..., None]:
    """Return a function that prints Python's warnings as one line each, without repetitions."""
    said: set[str] = set()

    def warn(message: Warning | str, *_: object, **__: object) -> None:
        from scaffold.cli.speech import lines

        if str(message) not in said:
            said.add(str(message))
            print(f"warning: {lines(str(message))}", file=sys.stderr)  # noqa: T201 - the command speaks on stderr

    return warn


def _run(arguments: Sequence[str] | None) -> int:
    try:
        result = cli.main(arguments if arguments is None else list(arguments), "scaffold", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return BAD_INPUT if isinstance(error, click.UsageError) else error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader has closed the pipe. Without this, Python would complain again when it flushes at exit.
        sys.stdout = None  # no further output
        return FAILED
    except Exception as error:  # noqa: BLE001 - the last resort: one line instead of a traceback
        from scaffold.cli.faults import explain

        return explain(error)
    return result if isinstance(result, int) else 0
