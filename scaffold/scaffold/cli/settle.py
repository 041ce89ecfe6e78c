"""`scaffold settle`."""

from __future__ import annotations

import asyncio
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from scaffold.cli.options import journal_at, runs_option

if TYPE_CHECKING:
    from scaffold.interfaces import KeptRuns


@click.command()
@click.argument("run", metavar="[RUN]", required=False)
@click.argument("key", metavar="[KEY]", required=False)
@click.option(
    "--happened/--did-not-happen",
    "happened",
    default=None,
    help="What you found out: the action had its effect, or it had none.",
)
@runs_option
def settle(run: str | None, key: str | None, happened: bool | None, runs: Path | None) -> None:
    """Say whether an action with an unknown outcome happened, so that other runs know whether they may do it.

    Without RUN, all such actions are listed. KEY is the action's key. The run's trace is not changed; when the run is
    resumed, it learns this and records it under your name.
    """
    if run is None:
        _list(journal_at(runs))
        return
    if key is None:
        raise click.UsageError("give the action's KEY too; `scaffold settle` lists what can be settled")
    if happened is None:
        raise click.UsageError("give --happened or --did-not-happen")
    _settle(run, key, happened=happened, journal=journal_at(runs))


def _list(journal: KeptRuns) -> None:
    """List the actions of all runs of which nobody knows whether they happened."""
    from scaffold.cli.options import runs_said
    from scaffold.cli.speech import plain
    from scaffold.errors import ScaffoldError
    from scaffold.trace.identities import unsettled_in
    from scaffold.trace.records import read_files

    found = False
    for run in journal.runs():
        try:
            unsettled = unsettled_in(read_files(journal.folder(run)), journal.inbox(run))
        except FileNotFoundError:  # removed meanwhile
            continue
        except (ScaffoldError, OSError) as error:
            click.echo(f"skipping run {run}, which cannot be read: {plain(str(error))}", err=True)
            continue
        for key, act in unsettled.items():
            found = True
            command = f"scaffold settle {run} {shlex.quote(plain(key))} --happened{runs_said(journal)}"
            click.echo(f"{run}  {plain(key):<8} {plain(act.action)}\n  {command}    (or --did-not-happen)")
    if not found:
        click.echo("no action has an unknown outcome")


def _settle(run: str, key: str, *, happened: bool, journal: KeptRuns) -> None:
    """Record a person's word on an action."""
    from scaffold.cli.terminal import who
    from scaffold.errors import BadInput, UnknownRun
    from scaffold.interfaces import Answer, HoldsForTheGone
    from scaffold.trace.identities import acts_in, settlement_id, word_on
    from scaffold.trace.records import read_files

    said = f"{'it happened' if happened else 'it did not happen'}, as you say"
    try:
        found = journal.find(run)
    except UnknownRun:
        if isinstance(journal, HoldsForTheGone) and journal.settle_gone(run, key, happened=happened):
            click.echo(f"the action at {key} of run {run}, whose trace is gone: {said}")
            return
        raise
    acts = acts_in(read_files(journal.folder(found)), identities=False)
    act = acts.get(key)
    if act is None:
        raise BadInput(f"run {found} has no action at {key!r}; its actions are at {', '.join(acts) or 'no place'}")
    if act.status not in {"intended", "unknown"}:
        raise BadInput(
            f"the outcome of the action at {key} of run {found} is known already: {act.status or 'not started'}"
        )
    word = Answer(id=settlement_id(key), digest=act.digest, granted=happened, by=who())
    asyncio.run(journal.post(found, word))
    counts = word_on(key, act.digest, journal.inbox(found))
    if counts is not None and counts.granted and not happened:
        said += f"; but it counts as happened, because {counts.by} says so, until they say otherwise too"
    click.echo(f"the action at {key} of run {found}: {said}")
