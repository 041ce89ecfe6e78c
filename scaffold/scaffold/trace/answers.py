"""What people say to a run: which answers count, when enough have approved, and answers under a key.

An answer is a file or a message that anybody who can reach the run's inbox could have written. It counts for one
question and one digest, from somebody who may approve. Where an approver has a key, it counts only with a signature,
and then what answers a question for a fact has to come from an approver too:

    scaffold.approval/<run id>
    <the answer, as JSON>

    — <key name> <base64 of 4 bytes of key id and 64 of signature>

Source: https://c2sp.org/signed-note for the shape of the text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from scaffold.trace.heads import is_signed_by

if TYPE_CHECKING:
    from collections.abc import Iterable

    from scaffold.interfaces import Answer, Question
    from scaffold.trace.heads import Signer

ORIGIN = "scaffold.approval/"
STOP = "stop"  # what is no answer to a question, but a word to the run


class Statement(msgspec.Struct, frozen=True):
    """What a person puts their key to: exactly one answer to one run."""

    run: str
    answer: Answer

    def text(self) -> str:
        """The note's text; it has the whole answer but its signature, so that none serves for anything else."""
        said = msgspec.json.encode(msgspec.structs.replace(self.answer, signature=""), order="sorted")
        return f"{ORIGIN}{self.run}\n{said.decode()}\n"


def signed(run: str, answer: Answer, signer: Signer) -> Answer:
    """The same answer under a key."""
    return msgspec.structs.replace(answer, signature=signer.sign(Statement(run, answer)))


def why_not(question: Question, answer: Answer) -> str:
    """Say why an answer does not count for a question; nothing when it does."""
    if answer.id != question.id or answer.digest != question.digest:
        return "it answers something else"
    if not question.approvers:
        return ""
    if answer.by not in question.approvers:
        who = f"{answer.by!r} is" if answer.by else "whoever does not say who they are is"
        may = "answer" if question.kind == "question" else "approve"
        return f"{who} none of those who may {may}: {', '.join(question.approvers)}"
    key = question.approvers[answer.by]
    if key and not _is_signed(question, answer, key):
        return f"it is not signed by the key of {answer.by}"
    return ""


def _is_signed(question: Question, answer: Answer, key: str) -> bool:
    text = Statement(question.run, answer).text()
    try:
        return answer.signature.startswith(text + "\n") and is_signed_by(answer.signature, key)
    except ValueError:  # no base64
        return False


def stopped_by(said: Iterable[Answer]) -> str:
    """Who of those that have spoken to a run has asked it to stop, which it does when it goes on; empty if nobody."""
    return next((answer.by or "someone" for answer in said if answer.id == STOP), "")


def decided_by(question: Question, answers: Iterable[Answer]) -> list[Answer]:
    """The answers that settle a question: one no, or so many people's yes as it needs; empty while it is open."""
    counted = [answer for answer in answers if not why_not(question, answer)]
    if question.kind == "question":
        return counted[:1]
    refusing = [answer for answer in counted if not answer.granted]
    if refusing:
        return refusing[:1]
    granting = {answer.by: answer for answer in counted}
    return list(granting.values())[: question.needs] if len(granting) >= question.needs else []
