"""Takes a person's answer to an open question from any interface, or says why it cannot count."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from scaffold.approvals.queue import standing, waiting
from scaffold.errors import AnswerRefused, date, nearest
from scaffold.interfaces import Answer
from scaffold.machinery.asking.answers import read_answer
from scaffold.trace.answers import decided_by, signed, stopped_by, why_not
from scaffold.trace.files import SPINE

if TYPE_CHECKING:
    from scaffold.approvals.queue import Waiting
    from scaffold.interfaces import KeptRuns, Question
    from scaffold.trace.heads import Signer

_KINDS = {"<class 'str'>": str, "<class 'int'>": int, "<class 'float'>": float, "<class 'bool'>": bool}


def find(journal: KeptRuns, run: str, name: str) -> Waiting:
    """Find an open question.

    Args:
        journal: the run's journal.
        run: the run's full id.
        name: the question's id.

    Raises:
        AnswerRefused: no open question has that id.
    """
    each = next((each for each in waiting(journal, run) if each.question.id == name), None)
    if each is not None:
        return each
    stands = standing(journal, run)
    if name in stands.settled:
        raise AnswerRefused(f"{name} of run {run} is already settled: see `scaffold audit show {run}`", "settled")
    if stands.ended:
        raise AnswerRefused(f"run {run} has ended ({stands.status}): nothing is waiting there", "ended")
    by = stopped_by(journal.inbox(run))
    if by:
        raise AnswerRefused(f"run {run} was stopped by {by}: nothing is waiting there", "ended")
    raise AnswerRefused(f"run {run} has no open question {name!r}{nearest(name, stands.questions)}", "unknown")


async def say(journal: KeptRuns, run: str, answer: Answer, *, signer: Signer | None = None) -> Waiting:
    """Put an answer into a run's inbox if it can count; return the question as it was before.

    Raises:
        AnswerRefused: it is too late, repeated, from the wrong person, or about something else; or somebody else's
            answer counts in its place.
    """
    seen = _size(journal, run)
    each = find(journal, run, answer.id)
    check(each, answer)
    if signer is not None:
        answer = signed(run, answer, signer)
    why = why_not(each.question, answer)
    if why:
        raise AnswerRefused(f"this answer does not count: {why}", "wrong person")
    await journal.post(run, answer)
    counting = decided_by(each.question, journal.inbox(run))
    if not any(_is_same(answer, said) for said in counting) and counting:
        by = counting[0].by or "someone"
        but = (
            f"also answered by {by}: that counts if the run can read it, and this only if not"
            if _only_the_run_can_read(each.question)
            else f"answered otherwise by {by} at the same time, and that counts"
        )
        raise AnswerRefused(f"{answer.id} was {but}", "answered")
    if _size(journal, run) != seen and standing(journal, run).settled.get(answer.id, answer.granted) != answer.granted:
        raise AnswerRefused(
            f"{answer.id} was settled otherwise just before: see `scaffold audit show {run}`", "settled"
        )
    return each


def _size(journal: KeptRuns, run: str) -> int:
    """Return the size of a run's trace, which tells whether it has gone on."""
    return (journal.folder(run) / SPINE).stat().st_size


def _only_the_run_can_read(asked: Question) -> bool:
    """Whether the name of what a question returns does not tell if an answer can be read."""
    return asked.kind == "question" and str(asked.detail.get("returns")) not in _KINDS


def _is_same(answer: Answer, other: Answer) -> bool:
    """Whether two answers say the same, whoever gave them."""
    return (answer.granted, answer.value) == (other.granted, other.value)


def check(each: Waiting, answer: Answer) -> None:
    """Refuse an answer that cannot count, before it is signed.

    Raises:
        AnswerRefused: it cannot count.
    """
    asked = each.question
    open_still = _only_the_run_can_read(asked)  # what it has passed over is said again
    if each.settled and not open_still:
        by = " and ".join(said.by or "someone" for said in each.answers)
        raise AnswerRefused(f"{asked.id} was already answered by {by}: resume the run to use the answer", "answered")
    if any(said.by == answer.by for said in each.answers) and not open_still:
        raise AnswerRefused(
            f"{asked.id} was already answered by {answer.by or 'you'}; {asked.needs} people have to approve", "answered"
        )
    if each.expired:
        raise AnswerRefused(
            f"{asked.id} expired at {date(asked.expires)}, which means no: resume the run to continue", "expired"
        )
    if answer.digest != asked.digest:
        raise AnswerRefused(f"{asked.id} has changed since it was looked at: look at it again", "another")
    if asked.kind == "question":
        _check_fits(str(asked.detail.get("returns")), answer.value)
    if answer.scope and asked.kind != "plan":
        raise AnswerRefused(f"{asked.id} is not a plan: only the approval of a plan can cover its calls", "misfit")


def _check_fits(returns: str, value: str) -> None:
    """Refuse an answer that the run would ignore, if the wanted type is known by its name."""
    kind = _KINDS.get(returns)
    if kind is not None:
        try:
            read_answer(kind, value)
        except ValueError as error:
            raise AnswerRefused(f"the answer {value!r} is {error}", "misfit") from None


def answer_to(each: Waiting, **said: object) -> Answer:
    """Make an answer to exactly this question; `said` has its other fields."""
    return msgspec.convert({"id": each.question.id, "digest": each.question.digest, **said}, Answer)
