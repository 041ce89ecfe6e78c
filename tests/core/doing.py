"""Planners that do one thing, or a plan of things, for the tests of the gate."""

from __future__ import annotations

from typing import Any

from scaffold import (
    Plan,
    Planned,
    Planning,
    Task,
    Verdict,
    act,
    carry_out,
    propose,
)
from scaffold.errors import ActionError

ALLOW = Verdict(decision="allow")
BLOCK = Verdict(decision="block", rationale="it reeks", feedback="not this one")


def doing(name: str = "pay", /, **arguments: Any) -> Any:
    """A planner that does one thing, and answers what became of it."""

    def planner(_: Task) -> Planning[str]:
        try:
            observation = yield from act(name, arguments or {"invoice": "i1"})
        except ActionError as error:
            return f"{type(error).__name__}: {error.message}"
        return str(observation.value)

    return planner


def planning(*planned: Planned, then: Any = None) -> Any:
    """A planner that has a plan read and carries it out whatever the review says."""

    def planner(_: Task) -> Planning[Any]:
        plan = Plan(planned)
        review = yield from propose(plan)
        if then is not None:
            return (yield from then(plan, review))
        results = yield from carry_out(plan, review)
        return {node: observation.status for node, observation in results.items()}

    return planner
