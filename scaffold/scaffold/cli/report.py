"""`scaffold audit report`: writes a run as one HTML file."""

from __future__ import annotations

from pathlib import Path

import click

from scaffold.cli.integrity import evidence_options, verified
from scaffold.cli.options import answers_option, journal_at, right_answers, run_argument, runs_option
from scaffold.cli.speech import plain

_MEGA = 1e6


@click.command()
@run_argument
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    type=click.Path(path_type=Path, allow_dash=True),
    help="Where to write, - for stdout [RUN.html].",
)
@click.option("--no-content", is_flag=True, help="Leave out prompts, reasoning, arguments and outputs.")
@answers_option
@click.option(
    "--reviews",
    metavar="DIR",
    multiple=True,
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Also show later reviews of the run kept here (`audit review --out`), beside those in its own folder.",
)
@evidence_options
@runs_option
def report(
    run: str,
    output: Path | None,
    no_content: bool,
    answers: str | None,
    reviews: tuple[Path, ...],
    against: tuple[Path | str, ...],
    key: tuple[str, ...],
    runs: Path | None,
) -> None:
    """Write a run as one HTML file that can be read anywhere, without a network.

    It begins with what `audit verify` finds. It works for any run: cut off, paused, still running, imported, altered,
    or with content withheld, and shows what there is. Later reviews are shown beside the original verdicts. It contains
    what the trace contains, so only its owner may read the file; `--no-content` writes one to show to others.
    """
    from scaffold.odds.run_calibration import RunCalibration
    from scaffold.projections.report.page import write_report

    journal = journal_at(runs)
    folder = journal.folder(journal.find(run))
    target = output or Path(f"{folder.name}.html")
    found = verified(folder, against, key)
    right = right_answers(journal, answers)
    written = write_report(
        folder, target, found, confidences=RunCalibration(right), content=not no_content, reviews=reviews
    )
    size = f", {written.bytes / _MEGA:.1f} MB" if written.bytes else ""
    click.echo(f"wrote {target}: {written.events:,} events{size}", err=not target.is_file())
    click.echo(click.style(plain(found.sentence()), fg="green" if found.ok else "yellow"), err=True)
