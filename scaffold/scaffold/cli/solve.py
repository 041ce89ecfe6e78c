"""`scaffold solve` and `scaffold resume`."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import click

from scaffold.cli.aside import aside
from scaffold.cli.options import (
    Signing,
    backends_option,
    backends_said,
    budget_option,
    by_name,
    changes_options,
    journal_at,
    json_option,
    key_option,
    run_argument,
    runs_option,
)
from scaffold.starting import starting

_wait = click.option("--wait", is_flag=True, help="Wait for a person who is not at this terminal, instead of pausing.")
_words = click.option(
    "--words",
    type=click.Choice(["live", "cleared"]),
    help="Show the model's words: live, as they are generated, or each step once oversight has cleared it.",
)
_verbose = click.option("-v", "--verbose", is_flag=True, help="Show every step and review.")


@click.command()
@click.argument("task", metavar="TASK.yaml", type=click.Path(path_type=Path))
@json_option
@changes_options
@runs_option
@key_option
@_wait
@_words
@_verbose
def solve(
    task: Path,
    as_json: bool,
    said: dict[str, Any],
    runs: Path | None,
    key: Signing | None,
    wait: bool,
    words: Any,
    verbose: bool,
) -> int:
    """Solve a task file: the answer goes to stdout, progress to stderr.

    No option approves anything: what needs a person is asked at the terminal, and by a webhook if
    $SCAFFOLD_WEBHOOK_URL is set. If nobody answers, the run pauses, or with --wait waits for `scaffold approvals`.
    """
    with starting():
        from scaffold.cli.session import Session

    with Session(journal_at(runs), key, verbose=verbose, as_json=as_json, words=words) as session:
        outside = session.outside(wait=wait)
        with starting(), aside():
            from scaffold import taskfile

            built = taskfile.build(task, taskfile.Changes(**said), **outside)
            with built.document.locating():
                built.agent.check(built.task)
        return session.run(built.agent, lambda: built.agent.solve(built.task, config=built.config))


@click.command()
@run_argument
@json_option
@backends_option
@budget_option
@runs_option
@key_option
@_wait
@_words
@_verbose
def resume(
    run: str,
    *,
    as_json: bool,
    backends: dict[str, str],
    said_budget: tuple[str, ...],
    runs: Path | None,
    key: Signing | None,
    wait: bool,
    words: Any,
    verbose: bool,
) -> int:
    """Resume a run that was paused or cut off, from its last recorded event.

    RUN is a run's id, a unique beginning or ending of one, or `last`. A run that has ended gives its outcome again.
    The run keeps to how it began, whatever its task file says now. Only --backend asks another model for what is left,
    this time, and --budget raises its limits, which is recorded under your name.
    """
    budget = by_name(said_budget, "--budget")
    with starting():
        from scaffold.cli.session import Session
        from scaffold.cli.terminal import who

    journal = journal_at(runs)
    found = journal.find(run)
    with Session(journal, key, verbose=verbose, as_json=as_json, words=words) as session:
        outside = session.outside(wait=wait)
        with starting(), aside():
            from scaffold import taskfile
            from scaffold.assembly import read_start
            from scaffold.trace.folders import has_ended

            task, config = asyncio.run(_start(read_start(journal, found)))
            agent = taskfile.rebuild(config, backends, **outside)
            agent.check(task)
        return session.run(
            agent,
            lambda: agent.resume(found, budget=budget, by=who()),
            has_ended=has_ended(journal, found),
            again=backends_said(backends),
        )


async def _start(reading: Any) -> Any:
    return await reading
