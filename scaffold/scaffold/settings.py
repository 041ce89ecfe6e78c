"""Reads the keys of a task file that say who solves the task: planner, backends, monitors, sampling."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from scaffold.errors import TaskError, nearest
from scaffold.vocabulary.composed import cascade, in_rotation, unless_sure
from scaffold.vocabulary.confidence import Calibration
from scaffold.vocabulary.sampling import Sampling, Way, ahead_by, majority, once, shorter_than

if TYPE_CHECKING:
    from collections.abc import Iterable

    from scaffold.document import Document, Place

AGENT_KEYS = ("planner", "backends", "monitors", "actions", "prompts", "sampling")
_SHOWN = 60
_MOST_SAMPLES = 10_000  # of one step


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


_POLICIES = ("once", "majority", "ahead_by")
_AROUND = ("cap", "shorter_than", "batch", "rotate", "cascade", "sure", "calibration")
_FORM = "is `once`, `majority: N` or `ahead_by: K`"


def read_sampling(said: Any) -> Sampling | None:
    """Give the policy that a task file names.

    That is `once`, `{majority: 5}` or `{ahead_by: 2, cap: 20, shorter_than: 750}`, and around it

        rotate: [{}, {temperature: 1.0}, {prompt: other}]    asked in several ways in turn
        cascade: strong                                      another backend, where its votes split
        cascade: {to: strong, majority: 3}                   the same, with a vote there too
        sure: 0.95                                           one sample, where corrected confidence is as high
        calibration: calibration.json                        how it is corrected: a file beside the task file

    Raises:
        TaskError: it names none.
    """
    if said is None:
        return None
    table = {said: None} if isinstance(said, str) else said
    if not isinstance(table, dict):
        raise TaskError(f"{_FORM}, not {show(said)}")
    for key in table:
        if key in {"best_of", "verified"}:
            needs = "a judge" if key == "best_of" else "a critic in code"
            raise TaskError(f"needs {needs}, which a planner names: `scaffold.{key}`", path=(key,))
        if key not in (*_POLICIES, *_AROUND):
            raise TaskError(unknown(str(key), (*_POLICIES, *_AROUND)), path=(key,))
    policy = _vote(table)
    if "rotate" in table:
        policy = _rotated(policy, table["rotate"])
    if "cascade" in table:
        policy = _cascade(policy, table["cascade"])
    return _unless_sure(policy, table) if "sure" in table else policy


def _unless_sure(policy: Sampling, table: dict[str, Any]) -> Sampling:
    sure = table["sure"]
    if isinstance(sure, bool) or not isinstance(sure, int | float) or not 0.5 < sure <= 1:  # noqa: PLR2004 - as `unless_sure` says
        raise TaskError(f"is a probability above 0.5, such as 0.95, not {show(sure)}", path=("sure",))
    if "calibration" not in table:
        made = "`scaffold audit calibration --write FILE` makes it from past runs"
        raise TaskError(f"needs `calibration: FILE` beside it: {made}", path=("sure",))
    return unless_sure(policy, sure=float(sure))


def read_calibration(document: Document) -> Calibration | None:
    """How stated confidence is corrected: the file that `sampling` names; None where it names none."""
    table = document.value.get("sampling")
    said = table.get("calibration") if isinstance(table, dict) else None
    if said is None:
        return None
    place = ("sampling", "calibration")
    if not isinstance(said, str):
        raise document.fault(f"is a file, not {show(said)}", place)
    try:
        return msgspec.json.decode((document.path.parent / said).read_bytes(), type=Calibration)
    except OSError as error:
        raise document.fault(f"cannot read {said!r}: {error.strerror}", place) from None
    except msgspec.MsgspecError as error:
        raise document.fault(f"{said!r} is no calibration: {error}", place) from None


def _vote(table: dict[str, Any]) -> Sampling:
    named = [key for key in table if key in _POLICIES]
    if len(named) != 1:
        raise TaskError("names one of `once`, `majority: N` and `ahead_by: K`")
    for key in ("majority", "ahead_by", "cap", "shorter_than", "batch"):
        number = table.get(key, 1)
        if not isinstance(number, int) or isinstance(number, bool) or number < 1:
            raise TaskError(f"is a number from 1 up, not {show(number)}", path=(key,))
        if number > _MOST_SAMPLES and key != "shorter_than":
            raise TaskError(f"is {_MOST_SAMPLES:,} at most, not {show(number)}", path=(key,))
    if "batch" in table and named[0] == "once":
        raise TaskError("goes with `majority` and `ahead_by`", path=("batch",))
    flags = (shorter_than(table["shorter_than"]),) if "shorter_than" in table else ()
    cap = table.get("cap")
    match named[0]:
        case "majority":
            return majority(table["majority"], cap=cap, batch=table.get("batch", 1), flags=flags)
        case "ahead_by":
            return ahead_by(table["ahead_by"], cap=cap, batch=table.get("batch", 1), flags=flags)
        case _:
            return once(tries=cap or 3, flags=flags)


def _rotated(policy: Sampling, said: Any) -> Sampling:
    if not isinstance(said, list):
        raise TaskError(f"is a list of ways, such as [{{}}, {{temperature: 1.0}}], not {show(said)}", path=("rotate",))
    ways = []
    for number, way in enumerate(said):
        place = ("rotate", number)
        if not isinstance(way, dict):
            raise TaskError(f"is a mapping, such as {{temperature: 1.0}}, not {show(way)}", path=place)
        for key, value in way.items():
            if key not in Way.__struct_fields__:
                raise TaskError(unknown(str(key), Way.__struct_fields__), path=(*place, key))
            wanted: Any = (int, float) if key == "temperature" else str
            if not isinstance(value, wanted) or isinstance(value, bool):
                raise TaskError(
                    f"is a {'number' if key == 'temperature' else 'text'}, not {show(value)}", path=(*place, key)
                )
        ways.append(Way(**way))
    try:
        return in_rotation(policy, *ways)
    except ValueError as error:
        raise TaskError(str(error), path=("rotate",)) from None


def _cascade(policy: Sampling, said: Any) -> Sampling:
    table = {"to": said} if isinstance(said, str) else said
    if not isinstance(table, dict) or not isinstance(table.get("to"), str):
        raise TaskError("is the role of a stronger backend, or a mapping with `to` and a policy", path=("cascade",))
    rest = {key: value for key, value in table.items() if key != "to"}
    for key in rest:
        if key not in (*_POLICIES, "cap", "shorter_than", "batch"):
            raise TaskError(
                unknown(str(key), ("to", *_POLICIES, "cap", "shorter_than", "batch")), path=("cascade", key)
            )
    try:
        then = _vote(rest or {"once": None})
    except TaskError as error:
        raise TaskError(str(error.args[0]), path=("cascade", *error.path)) from None
    return cascade(policy, to=table["to"], then=then)
