"""`scaffold audit review`: has monitors review a stored run again, and shows new verdicts beside the old ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from scaffold.cli.aside import aside
from scaffold.cli.options import by_role, journal_at, json_option, run_argument, runs_option
from scaffold.cli.speech import json_text, line, plain
from scaffold.errors import count

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from scaffold.interfaces import KeptRuns, Monitor
    from scaffold.machinery.reviewing.rereading import Reread, Rereading

_WIDTH = 160


@click.command()
@run_argument
@click.option(
    "--monitor",
    "monitors",
    metavar="NAME[={...}]",
    multiple=True,
    required=True,
    help="The monitor to run; settings as JSON.",
)
@click.option("--backend", "backends", metavar="[ROLE=]SPEC", multiple=True, help="The model that monitors ask.")
@click.option(
    "--out",
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where the review is kept, a run of its own [`reviews` in the run's folder].",
)
@json_option
@runs_option
def review(
    run: str,
    monitors: tuple[str, ...],
    backends: tuple[str, ...],
    out: Path | None,
    as_json: bool,
    runs: Path | None,
) -> None:
    """Have monitors read a stored run again, ours or an imported one.

    The run's trace is only read. The new verdicts are shown beside the original ones and kept, with all that judges
    were asked, as a trace of their own: `scaffold audit show --runs DIR ID`. No action is performed, and no verdict
    changes what the run did.
    """
    import asyncio

    journal = journal_at(runs)
    with aside():
        found = asyncio.run(_reread(journal, journal.find(run), monitors, backends, out))
    if as_json:
        import msgspec

        click.echo(json_text(msgspec.to_builtins(found)))
        return
    for text in _told(found):
        click.echo(plain(text))


async def _reread(
    journal: KeptRuns, run: str, monitors: Sequence[str], backends: Sequence[str], out: Path | None
) -> Rereading:
    from scaffold.assembly import close_all
    from scaffold.interfaces import Surroundings
    from scaffold.machinery.reviewing.rereading import reread
    from scaffold.registry import backend_of
    from scaffold.trace.files import FileJournal

    made = {role: backend_of(spec, path=("backends", role)) for role, spec in by_role(backends).items()}
    try:
        return await reread(
            journal,
            run,
            FileJournal(out or _beside(journal, run)),
            monitors=_monitors(monitors),
            backends=made,
            surroundings=Surroundings(),
        )
    finally:
        await close_all(*made.values())


def _beside(journal: KeptRuns, run: str) -> Path:
    """Return the folder for a run's reviews, inside the run's own."""
    from scaffold.errors import BadInput
    from scaffold.trace.files import FileJournal

    if not isinstance(journal, FileJournal):
        raise BadInput(f"the run is kept in {journal.name}, which has no folders: say where to write with --out DIR")
    return journal.folder(run) / "reviews"


def _monitors(said: Sequence[str]) -> list[Monitor]:
    from scaffold.registry import make_monitor

    made = []
    for each in said:
        name, equals, settings = each.partition("=")
        try:
            read: Any = json.loads(settings) if equals else {}
        except ValueError as error:
            raise click.BadParameter(f"{settings!r} is not JSON: {error}", param_hint="--monitor") from None
        if not isinstance(read, dict):
            raise click.BadParameter(
                f"{settings!r} is not a mapping of settings: write {{...}}", param_hint="--monitor"
            )
        made.append(make_monitor(name, read))
    names = [monitor.spec.name for monitor in made]
    if len(set(names)) != len(names):
        twice = max(names, key=names.count)
        raise click.BadParameter(
            f"{twice!r} is named twice: name it once, with all its settings", param_hint="--monitor"
        )
    return made


def _told(found: Rereading) -> Iterator[str]:
    whose = f", imported from {plain(found.foreign)}: what another agent reported" if found.foreign else ""
    yield f"{found.run}: {count(found.events, 'event')} read{whose}"
    silent = 0
    for row in found.rows:
        said = row.verdict
        if (said.decision, said.status) == ("allow", "ok"):
            silent += 1
            continue
        yield from _row(row)
    yield f"{count(len(found.rows), 'verdict')}, {silent} of them without objections"
    for each in found.unread:
        yield f"not read: {line(each, _WIDTH)}"
    usage = found.usage
    if usage.tokens:
        cost = "" if usage.usd is None else f", ${usage.usd:.4f}"
        yield f"judges used {usage.tokens:,} tokens{cost}"
    yield f"kept as {found.review} in {plain(found.trace)}"


def _row(row: Reread) -> Iterator[str]:
    said = row.verdict
    score = f", {said.property} {said.score:.2f}" if said.score is not None else ""
    status = "" if said.status == "ok" else f" ({said.status})"
    head = (
        f"{row.seq:>5}  {row.key or '-':<8}  {row.subject}: {plain(said.monitor)} says {said.decision}{status}{score}"
    )
    yield f"{head}: {line(said.rationale or said.feedback, _WIDTH)}"
    for span in said.evidence[:3]:
        yield f"{'':17}“{line(span.quote, _WIDTH)}”"
    then = ", ".join(f"{plain(fact.monitor)} {fact.decision}" for fact in row.before)
    yield f"{'':17}then: {then or 'nobody read it'}"
