"""`scaffold audit show`: shows a trace as text: whole, in part, as a tree, or as it grows."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from scaffold.cli.options import journal_at, run_argument, runs_option
from scaffold.cli.speech import json_text, plain

if TYPE_CHECKING:
    from scaffold.cli.narration import Told
    from scaffold.interfaces import KeptRuns
    from scaffold.trace.chain import Link

_DIGITS, _LAST = 18, 10**18  # what has more digits is no move's number, and comes last
_STYLES = {"good": "green", "bad": "red", "wait": "yellow", "plain": None, "quiet": None}


@dataclass(frozen=True)
class Filter:
    """A filter of events.

    Attributes:
        kinds: prefixes of their kinds, such as `action`; empty means all.
        key: a key that they are at or below.
        text: text that they or their content must contain, ignoring case.
        after: the number that they come after.
    """

    kinds: tuple[str, ...] = ()
    key: str = ""
    text: str = ""
    after: int = 0

    def __call__(self, link: Link) -> bool:
        """Whether an event passes."""
        from scaffold.trace.pruning import folded, spellings
        from scaffold.vocabulary.events import encode

        event = link.event
        kind = str(event.__struct_config__.tag)
        if event.seq <= self.after or (self.kinds and not kind.startswith(self.kinds)):
            return False
        if self.key and event.key != self.key and not event.key.startswith(f"{self.key}/"):
            return False
        if not self.text:
            return True
        said = encode(event) + (link.content.body if link.content is not None else b"")
        written = folded(said.decode(errors="replace"))  # JSON: quotes and line ends are escaped in it
        return any(form in written for form in spellings([self.text]))


@click.command()
@run_argument
@runs_option
@click.option("--brief", is_flag=True, help="Decisions, actions and people only.")
@click.option("--tree", is_flag=True, help="Order by the planner's structure instead of by time.")
@click.option("--follow", is_flag=True, help="Keep showing events as the run is written, until it ends or pauses.")
@click.option(
    "--kind", "kinds", metavar="KIND", multiple=True, help="Events whose kind begins with this: action, step, reviewed."
)
@click.option("--at", "key", metavar="KEY", default="", help="Events at or below this key.")
@click.option("--with", "text", metavar="TEXT", default="", help="Events that contain this text.")
@click.option("--after", metavar="N", type=click.IntRange(min=0), default=0, help="Events after number N.")
@click.option("--json", "as_json", is_flag=True, help="Print each event with its content, one JSON object per line.")
def show(
    *,
    run: str,
    runs: Path | None,
    brief: bool,
    tree: bool,
    follow: bool,
    kinds: tuple[str, ...],
    key: str,
    text: str,
    after: int,
    as_json: bool,
) -> None:
    """Show a run's trace as text, one event per line, and how much of its reasoning was read.

    Each line is checked as it is read.
    """
    if tree and follow:
        raise click.UsageError("--tree and --follow cannot be combined: leave one of them out")
    _check_kinds(kinds)
    journal = journal_at(runs)
    wanted = Filter(kinds, key, text, after)
    links = _links(journal, journal.find(run), follow=follow)
    if as_json:
        _show_json(link for link in links if wanted(link))
        return
    from scaffold.cli.narration import Narrator
    from scaffold.odds.monitorability import Reading
    from scaffold.trace.chain import as_written

    narrator, reading = Narrator(), Reading()

    def told() -> Iterator[tuple[Link, Told]]:
        for link in links:
            reading.take(link.event)
            with as_written(link.event):
                said = narrator.tell(link.event, link.content.body if link.content is not None else b"")
            if said is not None and wanted(link) and not (brief and said.tone == "quiet"):
                yield link, said

    if tree:
        _show_tree(told())
    else:
        for link, said in told():
            event = link.event
            with as_written(event):
                clock = time.strftime("%H:%M:%S", time.localtime(event.at))
            click.echo(f"{event.seq:>5}  {clock}  {plain(event.key) or '-':<8}  {_styled(said)}")
    click.echo(reading.found.sentence(), err=True)


def _check_kinds(said: tuple[str, ...]) -> None:
    from scaffold.vocabulary.events import KINDS

    known = [str(kind.__struct_config__.tag) for kind in KINDS] if said else []
    for each in said:
        if not any(kind.startswith(each) for kind in known):
            groups = ", ".join(dict.fromkeys(kind.partition(".")[0] for kind in known))
            raise click.BadParameter(f"no kind of event begins with {each!r}: {groups}", param_hint="--kind")


def _styled(said: Told) -> str:
    return click.style(plain(said.text), fg=_STYLES[said.tone], dim=said.tone == "quiet")


def _show_tree(told: Iterator[tuple[Link, Told]]) -> None:
    """Print each key once, below its parent, with its events in order."""
    by_key: dict[tuple[Any, ...], list[str]] = {}
    for link, said in told:
        by_key.setdefault(_place(link.event.key), []).append(f"{link.event.seq:>5}  {_styled(said)}")
    for place in sorted(by_key):
        indent = "  " * len(place)
        if place:
            click.echo(indent + plain("/".join(text or str(part) for part, text in place)))
        for text in by_key[place]:
            click.echo(f"{indent}{text}")


def _place(key: str) -> tuple[tuple[int, str], ...]:
    """Return a sort key for a move's key: numbers by value, then everything else."""
    parts = key.split("/") if key else []
    return tuple((int(part), "") if part.isdecimal() and len(part) <= _DIGITS else (_LAST, part) for part in parts)


def _show_json(links: Iterator[Link]) -> None:
    from scaffold.trace.chain import as_written, body_of
    from scaffold.vocabulary.events import encode

    for link in links:
        event = json.loads(encode(link.event))
        with as_written(link.event):
            # Characters that a terminal might interpret stay escaped.
            told = json_text({**event, "content": body_of(link.content)})
        click.echo(told)


def _links(journal: KeptRuns, run: str, *, follow: bool) -> Iterator[Link]:
    from scaffold.trace import reading

    if not follow:
        return reading.links(journal.folder(run))
    return reading.followed(lambda: journal.folder(run))
