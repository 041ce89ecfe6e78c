"""`scaffold audit prune` and `compress`: delete or compress parts of stored runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from scaffold.cli.options import ago, journal_at, json_option, runs_option
from scaffold.cli.speech import json_text, plain
from scaffold.errors import count

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scaffold.trace.pruning import Pruned, Pruning


@click.command()
@click.argument("named", metavar="[RUN...]", nargs=-1)
@click.option(
    "--older-than", metavar="AGE", type=ago, help="Runs whose last event is at least this old: 90d, 12h, 4w, 2y."
)
@click.option(
    "--mentioning", metavar="TEXT", multiple=True, help="Only content and answers that contain this, in any case."
)
@click.option("--whole", is_flag=True, help="Remove whole runs with their spine; what they did is then lost.")
@click.option("--unfinished", is_flag=True, help="Also runs that have not ended; they cannot be resumed afterwards.")
@click.option("--yes", is_flag=True, help="Do it; without this, only show what would go.")
@json_option
@runs_option
def prune(
    *,
    named: tuple[str, ...],
    older_than: float | None,
    mentioning: tuple[str, ...],
    whole: bool,
    unfinished: bool,
    yes: bool,
    as_json: bool,
    runs: Path | None,
) -> int:
    """Remove the content of runs, or with --mentioning only what contains a text, such as a person's name.

    The spine stays and still verifies: facts, verdicts, digests, the names of approvers. What people said is removed
    with the rest. Copies elsewhere (backups, tracing backends, reports, results of batches) are not touched. Exit
    status 1 if a run was skipped: it has not ended, is being written, or is encrypted and there is no key.
    """
    if not (named or older_than is not None or mentioning):
        raise click.UsageError("name runs, or give --older-than or --mentioning")
    if whole and mentioning:
        raise click.UsageError("--whole removes whole runs and --mentioning parts of them: give only one of them")
    if not all(each.strip() for each in mentioning):
        raise click.BadParameter("is empty text, which would be found everywhere", param_hint="--mentioning")
    from scaffold.trace.places import pruning_of

    journal = journal_at(runs)
    found = [journal.find(each) for each in named] or journal.runs()
    pruned = list(
        _pruned(pruning_of(journal), found, older_than, mentioning, whole=whole, unfinished=unfinished, dry=not yes)
    )
    if as_json:
        import msgspec

        click.echo(json_text([msgspec.to_builtins(each) for each in pruned]))
    for each in () if as_json else pruned:
        if each.passed_over:
            click.echo(f"{plain(each.run)}: skipped: {each.passed_over}")
        else:
            what = "the whole run" if each.gone else f"the content of {count(each.contents, 'event')}"
            answers = f" and {count(each.answers, 'answer')}" if each.answers else ""
            click.echo(f"{plain(each.run)}: {'removed' if yes else 'would remove'} {what}{answers}")
    if not as_json and not pruned:
        click.echo("nothing to remove")
    elif not as_json and not yes:
        click.echo("nothing was removed: add --yes to remove it")
    return 1 if any(each.passed_over for each in pruned) else 0


def _pruned(
    pruning: Pruning,
    found: list[str],
    until: float | None,
    words: tuple[str, ...],
    *,
    whole: bool,
    unfinished: bool,
    dry: bool,
) -> Iterator[Pruned]:
    from scaffold.errors import BadInput, JournalFailed, RunHeld
    from scaffold.trace.pruning import Pruned
    from scaffold.vocabulary.events import Ended

    for run in found:
        try:
            last = pruning.last(run)
            ended = isinstance(last, Ended)
            if until is not None and (last is None or last.at > until or not (ended or unfinished)):
                continue
            if not ended and not unfinished:
                yield Pruned(run=run, passed_over="it has not ended; --unfinished includes such runs")
                continue
            if whole:
                done = pruning.whole(run, dry=dry)
            elif words:
                done = pruning.mentions(run, words, dry=dry)
            else:
                done = pruning.content(run, dry=dry)
        except (BadInput, RunHeld, JournalFailed) as error:
            done = Pruned(run=run, passed_over=str(error))
        except FileNotFoundError:  # removed meanwhile
            continue
        except OSError as error:
            done = Pruned(run=run, passed_over=f"{error.filename} cannot be used: {error.strerror}")
        if done.contents or done.answers or done.gone or done.passed_over:
            yield done


@click.command()
@click.argument("named", metavar="[RUN...]", nargs=-1)
@runs_option
def compress(named: tuple[str, ...], runs: Path | None) -> int:
    """Compress the content of runs that have ended: those named, or all.

    With $SCAFFOLD_COMPRESS=1 each run does so when it ends. Everything that reads runs reads compressed ones too.
    """
    from scaffold.cli.faults import explain
    from scaffold.errors import RunHeld
    from scaffold.trace.files import FileJournal
    from scaffold.trace.packing import pack_if_ended
    from scaffold.trace.pruning import held

    journal = journal_at(runs)
    if not isinstance(journal, FileJournal):
        click.echo(f"nothing to do: PostgreSQL compresses long content by itself, so {journal.name} is left as it is")
        return 0
    saved = packed = status = 0
    for run in [journal.find(each) for each in named] or journal.runs():
        folder = journal.folder(run)
        try:
            with held(folder):
                gained = pack_if_ended(folder)
        except (RunHeld, FileNotFoundError):  # being written, or removed meanwhile
            continue
        except PermissionError as error:
            status = explain(error)
            continue
        packed += bool(gained)
        saved += gained
    click.echo(f"compressed {count(packed, 'run')}, {saved / 1e6:.1f} MB less")
    return status
