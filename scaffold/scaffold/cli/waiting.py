"""Tells which commands answer the questions that wait for a person."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from scaffold.approvals.queue import waiting
from scaffold.cli.options import runs_said
from scaffold.cli.speech import plain
from scaffold.trace.chain import as_written, body_of
from scaffold.trace.folders import is_written
from scaffold.trace.reading import links

if TYPE_CHECKING:
    from scaffold.interfaces import KeptRuns


def going_on(journal: KeptRuns, run: str) -> str:
    """How a run that was answered goes on: by itself, by the program that began it, or by a command."""
    folder = journal.folder(run)
    if is_written(folder):
        return "the process that runs it picks it up"
    first = next(links(folder))
    with as_written(first.event):
        config = body_of(first.content).get("config")
    if config is not None and "base" not in config:
        return f"the program that started run {run} continues it"
    return f"continue with: scaffold resume {run}{runs_said(journal)}"


def commands(journal: KeptRuns, run: str, again: str = "") -> list[str]:
    """Return the commands for each open question of a run, and then to resume it; `again` is added to the last."""
    lines, runs = [], runs_said(journal)
    for each in waiting(journal, run):
        asked, number = each.question, shlex.quote(plain(each.question.id))
        name = " --as NAME" if asked.approvers else ""
        if asked.kind == "question":
            lines.append(f"answer:  scaffold approvals approve {run} {number} --answer TEXT{name}{runs}")
        else:
            other = "no: deny" if asked.kind != "plan" else "yes to all its calls too: --scope; no: deny"
            lines += [
                f"look:    scaffold approvals show {run} {number}{runs}",
                f"approve: scaffold approvals approve {run} {number}{name}{runs}    ({other})",
            ]
    return [*lines, f"resume:  scaffold resume {run}{runs}{again}"]
