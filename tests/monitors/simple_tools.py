"""Actions and tools said in a line, and plans of them as `scope` and `dataflow` judge them."""

from __future__ import annotations

from typing import Any

from scaffold.vocabulary.actions import ActionSpec, Effect
from scaffold_monitors.entailment import flows, requests
from scaffold_monitors.entailment.calls import COMPOSED, Call, Origin, leaves
from scaffold_monitors.entailment.situation import Situation
from scaffold_monitors.entailment.tools import Tool, read_tool


def tool(name: str, says: str, /, *, effect: bool = True, **arguments: str) -> Tool:
    """A tool whose arguments have these types, each perhaps with a description after a colon."""
    told = {each: kind.partition(":")[::2] for each, kind in arguments.items()}
    properties = {each: {"type": kind, "description": more} for each, (kind, more) in told.items()}
    return read_tool(name, says, {"properties": properties}, effect=effect)


def spec(
    name: str, description: str, effect: Effect = "irreversible", /, *, trusted: bool = False, **types: str
) -> ActionSpec:
    """The specification of an action with arguments of these JSON types."""
    parameters = {"properties": {each: {"type": kind} for each, kind in types.items()}}
    return ActionSpec(name=name, description=description, effect=effect, trusted=trusted, parameters=parameters)


class Toolbox(dict[str, Tool]):
    """Tools by their names, and what is called of them."""

    def __init__(self, *tools: Tool) -> None:
        super().__init__({each.name: each for each in tools})

    def call(self, name: str, node: str = "a", /, *, read: tuple[str, ...] = (), seen: Any = None, **args: Any) -> Call:
        """A call; the arguments in `read` came from the call `r`, the others were composed."""
        origins = {each: Origin(reads=("r",)) if each in read else COMPOSED for each in args}
        return Call(node, self[name], leaves(self[name], args, origins), seen)

    def objections(self, request: str, *calls: Call) -> list[str]:
        """What both monitors have against a plan."""
        situation = Situation(request, calls, self)
        return [found.rationale for found in (*requests.judge(situation), *flows.judge(situation))]

    def allowed(self, request: str, *calls: Call) -> bool:
        """Whether neither monitor has anything against a plan."""
        return not self.objections(request, *calls)
