"""`scaffold audit import`: imports traces of other frameworks, to read, review and report on them like ours."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from scaffold.cli.options import journal_at, json_option, runs_option
from scaffold.cli.speech import json_text, plain
from scaffold.errors import count

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from scaffold.foreign.told import Story
    from scaffold.interfaces import KeptRuns


@click.command("import")
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path, dir_okay=False))
@json_option
@runs_option
def import_(files: tuple[Path, ...], as_json: bool, runs: Path | None) -> None:
    """Import traces of other frameworks' agents, each as a run: marked foreign, unsigned.

    FILE is OTLP (JSON, JSON lines or protobuf) with GenAI or OpenInference spans, or an Inspect log (.eval).
    Everything in it is tainted, and every tool counts as irreversible. `audit show`, `why`, `review`, `report` and
    `export` work on the imported runs; runs imported before are left as they are. A trace may be spread over several
    FILEs. A file may be large: it is read part by part, one trace in memory at a time, and a part may have 64 MB at
    most.
    """
    journal = journal_at(runs)
    faults: list[str] = []
    rows = asyncio.run(_import(journal, files, faults))
    if as_json:
        click.echo(json_text(rows))
    for row in () if as_json else rows:
        what = f"{count(row['steps'], 'step')}, {count(row['actions'], 'action')}"
        known = " (imported already)" if row["known"] else ""
        click.echo(f"{row['run']}  {plain(row['agent'])}: {what}, from {row['source']}{known}")
    if faults:
        from scaffold.errors import BadInput

        raise BadInput(faults[0] + (f"; and {count(len(faults) - 1, 'more fault')}" if len(faults) > 1 else ""))


def _stories(files: Sequence[Path], faults: list[str]) -> Iterator[Story]:
    """Yield the stories in files; an unreadable part is added to the faults, and the next ones are still read."""
    from scaffold.foreign import agents, inspect_logs, spans

    otlp = []
    for file in files:
        if _is_inspect_log(file):
            yield from _readable(inspect_logs.read_log(file), f"{file} has no samples", faults)
        else:
            otlp.append(file)
    if otlp:
        has = f"{otlp[0]} has" if len(otlp) == 1 else f"{', '.join(map(str, otlp))} have"
        none = f"{has} spans, but none of a model's answer or a tool call (gen_ai.* or OpenInference)"
        yield from _readable(agents.stories(*map(spans.read_spans, otlp)), none, faults)


def _is_inspect_log(file: Path) -> bool:
    from scaffold.errors import BadInput
    from scaffold.foreign import inspect_logs

    if file.exists() and not file.is_file():  # it may never end, and is read twice
        raise BadInput(f"cannot read {file}: not a regular file")
    try:
        return inspect_logs.is_inspect_log(file)
    except OSError as error:
        raise BadInput(f"cannot read {file}: {error.strerror}") from None


def _readable(told: Iterator[Story], none: str, faults: list[str]) -> Iterator[Story]:
    """Yield the stories that can be read; add to the faults what is wrong with others, or that there is none."""
    from scaffold.errors import BadInput

    before, found = len(faults), False
    while True:
        try:
            story = next(told)
        except StopIteration:
            break
        except BadInput as error:
            faults.append(str(error))
        else:
            found = True
            yield story
    if not found and len(faults) == before:
        faults.append(none)


async def _import(journal: KeptRuns, files: Sequence[Path], faults: list[str]) -> list[dict[str, Any]]:
    from scaffold.errors import BadInput
    from scaffold.foreign import writing
    from scaffold.foreign.told import Turn

    rows, have = [], set(journal.runs())
    for story in _stories(files, faults):
        try:
            run = writing.name_of(story)
            known = run in have
            if known and writing.is_cut_off(journal, run):
                writing.discard(journal, run)
                known = False
            if not known:
                await writing.write(journal, story)
                have.add(run)
        except BadInput as error:
            faults.append(str(error))
            continue
        steps = sum(isinstance(each, Turn) for each in story.items)
        row = {"run": run, "agent": story.agent, "steps": steps, "actions": len(story.items) - steps}
        rows.append({**row, "source": story.source, "known": known, "trace": journal.location(run)})
    return rows
