"""Finds what waits for a person, in the traces of runs that have not ended."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import msgspec

from scaffold.cli.options import runs_said
from scaffold.interfaces import Answer, Question
from scaffold.trace.chain import Chain, body_of
from scaffold.trace.files import read_files
from scaffold.vocabulary import events as ev

if TYPE_CHECKING:
    from scaffold.trace.files import FileJournal


class Waiting(msgspec.Struct, frozen=True):
    """One open question, and what was said to it already and not taken in yet."""

    question: Question
    said: Answer | None = None

    @property
    def expired(self) -> bool:
        """Whether it is too late to approve."""
        return self.question.expires <= time.time()

    @property
    def state(self) -> str:
        """In one word, or a few."""
        if self.said is not None:
            return "answered, not taken in yet"
        return "expired" if self.expired else "open"


class Standing(msgspec.Struct):
    """How a run stands, and what it waits for."""

    status: str = ""
    ended: bool = False
    questions: dict[str, Question] = {}
    settled: set[str] = set()


def standing(journal: FileJournal, run: str) -> Standing:
    """Read a run's trace.

    Raises:
        TraceDamaged: it was altered: nothing it asks can be believed.
    """
    found, chain = Standing(), Chain()
    for record in read_files(journal.root / run):
        link = chain.follow(record)
        event = link.event
        found.status = event.status if isinstance(event, ev.Paused | ev.Ended) else ""
        match event:
            case ev.ApprovalAsked():
                content = body_of(link.content)
                found.questions[event.id] = Question(
                    id=event.id,
                    run=run,
                    kind=event.subject,
                    digest=event.digest,
                    expires=event.expires,
                    title=content.pop("title", "(its content is withheld)"),
                    detail=content,
                )
            case ev.QuestionAsked():
                content = body_of(link.content)
                found.questions[event.id] = Question(
                    id=event.id,
                    run=run,
                    kind="question",
                    digest=event.digest,
                    expires=float("inf"),
                    title=content.pop("title", "(its content is withheld)"),
                    detail={
                        "about": content.get("about"),
                        "returns": (content.get("asked") or [None] * 3)[2],
                    },
                )
            case ev.ApprovalGiven() | ev.QuestionAnswered():
                found.questions.pop(event.id, None)
                found.settled.add(event.id)
            case ev.Ended():
                found.ended = True
            case _:
                pass
    return found


def waiting(journal: FileJournal, run: str) -> list[Waiting]:
    """The questions of one run that nobody has answered in its trace."""
    found = standing(journal, run)
    if found.ended:
        return []
    said = {answer.id: answer for answer in journal.inbox(run)}
    questions = found.questions.values()
    return [
        Waiting(each, answer if (answer := said.get(each.id)) and answer.digest == each.digest else None)
        for each in questions
    ]


def commands(journal: FileJournal, run: str) -> list[str]:
    """What to type for each open question of a run, and then."""
    lines, runs = [], runs_said(journal)
    for each in waiting(journal, run):
        asked = each.question
        if asked.kind == "question":
            lines.append(f"answer:  scaffold approvals approve {run} {asked.id} --answer TEXT{runs}")
        else:
            lines += [
                f"look:    scaffold approvals show {run} {asked.id}{runs}",
                f"say yes: scaffold approvals approve {run} {asked.id}{runs}    (no: deny)",
            ]
    return [*lines, f"go on:   scaffold resume {run}{runs}"]
