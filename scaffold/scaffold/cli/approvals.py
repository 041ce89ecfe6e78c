"""`scaffold approvals`: shows the questions that wait for a person, and takes the answers."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from scaffold.cli.grouping import WholeSentences
from scaffold.cli.options import Command, journal_at, json_option, run_argument, runs_option
from scaffold.cli.speech import json_text

if TYPE_CHECKING:
    from scaffold.approvals.queue import Waiting
    from scaffold.interfaces import Answer, KeptRuns

_id_argument = click.argument("name", metavar="ID")


@click.group(cls=WholeSentences)
def approvals() -> None:
    """What waits for a person: approvals of exact calls and plans, and questions.

    An answer stays in the run's inbox until the run reads it: at once if it is waiting (`solve --wait`), else when it
    is resumed. It counts only for exactly what was asked.
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
        click.echo(json_text([_plain(each) for each in found]))
        return
    if not found:
        click.echo("nothing is waiting for a person")
    from scaffold.cli.narration import what_is_asked
    from scaffold.cli.speech import plain

    for each in found:
        asked = each.question
        state = "" if each.state == "open" else f" ({each.state})"
        what = what_is_asked(asked.title, asked.detail.get("calls"), 80)
        click.echo(f"{plain(asked.run)}  {plain(asked.id)}  {asked.kind:<9} {_left(each):<11} {what}{state}")


@approvals.command()
@run_argument
@_id_argument
@json_option
@runs_option
def show(run: str, name: str, as_json: bool, runs: Path | None) -> None:
    """Show one request: the exact calls with their arguments, the reasons, the deadline."""
    each = _one(journal_at(runs), run, name)
    if as_json:
        click.echo(json_text(_plain(each)))
        return
    from scaffold.cli.speech import plain
    from scaffold.cli.terminal import shown

    for text in shown(each.question):
        click.echo(plain(text))
    click.echo(f"  digest {plain(each.question.digest) or 'none'}, {each.state}")


def _person_options(command: Command) -> Command:
    """Add the options for the person, their comment and their key."""
    for option in (
        runs_option,
        click.option(
            "--key",
            metavar="FILE",
            type=click.Path(path_type=Path),
            envvar="SCAFFOLD_APPROVAL_KEY",
            help="Your private key, if the task names one for you [$SCAFFOLD_APPROVAL_KEY].",
        ),
        click.option("--as", "person", metavar="NAME", help="Who you are [your login name]."),
        click.option(
            "--comment", metavar="TEXT", default="", help="Kept in the trace; for a no, the agent is told it too."
        ),
    ):
        command = option(command)
    return command


@approvals.command()
@run_argument
@_id_argument
@click.option("--answer", metavar="TEXT", help="The answer to a question.")
@click.option("--scope", is_flag=True, help="Approve a plan with its calls: only calls that deviate from it ask again.")
@_person_options
def approve(
    run: str,
    name: str,
    answer: str | None,
    scope: bool,
    comment: str,
    person: str | None,
    key: Path | None,
    runs: Path | None,
) -> None:
    """Approve exactly what was asked, or answer a question with --answer."""
    from scaffold.approvals.saying import answer_to, check
    from scaffold.cli.waiting import going_on
    from scaffold.errors import BadInput

    journal = journal_at(runs)
    each = _one(journal, run, name)
    asked = each.question
    said = answer_to(
        each, granted=asked.kind != "question", value=answer or "", comment=comment, by=_who(person), scope=scope
    )
    if asked.kind == "question" and answer is None and not each.settled:
        raise BadInput(f"{name} is a question: answer it with --answer TEXT")
    check(each, said)
    if asked.kind != "question" and answer is not None:
        raise BadInput(f"{name} is not a question: approve it without --answer")
    _post(journal, each, said, key)
    lacking = asked.needs - len(each.answers) - 1
    if asked.kind != "question" and lacking:
        click.echo(f"approved; {lacking} more {'person has' if lacking == 1 else 'people have'} to approve it")
        return
    click.echo(f"{'answered' if asked.kind == 'question' else 'approved'}; {going_on(journal, asked.run)}")


@approvals.command()
@run_argument
@_id_argument
@_person_options
def deny(run: str, name: str, comment: str, person: str | None, key: Path | None, runs: Path | None) -> None:
    """Deny what was asked."""
    from scaffold.approvals.saying import answer_to, check
    from scaffold.cli.waiting import going_on
    from scaffold.errors import BadInput

    journal = journal_at(runs)
    each = _one(journal, run, name)
    if each.question.kind == "question":
        raise BadInput(
            f"{name} is a question: answer it with `scaffold approvals approve --answer TEXT`, or end the run with "
            "`scaffold stop`"
        )
    said = answer_to(each, granted=False, comment=comment, by=_who(person))
    check(each, said)
    _post(journal, each, said, key)
    click.echo(f"denied; {going_on(journal, each.question.run)}")


@approvals.command()
@click.option("--port", type=click.IntRange(0, 65_535), default=0, help="The port to listen on; 0 means any free one.")
@click.option(
    "--as",
    "people",
    metavar="NAME[=KEY]",
    multiple=True,
    help="A person who gets an address of their own, optionally with their key file [your login name].",
)
@runs_option
def serve(port: int, people: tuple[str, ...], runs: Path | None) -> None:
    """Show what waits in a browser and take answers there, until interrupted.

    It listens on this machine only. Each printed address contains a token: whoever has it answers as that person.
    """
    from scaffold.approvals.page.serving import serve as serve_page
    from scaffold.trace.signing import signer_of

    said = [person.partition("=") for person in people or (_who(None),)]
    signers = {name: signer_of(key) if key else None for name, _, key in said}
    serve_page(journal_at(runs), signers, port, click.echo)


def _all(journal: KeptRuns, run: str | None) -> list[Waiting]:
    from scaffold.approvals.queue import Queue, waiting
    from scaffold.cli.speech import plain

    if run is not None:
        return waiting(journal, journal.find(run))
    queue = Queue(journal)
    found = queue.waiting()
    for each, fault in queue.faults.items():
        click.echo(f"warning: run {each}: {plain(fault)}", err=True)
    return found


def _one(journal: KeptRuns, run: str, name: str) -> Waiting:
    from scaffold.approvals.saying import find

    return find(journal, journal.find(run), name)


def _who(person: str | None) -> str:
    from scaffold.cli.terminal import who

    return who() if person is None else person


def _post(journal: KeptRuns, each: Waiting, said: Answer, key: Path | None) -> None:
    from scaffold.approvals.saying import say
    from scaffold.trace.signing import signer_of

    signer = signer_of(key) if key is not None else None
    asyncio.run(say(journal, each.question.run, said, signer=signer))


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
        "needs": asked.needs,
        "approvers": list(asked.approvers),
        "answers": [{"by": said.by, "granted": said.granted, "comment": said.comment} for said in each.answers],
        "detail": asked.detail,
    }


def _left(each: Waiting) -> str:
    """Describe how long a question stays open."""
    left = each.question.expires - time.time()
    if left == float("inf"):
        return ""
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")):
        if left >= size:
            return f"{left / size:.0f} {unit} left"
    return "expired"
