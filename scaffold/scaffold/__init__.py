"""Scaffold: System-2 agents with hand-coded planners, pluggable backends, and monitors that read before anything acts.

Names are imported when they are first used, so that `import scaffold` is quick.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from scaffold.lazily import lazily
from scaffold.version import VERSION

if TYPE_CHECKING:
    from scaffold.actions import action as action
    from scaffold.agent import Scaffold as Scaffold
    from scaffold.errors import BadInput as BadInput
    from scaffold.errors import GaveUp as GaveUp
    from scaffold.errors import MoveError as MoveError
    from scaffold.errors import NotPerformed as NotPerformed
    from scaffold.errors import ScaffoldError as ScaffoldError
    from scaffold.hosting import Gate as Gate
    from scaffold.planning import act as act
    from scaffold.planning import ask as ask
    from scaffold.planning import best_of as best_of
    from scaffold.planning import carry_out as carry_out
    from scaffold.planning import note as note
    from scaffold.planning import propose as propose
    from scaffold.planning import think as think
    from scaffold.planning import together as together
    from scaffold.planning import undo as undo
    from scaffold.vocabulary.actions import Call as Call
    from scaffold.vocabulary.actions import Credential as Credential
    from scaffold.vocabulary.actions import Observation as Observation
    from scaffold.vocabulary.composed import cascade as cascade
    from scaffold.vocabulary.composed import in_rotation as in_rotation
    from scaffold.vocabulary.composed import unless_sure as unless_sure
    from scaffold.vocabulary.confidence import Confidence as Confidence
    from scaffold.vocabulary.moves import Options as Options
    from scaffold.vocabulary.moves import Planning as Planning
    from scaffold.vocabulary.moves import Thought as Thought
    from scaffold.vocabulary.outcome import Outcome as Outcome
    from scaffold.vocabulary.plan import Plan as Plan
    from scaffold.vocabulary.plan import Planned as Planned
    from scaffold.vocabulary.references import Reference as Reference
    from scaffold.vocabulary.references import apply as apply
    from scaffold.vocabulary.review import Verdict as Verdict
    from scaffold.vocabulary.sampling import Way as Way
    from scaffold.vocabulary.sampling import ahead_by as ahead_by
    from scaffold.vocabulary.sampling import majority as majority
    from scaffold.vocabulary.sampling import once as once
    from scaffold.vocabulary.sampling import several as several
    from scaffold.vocabulary.sampling import shorter_than as shorter_than
    from scaffold.vocabulary.sampling import verified as verified
    from scaffold.vocabulary.task import Budget as Budget
    from scaffold.vocabulary.task import Goal as Goal
    from scaffold.vocabulary.task import Task as Task

__version__ = VERSION

_HOMES = {
    "action": "actions",
    "Scaffold": "agent",
    "BadInput": "errors",
    "GaveUp": "errors",
    "MoveError": "errors",
    "NotPerformed": "errors",
    "ScaffoldError": "errors",
    "Gate": "hosting",
    "Outcome": "vocabulary.outcome",
    "act": "planning",
    "ask": "planning",
    "best_of": "planning",
    "carry_out": "planning",
    "note": "planning",
    "propose": "planning",
    "think": "planning",
    "together": "planning",
    "undo": "planning",
    "Call": "vocabulary.actions",
    "Credential": "vocabulary.actions",
    "Observation": "vocabulary.actions",
    "cascade": "vocabulary.composed",
    "in_rotation": "vocabulary.composed",
    "unless_sure": "vocabulary.composed",
    "Confidence": "vocabulary.confidence",
    "Options": "vocabulary.moves",
    "Planning": "vocabulary.moves",
    "Thought": "vocabulary.moves",
    "Plan": "vocabulary.plan",
    "Planned": "vocabulary.plan",
    "Reference": "vocabulary.references",
    "apply": "vocabulary.references",
    "Verdict": "vocabulary.review",
    "Way": "vocabulary.sampling",
    "ahead_by": "vocabulary.sampling",
    "majority": "vocabulary.sampling",
    "once": "vocabulary.sampling",
    "several": "vocabulary.sampling",
    "shorter_than": "vocabulary.sampling",
    "verified": "vocabulary.sampling",
    "Budget": "vocabulary.task",
    "Goal": "vocabulary.task",
    "Task": "vocabulary.task",
}

__all__ = [*_HOMES, "__version__"]  # noqa: PLE0604 - the names are strings


if not TYPE_CHECKING:  # else every misspelt name would pass as Any
    __getattr__ = lazily(__name__, _HOMES)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
