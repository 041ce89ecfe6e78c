"""The queue of questions that wait for a person, read from the traces of unfinished runs; all interfaces show it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import msgspec

from scaffold.errors import TraceError
from scaffold.interfaces import Answer, Question
from scaffold.trace.answers import decided_by, stopped_by, why_not
from scaffold.trace.chain import Chain, Content, as_written, body_of
from scaffold.trace.files import SPINE
from scaffold.trace.folders import last_event
from scaffold.trace.records import read_files
from scaffold.vocabulary import events as ev

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scaffold.interfaces import KeptRuns

WITHHELD = "(its content is withheld)"


class Waiting(msgspec.Struct, frozen=True):
    """One open question, with the answers that its run has not taken in yet.

    Attributes:
        question: the question.
        answers: the valid answers so far, one per person.
        at: when it was asked, in seconds since the epoch.
    """

    question: Question
    answers: tuple[Answer, ...] = ()
    at: float = 0.0

    @property
    def settled(self) -> bool:
        """Whether there are enough answers, so that the run only has to take them in."""
        return bool(decided_by(self.question, self.answers))

    @property
    def expired(self) -> bool:
        """Whether it is too late to approve."""
        return self.question.expires <= time.time()

    @property
    def state(self) -> str:
        """The state in a few words."""
        if self.settled:
            return "answered, not yet used by the run"
        if self.expired:
            return "expired"
        if self.answers:
            return f"{len(self.answers)} of {self.question.needs} approved"
        return "open"


class Standing(msgspec.Struct):
    """A run's status, and the questions it waits for.

    Attributes:
        status: how it ended, or why it is paused; empty if it is under way or was cut off.
        ended: whether it is over.
        questions: the open questions, by id.
        asked_at: when each was asked.
        settled: for the id of each question whose answers were taken in, whether it was granted.
    """

    status: str = ""
    ended: bool = False
    questions: dict[str, Question] = {}
    asked_at: dict[str, float] = {}
    settled: dict[str, bool] = {}


def standing(journal: KeptRuns, run: str) -> Standing:
    """Read a run's status from its trace.

    Raises:
        TraceDamaged: the trace was altered, so its questions cannot be trusted.
    """
    found, chain = Standing(), Chain()
    for record in read_files(journal.folder(run)):
        link = chain.follow(record)
        event = link.event
        found.status = event.status if isinstance(event, ev.Paused | ev.Ended) else ""
        match event:
            case ev.ApprovalAsked():
                with as_written(event):
                    found.questions[event.id] = asked_by(run, event, link.content)
                found.asked_at[event.id] = event.at
            case ev.QuestionAsked():
                with as_written(event):
                    found.questions[event.id] = _fact_asked_by(run, event, link.content)
                found.asked_at[event.id] = event.at
            case ev.ApprovalGiven() | ev.QuestionAnswered():
                found.questions.pop(event.id, None)
                found.settled[event.id] = not isinstance(event, ev.ApprovalGiven) or event.granted
            case ev.Ended():
                found.ended = True
            case _:
                pass
    return found


class _Call(msgspec.Struct):
    """The part of a call that every interface shows."""

    action: str
    arguments: dict[str, Any]


class _Asked(msgspec.Struct):
    """The content of a question for an approval, as far as its form matters here."""

    title: str = WITHHELD
    calls: list[_Call] = []
    reasons: list[str] = []
    previews: dict[str, Any] = {}
    keys: dict[str, str] = {}


class _Fact(msgspec.Struct):
    """The content of a question for a fact, likewise."""

    title: str = WITHHELD
    about: list[Any] | None = None
    form: str = ""
    asked: list[Any] = []
    approvers: dict[str, str] = {}


def asked_by(run: str, event: ev.ApprovalAsked, content: Content | None) -> Question:
    """Make the question of an event that asks for an approval.

    Raises:
        ValueError: its content has another form.
    """
    detail = body_of(content)
    known = msgspec.convert(detail, _Asked)
    detail.pop("keys", {})
    detail.pop("title", "")
    return Question(
        id=event.id,
        run=run,
        kind=event.subject,
        digest=event.digest,
        expires=event.expires,
        title=known.title,
        detail=detail,
        needs=event.needs,
        approvers={name: known.keys.get(name, "") for name in event.approvers},
    )


def _fact_asked_by(run: str, event: ev.QuestionAsked, content: Content | None) -> Question:
    known = msgspec.convert(body_of(content), _Fact)
    return Question(
        id=event.id,
        run=run,
        kind="question",
        digest=event.digest,
        expires=float("inf"),
        title=known.title,
        detail={"about": known.about, "form": known.form, "returns": (known.asked or [None] * 3)[2]},
        approvers=known.approvers,
    )


def waiting(journal: KeptRuns, run: str) -> list[Waiting]:
    """Return the questions of one run that are open in its trace."""
    return _waiting(journal, run, standing(journal, run))


def _waiting(journal: KeptRuns, run: str, stands: Standing) -> list[Waiting]:
    if stands.ended or not stands.questions:
        return []
    said = journal.inbox(run)
    if stopped_by(said):
        return []
    return [
        Waiting(question, tuple(_counting(question, said)), stands.asked_at[question.id])
        for question in stands.questions.values()
    ]


def _counting(question: Question, said: Sequence[Answer]) -> list[Answer]:
    return list({answer.by: answer for answer in said if not why_not(question, answer)}.values())


class _Known(msgspec.Struct):
    """A run as last read, with its size and modification time then."""

    mark: tuple[int, int]
    stands: Standing | None
    fault: str = ""


_OVER = _Known((0, 0), None)


class Queue:
    """The open questions of all runs of a journal. A trace is read again only if it has grown; an ended one never.

    Attributes:
        faults: runs with damaged traces, each with what is wrong.
    """

    def __init__(self, journal: KeptRuns) -> None:
        self._journal = journal
        self._known: dict[str, _Known] = {}
        self.faults: dict[str, str] = {}

    def waiting(self) -> list[Waiting]:
        """Return all open questions, the first to expire first; those without a deadline come last, oldest first."""
        found: list[Waiting] = []
        faults: dict[str, str] = {}
        runs = self._journal.runs()
        new = [run for run in runs if run not in self._known]
        self._known.update(dict.fromkeys(self._journal.ended(new), _OVER))
        for run in runs:
            known = self._look_at(run)
            if known is None:
                continue
            if known.fault:
                faults[run] = known.fault
            if known.stands is not None:
                try:
                    found += _waiting(self._journal, run, known.stands)
                except OSError as error:
                    faults[run] = f"its inbox cannot be read: {error.strerror}"
        self.faults = faults
        return sorted(found, key=lambda each: (each.question.expires, each.at, each.question.id))

    def _look_at(self, run: str) -> _Known | None:
        known = self._known.get(run)
        if known is not None and known.stands is None and not known.fault:
            return known  # it has ended
        folder = self._journal.folder(run)
        try:
            stat = (folder / SPINE).stat()
            mark = (stat.st_size, stat.st_mtime_ns)
            if known is None or known.mark != mark:
                known = self._known[run] = self._read(run, mark)
        except FileNotFoundError:  # removed meanwhile
            self._known.pop(run, None)
            return None
        except OSError as error:
            return _Known((0, 0), None, f"it cannot be read: {error.strerror}")
        return known

    def _read(self, run: str, mark: tuple[int, int]) -> _Known:
        try:
            if isinstance(last_event(self._journal.folder(run)), ev.Ended):
                return _OVER
            return _Known(mark, standing(self._journal, run))
        except TraceError as error:
            return _Known(mark, None, str(error))
