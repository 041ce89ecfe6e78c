"""People's answers to a run: which ones count, when enough have approved, and how they are signed.

An answer is a file or a message that anybody who can reach the run's inbox could have written. It counts for one
question and one digest, from somebody who may approve. If that approver has a key, it counts only with a signature.
Where approvers have keys, only approvers may answer questions for facts, too. A signed answer is a note:

    scaffold.approval/<run id>
    <the answer, as JSON>

    — <key name> <base64 of 4 bytes of key id and 64 of signature>

Source: https://c2sp.org/signed-note for the shape of the text.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import msgspec

from scaffold.interfaces import Answer
from scaffold.trace.heads import is_signed_by

if TYPE_CHECKING:
    from collections.abc import Iterable

    from scaffold.interfaces import Question
    from scaffold.trace.heads import Signer

ORIGIN = "scaffold.approval/"
STOP = "stop"  # the id of a request to the run itself, not an answer to a question


class Statement(msgspec.Struct, frozen=True):
    """What a person signs: exactly one answer to one run."""

    run: str
    answer: Answer

    def text(self) -> str:
        """Return the note's text: the whole answer except its signature, so that it fits no other answer."""
        said = msgspec.json.encode(msgspec.structs.replace(self.answer, signature=""), order="sorted")
        return f"{ORIGIN}{self.run}\n{said.decode()}\n"


def answers_in(said: Iterable[bytes | str]) -> list[Answer]:
    """Decode what lies in an inbox; skip what is no answer, since anybody may have put it there."""
    found = []
    for each in said:
        with contextlib.suppress(ValueError, RecursionError):  # no JSON, no UTF-8, of another form, too deep
            found.append(msgspec.json.decode(each, type=Answer))
    return found


def signed(run: str, answer: Answer, signer: Signer) -> Answer:
    """Return the answer with a signature."""
    return msgspec.structs.replace(answer, signature=signer.sign(Statement(run, answer)))


def why_not(question: Question, answer: Answer) -> str:
    """Say why an answer does not count for a question; empty if it does."""
    if answer.id != question.id or answer.digest != question.digest:
        return "it answers another question"
    if not question.approvers:
        return ""
    if answer.by not in question.approvers:
        who = f"{answer.by!r} is" if answer.by else "the answer names nobody, who is"
        may = "answer" if question.kind == "question" else "approve"
        return f"{who} not among those who may {may}: {', '.join(question.approvers)}"
    key = question.approvers[answer.by]
    if key and not _is_signed(question, answer, key):
        return f"it is not signed by the key of {answer.by}"
    return ""


def _is_signed(question: Question, answer: Answer, key: str) -> bool:
    text = Statement(question.run, answer).text()
    try:
        return answer.signature.startswith(text + "\n") and is_signed_by(answer.signature, key)
    except ValueError:  # not base64
        return False


def stopped_by(said: Iterable[Answer]) -> str:
    """Return who asked the run to stop; empty if nobody did. The run obeys when it goes on."""
    return next((answer.by or "someone" for answer in said if answer.id == STOP), "")


def decided_by(question: Question, answers: Iterable[Answer]) -> list[Answer]:
    """Return the answers that settle a question: one no, or as many people's yes as needed; empty while it is open."""
    counted = [answer for answer in answers if not why_not(question, answer)]
    if question.kind == "question":
        return counted[:1]
    refusing = [answer for answer in counted if not answer.granted]
    if refusing:
        return refusing[:1]
    granting = {answer.by: answer for answer in counted}
    return list(granting.values())[: question.needs] if len(granting) >= question.needs else []
