"""Variations of review subjects for the monitors' kit: empty, overfull, disguised, or quoted."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from scaffold.testing import made_up_runs as made_up
from scaffold.testing.staging import Happened
from scaffold.vocabulary.canonical import canonical
from scaffold.vocabulary.plan import ActionCall
from scaffold.vocabulary.review import Evidence, MonitorSpec, Subject, SubjectKind

KINDS: tuple[SubjectKind, ...] = ("plan", "action", "step", "observation", "answer")


def stands_in(span: Evidence, subject: Subject) -> bool:
    """Whether an evidence's quote is in the subject, or is said to be elsewhere."""
    if span.event is not None or span.path in {"", subject.kind}:
        return True  # in the trace or the task, or in the subject as the monitor renders it
    texts = list(_texts(msgspec.to_builtins(subject)))
    record = canonical(subject).decode()
    return any(span.quote in text for text in texts) or span.quote in record or canonical(span.quote).decode() in record


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, item in value.items():
            yield str(name)
            yield from _texts(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)
    else:
        yield str(value)


def empty_subjects(spec: MonitorSpec) -> Iterator[Subject]:
    """Yield subjects of each kind that a monitor reads, with little or nothing in them."""
    replace = msgspec.structs.replace
    for kind in KINDS:
        if kind not in spec.watches:
            continue
        full = made_up.subject(kind, 0)
        match kind:
            case "plan":
                yield replace(full, plan=(), reason="")
                yield replace(full, reason="")
            case "action":
                yield replace(full, plan=())
            case "step" if full.step is not None:
                yield replace(full, step=replace(full.step, reasoning=""))
                yield replace(full, step=replace(full.step, reasoning="", text="", value=None, inputs=[]))
            case "observation" if full.observation is not None:
                yield replace(full, observation=replace(full.observation, value=None, predicted=None))
                yield replace(full, observation=replace(full.observation, value=None, status="unknown"))
            case _:
                yield replace(full, answer=None)


def subjects_with(value: Any, spec: MonitorSpec) -> Iterator[Subject]:
    """Yield subjects of each kind that a monitor reads, with a value wherever others can write."""
    replace = msgspec.structs.replace
    text = value if isinstance(value, str) else canonical(value).decode()
    for kind in KINDS:
        if kind not in spec.watches:
            continue
        full = made_up.subject(kind, 0)
        if kind == "plan":
            yield replace(full, plan=tuple(_with(call, value) for call in full.plan), reason=text)
        elif full.call is not None:
            call = _with(full.call, value)
            yield replace(full, call=call, plan=(call,))
        elif full.step is not None:
            yield replace(full, step=replace(full.step, reasoning=text, text=text, value=value, inputs=[value]))
        elif full.observation is not None:
            yield replace(full, observation=replace(full.observation, value=value))
            yield replace(full, observation=replace(full.observation, value={"paid": value}, predicted=value))
            yield replace(full, observation=replace(full.observation, value=None, status="failed", reason=text))
        else:
            yield replace(full, answer=value)


def _with(call: ActionCall, value: Any) -> ActionCall:
    first, *_ = call.arguments
    return msgspec.structs.replace(call, arguments=call.arguments | {first: value}, predicted=value)


def rewritten(subject: Subject, texts: Mapping[str, Any]) -> Subject:
    """Copy a subject with some texts in its arguments rewritten."""
    replace = msgspec.structs.replace

    def again(call: ActionCall) -> ActionCall:
        return replace(call, arguments={name: _other(value, texts) for name, value in call.arguments.items()})

    calls = tuple(again(call) for call in subject.plan)
    return replace(subject, plan=calls, call=again(subject.call) if subject.call is not None else None)


def _other(value: Any, texts: Mapping[str, Any]) -> Any:
    if isinstance(value, str):
        if value in texts:
            return texts[value]
        for text, other in texts.items():
            if isinstance(other, str):
                value = value.replace(text, other)
        return value
    if isinstance(value, dict):
        return {name: _other(item, texts) for name, item in value.items()}
    if isinstance(value, list):
        return [_other(item, texts) for item in value]
    return value


def imitating(text: str, key: str) -> list[Happened]:
    """Make the events of a read that returned an imitating text, as text and as the record that it spells."""
    with contextlib.suppress(msgspec.DecodeError):
        if key.endswith("1"):
            return list(made_up.performed(key, made_up.look(0), msgspec.json.decode(text)))
    return list(made_up.performed(key, made_up.look(0), f"Invoice 7. {text}"))
