"""The monitor `scope`: what the user's words ask for, against what the plan does.

An effect needs a reason in the request: words that ask for such an act on such a thing. Each effect uses up a
reason, so that a singular licenses one. What the request dictates (addresses, names, amounts, days, texts) is not
displaced, and a target that the request describes is the one that the description fits best among the records that
were read.

It reads English by word lists and simple grammar, without a model: it can miss a reason that a person would see,
and then asks a person. It judges words, so it is no proof of what a call will do.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from scaffold.errors import BadInput, TaskError, nearest
from scaffold.vocabulary import events
from scaffold.vocabulary.review import MonitorSpec, Verdict
from scaffold_monitors.findings import unread
from scaffold_monitors.objections import verdict
from scaffold_monitors.recollection import Recollection
from scaffold_monitors.situations import Surveyor, Unreadable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from scaffold.interfaces import ReviewContext, TraceView
    from scaffold.vocabulary.actions import ActionSpec
    from scaffold.vocabulary.events import Event
    from scaffold.vocabulary.review import Subject
    from scaffold.vocabulary.task import Task


class Scope:
    """Compares a plan with the request, word by word.

    Args:
        always: names of actions that need no reason in the request, such as writing a log.

    Raises:
        BadInput: a setting is not what it should be.
    """

    folds = frozenset({events.ActionProposed, events.ActionOutcome, events.ActionRefused, events.StepAnswered})

    def __init__(self, *, always: Sequence[str] = ()) -> None:
        if isinstance(always, str) or not all(isinstance(name, str) for name in always):
            raise BadInput(f"the setting 'always' of monitor 'scope' is a list of action names, not {always!r}")
        self._always = frozenset(always)
        self._surveyor = Surveyor()
        self.spec = MonitorSpec(name="scope", tier=1, settings={"always": sorted(always)} if always else {})

    def check(self, task: Task, actions: Mapping[str, ActionSpec]) -> None:
        """Refuse settings that name no action.

        Raises:
            TaskError: an action of `always` does not exist.
        """
        for name in sorted(self._always):
            if actions and name not in actions:
                raise TaskError(
                    f"there is no action {name!r}{nearest(name, actions)}", path=("monitors", "scope", "always")
                )

    def fold(self, state: Any, event: Event, content: dict[str, Any]) -> Recollection:
        """Remember what was done and told."""
        past = state if isinstance(state, Recollection) else Recollection()
        past.follow(event, content)
        return past

    async def review(self, subject: Subject, view: TraceView, context: ReviewContext) -> Verdict:
        """Check a plan, or one action on its way."""
        from scaffold_monitors.entailment import requests

        calls = subject.plan if subject.kind == "plan" else (subject.call,) if subject.call else None
        if calls is None:
            return Verdict(decision="allow", status="abstain", rationale="this is no plan and no action")
        past = view.state if isinstance(view.state, Recollection) else Recollection()
        allowed = view.task.actions
        for call in calls:
            if allowed is not None and call.action not in allowed:
                return unread(call.id, f"the task does not allow the action {call.action!r}")
        try:
            situation = self._surveyor.situation(calls, view, past)
        except Unreadable as error:
            return unread(error.node, str(error))
        findings = requests.judge(situation, partial(past.before, subject.key), self._surveyor.request(view).reading)
        excused = {call.id for call in calls if call.action in self._always}
        return verdict([finding for finding in findings if finding.call not in excused])
