"""Asks people: for approval of an exact call, and for facts that only they know.

Approvers are asked in turn, and the run's inbox is watched; if nobody answers, the move waits (`Parked`).
"""

from __future__ import annotations

import asyncio
import logging
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import msgspec

from scaffold.errors import Stopped
from scaffold.interfaces import Answer, AsksBeside, Question
from scaffold.machinery.asking.answers import read_answer, recorded
from scaffold.machinery.asking.prompts import wanted
from scaffold.machinery.cancelling import is_from_within
from scaffold.trace.answers import decided_by, stopped_by, why_not
from scaffold.vocabulary import events as ev
from scaffold.vocabulary.canonical import adapter, canonical, decode, recordable
from scaffold.vocabulary.references import Provenance, Reference, provenance_of, unwrap

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from scaffold.interfaces import Approver, Journal, Surroundings
    from scaffold.machinery.recording.recorder import Recorder
    from scaffold.machinery.recording.state import RunState
    from scaffold.vocabulary.moves import Ask
    from scaffold.vocabulary.review import SubjectKind
    from scaffold.vocabulary.task import Oversight

EXPIRY = "expiry"  # the name under which an expired question is refused
_log = logging.getLogger(__name__)


class Parked(Exception):
    """A move waits for a person who cannot be reached now."""


def _any(_: Answer) -> bool:
    return True


