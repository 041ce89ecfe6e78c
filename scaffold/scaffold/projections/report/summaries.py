"""Summarises a row for the strip, the list, the filters and the table of actions, without its content."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import msgspec

from scaffold.projections.report.reading import dig
from scaffold.vocabulary import events as ev
from scaffold.vocabulary.review import SEVERITY

if TYPE_CHECKING:
    from collections.abc import Callable

    from scaffold.projections.report.reading import Told
    from scaffold.projections.report.rows import Row
    from scaffold.vocabulary.review import Decision

_NOT_MADE = frozenset({"error", "timeout", "truncated"})
_GONE = frozenset({"withheld", "altered"})
_SNIPPET = 72


def summary(row: Row, worst: str) -> list[Any]:
    """Return a row of the index, in the order of `Row` in `files/data.js`; in its label two spaces follow the name.

    Its events are given as the first number and the count; if they are not consecutive, the other numbers follow.

    Args:
        row: the row.
        worst: the strictest decision on it.
    """
    opening, last = row.told[0].event, row.told[-1].event
    ended = row.last(ev.StepAnswered, ev.StepCut)
    usage = cast("ev.StepAnswered | ev.StepCut", ended.event).usage if ended is not None else None
    seqs = [told.event.seq for told in row.told]
    together = seqs[-1] - seqs[0] == len(seqs) - 1
    return [
        seqs[0],
        len(seqs) if together else seqs[1:],
        row.kind,
        row.key,
        _label(row),
        worst,
        _status(row),
        _marks(row),
        round(opening.t, 6),
        round(last.t - opening.t, 6),
        usage.tokens if usage is not None else 0,
        opening.ledger if isinstance(opening, ev.StepAsked) else "",
        opening.plan if isinstance(opening, ev.ActionProposed) else "",
        opening.node if isinstance(opening, ev.ActionProposed) else "",
        sorted(_cited(row)) or None,
        _more(row),
    ]


def worst_of(row: Row) -> str:
    """Return the strictest decision on a row, also of monitors that only observe; empty if no monitor read it.

    A failed check does not count by itself; what counts is the decision that the review reached.
    """
    reviews = [told.event for told in row.told if isinstance(told.event, ev.Reviewed) and told.event.verdicts]
    said: list[Decision] = [review.decision for review in reviews]
    said += [fact.decision for review in reviews for fact in review.verdicts if fact.status == "ok"]
    return max(said, key=SEVERITY.__getitem__, default="")


def _marks(row: Row) -> str:
    """Return marks: `f` if a check failed; `w` if some content is missing or changed."""
    reviews = (told.event for told in row.told if isinstance(told.event, ev.Reviewed))
    failed = any(fact.status in _NOT_MADE for review in reviews for fact in review.verdicts)
    return ("f" if failed else "") + ("w" if any(told.kept in _GONE for told in row.told) else "")


_STATUS: dict[type[ev.Event], Callable[[Any], str]] = {
    ev.StepAnswered: lambda event: "answered" if event.ok else "failed",
    ev.StepCut: lambda _: "cut",
    ev.Released: lambda event: "withheld" if not event.ok and event.subject == "step" else "",
    ev.PlanDecided: lambda event: "allowed" if event.allowed else "refused",
    ev.ActionIntent: lambda _: "begun",
    ev.ActionWithdrawn: lambda _: "withdrawn",
    ev.ActionOutcome: lambda event: event.status,
    ev.ActionRefused: lambda _: "refused",
    ev.QuestionAnswered: lambda _: "answered",
    ev.Paused: lambda event: event.status,
    ev.Ended: lambda event: event.status,
}


def _status(row: Row) -> str:
    """Return its status in a word, by the last event that tells."""
    for told in reversed(row.told):
        said = _STATUS[type(told.event)](told.event) if type(told.event) in _STATUS else ""
        if said:
            return said
    return "open" if row.kind in {"step", "plan", "action", "question"} else ""


# --- words


def _step(row: Row) -> str:
    answered = row.last(ev.StepAnswered)
    return (
        f"{cast('ev.StepAsked', row.told[0].event).step}  {_snippet(answered.content.get('value')) if answered else ''}"
    )


def _plan(row: Row) -> str:
    actions = cast("ev.PlanProposed", row.told[0].event).actions
    return f"plan of {actions} {'action' if actions == 1 else 'actions'}"


def _action(row: Row) -> str:
    return _called(cast("ev.ActionProposed", row.told[0].event).action, row.told[0].content.get("call"))


_LABELS: dict[type[ev.Event], Callable[[Row], str]] = {
    ev.StepAsked: _step,
    ev.PlanProposed: _plan,
    ev.ActionProposed: _action,
    ev.QuestionAsked: lambda row: f"question  {_snippet(next(iter(dig(row.told[0].content, list, 'asked')), ''))}",
    ev.Noted: lambda row: f"note  {_snippet(row.told[0].content.get('text'))}",
    ev.Reviewed: lambda row: f"{cast('ev.Reviewed', row.told[0].event).subject} reviewed",
    ev.RunStarted: lambda row: f"run started  planner {cast('ev.RunStarted', row.told[0].event).planner}",
    ev.BudgetRaised: lambda row: f"budget raised  by {cast('ev.BudgetRaised', row.told[0].event).by}",
    ev.StopAsked: lambda row: f"stop asked  by {cast('ev.StopAsked', row.told[0].event).by}",
    ev.Ended: lambda row: f"run ended  {cast('ev.Ended', row.told[0].event).status}",
    ev.Paused: lambda row: f"run paused  {cast('ev.Paused', row.told[0].event).status}",
}


def _label(row: Row) -> str:
    """Return what it is in a few words, with the beginning of its content if that is there."""
    opening = row.told[0].event
    known = _LABELS.get(type(opening))
    return known(row).rstrip() if known is not None else str(opening.__struct_config__.tag).replace(".", " ")


def _called(action: str, call: Any) -> str:
    inner = ", ".join(f"{name}: {_snippet(value)}" for name, value in dig(call, dict, "arguments").items())
    return f"{action}  {_snippet(inner)}".rstrip()


def _snippet(value: Any) -> str:
    if value is None or value == "":
        return ""
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    text = " ".join(text[: 8 * _SNIPPET].split())
    return text if len(text) <= _SNIPPET else text[: _SNIPPET - 1] + "…"


# --- what it refers to, and what became of it


def _cited(row: Row) -> set[int]:
    """Return the events of other rows that verdicts on this one quote."""
    own = {told.event.seq for told in row.told}
    cited: set[int] = set()
    for told in row.told:
        if isinstance(told.event, ev.Reviewed) and told.content:
            for verdict in dig(told.content, list, "verdicts"):
                cited.update(dig(evidence, int, "event") for evidence in dig(verdict, list, "evidence"))
    return cited - own - {0}


def _more(row: Row) -> Any:
    """Return what the table of actions shows: how an action was executed, or the calls refused with a plan."""
    opening = row.told[0].event
    if isinstance(opening, ev.ActionProposed):
        return _execution(row, opening)
    return _refused(row) if isinstance(opening, ev.PlanProposed) else None


def _execution(row: Row, opening: ev.ActionProposed) -> dict[str, Any]:
    intent, cleared, given = (
        row.last(ev.ActionIntent, ev.ActionWithdrawn),
        row.last(ev.ActionCleared),
        row.last(ev.ApprovalGiven),
    )
    clearance = cleared.event if cleared is not None and isinstance(cleared.event, ev.ActionCleared) else None
    approval = given.event if given is not None and isinstance(given.event, ev.ApprovalGiven) else None
    return {
        "effect": opening.effect,
        "cost": opening.cost,
        "people": [approval.by, *approval.beside] if approval is not None else [],
        "granted": approval is not None and approval.granted,
        "scope": approval is None and clearance is not None and bool(clearance.approval),
        "observed": clearance is not None and clearance.observed,
        "exact": _is_exact(intent, opening),
        "undoes": opening.compensates,
    }


def _is_exact(intent: Told | None, opening: ev.ActionProposed) -> bool | None:
    """Whether the call begun is the call proposed; None if none was begun."""
    if intent is None or not isinstance(intent.event, ev.ActionIntent):
        return None
    return intent.event.digest == opening.digest


def _refused(row: Row) -> list[list[str]]:
    decided = row.last(ev.PlanDecided)
    if decided is None or not isinstance(decided.event, ev.PlanDecided) or decided.event.allowed:
        return []
    said = {dig(each, str, "node"): dig(each, str, "feedback") for each in dig(decided.content, list, "objections")}
    refused = []
    for call in dig(row.told[0].content, list, "calls"):
        node = dig(call, str, "id")
        if node in said or "" in said:
            why = said.get(node) or said.get("", "")
            refused.append([node, _called(dig(call, str, "action"), call), _snippet(why)])
    return refused
