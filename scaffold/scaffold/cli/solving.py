"""`scaffold solve` and `scaffold resume`."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import click

from scaffold.cli.options import by_name, by_role, journal_at, json_option, key_option, run_argument, runs_option

_verbose = click.option("-v", "--verbose", is_flag=True, help="Show every step and review.")


@click.command()
@click.argument("task", metavar="TASK.yaml", type=click.Path(path_type=Path))
@json_option
@click.option("--plan-only", is_flag=True, help="Run no action that changes anything; answer with what was planned.")
@click.option("--observe", is_flag=True, help="Record what monitors say without enforcing it.")
@click.option(
    "--backend",
    "backends",
    metavar="[ROLE=]SPEC",
    multiple=True,
    help="Backend of a role, in place of the file's.",
)
@click.option("--monitor", "monitors", metavar="NAME", multiple=True, help="A monitor beside the file's.")
@click.option("--input", "inputs", metavar="NAME=VALUE", multiple=True, help="An input, as JSON or text.")
@click.option("--seed", type=int, metavar="N", help="Make samples repeatable, for backends that can.")
@runs_option
@key_option
@_verbose
def solve(  # noqa: PLR0917 - click passes each by its name
    task: Path,
    as_json: bool,
    plan_only: bool,
    observe: bool,
    backends: tuple[str, ...],
    monitors: tuple[str, ...],
    inputs: tuple[str, ...],
    seed: int | None,
    runs: Path | None,
    key: Path | None,
    verbose: bool,
) -> int:
    """Solve the task of a file: the answer goes to stdout, progress to stderr.

    No option approves anything: what needs a person is asked at the terminal, or the run pauses.
    """
    given_backends, given_inputs = by_role(backends), by_name(inputs)
    from scaffold.cli.session import Session

    with Session(journal_at(runs), key, verbose=verbose, as_json=as_json) as session:
        from scaffold import taskfile

        changes = taskfile.Changes(
            backends=given_backends,
            monitors=monitors,
            inputs=given_inputs,
            seed=seed,
            observe=observe,
            plan_only=plan_only,
        )
        built = taskfile.build(task, changes, **session.outside())
        with built.document.locating():
            built.agent.check(built.task)
        return session.run(built.agent, lambda: built.agent.solve(built.task, config=built.config))


@click.command()
@run_argument
@json_option
@runs_option
@key_option
@_verbose
def resume(run: str, as_json: bool, runs: Path | None, key: Path | None, verbose: bool) -> int:
    """Go on with a run that was paused or cut off, from its last recorded event.

    RUN is a run's id, a unique beginning or ending of one, or `last`. A run that has ended gives its outcome
    again.
    """
    from scaffold.cli.session import Session

    journal = journal_at(runs)
    found = journal.find(run)
    with Session(journal, key, verbose=verbose, as_json=as_json) as session:
        from scaffold import taskfile
        from scaffold.agent import read_start

        task, config = asyncio.run(_start(read_start(journal, found)))
        agent = taskfile.rebuild(config, **session.outside())
        agent.check(task)
        return session.run(agent, lambda: agent.resume(found))


async def _start(reading: Any) -> Any:
    return await reading
