"""`scaffold audit actions`: what all runs did, filtered, and who approved it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from scaffold.cli.options import journal_at, moment, runs_option
from scaffold.cli.speech import call, json_text, plain
from scaffold.errors import count, date

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scaffold.interfaces import KeptRuns
    from scaffold.projections.acted import Acted

_WIDTH = 160


@click.command()
@click.argument("names", metavar="[ACTION...]", nargs=-1)
@click.option("--since", metavar="WHEN", type=moment, help="Begun since then: an age such as 7d, or a date or time.")
@click.option("--until", metavar="WHEN", type=moment, help="Begun before then.")
@click.option(
    "--where", metavar="CEL", help="Those of which this is true: an expression over `args` and what --json prints."
)
@click.option("--json", "as_json", is_flag=True, help="Print each action as one JSON object per line.")
@runs_option
def actions(
    *,
    names: tuple[str, ...],
    since: float | None,
    until: float | None,
    where: str | None,
    as_json: bool,
    runs: Path | None,
) -> int:
    """List the actions of all runs, oldest run first: what became of each, and who approved it.

    ACTION is the name of one. An action counts from when it was begun, or else proposed. Where arguments are pruned or
    encrypted, --where leaves out only what it excludes without them. Exit status 1 if a run could not be read to its
    end.
    """
    import msgspec

    wanted = _Condition(where) if where is not None else None
    found = _Found(journal_at(runs), since or 0)
    shown = withheld = 0
    for each in found.actions():
        if names and each.action not in names:
            continue
        if each.at < (since or 0) or (until is not None and each.at >= until):
            continue
        if wanted is not None and not wanted(each):
            continue
        shown += 1
        withheld += each.arguments is None
        click.echo(json_text(msgspec.to_builtins(each)) if as_json else _told(each))
    if not shown and not as_json:
        click.echo("no such action")
    if withheld:
        click.echo(f"the arguments of {count(withheld, 'action')} listed are withheld", err=True)
    if wanted is not None and wanted.unfit:
        click.echo(f"--where does not fit {count(wanted.unfit, 'action')}, left out, such as {wanted.such}", err=True)
    return 1 if found.faults else 0


class _Found:
    """The actions of all runs of a journal, of which a run that cannot be read to its end is named.

    Attributes:
        faults: how many runs could not be.
    """

    def __init__(self, journal: KeptRuns, since: float) -> None:
        self._journal = journal
        self._since = since
        self.faults = 0

    def actions(self) -> Iterator[Acted]:
        """Yield those of all runs that were written to since then."""
        import msgspec

        from scaffold.errors import TraceError
        from scaffold.projections.acted import acted
        from scaffold.trace.folders import last_event
        from scaffold.trace.reading import links

        for run in self._journal.runs():
            try:
                last = last_event(self._journal.folder(run, brief=True))
                if last is None or last.at >= self._since:
                    yield from acted(run, links(self._journal.folder(run)))
            except FileNotFoundError:  # removed meanwhile
                continue
            except (TraceError, OSError, msgspec.MsgspecError) as error:
                self.faults += 1
                click.echo(f"run {run} cannot be read to its end: {plain(str(error))}", err=True)


class _Condition:
    """An expression in CEL about one action.

    Attributes:
        unfit: how many actions it could not be evaluated for, other than for want of their arguments.
        such: the first of them, and why.
    """

    def __init__(self, source: str) -> None:
        from scaffold.cel_library import compile_cel
        from scaffold.projections.acted import Acted

        try:
            self._program = compile_cel(source)
        except ValueError as error:
            fault = re.search(r"<input>:\d+:(\d+): (?:Syntax error: )?([^\n]*)", str(error))
            said = f"at character {fault[1]}, {fault[2].split(' expecting {')[0]}" if fault else _first(error)
            raise click.BadParameter(f"is not a CEL expression: {said}", param_hint="--where") from None
        known = ["args", *Acted.__struct_fields__]
        for name in self._program.variables():
            if name not in known:
                raise click.BadParameter(
                    f"there is no {name!r}: an argument is `args.{name}`; else there are {', '.join(known[1:])}",
                    param_hint="--where",
                )
        self.unfit = 0
        self.such = ""

    def __call__(self, each: Acted) -> bool:
        """Whether it is true of an action, or may be, if it depends on withheld arguments."""
        import msgspec

        from scaffold.cel_library import new_context

        values = msgspec.to_builtins(each)
        if each.arguments is None:
            del values["arguments"]
        else:
            values["args"] = each.arguments
        try:
            said = self._program.execute(new_context(values))
        except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as error:
            if each.arguments is None:
                return True
            why = f"it has no {error}" if isinstance(error, KeyError) else _first(error)
        else:
            if isinstance(said, bool):
                return said
            why = f"it gives {said!r}, neither true nor false"
        self.unfit += 1
        self.such = self.such or f"{plain(each.action)} at {plain(each.key)} of {plain(each.run)}: {plain(why)}"
        return False


def _first(error: Exception) -> str:
    """Return the first sentence of what the library says."""
    return str(error).splitlines()[0].partition(". ")[0]


def _told(each: Acted) -> str:
    said = f"{plain(each.action)} (withheld)" if each.arguments is None else call(each.action, each.arguments, _WIDTH)
    for verb, people in (("approved", each.approved_by), ("denied", each.denied_by)):
        if people:
            said += f", {verb} by {' and '.join(map(plain, people))}"
    if each.undoes:
        said += f", undoes {plain(each.undoes)}"
    return f"{date(each.at)}  {plain(each.run)}  {plain(each.key):<6}  {each.status:<9}  {said}"
