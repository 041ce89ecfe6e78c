"""`scaffold settle`."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from scaffold.cli.options import journal_at, run_argument, runs_option


@click.command()
@run_argument
@click.argument("key")
@click.option(
    "--happened/--did-not-happen",
    "happened",
    default=None,
    help="What you found out: the action had its effect, or it had none.",
)
@runs_option
def settle(run: str, key: str, happened: bool | None, runs: Path | None) -> None:
    """Say whether an action with an unknown outcome happened, so that other runs know whether they may do it.

    KEY is the action's key, as `scaffold audit show` prints it. The run's trace is not changed; when the run is
    resumed, it learns this and records it under your name.
    """
    from scaffold.cli.terminal import who
    from scaffold.errors import BadInput, UnknownRun
    from scaffold.interfaces import Answer, HoldsForTheGone
    from scaffold.trace.identities import acts_in, settlement_id, word_on
    from scaffold.trace.records import read_files

    if happened is None:
        raise click.UsageError("give --happened or --did-not-happen")
    journal = journal_at(runs)
    said = f"{'it happened' if happened else 'it did not happen'}, as you say"
    try:
        found = journal.find(run)
    except UnknownRun:
        if isinstance(journal, HoldsForTheGone) and journal.settle_gone(run, key, happened=happened):
            click.echo(f"the action at {key} of run {run}, whose trace is gone: {said}")
            return
        raise
    acts = acts_in(read_files(journal.folder(found)))
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