class People:
    """The people that one run can ask."""

    def __init__(
        self,
        *,
        approvers: Sequence[Approver],
        journal: Journal,
        recorder: Recorder,
        state: RunState,
        surroundings: Surroundings,
        oversight: Oversight,
        aside: Callable[[], Any],
    ) -> None:
        self._approvers = approvers
        self._journal = journal
        self._recorder = recorder
        self._state = state
        self._clock = surroundings.clock
        self._reach = surroundings.reach
        self._look_s = surroundings.look_s
        self._oversight = oversight
        self._posted: set[tuple[str, int]] = set()  # question and approver whose answer did not settle it
        self._passed_over: list[Answer] = []
        self._aside = aside

    def stop_asked(self) -> str:
        """Return who asked the run to stop; empty if nobody did."""
        if not self._state.stop:
            by = stopped_by(self._journal.inbox(self._recorder.claim.run))
            if by:
                self._recorder.record(ev.StopAsked(by=by))
        return self._state.stop

    def check_stop(self) -> None:
        """Check that nobody has asked the run to stop.

        Raises:
            Stopped: somebody has.
        """
        by = self.stop_asked()
        if by:
            raise Stopped(f"stopped by {by}")

    def heard(self) -> int:
        """Return the number of answers in the inbox: more than before means that parked moves may continue."""
        return len(self._journal.inbox(self._recorder.claim.run))

    async def approve(
        self, key: str, subject: SubjectKind, digest: str, title: str, detail: dict[str, Any]
    ) -> ev.ApprovalGiven:
        """Ask whether exactly this may be done; return the recorded answer.

        Raises:
            Parked: nobody can be asked now; the question stays open.
            Stopped: somebody stopped the run while it waited.
        """
        progress = self._state.at(key)
        asked = progress.approval
        if asked is None or (asked.subject, asked.digest) != (subject, digest):
            expires = round(self._clock.now() + self._oversight.approval_timeout_s, 3)
            asked = ev.ApprovalAsked(
                key=key,
                id=_name(self._recorder.claim.run, key, f"{subject} {digest}"),
                subject=subject,
                digest=digest,
                expires=expires,
                needs=self._oversight.needs,
                approvers=tuple(self._oversight.approvers),
            )
            keys = {name: key for name, key in self._oversight.approvers.items() if key}
            self._reach("approval.asked:before")
            self._recorder.record(asked, {"title": title, **detail, **({"keys": keys} if keys else {})})
            await self._recorder.flush(durable=True)
            self._reach("approval.asked:after")
        given = progress.approved
        if given is not None and (not given.granted or self._clock.now() < asked.expires):
            return given
        question = Question(
            id=asked.id,
            run=self._recorder.claim.run,
            kind=subject,
            digest=digest,
            expires=asked.expires,
            title=title,
            detail=detail,
            needs=asked.needs,
            approvers={name: self._oversight.approvers.get(name, "") for name in asked.approvers},
        )
        answers = await self._put(question) if self._clock.now() < asked.expires else self._lying(question, _any)
        if self._clock.now() >= asked.expires:
            answers = _expired(question, answers, given)
        elif not answers:
            raise Parked
        event = await self._keep(key, answers)
        if event.granted and self._clock.now() >= asked.expires:  # it expired while being recorded
            event = await self._keep(key, _expired(question, answers, event))
        return event

    async def _keep(self, key: str, answers: list[Answer]) -> ev.ApprovalGiven:
        """Record people's answers durably."""
        self._reach("approval.given:before")
        event = _given(key, answers)
        comment = _comments(answers)
        self._recorder.record(event, {"comment": comment} if comment else None)
        await self._recorder.flush(durable=True)
        self._reach("approval.given:after")
        return event

    async def ask(self, key: str, move: Ask, history: Provenance) -> Reference[Any]:
        """Ask the user for a fact.

        Raises:
            Parked: nobody can be asked now.
            Stopped: somebody stopped the run while it waited.
        """
        progress = self._state.at(key)
        asked = progress.question
        shown: dict[str, Any] = {"about": [unwrap(value) for value in move.about]}
        if form := wanted(move.returns):
            shown["form"] = form
        # The planner trusts this answer as the user's own: where people have keys, an unsigned file is not enough.
        approvers = self._oversight.approvers if any(self._oversight.approvers.values()) else {}
        if asked is None:
            what = question_asked(move)
            asked = ev.QuestionAsked(key=key, id=_name(self._recorder.claim.run, key, "question"), digest="")
            provenance = [provenance_of(value, history) for value in move.about]
            content = {"asked": decode(what), "title": move.question, "provenance": provenance, **shown}
            if approvers:
                content["approvers"] = approvers
            self._reach("question.asked:before")
            self._recorder.record(asked, content, asked=what)
            await self._recorder.flush(durable=True)
            self._reach("question.asked:after")
        answers = await self._put(
            Question(
                id=asked.id,
                run=self._recorder.claim.run,
                kind="question",
                digest=asked.digest,
                expires=float("inf"),
                title=move.question,
                detail=shown,
                approvers=dict(approvers),
            ),
            lambda said: self._can_be_read(move.returns, said),
        )
        if not answers:
            raise Parked
        answer = answers[0]
        value = read_answer(move.returns, answer.value)
        event = ev.QuestionAnswered(key=key, id=asked.id, by=answer.by)
        self._reach("question.answered:before")
        body = self._recorder.record(event, {"value": msgspec.Raw(recorded(move.returns, value))})
        await self._recorder.flush(durable=True)
        self._reach("question.answered:after")
        return answer_from(event, body, move)

    async def _put(self, question: Question, fits: Callable[[Answer], bool] = _any) -> list[Answer]:
        """Look into the inbox, then ask whoever can be reached; return the answers that settle the question, or none.

        An answer to something else, or from somebody not entitled to give it, is ignored.

        Raises:
            Stopped: somebody has stopped the run: it asks nobody and waits no more.
        """
        settling = self._lying(question, fits)
        if settling:
            return settling
        self.check_stop()
        if question.needs > 1:
            said = [answer.by for answer in self._journal.inbox(question.run) if not why_not(question, answer)]
            question = msgspec.structs.replace(question, approved=tuple(dict.fromkeys(said)))
        turn = [number for number in range(len(self._approvers)) if (question.id, number) not in self._posted]
        if not turn:
            return []
        async with self._aside():
            return await self._ask_and_listen(turn, question, fits)

    def _can_be_read(self, returns: Any, said: Answer) -> bool:
        """Whether an answer states what was asked for; of one that does not, whoever runs us is told."""
        try:
            read_answer(returns, said.value)
        except ValueError as error:
            if said not in self._passed_over:
                self._passed_over.append(said)
                _log.warning("the answer %r to question %s does not count: %s", said.value, said.id, error)
            return False
        return True

    def _lying(self, question: Question, fits: Callable[[Answer], bool], *said: Answer) -> list[Answer]:
        """Return the answers that settle a question, from the inbox and those just given."""
        lying = [answer for answer in self._journal.inbox(question.run) if answer.id == question.id and fits(answer)]
        return decided_by(question, [*lying, *said])

    async def _ask_and_listen(
        self, turn: Sequence[int], question: Question, fits: Callable[[Answer], bool]
    ) -> list[Answer]:
        """Ask approvers in turn until their answers, or the inbox, settle the question, or it expires.

        Raises:
            Stopped: somebody has stopped the run.
        """
        asking: dict[asyncio.Future[Answer | None], int] = {}
        coming, waited_for = iter(turn), None
        try:
            while True:
                if waited_for not in asking:
                    waited_for = self._ask_next(coming, asking, question)
                left = question.expires - self._clock.now()  # at each look, since a machine that sleeps counts no time
                if not asking or left <= 0:
                    return []
                within = min(self._look_s, left)
                done, _ = await asyncio.wait(asking, timeout=within, return_when=asyncio.FIRST_COMPLETED)
                for each in done:
                    number = asking.pop(each)
                    settling = await self._take(number, each.result(), question, fits)
                    if settling:
                        return settling
                settling = self._lying(question, fits)
                if settling:
                    return settling
                if asking:
                    self.check_stop()
        finally:
            for each in asking:
                each.cancel()
            if asking:
                await asyncio.wait(asking)

    def _ask_next(
        self, coming: Iterator[int], asking: dict[asyncio.Future[Answer | None], int], question: Question
    ) -> asyncio.Future[Answer | None] | None:
        """Start asking the next approvers, up to the first that must be waited for; return that one, if any."""
        for number in coming:
            approver = self._approvers[number]
            task = asyncio.ensure_future(self._reach_out(approver, question))
            asking[task] = number
            if not (isinstance(approver, AsksBeside) and approver.beside):
                return task
        return None

    async def _take(
        self, number: int, said: Answer | None, question: Question, fits: Callable[[Answer], bool]
    ) -> list[Answer]:
        """Take in an approver's answer; return the answers that now settle the question."""
        if said is None or not fits(said):
            return []
        if question.kind == "question" and (said.id, said.digest) == (question.id, question.digest):
            return [said]  # a person reached by this process itself needs no key
        if why_not(question, said):
            return []
        settling = self._lying(question, fits, said)
        if not settling:
            self._posted.add((question.id, number))
            await self._journal.post(question.run, said)  # one of several answers needed
        return settling

    async def _reach_out(self, approver: Approver, question: Question) -> Answer | None:
        """Ask one approver; one that fails has reached nobody."""
        try:
            return _answer(await approver.ask(question))
        except asyncio.CancelledError:
            if not is_from_within():
                raise
            _log.warning("%s was cancelled by its own code", type(approver).__name__)
        except Exception:  # noqa: BLE001 - whatever went wrong, nobody was reached
            _log.warning("%s reached nobody", type(approver).__name__, exc_info=True)
        return None


