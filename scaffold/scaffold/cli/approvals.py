"""`scaffold approvals`: what waits for a person, and what the person says."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from scaffold.cli.options import journal_at, json_option, run_argument, runs_option, runs_said

if TYPE_CHECKING:
    from scaffold.cli.waiting import Waiting
    from scaffold.trace.files import FileJournal

_id_argument = click.argument("name", metavar="ID")


@click.group()
def approvals() -> None:
    """What waits for a person: approvals of exact calls and plans, and questions.

    An answer lies in the run's inbox until the run is resumed. It counts for exactly what was asked, and for
    nothing else.
    """


@approvals.command("list")
@click.argument("run", metavar="[RUN]", required=False)
@json_option
@runs_option
def list_(run: str | None, as_json: bool, runs: Path | None) -> None:
    """List what waits, in one run or in all."""
    journal = journal_at(runs)
    found = _all(journal, run)
    if as_json:
        click.echo(json.dumps([_plain(each) for each in found], ensure_ascii=False))
        return
    if not found:
        click.echo("nothing waits for a person")
    from scaffold.cli.narration import what_is_asked

    for each in found:
        asked = each.question
        state = "" if each.state == "open" else f" ({each.state})"
        what = what_is_asked(asked.title, asked.detail.get("calls"), 80)
        click.echo(f"{asked.run}  {asked.id}  {asked.kind:<9} {_left(each):<11} {what}{state}")


@approvals.command()
@run_argument
@_id_argument
@json_option
@runs_option
def show(run: str, name: str, as_json: bool, runs: Path | None) -> None:
    """Show one: the exact calls with their arguments, the reasons, until when."""
    each = _one(journal_at(runs), run, name)
    if as_json:
        click.echo(json.dumps(_plain(each), ensure_ascii=False))
        return
    from scaffold.cli.terminal import shown

    click.echo("\n".join(shown(each.question)))
    click.echo(f"  digest {each.question.digest or 'none'}, {each.state}")


@approvals.command()
@run_argument
@_id_argument
@click.option("--answer", metavar="TEXT", help="The answer to a question.")
@click.option("--comment", metavar="TEXT", default="", help="Kept in the trace.")
@runs_option
def approve(run: str, name: str, answer: str | None, comment: str, runs: Path | None) -> None:
    """Approve exactly what was asked, or answer a question with --answer."""
    from scaffold.errors import BadInput

    journal = journal_at(runs)
    each = _one(journal, run, name)
    asked = each.question
    _check_open(each)
    if asked.kind == "question":
        if answer is None:
            raise BadInput(f"{name} is a question: answer it with --answer TEXT")
        _check_fits(str(asked.detail.get("returns")), answer)
    elif answer is not None:
        raise BadInput(f"{name} is no question: approve it without --answer")
    _post(journal, each, granted=asked.kind != "question", value=answer or "", comment=comment)
    click.echo(
        f"{'answered' if asked.kind == 'question' else 'approved'};"
        f" go on with: scaffold resume {asked.run}{runs_said(journal)}"
    )


@approvals.command()
@run_argument
@_id_argument
@click.option("--comment", metavar="TEXT", default="", help="Kept in the trace.")
@runs_option
def deny(run: str, name: str, comment: str, runs: Path | None) -> None:
    """Deny what was asked."""
    from scaffold.errors import BadInput

    journal = journal_at(runs)
    each = _one(journal, run, name)
    _check_open(each)
    if each.question.kind == "question":
        raise BadInput(
            f"{name} is a question: answer it with `approvals approve --answer TEXT`,"
            " or halt the run with `scaffold stop`"
        )
    _post(journal, each, granted=False, comment=comment)
    click.echo(f"denied; go on with: scaffold resume {each.question.run}{runs_said(journal)}")


def _all(journal: FileJournal, run: str | None) -> list[Waiting]:
    from scaffold.cli.folders import open_runs
    from scaffold.cli.speech import plain
    from scaffold.cli.waiting import waiting
    from scaffold.errors import TraceError

    if run is not None:
        return waiting(journal, journal.find(run))
    found: list[Waiting] = []
    for each in open_runs(journal):
        try:
            found += waiting(journal, each)
        except TraceError as error:
            click.echo(f"warning: run {each}: {plain(str(error))}", err=True)
    return found


def _one(journal: FileJournal, run: str, name: str) -> Waiting:
    from scaffold.cli.waiting import standing, waiting
    from scaffold.errors import BadInput, nearest

    found = journal.find(run)
    each = next((each for each in waiting(journal, found) if each.question.id == name), None)
    if each is not None:
        return each
    stands = standing(journal, found)
    if name in stands.settled:
        raise BadInput(f"{name} of run {found} is settled already: `scaffold audit show {found}` has it")
    if stands.ended:
        raise BadInput(f"run {found} has ended ({stands.status}): nothing waits there")
    raise BadInput(f"run {found} asks nothing named {name!r}{nearest(name, stands.questions)}")


def _check_open(each: Waiting) -> None:
    from scaffold.errors import BadInput

    if each.said is not None:
        by = each.said.by or "someone"
        raise BadInput(f"{each.question.id} was answered already by {by}: resume the run to have it taken in")
    if each.expired:
        since = _moment(each.question.expires)
        raise BadInput(f"{each.question.id} expired at {since}, which means no: resume the run to go on")


def _check_fits(returns: str, answer: str) -> None:
    """Refuse an answer that the run would pass over, where we know by its name what kind is wanted."""
    from scaffold.errors import BadInput
    from scaffold.machinery.answers import read_answer

    kinds = {"<class 'int'>": int, "<class 'float'>": float, "<class 'bool'>": bool}
    if returns in kinds:
        try:
            read_answer(kinds[returns], answer)
        except ValueError as error:
            raise BadInput(f"the answer {answer!r} is {error}") from None


def _post(journal: FileJournal, each: Waiting, *, granted: bool, value: str = "", comment: str = "") -> None:
    from scaffold.cli.terminal import who
    from scaffold.interfaces import Answer

    asked = each.question
    said = Answer(id=asked.id, digest=asked.digest, granted=granted, value=value, by=who(), comment=comment)
    asyncio.run(journal.post(asked.run, said))


def _plain(each: Waiting) -> dict[str, object]:
    asked = each.question
    forever = asked.expires == float("inf")
    return {
        "run": asked.run,
        "id": asked.id,
        "kind": asked.kind,
        "title": asked.title,
        "state": each.state,
        "expires": None if forever else asked.expires,
        "digest": asked.digest,
        "detail": asked.detail,
    }


def _left(each: Waiting) -> str:
    """How long a question stays open, for people."""
    left = each.question.expires - time.time()
    if left == float("inf"):
        return ""
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")):
        if left >= size:
            return f"{left / size:.0f} {unit} left"
    return "expired"


def _moment(moment: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(moment))
