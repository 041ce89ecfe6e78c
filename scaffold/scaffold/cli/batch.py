"""`scaffold batch`: many tasks with one runner."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from scaffold.cli.aside import aside
from scaffold.cli.many import outside_of
from scaffold.cli.options import Signing, budget_option, by_name, changes_options, journal_at, key_option, runs_option
from scaffold.cli.worker import engine_option

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from scaffold.batch.items import Fault, Item
    from scaffold.batch.results import Results
    from scaffold.batch.runner import Runner, Watcher
    from scaffold.interfaces import KeptRuns
    from scaffold.taskfile import Changes, Shared

_AT_ONCE = 8

at_once_option = click.option(
    "-j", "--at-once", type=click.IntRange(1, 10_000), default=_AT_ONCE, show_default=True, help="Most runs at once."
)


@click.command()
@click.argument("tasks", metavar="TASK.yaml...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--inputs",
    "lines",
    metavar="FILE.jsonl",
    type=click.Path(path_type=Path),
    help="One object of inputs per line, for one TASK.yaml.",
)
@click.option(
    "--results", metavar="FILE.jsonl", type=click.Path(path_type=Path), help="Where results go [TASK.results.jsonl]."
)
@at_once_option
@engine_option
@click.option("--retry", is_flag=True, help="Start failed tasks again.")
@click.option("--fail-fast", is_flag=True, help="Stop at the first task that is invalid or not solved.")
@changes_options
@budget_option
@runs_option
@key_option
def batch(  # noqa: PLR0917 - click passes each by its name
    tasks: tuple[Path, ...],
    lines: Path | None,
    results: Path | None,
    at_once: int,
    engine: str | None,
    retry: bool,
    fail_fast: bool,
    said: dict[str, Any],
    said_budget: tuple[str, ...],
    runs: Path | None,
    key: Signing | None,
) -> int:
    """Solve many tasks: several task files, or one for each line of inputs.

    Each run that ends adds a line to the results. Run the same command again to continue: runs that have ended are
    skipped, and those that were interrupted or wait are resumed; --backend asks another model for what is left, and
    --budget raises the limits of those that spent theirs. Nobody is asked at the terminal: see `scaffold approvals`.

    With --engine, workers solve the tasks (see `scaffold worker`), -j is the number of runs begun ahead, and runs are
    kept in PostgreSQL.

    A line of inputs is an object such as {"question": "How many?"}; its `id` names the task, its `prompt` replaces the
    file's.

    Exit status: 0 all solved; else the first of these that occurred: 130 interrupted, 2 a fault in the input, 3 stopped
    by oversight, 1 failed, 5 backend unavailable, 4 budget spent, 6 waiting for a person.
    """
    if lines is not None and len(tasks) > 1:
        raise click.UsageError("--inputs needs exactly one TASK.yaml")
    from scaffold.batch.items import count_lines
    from scaffold.batch.results import Results
    from scaffold.batch.runner import Runner
    from scaffold.cli.many import ManyRuns, display
    from scaffold.cli.terminal import who
    from scaffold.limits import raised_to
    from scaffold.taskfile import Changes, Shared

    budget = raised_to(by_name(said_budget, "--budget"))
    place = engine if runs is None and engine is not None and engine.startswith("postgres") else runs
    changes, journal, shared = Changes(**said), journal_at(place), Shared()
    path = results or Path(f"{tasks[0].stem}.results.jsonl")
    with ManyRuns(display(count_lines(lines) if lines is not None else len(tasks))) as foreground:
        runner = Runner(
            journal,
            foreground.shown,
            at_once=at_once,
            retry=retry,
            fail_fast=fail_fast,
            budget=budget,
            by=who(),
        )
        outside = outside_of(journal, runner, key)
        if lines is not None:
            with aside():
                items, what, prepare = _of_lines(tasks[0], lines, changes, shared, outside, foreground.shown)
        else:
            items, what, prepare = _of_files(tasks, path, changes, shared, outside)
        with Results(path, what) as opened:

            async def work() -> None:
                try:
                    if engine is None:
                        await prepare()
                        await runner.run(items, opened)
                    else:
                        foreground.shown.say("workers solve these: start one with `scaffold worker` and this --engine")
                        await _by_workers(engine, journal, runner, items, opened)
                finally:
                    await shared.close()

            foreground.drive(runner, work)
            return foreground.tell(runner, opened)


async def _by_workers(
    engine: str, journal: KeptRuns, runner: Runner, items: Iterator[Item | Fault], results: Results
) -> None:
    """Begin the runs, have workers solve them, and record how they end."""
    from scaffold.batch.remotely import by_workers
    from scaffold.trace.postgres import PostgresJournal
    from scaffold.workers.engines import engine_of
    from scaffold.workers.remote import Delivery

    hands_out = engine_of(engine)
    delivery = Delivery(hands_out, journal)
    assert isinstance(journal, PostgresJournal)  # noqa: S101 - else there is no delivery
    async with hands_out, journal:
        await runner.run(by_workers(items, delivery), results)


_Parts = tuple["Iterator[Item | Fault]", str, "Callable[[], Awaitable[None]]"]


def _of_lines(
    task: Path, lines: Path, changes: Changes, shared: Shared, outside: dict[str, Any], shown: Watcher
) -> _Parts:
    """Make the items of one template, what they share, and what to do before the first."""
    from scaffold import taskfile
    from scaffold.batch.items import batch_of_template, items_of_lines, read_lines

    template = taskfile.Template(taskfile.read(task), changes, shared=shared, **outside)
    items = items_of_lines(template, read_lines(lines))
    return items, batch_of_template(template), lambda: template.agent.prepare(shown.preparing)


def _of_files(tasks: tuple[Path, ...], path: Path, changes: Changes, shared: Shared, outside: dict[str, Any]) -> _Parts:
    """Make the items of task files, each prepared when its turn comes."""
    from scaffold import taskfile
    from scaffold.batch.items import batch_of_files, items_of_files

    async def prepare() -> None:
        return None

    items = items_of_files(tasks, path.parent, lambda file: taskfile.build(file, changes, shared=shared, **outside))
    return items, batch_of_files(changes), prepare
