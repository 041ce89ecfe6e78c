"""`scaffold audit import`: traces of other frameworks, to be read, reviewed and reported on like ours."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from scaffold.cli.options import journal_at, json_option, runs_option
from scaffold.cli.speech import count, plain

if TYPE_CHECKING:
    from scaffold.foreign.told import Story
    from scaffold.interfaces import KeptRuns


@click.command("import")
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path, dir_okay=False))
@json_option
@runs_option
def import_(files: tuple[Path, ...], as_json: bool, runs: Path | None) -> None:
    """Read what other frameworks' agents did, each as a run: marked foreign, unsigned.

    FILE is OTLP, as JSON, JSON lines or protobuf, with spans of the GenAI conventions or of OpenInference; or a log of
    Inspect (.eval). Of what came from outside everything is tainted, and every tool counts as irreversible. The runs
    are there for `audit show`, `why`, `review`, `report` and `export`; what is imported already is left as it is.
    """
    journal = journal_at(runs)
    rows = [row for file in files for row in asyncio.run(_import(journal, file))]
    if as_json:
        click.echo(json.dumps(rows))
        return
    for row in rows:
        what = f"{count(row['steps'], 'step')}, {count(row['actions'], 'action')}"
        known = " (imported already)" if row["known"] else ""
        click.echo(f"{row['run']}  {plain(row['agent'])}: {what}, from {row['source']}{known}")


def _stories(file: Path) -> list[Story]:
    from scaffold.errors import BadInput
    from scaffold.foreign import agents, inspect_logs, spans

    try:
        if inspect_logs.is_inspect_log(file):
            return inspect_logs.read_log(file)
    except OSError as error:
        raise BadInput(f"cannot read {file}: {error.strerror}") from None
    found = agents.stories(spans.read_spans(file))
    if not found:
        raise BadInput(f"{file} has spans, and none of a model's answer or a tool's call: gen_ai.* or OpenInference")
    return found


async def _import(journal: KeptRuns, file: Path) -> list[dict[str, Any]]:
    from scaffold.foreign.told import Turn
    from scaffold.foreign.writing import name_of, write

    rows = []
    for story in _stories(file):
        run = name_of(story)
        known = run in journal.runs()
        if not known:
            await write(journal, story)
        steps = sum(isinstance(each, Turn) for each in story.items)
        row = {"run": run, "agent": story.agent, "steps": steps, "actions": len(story.items) - steps}
        rows.append({**row, "source": story.source, "known": known, "trace": journal.location(run)})
    return rows
