"""The actions of a run, each with what became of it and who approved it; read once, with those under way in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import msgspec

from scaffold.trace.chain import as_written, body_of
from scaffold.vocabulary import events as ev

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from scaffold.trace.chain import Link


class Acted(msgspec.Struct, kw_only=True):
    """One action of a run.

    Attributes:
        at: when it was begun, or else proposed, in seconds since the epoch.
        arguments: what it was called with; None if that is withheld.
        status: what became of it; `not begun` if it was neither begun nor refused.
        approved_by: who approved it, or the plan that it was part of.
        denied_by: who denied that; `expiry` if nobody answered in time.
        undoes: the key of the action that it undoes.
    """

    run: str
    key: str
    at: float
    action: str
    arguments: dict[str, Any] | None
    effect: str
    cost: float = 0.0
    status: Literal["performed", "failed", "unknown", "refused", "not begun"] = "not begun"
    approved_by: list[str] = []
    denied_by: list[str] = []
    undoes: str = ""


def acted(run: str, links: Iterable[Link]) -> Iterator[Acted]:
    """Yield the actions of a run as their outcomes become known, and last those whose outcomes are not.

    Raises:
        TraceDamaged: a line was altered; what was yielded before comes from lines before it.
    """
    open_: dict[str, Acted] = {}
    plan_of: dict[str, str] = {}
    asked: set[str] = set()
    answers: dict[str, ev.ApprovalGiven] = {}  # the last one at each key of a plan or an action
    for link in links:
        event = link.event
        match event:
            case ev.ActionProposed():
                with as_written(event):
                    call = body_of(link.content)["call"] if link.content is not None else {"arguments": None}
                    arguments = msgspec.convert(call["arguments"], dict[str, Any] | None)
                open_[event.key] = Acted(
                    run=run,
                    key=event.key,
                    at=event.at,
                    action=event.action,
                    arguments=arguments,
                    effect=event.effect,
                    cost=event.cost,
                    undoes=event.compensates,
                )
                plan_of[event.key] = event.plan
            case ev.ApprovalAsked(subject="plan" | "action"):
                asked.add(event.id)
            case ev.ApprovalGiven() if event.id in asked:
                asked.remove(event.id)
                answers[event.key] = event
            case ev.ActionIntent() | ev.ActionWithdrawn() | ev.ActionOutcome() | ev.ActionRefused():
                if event.key in open_ and _is_over(open_[event.key], event):
                    yield _answered(open_.pop(event.key), plan_of.pop(event.key), answers)
            case _:
                pass
    for key, found in open_.items():
        yield _answered(found, plan_of[key], answers)


def _is_over(found: Acted, event: ev.ActionIntent | ev.ActionWithdrawn | ev.ActionOutcome | ev.ActionRefused) -> bool:
    """Take in what became of an action; return whether that is final, as no person or target can tell more later."""
    match event:
        case ev.ActionIntent():
            found.at, found.status = event.at, "unknown"
        case ev.ActionWithdrawn():
            found.status = "not begun"
        case ev.ActionOutcome():
            found.status = event.status
        case ev.ActionRefused():
            found.status = "refused"
    return found.status not in {"unknown", "not begun"}


def _answered(found: Acted, plan: str, answers: dict[str, ev.ApprovalGiven]) -> Acted:
    """Add what people said to the plan that it was part of, and to itself."""
    for answer in (answers.get(plan), answers.pop(found.key, None)):
        if answer is not None:
            who = [name or "a person" for name in (answer.by, *answer.beside)]
            (found.approved_by if answer.granted else found.denied_by).extend(who)
    return found
