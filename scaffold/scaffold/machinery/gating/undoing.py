"""Undo: offered when a later step fails, filled in from what was done, and cleared like any action."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from scaffold.vocabulary.canonical import decode
from scaffold.vocabulary.plan import UNDOES
from scaffold.vocabulary.references import NOWHERE, Provenance

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scaffold.interfaces import Action
    from scaffold.machinery.recording.state import Progress, RunState
    from scaffold.vocabulary.plan import ActionCall
    from scaffold.vocabulary.task import Task


class Undoing:
    """What of a run can be undone, and how."""

    def __init__(self, task: Task, actions: Mapping[str, Action], state: RunState) -> None:
        self._due = "" if task.oversight.undo == "offer" else task.oversight.undo
        self._actions = actions
        self._state = state

    def filled_in(self, call: ActionCall) -> tuple[str, ActionCall]:
        """Fill in the arguments of a call that undoes another; return what is wrong with it, and the call."""
        if UNDOES not in call.arguments:
            return "", call
        key = call.arguments[UNDOES]
        done = self._state.undoable.get(key) if isinstance(key, str) else None
        if done is None:
            return f"nothing that was done at {key!r} can be undone", call
        if done.undo != call.action:
            return f"{done.call.action} at {key} is undone by {done.undo!r}, not by {call.action!r}", call
        gave = Provenance((f"action:{key}",), tainted=done.tainted)
        wanted = self._actions[call.action].spec.parameters.get("properties", {})
        had = {**done.call.arguments, "gave": decode(done.gave)}
        came = {**done.call.provenance, "gave": gave}
        return "", msgspec.structs.replace(
            call,
            arguments={name: had[name] for name in wanted if name in had},
            provenance={name: came.get(name, NOWHERE) for name in wanted if name in had},
            compensates=key,
        )

    def offer(self, progress: Progress, call: ActionCall) -> dict[str, Any]:
        """Return what the record of a failure offers to undo: all that its plan has done, the last first."""
        if call.compensates:
            return {"compensates": call.compensates}
        offered = [
            {"of": key, "did": done.call.action, "action": done.undo}
            for key, done in reversed(self._state.undoable.items())
            if done.plan == progress.plan
        ]
        return {"undo": offered, "due": self._due} if offered else {}


def offer_in(content: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return what a planner is told of the offer: the end of a message, and the error's data."""
    if "compensates" in content:
        of = content["compensates"]
        return f"; what was done at {of} has not been undone", {"compensates": of}
    offered = content.get("undo", ())
    if not offered:
        return "", {}
    said = ", ".join(f"{each['did']} at {each['of']} by {each['action']}" for each in offered)
    return f"; what was done before can be undone: {said}", {"undo": offered, "due": content["due"]}
