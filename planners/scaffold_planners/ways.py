"""Ways to do a task: calls of actions chosen by a model, as typed data, and the plan made from them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from scaffold.errors import nearest
from scaffold.vocabulary.actions import ActionSpec
from scaffold.vocabulary.canonical import canonical
from scaffold.vocabulary.plan import Later, Plan, Planned
from scaffold.vocabulary.references import Reference

RESULT_OF = "result_of"
FIELD = "field"
Tools = Mapping[str, ActionSpec]


class Call(BaseModel):
    """One call of an action."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    action: str
    arguments: dict[str, Any] = {}


class Way(BaseModel):
    """A way to do it: in a sentence, and as calls of actions in the order they are made."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    summary: Annotated[str, Field(min_length=1)]
    calls: list[Call] = []

    def text(self) -> str:
        """Render the way for steps and people."""
        lines = [f"{call_id(place)}: {_call_text(call)}" for place, call in enumerate(self.calls)]
        return "\n".join([self.summary, *lines])


def call_id(place: int) -> str:
    """Return the id of a way's call in its plan, counted from 1 as models do."""
    return f"call-{place + 1}"


def described(tools: Tools) -> str:
    """Describe the actions, one per line."""
    return "\n".join(_described(spec) for spec in tools.values())


def fault_in(way: Way, *, tools: Tools, refused: Collection[bytes] = (), most: int = 20) -> str:
    """Say what is wrong with a way, as far as code can tell; empty if nothing is.

    Args:
        way: the model's proposal.
        tools: the actions by name.
        refused: calls of ways that were turned down, which must not be proposed again.
        most: most calls allowed.
    """
    if len(way.calls) > most:
        return f"it has {len(way.calls)} calls, but at most {most} are allowed"
    if same(way) in refused:
        return "it proposes again what was rejected"
    faults = (_fault_in_call(place, call, tools) for place, call in enumerate(way.calls))
    return next((fault for fault in faults if fault), "")


def same(way: Way) -> bytes:
    """Return a key that equal ways share: their calls, however they are described."""
    return canonical(way.calls or way.summary)


def plan_of(way: Reference[Way], expected: Reference[Any], tools: Tools) -> Plan:
    """Make the plan of a way; each argument stays a reference to the model's words.

    An effect waits for all calls before it, a read only for the effects before it, so reads run in parallel.
    """
    actions: list[Planned] = []
    changes: list[Planned] = []
    for place, call in enumerate(way.value.calls):
        is_read = tools[call.action].effect == "read"
        arguments = way["calls"][place]["arguments"]
        planned = Planned(
            call.action,
            {name: _linked(arguments[name]) for name in call.arguments},
            id=call_id(place),
            after=changes if is_read else actions,
            because=(way, expected),
            predicted=expected[place],
        )
        actions.append(planned)
        if not is_read:
            changes.append(planned)
    return Plan(actions, reason=way.value.summary)


def _linked(argument: Reference[Any]) -> Any:
    """Replace a model's mention of an earlier call's result by a `Later`; anything else stays a reference."""
    value = argument.value
    if not any(_results_named(value)):
        return argument
    if isinstance(value, list):
        return [_linked(argument[place]) for place in range(len(value))]
    if RESULT_OF in value:
        return Later(call_id(value[RESULT_OF] - 1), (value[FIELD],) if FIELD in value else ())
    return {name: _linked(argument[name]) for name in value}


def _results_named(value: Any) -> Iterator[Any]:
    """Yield the numbers of the calls whose results a value refers to, or whatever is given in their place."""
    if isinstance(value, list):
        for item in value:
            yield from _results_named(item)
    elif isinstance(value, dict):
        if RESULT_OF in value:
            yield value[RESULT_OF]
        else:
            yield from _results_named(list(value.values()))


def _fault_in_call(place: int, call: Call, tools: Tools) -> str:
    spec = tools.get(call.action)
    if spec is None:
        return f"{call_id(place)}: there is no action {call.action!r}{nearest(call.action, tools)}"
    known = spec.parameters.get("properties", {})
    for name in spec.parameters.get("required", ()):
        if name not in call.arguments:
            return f"{call_id(place)}: {call.action!r} needs the argument {name!r}"
    for name in call.arguments:
        if name not in known and spec.parameters.get("additionalProperties") is False:
            return f"{call_id(place)}: {call.action!r} has no argument {name!r}{nearest(name, known)}"
    for number in _results_named(call.arguments):
        if type(number) is not int or not 1 <= number <= place:
            return f"{call_id(place)}: {number!r} is not an earlier call"
    return ""


def _described(spec: ActionSpec) -> str:
    required = spec.parameters.get("required", ())
    known = spec.parameters.get("properties", {})
    arguments = [f"{name}{'' if name in required else '?'}: {_type_of(known[name])}" for name in known]
    said = f"{spec.name}({', '.join(arguments)})"
    return f"{said} - {spec.description or 'no description'} [{spec.effect}]"


def _type_of(schema: Mapping[str, Any]) -> str:
    return " or ".join(map(_type_of, schema["anyOf"])) if "anyOf" in schema else str(schema.get("type", "any"))


def _call_text(call: Call) -> str:
    arguments = [f"{name}={canonical(value).decode()}" for name, value in call.arguments.items()]
    return f"{call.action}({', '.join(arguments)})"
