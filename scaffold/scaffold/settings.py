"""Reads the keys of a task file that describe the agent: planner, backends, monitors, prompts and so on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scaffold.document import show
from scaffold.errors import unknown

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scaffold.document import Document, Place

AGENT_KEYS = (
    "planner",
    "backends",
    "monitors",
    "policy",
    "actions",
    "prompts",
    "sampling",
    "credentials",
    "monitorability",
)


def read_planner(document: Document) -> tuple[str, dict[str, Any]]:
    """Return the planner's name and its options."""
    said = document.value.get("planner", "direct")
    if isinstance(said, str):
        return said, {}
    if not isinstance(said, dict):
        raise document.fault("should be a name, MODULE:FUNCTION, or a mapping with `use` and `options`", ("planner",))
    for key in said:
        if key not in {"use", "options"}:
            raise document.fault(_no_key_of_a_planner(key, said), ("planner", key))
    name = said.get("use")
    if not isinstance(name, str):
        raise document.fault("needs `use`: the name of a planner, or MODULE:FUNCTION", ("planner",))
    return name, _mapping(document, said.get("options"), ("planner", "options"))


def _no_key_of_a_planner(key: str, said: Mapping[str, Any]) -> str:
    if "use" not in said and (said[key] is None or isinstance(said[key], dict)):
        return f"is not known; write `planner: {{use: {key}, options: {{...}}}}`"
    return f"{unknown(key, ['use', 'options'])}; a planner's own settings belong under `options`"


def read_backends(document: Document) -> dict[str, Any]:
    """Return the backend of each role: a spec, or a table with `use`."""
    said = document.value.get("backends")
    if isinstance(said, str):
        return {"default": said}
    roles = _mapping(document, said, ("backends",))
    if "use" in roles:  # the table of a single backend, without a role
        roles = {"default": roles}
    for role, spec in roles.items():
        if isinstance(spec, dict) and not isinstance(spec.get("use"), str):
            raise document.fault("needs `use`: the backend's spec, such as smollm2", ("backends", role))
        if not isinstance(spec, str | dict):
            raise document.fault(
                "should be a backend's spec, such as smollm2, or a mapping with `use` and options",
                ("backends", role),
            )
    return roles


def read_monitors(document: Document) -> list[Any] | None:
    """Return the monitors, by name or with settings; None for the default ones."""
    said = document.value.get("monitors")
    if said is None:
        return None
    for number, each in enumerate(_list(document, "monitors")):
        place = ("monitors", number)
        if isinstance(each, dict) and len(each) == 1:
            name, settings = next(iter(each.items()))
            if isinstance(settings, str):
                said_so = f'"{name}:{settings}" in quotes, without a space after the colon'
                raise document.fault(
                    f"should have its settings as a mapping; for a monitor of your own write {said_so}", (*place, name)
                )
            _mapping(document, settings, (*place, name))
        elif not isinstance(each, str):
            raise document.fault("should be a monitor's name, or `name: {settings}`", place)
    return list(said)


def read_policy(document: Document) -> str | None:
    """Return the policy's file, as named in the task file."""
    said = document.value.get("policy")
    if said is None:
        return None
    if not isinstance(said, str):
        raise document.fault(f"should be a file, such as policy.yaml, not {show(said)}", ("policy",))
    for number, each in enumerate(document.value.get("monitors") or ()):
        if each == "policy" or (isinstance(each, dict) and "policy" in each):
            raise document.fault("the task already has a `policy`: leave it out here", ("monitors", number))
    if not (document.path.parent / said).is_file():
        raise document.fault(f"there is no file {said!r}", ("policy",))
    return said


def read_texts(document: Document, key: str) -> list[str]:
    """Return the list of texts at a key."""
    said = _list(document, key)
    for number, each in enumerate(said):
        if not isinstance(each, str):
            raise document.fault(f"should be text, not {show(each)}", (key, number))
    return said


def read_actions(document: Document) -> list[Any]:
    """Return the actions: MODULE:NAME, or `kind: {...}` for sources, such as `mcp: {time: {command: [...]}}`."""
    said = _list(document, "actions")
    for number, each in enumerate(said):
        if isinstance(each, dict):
            if len(each) != 1:
                raise document.fault(
                    "should be one kind of source and its table: `mcp: {NAME: {...}}`", ("actions", number)
                )
        elif not isinstance(each, str):
            said_so = f"should be MODULE:NAME, or a source such as `mcp: ...`, not {show(each)}"
            raise document.fault(said_so, ("actions", number))
    return said


def read_prompts(document: Document) -> str | None:
    """Return the folder of templates, as named in the task file."""
    said = document.value.get("prompts")
    if said is None:
        return None
    if not isinstance(said, str):
        raise document.fault(f"should be a folder, not {show(said)}", ("prompts",))
    if not (document.path.parent / said).is_dir():
        raise document.fault(f"there is no folder {said!r} beside the task file", ("prompts",))
    return said


def read_credentials(document: Document) -> dict[str, Any]:
    """Return where each credential is looked up, by name."""
    return _mapping(document, document.value.get("credentials"), ("credentials",))


def _list(document: Document, key: str) -> list[Any]:
    said = document.value.get(key)
    if said is None:
        return []
    if not isinstance(said, list):
        raise document.fault(f"should be a list, not {show(said)}", (key,))
    return said


def _mapping(document: Document, said: Any, place: Place) -> dict[str, Any]:
    if said is None:
        return {}
    if not isinstance(said, dict):
        raise document.fault(f"should be a mapping, not {show(said)}", place)
    return said
