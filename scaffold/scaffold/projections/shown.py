"""Picks a span's input and output, for backends that show one of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


@dataclass(frozen=True, slots=True)
class Shown:
    """Input and output; None if the span has none, or content is not captured."""

    input: Any = None
    output: Any = None


def _decoded(attributes: Mapping[str, Any], name: str) -> Any:
    """Decode a JSON attribute; return it as text if a length limit has cut it."""
    text = attributes.get(name)
    if not isinstance(text, str):
        return None
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text


def _some(**values: Any) -> dict[str, Any] | None:
    found = {name: value for name, value in values.items() if value is not None}
    return found or None


def _parts_of(message: Any, kind: str) -> str:
    parts = message.get("parts", ()) if isinstance(message, dict) else ()
    return "\n".join(str(part.get("content", "")) for part in parts if part.get("type") == kind)


def _plain(message: Any) -> dict[str, Any]:
    """Convert a message of the conventions to the form that chat clients show."""
    plain = {"role": message.get("role", "assistant"), "content": _parts_of(message, "text")}
    if reasoning := _parts_of(message, "reasoning"):
        plain["reasoning_content"] = reasoning
    return plain


def _chat(have: Mapping[str, Any]) -> Shown:
    asked, said = _decoded(have, "gen_ai.input.messages"), _decoded(have, "gen_ai.output.messages")
    if isinstance(asked, list):
        asked = {"messages": [_plain(message) for message in asked]}
    if isinstance(said, list):
        said = {
            "choices": [
                {"index": index, "message": _plain(message), "finish_reason": message.get("finish_reason")}
                for index, message in enumerate(said)
            ]
        }
    return Shown(asked, said)


def _session(have: Mapping[str, Any]) -> Shown:
    asked, said = _decoded(have, "gen_ai.input.messages"), _decoded(have, "gen_ai.output.messages")
    if isinstance(asked, list):
        asked = "\n".join(_parts_of(message, "text") for message in asked)
    if isinstance(said, list):
        said = "\n".join(_parts_of(message, "text") for message in said)
    return Shown(asked, said if said is not None else have.get("scaffold.run.status"))


def _call(have: Mapping[str, Any]) -> Shown:
    result = _decoded(have, "gen_ai.tool.call.result")
    return Shown(
        _decoded(have, "gen_ai.tool.call.arguments"),
        result if result is not None else have.get("scaffold.action.status"),
    )


def _plan(have: Mapping[str, Any]) -> Shown:
    asked = _some(calls=_decoded(have, "scaffold.plan.calls"), reason=have.get("scaffold.plan.reason"))
    decided = _some(
        decision=have.get("scaffold.decision"),
        allowed=have.get("scaffold.allowed"),
        objections=_decoded(have, "scaffold.plan.objections"),
    )
    return Shown(asked, decided)


def _guard(have: Mapping[str, Any]) -> Shown:
    said = _some(
        decision=have.get("gen_ai.evaluation.score.label"),
        score=have.get("gen_ai.evaluation.score.value"),
        rationale=have.get("gen_ai.evaluation.explanation"),
    )
    return Shown(_some(reviewed=have.get("scaffold.subject"), key=have.get("scaffold.key")), said)


def _action(have: Mapping[str, Any]) -> Shown:
    came = _some(
        status=have.get("scaffold.action.status"),
        decision=have.get("scaffold.decision"),
        feedback=have.get("scaffold.feedback"),
    )
    return Shown(_decoded(have, "scaffold.action.arguments"), came)


def _step(have: Mapping[str, Any]) -> Shown:
    value = _decoded(have, "scaffold.step.value")
    return Shown(
        {"step": have.get("scaffold.step.kind")},
        value if value is not None else _some(confidence=have.get("scaffold.confidence"), error=have.get("error.type")),
    )


def _person(have: Mapping[str, Any]) -> Shown:
    asked = have.get("scaffold.approval.reasons", have.get("scaffold.question.asked"))
    answered = _some(
        granted=have.get("scaffold.approval.granted"),
        by=have.get("scaffold.approval.by", have.get("scaffold.question.by")),
        comment=have.get("scaffold.approval.comment"),
        answer=have.get("scaffold.question.answer"),
    )
    return Shown(asked, answered)


_BY_OPERATION: Mapping[str, Callable[[Mapping[str, Any]], Shown]] = {
    "chat": _chat,
    "invoke_agent": _session,
    "execute_tool": _call,
    "plan": _plan,
}
# By an attribute that only this kind of span has; tried in this order.
_BY_MARK: tuple[tuple[str, Callable[[Mapping[str, Any]], Shown]], ...] = (
    ("scaffold.monitor", _guard),
    ("scaffold.step.kind", _step),
    ("scaffold.action", _action),
    ("scaffold.approval.id", _person),
    ("scaffold.question.id", _person),
)


def shown(attributes: Mapping[str, Any]) -> Shown:
    """Find the input and the output of a span."""
    find = _BY_OPERATION.get(attributes.get("gen_ai.operation.name", ""))
    if find is not None:
        return find(attributes)
    for mark, find_marked in _BY_MARK:
        if mark in attributes:
            return find_marked(attributes)
    return Shown(None, attributes.get("scaffold.note"))
