"""What the monitors have in common that follow a run and compare calls with the request: one memory, one picture."""

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
    from scaffold_monitors.entailment.calls import Situation
    from scaffold_monitors.entailment.licences import Reading

_SURVEYOR = Surveyor()  # one for all, since what it keeps follows from what it is given


@dataclass(frozen=True, slots=True)
class Picture:
    """What such a monitor judges.

    Attributes:
        calls: the calls under review.
        past: what the run did and was told.
        situation: the calls with where their values come from.
        reading: of the request.
    """

    calls: tuple[ActionCall, ...]
    past: Recollection
    situation: Situation
    reading: Reading


class Follows:
    """A monitor that follows a run's actions and what they gave back."""

    folds = FOLLOWED
    fold = staticmethod(recollect)


def picture(subject: Subject, view: TraceView) -> Picture | Verdict:
    """The picture of a plan or of one action on its way; a verdict where there is none."""
    calls = subject.plan if subject.kind == "plan" else (subject.call,) if subject.call else None
    if calls is None:
        return Verdict(decision="allow", status="abstain", rationale="this is no plan and no action")
    past = view.state if isinstance(view.state, Recollection) else Recollection()
    try:
        situation = _SURVEYOR.situation(calls, view, past)
    except Unreadable as error:
        return unread(error.node, str(error))
    return Picture(calls, past, situation, _SURVEYOR.request(view).reading)
