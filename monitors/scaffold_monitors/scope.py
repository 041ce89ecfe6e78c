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
from typing import TYPE_CHECKING

from scaffold.errors import BadInput, TaskError, nearest
from scaffold.vocabulary.review import MonitorSpec, Verdict
from scaffold_monitors.entailment import requests
from scaffold_monitors.entailment.licences import Before
from scaffold_monitors.findings import unread
from scaffold_monitors.following import Follows, picture
from scaffold_monitors.objections import verdict
from scaffold_monitors.situations import done_before

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from scaffold.interfaces import ReviewContext, TraceView
    from scaffold.vocabulary.actions import ActionSpec
    from scaffold.vocabulary.review import Subject
    from scaffold.vocabulary.task import Task


class Scope(Follows):
    """Compares a plan with the request, word by word.

    Args:
        always: names of actions that need no reason in the request, such as writing a log.

    Raises:
        BadInput: a setting is not what it should be.
    """

    def __init__(self, *, always: Sequence[str] = ()) -> None:
        if isinstance(always, str) or not all(isinstance(name, str) for name in always):
            raise BadInput(f"the setting 'always' of monitor 'scope' is a list of action names, not {always!r}")
        self._always = frozenset(always)
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

    async def review(self, subject: Subject, view: TraceView, context: ReviewContext) -> Verdict:
        """Check a plan, or one action on its way."""
        seen = picture(subject, view)
        if isinstance(seen, Verdict):
            return seen
        allowed = view.task.actions
        for call in seen.calls:
            if allowed is not None and call.action not in allowed:
                return unread(call.id, f"the task does not allow the action {call.action!r}")
        before = Before(
            partial(seen.past.before, subject.key),
            partial(done_before, seen.past, subject.key, seen.situation.tools),
        )
        findings = requests.judge(seen.situation, before, seen.reading)
        if findings and self._always:
            excused = {call.id for call in seen.calls if call.action in self._always}
            findings = [finding for finding in findings if finding.call not in excused]
        return verdict(findings)
