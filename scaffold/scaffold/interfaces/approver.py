"""The Approver protocol: ways to reach a person, and what is asked and answered."""

from __future__ import annotations

from typing import Any

import msgspec
from typing_extensions import Protocol, runtime_checkable


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """A question to a person: to approve an exact call, or for a fact.

    Attributes:
        id: its name in `scaffold approvals`.
        run: the run that asks.
        kind: an approval of a plan or an action, or a question.
        digest: of what exactly is asked; an answer with another digest does not count.
        expires: seconds since the epoch, after which an approval means no.
        title: one line.
        detail: the exact call and the reasons, as JSON values.
        needs: how many people must approve.
        approvers: who may approve, by name, each with the verifier line of their key, or an empty text; if nobody is
            named, anybody may. For a question, who may answer it through the inbox.
        approved: who has approved already, while it waits for others.
    """

    id: str
    run: str
    kind: str
    digest: str
    expires: float
    title: str
    detail: dict[str, Any] = {}
    needs: int = 1
    approvers: dict[str, str] = {}
    approved: tuple[str, ...] = ()


class Answer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A person's answer.

    Attributes:
        id: the question's id.
        digest: the question's digest.
        granted: for an approval.
        value: for a question, as text.
        by: who answered.
        comment: kept in the trace; with a no, also told to the planner as the reason for the refusal.
        scope: for a plan: approves its calls too, each as long as it is exactly as shown.
        signature: a signed note of all the above, by the key of `by`; see `scaffold.trace.answers`.

    Raises:
        TypeError: `granted` or `scope` is neither True nor False: the text "no" would count as a yes.
    """

    id: str
    digest: str
    granted: bool = False
    value: str = ""
    by: str = ""
    comment: str = ""
    scope: bool = False
    signature: str = ""

    def __post_init__(self) -> None:
        for name, said in (("granted", self.granted), ("scope", self.scope)):
            if not isinstance(said, bool):
                raise TypeError(f"`{name}` of Answer should be True or False, not {said!r}")


@runtime_checkable
class Approver(Protocol):
    """A way to reach a person."""

    async def ask(self, question: Question) -> Answer | None:
        """Ask a person; None means that nobody can be reached now, and the run goes on without or pauses."""
        ...


@runtime_checkable
class AsksBeside(Protocol):
    """An approver that the others need not wait for: the next one is asked at the same time."""

    beside: bool
