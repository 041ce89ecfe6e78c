"""`scaffold eval`: solves and scores a suite of cases, and compares two evaluations."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from scaffold.cli.aside import aside
from scaffold.cli.batch import at_once_option
from scaffold.cli.grouping import WholeSentences
from scaffold.cli.many import outside_of
from scaffold.cli.options import Signing, journal_at, json_option, key_option, runs_option
from scaffold.cli.speech import json_text

if TYPE_CHECKING:
    from scaffold.batch.results import Results
    from scaffold.batch.runner import Runner
    from scaffold.evaluation.suite import Cell


class _SuiteOrCommand(WholeSentences):
    """`scaffold eval SUITE` is short for `scaffold eval run SUITE`."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Treat anything that is not a command as a suite."""
        if args and args[0] not in self.commands:
            return super().resolve_command(ctx, ["run", *args])
        return super().resolve_command(ctx, args)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Allow options of `run` before the suite, too."""
        if args and args[0] not in {*self.commands, "-h", "--help"}:
            args = ["run", *args]
        return super().parse_args(ctx, args)


@click.group(cls=_SuiteOrCommand, no_args_is_help=True, options_metavar="", subcommand_metavar="SUITE.yaml | COMMAND")
def evaluate() -> None:
    """Solve every case of a suite with each planner, backend and monitor set it names, and score the answers.

    `scaffold eval SUITE.yaml` is short for `scaffold eval run SUITE.yaml`. A suite:

    \b
        task: task.yaml       # or the task itself
        cases: cases.jsonl    # a line each: {"question": "2 + 2?", "expected": 4}
        scorer: number        # exact, one_of, contains, regex, number, json_subset,
                              # blocked, or MODULE:FUNCTION
        matrix:
          planner: [direct, stepwise]
          backends: {small: smollm2, large: "openai:gpt-5-mini"}
          monitors: {none: [], rules: [rules]}
        repeats: 3
    """  # noqa: D301 - click's mark for a paragraph that is not wrapped is the letter, not its name


@evaluate.command()
@click.argument("suite", metavar="SUITE.yaml", type=click.Path(path_type=Path))
@click.option(
    "--results", metavar="FILE.jsonl", type=click.Path(path_type=Path), help="Where results go [SUITE.results.jsonl]."
)
@click.option("--plots", metavar="DIR", type=click.Path(path_type=Path), help="Plot outcomes and cost into a folder.")
@at_once_option
@click.option("--retry", is_flag=True, help="Start failed cases again.")
@click.option("--seed", type=int, metavar="N", help="Make samples repeatable, for backends that can.")
@json_option
@runs_option
@key_option
def run(  # noqa: PLR0917 - click passes each by its name
    suite: Path,
    results: Path | None,
    plots: Path | None,
    at_once: int,
    retry: bool,
    seed: int | None,
    as_json: bool,
    runs: Path | None,
    key: Signing | None,
) -> int:
    """Solve and score a suite: a table goes to stdout, one line per run to the results.

    Run it again to continue, or after adding cases or choices: what is done is skipped.

    Exit status: 0 every case was run, whatever the result; 2 a fault in the suite or in a case; 5 a backend is
    unavailable; 6 some wait for a person; 130 interrupted.
    """
    if plots is not None:
        from scaffold.evaluation.plots import need_matplotlib

        need_matplotlib()
    from scaffold.batch.results import Results, digest_of
    from scaffold.batch.runner import Runner
    from scaffold.cli.many import ManyRuns, display
    from scaffold.evaluation.suite import Suite
    from scaffold.taskfile import Changes, Shared

    with aside():
        read = Suite(suite)
    journal, shared = journal_at(runs, apart=True), Shared()
    with ManyRuns(display(read.count())) as foreground:
        runner = Runner(journal, foreground.shown, at_once=at_once, retry=retry, finish=read.finish)
        outside = outside_of(journal, runner, key)
        with aside():
            templates = read.templates(shared, Changes(seed=seed), **outside)
        path = results or Path(f"{suite.stem}.results.jsonl")
        with Results(path, digest_of(read.what, seed, templates[0].inputs)) as opened:

            async def work() -> None:
                try:
                    for template in templates:
                        await template.agent.prepare(foreground.shown.preparing)
                    await runner.run(read.items(templates), opened)
                finally:
                    await shared.close()

            foreground.drive(runner, work)
            foreground.tell(runner, opened)
            _show(path, read.cells, plots, as_json=as_json)
            return _status(runner, opened)


def _status(runner: Runner, results: Results) -> int:
    from scaffold.cli import ending

    found = set(results.statuses())
    if runner.tally.stopped_early == "interrupted":
        return ending.INTERRUPTED
    if runner.tally.faults:
        return ending.BAD_INPUT
    return ending.UNAVAILABLE if "unavailable" in found else ending.WAITING if "waiting" in found else 0


def _show(path: Path, order: list[Cell], plots: Path | None, *, as_json: bool) -> None:
    from scaffold.evaluation.summary import by_axis, by_cell, scored_rows, table

    cells = by_cell(scored_rows(path), [cell.name for cell in order])
    axes = by_axis(scored_rows(path), [cell.labels for cell in order])
    if as_json:
        told = {
            "cells": {name: each.plain() for name, each in cells.items()},
            "axes": {axis: {label: each.plain() for label, each in labels.items()} for axis, labels in axes.items()},
            "results": str(path),
        }
        click.echo(json_text(told))
    elif cells:
        click.echo("\n".join(table(cells)))
        for axis, labels in axes.items():
            if len(axes) > 1:
                click.echo("\n".join(["", f"by {axis}", *table(labels)]))
    if plots is not None and cells:
        from scaffold.evaluation.plots import draw

        for drawn in draw(cells, plots):
            click.echo(f"drawn: {drawn}", err=True)


@evaluate.command()
@click.argument("first", metavar="A.jsonl", type=click.Path(path_type=Path))
@click.argument("second", metavar="B.jsonl", type=click.Path(path_type=Path))
@click.option("--cell", default="", metavar="NAME", help="Which choice of A, as its table calls it.")
@click.option("--with", "other", default="", metavar="NAME", help="Which choice of B; A and B may be one file.")
@json_option
def compare(first: Path, second: Path, cell: str, other: str, as_json: bool) -> None:
    """Compare two evaluations case by case: which flip, whether that may be chance, what each costs.

    Compares choices of the same name, or the two that you name.
    """
    from scaffold.evaluation.comparing import compare as comparing

    made = comparing(first, second, (cell, other))
    if as_json:
        click.echo(json_text([each.plain() for each in made]))
        return
    click.echo("\n\n".join("\n".join(each.lines()) for each in made))
