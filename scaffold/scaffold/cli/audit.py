"""`scaffold audit`: reads, checks and exports the records of runs."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from scaffold.cli.actions import actions
from scaffold.cli.export import export
from scaffold.cli.grouping import WholeSentences
from scaffold.cli.import_ import import_
from scaffold.cli.integrity import key, sign, verify
from scaffold.cli.options import answers_option, journal_at, json_option, right_answers, runs_option
from scaffold.cli.report import report
from scaffold.cli.retention import compress, prune
from scaffold.cli.review import review
from scaffold.cli.show import show
from scaffold.cli.speech import json_text, plain
from scaffold.cli.why import why
from scaffold.errors import count

if TYPE_CHECKING:
    from scaffold.interfaces import KeptRuns


@click.group(cls=WholeSentences)
def audit() -> None:
    """What runs did."""


for _command in (verify, key, sign):
    audit.add_command(_command)


@audit.command("list")
@json_option
@runs_option
def list_(as_json: bool, runs: Path | None) -> None:
    """List runs, oldest first: id, status, planner, events."""
    journal = journal_at(runs)
    found = []
    for run in journal.runs():
        with contextlib.suppress(FileNotFoundError):  # removed meanwhile
            found.append(_row(journal, run))
    if as_json:
        click.echo(json_text(found))
        return
    if not found:
        click.echo(f"no runs in {journal.name}")
    for row in found:
        click.echo(f"{plain(row['run'])}  {row['status']:<11}  {row['events']:>6} events  {row['planner']}")


def _row(journal: KeptRuns, run: str) -> dict[str, Any]:
    from scaffold.trace.folders import first_event, last_event, status

    folder = journal.folder(run, brief=True)
    stands = status(folder)
    last = planner = None
    if stands != "unreadable":
        last, planner = last_event(folder), getattr(first_event(folder), "planner", None)
    return {
        "run": run,
        "status": stands,
        "planner": plain(planner or "?"),
        "events": last.seq if last else 0,
        "trace": journal.location(run),
    }


@audit.command()
@answers_option
@click.option("--write", metavar="FILE", type=click.Path(path_type=Path), help="Write corrections, for `sampling`.")
@click.option("--plot", metavar="FILE", type=click.Path(path_type=Path), help="Draw reliability diagrams (PNG, SVG).")
@json_option
@runs_option
def calibration(answers: str | None, write: Path | None, plot: Path | None, as_json: bool, runs: Path | None) -> None:
    """Show how well the confidence that steps stated matched their results, per backend and kind of step.

    All runs are read. The Brier score is 0 if every statement was right, 0.25 for a coin; the error is how far stated
    confidence is from what was seen. `corrected` is what remains after correction, learned from other statements.
    """
    from scaffold.figures import save
    from scaffold.odds import calibration as odds
    from scaffold.odds.measured import Measured

    journal = journal_at(runs)
    known = right_answers(journal, answers)
    found = odds.statements(Measured().read(journal.folder(run) for run in journal.runs()), known)
    told = odds.scores(found, by_key=known is not None)
    if as_json:
        import msgspec

        click.echo(json_text(msgspec.to_builtins(told)))
    elif not told:
        click.echo(f"no step in {journal.name} has stated a confidence that can be compared with a right answer")
    for score in () if as_json else told:
        after = ""
        if score.corrected_brier is not None and score.corrected_error is not None:
            after = f"; corrected: Brier {score.corrected_brier:.3f}, error {score.corrected_error:.3f}"
        click.echo(
            f"{plain(f'{score.step} by {score.backend}:{score.model}')}: {score.count} statements, "
            f"{score.right:.1%} right by {score.measured}; Brier {score.brier:.3f}, error {score.error:.3f}{after}"
        )
    if write is not None:
        made = odds.fit(found)
        save(made, write)
        click.echo(f"wrote {count(len(made.curves), 'correction')} to {write}", err=True)
    if plot is not None and told:
        odds.draw(told, plot)


@audit.command()
@click.option(
    "--write", metavar="FILE", type=click.Path(path_type=Path), help="Write the figures, for `monitorability`."
)
@json_option
@runs_option
def monitorability(write: Path | None, as_json: bool, runs: Path | None) -> None:
    """Show what probes found about the reasoning, per backend and kind of step, with 95 % intervals.

    All runs are read. A share of 1 means that no probe found anything wrong. Permissions go by the interval's lower
    end, so a few probes permit little.
    """
    from scaffold.figures import save
    from scaffold.odds.monitorability import gather

    journal = journal_at(runs)
    probed = gather(journal.folder(run) for run in journal.runs())
    known = probed.figures()
    if as_json:
        import msgspec

        click.echo(json_text(msgspec.to_builtins(known)))
    elif not known.figures:
        click.echo(
            f"no step in {journal.name} was probed: add `faithfulness` or `consistency` to `monitors`; where they are, "
            "`scaffold audit show RUN --with abstain` says why they asked nothing"
        )
    for figure in () if as_json else known.figures:
        click.echo(
            f"{plain(f'{figure.step} by {figure.backend}:{figure.model}')}: {figure.held / figure.of:.1%} without "
            f"{figure.probed}, {figure.low:.1%} to {figure.high:.1%}, {figure.of} probes"
        )
    for run in probed.unreadable:
        click.echo(f"{run} cannot be read and was left out", err=True)
    if write is not None:
        save(known, write)
        click.echo(f"wrote {len(known.figures)} figures to {write}", err=True)


audit.add_command(actions)
audit.add_command(export)
audit.add_command(why)
for _each in (show, prune, compress, import_):
    audit.add_command(_each)
audit.add_command(report)
audit.add_command(review)
