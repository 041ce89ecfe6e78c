"""Reads the keys of a task file that say who solves the task: planner, backends, monitors, sampling."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scaffold.errors import TaskError, nearest
from scaffold.vocabulary.sampling import Sampling, ahead_by, majority, once, shorter_than

if TYPE_CHECKING:
    from collections.abc import Iterable

    from scaffold.document import Document, Place

AGENT_KEYS = ("planner", "backends", "monitors", "actions", "prompts", "sampling")
_SHOWN = 60


def unknown(key: str, known: Iterable[str]) -> str:
    """Say that a key is not known, and which one may have been meant."""
    known = list(dict.fromkeys(known))
    return f"is not known{nearest(key, known) or '; known are ' + ', '.join(known)}"


def read_planner(document: Document) -> tuple[str, dict[str, Any]]:
    """The planner's name, and its options."""
    said = document.value.get("planner", "direct")
    if isinstance(said, str):
        return said, {}
    if not isinstance(said, dict):
        raise document.fault("is a name, MODULE:FUNCTION, or a mapping with `use` and `options`", ("planner",))
    for key in said:
        if key not in {"use", "name", "options"}:
            raise document.fault(unknown(key, ["use", "options"]), ("planner", key))
    name = said.get("use", said.get("name"))
    if not isinstance(name, str):
        raise document.fault("needs `use`: the name of a planner, or MODULE:FUNCTION", ("planner",))
    return name, _mapping(document, said.get("options"), ("planner", "options"))


def read_backends(document: Document) -> dict[str, Any]:
    """The backend of each role: a spec, or a table with `use`."""
    said = document.value.get("backends")
    if isinstance(said, str):
        return {"default": said}
    roles = _mapping(document, said, ("backends",))
    if "use" in roles:  # the table of one backend, with no role above it
        roles = {"default": roles}
    for role, spec in roles.items():
        if isinstance(spec, dict) and not isinstance(spec.get("use"), str):
            raise document.fault("needs `use`: the backend's spec, such as smollm2", ("backends", role))
        if not isinstance(spec, str | dict):
            raise document.fault(
                "is a backend's spec, such as smollm2, or a mapping with `use` and options",
                ("backends", role),
            )
    return roles


def read_monitors(document: Document) -> list[Any] | None:
    """The monitors, by name or with settings; None for those that are on by default."""
    said = document.value.get("monitors")
    if said is None:
        return None
    for number, each in enumerate(_list(document, "monitors")):
        place = ("monitors", number)
        if isinstance(each, dict) and len(each) == 1:
            name, settings = next(iter(each.items()))
            _mapping(document, settings, (*place, name))
        elif not isinstance(each, str):
            raise document.fault("is a monitor's name, or `name: {settings}`", place)
    return list(said)


def read_texts(document: Document, key: str) -> list[str]:
    """A key that holds a list of texts."""
    said = _list(document, key)
    for number, each in enumerate(said):
        if not isinstance(each, str):
            raise document.fault(f"is text, not {show(each)}", (key, number))
    return said


def read_prompts(document: Document) -> str | None:
    """The folder of templates, as the file names it."""
    said = document.value.get("prompts")
    if said is None:
        return None
    if not isinstance(said, str):
        raise document.fault(f"is a folder, not {show(said)}", ("prompts",))
    if not (document.path.parent / said).is_dir():
        raise document.fault(f"there is no folder {said!r} beside the file", ("prompts",))
    return said


def _list(document: Document, key: str) -> list[Any]:
    said = document.value.get(key)
    if said is None:
        return []
    if not isinstance(said, list):
        raise document.fault(f"is a list, not {show(said)}", (key,))
    return said


def _mapping(document: Document, said: Any, place: Place) -> dict[str, Any]:
    if said is None:
        return {}
    if not isinstance(said, dict):
        raise document.fault(f"is a mapping, not {show(said)}", place)
    return said


def show(value: Any) -> str:
    """A value, short enough for a message."""
    text = repr(value)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "..."


def read_sampling(said: Any) -> Sampling | None:
    """Give the policy that a task file names.

    That is `once`, `{majority: 5}` or `{ahead_by: 2, cap: 20, shorter_than: 750}`.

    Raises:
        TaskError: it names none.
    """
    if said is None:
        return None
    table = {said: None} if isinstance(said, str) else said
    if not isinstance(table, dict):
        raise TaskError(f"is `once`, `majority: N` or `ahead_by: K`, not {show(said)}")
    known = ["once", "majority", "ahead_by", "cap", "shorter_than"]
    for key, number in table.items():
        if key not in known:
            raise TaskError(unknown(str(key), known), path=(key,))
        if key != "once" and (not isinstance(number, int) or isinstance(number, bool) or number < 1):
            raise TaskError(f"is a number from 1 up, not {show(number)}", path=(key,))
    policies = [key for key in table if key in {"once", "majority", "ahead_by"}]
    if len(policies) != 1:
        raise TaskError("names one of `once`, `majority: N` and `ahead_by: K`")
    flags = (shorter_than(table["shorter_than"]),) if "shorter_than" in table else ()
    cap = table.get("cap")
    match policies[0]:
        case "majority":
            return majority(table["majority"], cap=cap, flags=flags)
        case "ahead_by":
            return ahead_by(table["ahead_by"], cap=cap, flags=flags)
        case _:
            return once(tries=cap or 3, flags=flags)
