"""Shared by `scope` and `dataflow`: one memory of the run, and one `Situation` per review, which both of them judge."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from scaffold.vocabulary.review import Verdict
from scaffold_monitors.findings import unread
from scaffold_monitors.recollection import FOLLOWED, Recollection, recollect
from scaffold_monitors.situations import Surveyor, Unreadable

if TYPE_CHECKING:
    from scaffold.interfaces import TraceView
    from scaffold.vocabulary.plan import ActionCall
    from scaffold.vocabulary.review import Subject
    from scaffold_monitors.entailment.licences import Reading
    from scaffold_monitors.entailment.situation import Situation

_SURVEYOR = Surveyor()  # shared: it only caches values derived from its inputs


@dataclass(frozen=True, slots=True)
class Picture:
    """The input of such a monitor's judgement.

    Attributes:
        calls: the calls under review.
        past: what the run has done and read so far.
        situation: the calls, with the origin of each value.
        reading: the parsed request.
    """

    calls: tuple[ActionCall, ...]
    past: Recollection
    situation: Situation
    reading: Reading


class Follows:
    """Base of monitors whose state is a fold over a run's actions and their results."""

    folds = FOLLOWED
    fold = staticmethod(recollect)


def picture(subject: Subject, view: TraceView) -> Picture | Verdict:
    """Build the picture of a plan or of one action under review; a verdict if there is nothing to judge."""
    calls = subject.plan if subject.kind == "plan" else (subject.call,) if subject.call else None
    if calls is None:
        return Verdict(decision="allow", status="abstain", rationale="only plans and actions are read")
    past = view.state if isinstance(view.state, Recollection) else Recollection()
    try:
        situation = _SURVEYOR.situation(calls, view, past)
    except Unreadable as error:
        return unread(error.node, str(error))
    return Picture(calls, past, situation, _SURVEYOR.request(view).reading)
