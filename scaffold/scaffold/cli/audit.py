"""`scaffold audit`: runs as a record to read, to check and to pass on."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from scaffold.cli.exporting import export
from scaffold.cli.integrity import key, sign, verify
from scaffold.cli.options import journal_at, json_option, run_argument, runs_option
from scaffold.cli.reporting import report
from scaffold.cli.why import why

if TYPE_CHECKING:
    from scaffold.interfaces import KeptRuns
    from scaffold.trace.chain import Link

_STYLES = {"good": "green", "bad": "red", "wait": "yellow", "plain": None, "quiet": None}


@click.group()
def audit() -> None:
    """What runs did."""


for _command in (verify, key, sign):
    audit.add_command(_command)


@audit.command("list")
@json_option
@runs_option
def list_(as_json: bool, runs: Path | None) -> None:
    """List runs, oldest first: id, how it stands, planner, events."""
    journal = journal_at(runs)
    found = [_row(journal, run) for run in journal.runs()]
    if as_json:
        click.echo(json.dumps(found))
        return
    if not found:
        click.echo(f"no runs in {journal.name}")
    for row in found:
        click.echo(f"{row['run']}  {row['status']:<11}  {row['events']:>6} events  {row['planner']}")


def _row(journal: KeptRuns, run: str) -> dict[str, Any]:
    from scaffold.cli.speech import plain
    from scaffold.trace.folders import first_event, last_event, status

    folder = journal.folder(run, brief=True)
    last = last_event(folder)
    planner = getattr(first_event(folder), "planner", "?")
    return {
        "run": run,
        "status": status(folder),
        "planner": plain(planner),
        "events": last.seq if last else 0,
        "trace": journal.location(run),
    }


@audit.command()
@run_argument
@runs_option
@click.option("--brief", is_flag=True, help="Decisions, actions and people only.")
@click.option("--json", "as_json", is_flag=True, help="Print each event with its content, one JSON object a line.")
def show(run: str, runs: Path | None, brief: bool, as_json: bool) -> None:
    """Show a run's trace as text, one event a line, and how much of its reasoning was read.

    Each line is checked as it is read.
    """
    journal = journal_at(runs)
    links = _links(journal, journal.find(run))
    if as_json:
        _show_json(links)
        return
    from scaffold.cli.narration import Narrator
    from scaffold.odds.monitorability import Reading

    narrator, reading = Narrator(), Reading()
    for link in links:
        event = link.event
        reading.take(event)
        told = narrator.tell(event, link.content.body if link.content is not None else b"")
        if told is not None and not (brief and told.tone == "quiet"):
            clock = time.strftime("%H:%M:%S", time.localtime(event.at))
            text = click.style(told.text, fg=_STYLES[told.tone], dim=told.tone == "quiet")
            click.echo(f"{event.seq:>5}  {clock}  {event.key or '-':<8}  {text}")
    click.echo(reading.found.sentence(), err=True)


def _show_json(links: Iterator[Link]) -> None:
    from scaffold.trace.chain import body_of
    from scaffold.vocabulary.events import encode

    for link in links:
        event = json.loads(encode(link.event))
        # Letters that a terminal might obey stay escaped.
        click.echo(json.dumps({**event, "content": body_of(link.content)}))


def _links(journal: KeptRuns, run: str) -> Iterator[Link]:
    from scaffold.trace.chain import Chain
    from scaffold.trace.files import read_files

    chain = Chain()
    for record in read_files(journal.folder(run)):
        yield chain.follow(record)


@audit.command()
@click.option("--key", metavar="RUN", help="A run whose answers are taken for right; else what most samples agree on.")
@click.option("--write", metavar="FILE", type=click.Path(path_type=Path), help="Write corrections, for `sampling`.")
@click.option("--plot", metavar="FILE", type=click.Path(path_type=Path), help="Draw reliability diagrams (PNG, SVG).")
@json_option
@runs_option
def calibration(key: str | None, write: Path | None, plot: Path | None, as_json: bool, runs: Path | None) -> None:
    """Say how well the confidence that steps stated has fitted what was seen, per backend and kind of step.

    All runs are read. Brier is 0 where every statement was so, 0.25 for a coin; the error is how far what was stated
    lies from what was seen. `corrected` is what remains after correction, learned from other statements.
    """
    from scaffold.odds import calibration as odds
    from scaffold.odds.measured import Measured, key_of

    journal = journal_at(runs)
    known = key_of(journal.folder(journal.find(key))) if key else None
    found = odds.statements(Measured().read(journal.folder(run) for run in journal.runs()), known)
    told = odds.scores(found, by_key=known is not None)
    if as_json:
        import msgspec

        click.echo(json.dumps(msgspec.to_builtins(told)))
    elif not told:
        click.echo(f"no step in {journal.name} has stated a confidence that can be held against anything")
    for score in () if as_json else told:
        after = ""
        if score.corrected_brier is not None and score.corrected_error is not None:
            after = f"; corrected: Brier {score.corrected_brier:.3f}, error {score.corrected_error:.3f}"
        click.echo(
            f"{score.step} by {score.backend}:{score.model}: {score.count} statements, {score.right:.1%} right by "
            f"{score.measured}; Brier {score.brier:.3f}, error {score.error:.3f}{after}"
        )
    if write is not None:
        made = odds.fit(found)
        odds.save(made, write)
        click.echo(f"wrote {len(made.curves)} corrections to {write}", err=True)
    if plot is not None and told:
        odds.draw(told, plot)


@audit.command()
@click.option(
    "--write", metavar="FILE", type=click.Path(path_type=Path), help="Write the figures, for `monitorability`."
)
@json_option
@runs_option
def monitorability(write: Path | None, as_json: bool, runs: Path | None) -> None:
    """Say what probes have found of the reasoning, per backend and kind of step, with 95 % intervals.

    All runs are read. A share of 1 means that no probe found anything wrong; what permissions go by is the interval's
    lower end, so that a few probes permit little.
    """
    from scaffold.cli.speech import plain
    from scaffold.odds.monitorability import gather, save

    journal = journal_at(runs)
    probed = gather(journal.folder(run) for run in journal.runs())
    known = probed.figures()
    if as_json:
        import msgspec

        click.echo(json.dumps(msgspec.to_builtins(known)))
    elif not known.figures:
        click.echo(f"no step in {journal.name} was probed: name `faithfulness` or `consistency` among the monitors")
    for figure in () if as_json else known.figures:
        click.echo(
            f"{figure.step} by {plain(figure.backend)}:{plain(figure.model)}: {figure.held / figure.of:.1%} without "
            f"{figure.probed}, {figure.low:.1%} to {figure.high:.1%}, {figure.of} probes"
        )
    for run in probed.unreadable:
        click.echo(f"{run} cannot be read, and counts for nothing", err=True)
    if write is not None:
        save(known, write)
        click.echo(f"wrote {len(known.figures)} figures to {write}", err=True)


audit.add_command(export)
audit.add_command(why)
audit.add_command(report)
