"""The monitor `scope`: what the user's words ask for, against what the plan does.

Every effect needs a licence: words in the request that ask for that kind of act on that kind of thing. A licence
is used up by the effect it allows, so a singular allows one effect. Values that the request dictates (addresses,
names, amounts, days, texts) must not be replaced by others. If the request describes a target, the plan must pick
the best match among the records that were read.

The request is parsed as English with word lists and a simple grammar, without a model. The parser can miss a licence
that a person would see; the verdict then escalates to a person. It judges words and proves nothing about what a call
will do.
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
            raise BadInput(f"the setting 'always' of monitor 'scope' should be a list of action names, not {always!r}")
        self._always = frozenset(always)
        self.spec = MonitorSpec(name="scope", tier=1, settings={"always": sorted(always)} if always else {})

    def check(self, task: Task, actions: Mapping[str, ActionSpec]) -> None:
        """Check that the actions named in the settings exist.

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
