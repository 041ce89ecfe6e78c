"""`scaffold stop`."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import click

from scaffold.cli.options import journal_at, runs_option

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scaffold.interfaces import KeptRuns


@click.command()
@click.argument("run", metavar="[RUN]", required=False)
@click.option("--all", "every", is_flag=True, help="Stop every run that has not ended.")
@runs_option
def stop(run: str | None, every: bool, runs: Path | None) -> int:
    """Stop a run before its next action; it ends as stopped, and cannot be resumed.

    A running run notices before its next action, a paused one when it is resumed. With --all, runs that cannot be
    reached are named, and the others are stopped; the exit status is then 5.
    """
    from scaffold.errors import BadInput
    from scaffold.trace.folders import how_it_ended, open_runs

    if every == (run is not None):
        raise click.UsageError("name one RUN, or give --all")
    journal = journal_at(runs)
    if run is not None:
        found = journal.find(run)
        ended = how_it_ended(journal.folder(found, brief=True))
        if ended is not None:
            raise BadInput(f"run {found} has ended already ({ended})")
        asyncio.run(_post(journal, found))
        return 0
    found_open = open_runs(journal)
    if not found_open:
        click.echo("no run is under way or paused")
        return 0
    return asyncio.run(_post_all(journal, found_open))


async def _post_all(journal: KeptRuns, runs: Sequence[str]) -> int:
    """Stop several runs, over one connection where they are in a database; return the exit status."""
    from scaffold.cli.faults import explain
    from scaffold.errors import JournalFailed

    status = 0
    async with journal if isinstance(journal, AbstractAsyncContextManager) else nullcontext():
        for run in runs:
            try:
                await _post(journal, run)
            except JournalFailed as error:
                status = explain(error)
    return status


async def _post(journal: KeptRuns, run: str) -> None:
    from scaffold.cli.speech import plain
    from scaffold.cli.terminal import who
    from scaffold.interfaces import Answer
    from scaffold.trace.answers import STOP

    await journal.post(run, Answer(id=STOP, digest="", by=who()))
    click.echo(f"{plain(run)} stops before its next action")