def _answer(said: object) -> Answer | None:
    """Return what an approver returned, if that is an answer or none."""
    if said is None or isinstance(said, Answer):
        return said
    raise TypeError(f"`ask` returned a {type(said).__name__}: it should be an Answer, or None")


def _expired(question: Question, answers: list[Answer], given: ev.ApprovalGiven | None) -> list[Answer]:
    """Return the answer once a question has expired: a no stands; anything else, even a yes, becomes a no."""
    if answers and not answers[0].granted:
        return answers
    approved = [answer.by for answer in answers] if given is None else [given.by, *given.beside]
    names = " and ".join(name or "a person" for name in approved)
    comment = f"{names} said yes, but the approval expired before it could be used" if names else ""
    return [Answer(id=question.id, digest=question.digest, granted=False, by=EXPIRY, comment=comment)]


def _given(key: str, answers: list[Answer]) -> ev.ApprovalGiven:
    first, *others = answers
    return ev.ApprovalGiven(
        key=key,
        id=first.id,
        digest=first.digest,
        granted=first.granted,
        by=first.by,
        beside=tuple(answer.by for answer in others),
        scope=first.granted and all(answer.scope for answer in answers),
    )


def _comments(answers: list[Answer]) -> str:
    if len(answers) == 1:
        return answers[0].comment
    return "; ".join(f"{answer.by}: {answer.comment}" for answer in answers if answer.comment)


def question_asked(move: Ask) -> bytes:
    """Return the canonical bytes of what a question asks."""
    return recordable([move.question, [unwrap(value) for value in move.about], str(move.returns)])


def answer_from(event: ev.QuestionAnswered, body: bytes, move: Ask) -> Reference[Any]:
    """Return what the planner is sent for a recorded answer."""
    value = decode(body)["value"]
    if move.returns is not str:
        value = adapter(move.returns).validate_json(canonical(value))
    return Reference(value, Provenance((f"answer:{event.key}",)))


def _name(run: str, key: str, digest: str) -> str:
    return sha256(f"{run}:{key}:{digest}".encode()).hexdigest()[:8]
