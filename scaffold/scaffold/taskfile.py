"""Reads a task file: the task, and the agent that is to solve it.

    prompt: Pay this month's invoices
    inputs:
      invoices: {file: invoices.csv, untrusted: true}
    goals:
      - constraint: pay only to accounts on the list
        rule: action.name != 'pay' || args.account in inputs.accounts
    planner: deliberate
    backends: {default: smollm2}
    actions: [tools:pay]

Whatever is wrong in it is a TaskError that names the file, the line and the key.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, get_args

from pydantic import BaseModel, ValidationError

from scaffold import document as documents
from scaffold import registry
from scaffold.agent import Scaffold
from scaffold.document import Document, Place
from scaffold.errors import BadInput, TaskError, nearest
from scaffold.inputs import read_inputs
from scaffold.vocabulary.sampling import Sampling, ahead_by, majority, once, shorter_than
from scaffold.vocabulary.task import Goal, Task

if TYPE_CHECKING:
    from scaffold.interfaces import Action, Backend, Monitor

AGENT_KEYS = ("planner", "backends", "monitors", "actions", "prompts", "sampling")
_SHOWN = 60

Locate = Callable[..., AbstractContextManager[None]]


@dataclass(frozen=True, kw_only=True)
class Changes:
    """What is said beside the file, on the command line.

    Attributes:
        backends: specs by role, in place of the file's.
        monitors: names of further monitors.
        inputs: inputs by name, in place of the file's.
    """

    backends: Mapping[str, str] = field(default_factory=dict)
    monitors: tuple[str, ...] = ()
    inputs: Mapping[str, Any] = field(default_factory=dict)
    seed: int | None = None
    observe: bool = False
    plan_only: bool = False


class Built(NamedTuple):
    """An agent, its task, and what is needed to build the agent again."""

    agent: Scaffold
    task: Task
    config: dict[str, Any]
    document: Document


def build(path: Path | str, changes: Changes | None = None, **outside: Any) -> Built:
    """Build the agent and the task of a task file.

    Args:
        path: the file.
        changes: what is said beside it.
        outside: arguments of Scaffold that no file can give: `journal`, `approvers`, `signer`, `on_event`.

    Raises:
        TaskError: something in the file is wrong; names the line, the key and the nearest valid name.
    """
    changes = changes or Changes()
    document = read(Path(path))
    config = _config(document, changes)
    with document.locating():
        actions = _actions(config, document.locating)
        task = _task(document, config, changes, [action.spec.name for action in actions])
        agent = _assemble(config, actions, document.locating, changes.backends, outside)
    return Built(agent, task, config, document)


def rebuild(config: Mapping[str, Any], **outside: Any) -> Scaffold:
    """Build the agent of a run again, from what its trace holds.

    Raises:
        BadInput: the run was not started from a task file, or what it needs is gone.
    """
    if "base" not in config:
        raise BadInput("the run was started by a program, not from a task file: that program can resume it with Scaffold.resume")
    if not Path(config["base"]).is_dir():
        raise BadInput(f"the folder of the run's task file is gone: {config['base']}")
    return _assemble(config, _actions(config, _nowhere), _nowhere, {}, outside)


def read(path: Path) -> Document:
    """Read a task file as far as its outermost keys.

    Raises:
        TaskError: it is no YAML mapping, or has a key that task files do not have.
    """
    try:
        document = documents.read(path)
    except TaskError as error:
        if error.args[0] == "is empty":
            raise TaskError("is empty: `scaffold init` writes a task to start from", where=error.where) from None
        raise
    if not isinstance(document.value, dict):
        raise document.fault("a task file is a mapping: `prompt: what is asked`, and so on")
    known = [*Task.model_fields, *AGENT_KEYS]
    for key in document.value:
        if key not in known:
            raise document.fault(_unknown(key, known), (key,))
    return document


def _unknown(key: str, known: list[str]) -> str:
    return f"is not known{nearest(key, known) or '; known are ' + ', '.join(dict.fromkeys(known))}"


@contextlib.contextmanager
def _nowhere(**_: Any) -> Any:
    yield


# --- the agent


def _config(document: Document, changes: Changes) -> dict[str, Any]:
    """What an agent is made of, as JSON; with it alone the same agent can be built again."""
    value = document.value
    planner, options = _planner(document)
    monitors = _monitors(document)
    if changes.monitors:
        named = [monitor.spec.name for monitor in registry.default_monitors()] if monitors is None else monitors
        monitors = [*named, *(name for name in changes.monitors if name not in named)]
    return {
        "file": document.path.name,
        "base": str(document.path.resolve().parent),
        "planner": planner,
        "options": options,
        "backends": {**_backends(document), **changes.backends},
        "monitors": monitors,
        "actions": _texts(document, "actions"),
        "prompts": _prompts(document),
        "sampling": value.get("sampling"),
        "seed": changes.seed,
        "observe": changes.observe,
        "plan_only": changes.plan_only,
    }


def _assemble(
    config: Mapping[str, Any], actions: list[Action], locate: Locate, given: Mapping[str, str], outside: Mapping[str, Any]
) -> Scaffold:
    base = Path(config["base"])
    backends = _make_backends(config["backends"], locate, given)
    monitors = None if config["monitors"] is None else _make_monitors(config["monitors"], locate)
    with locate(within=("sampling",)):
        sampling = read_sampling(config["sampling"])
    with locate(within=("planner",)):
        return Scaffold(
            config["planner"],
            options=config["options"],
            backends=backends,
            monitors=monitors,
            actions=actions,
            prompts=base / config["prompts"] if config["prompts"] else None,
            sampling=sampling,
            seed=config["seed"],
            observe=config["observe"],
            plan_only=config["plan_only"],
            base=base,
            **outside,
        )


def _make_backends(said: Mapping[str, Any], locate: Locate, given: Mapping[str, str]) -> dict[str, Backend]:
    """Make the backend of each role; one for all roles of one spec, so that a local model is loaded once."""
    made: list[tuple[Any, Backend]] = []
    backends = {}
    for role, spec in said.items():
        backend = next((backend for other, backend in made if other == spec), None)
        if backend is None:
            options = {"use": spec} if isinstance(spec, str) else dict(spec)
            with _nowhere() if role in given else locate(within=("backends", role)):
                backend = registry.make_backend(options.pop("use"), options)
            made.append((spec, backend))
        backends[role] = backend
    return backends


def _make_monitors(said: list[Any], locate: Locate) -> list[Monitor]:
    monitors = []
    for number, each in enumerate(said):
        name, settings = (each, {}) if isinstance(each, str) else next(iter(each.items()))
        with locate(within=("monitors", number)):
            monitors.append(registry.make_monitor(name, settings or {}))
    return monitors


def _actions(config: Mapping[str, Any], locate: Locate) -> list[Action]:
    base = Path(config["base"])
    actions = []
    for number, reference in enumerate(config["actions"] or ()):
        path = ("actions", number)
        with locate(within=path):
            module, _, name = reference.partition(":")
            if not name:
                raise TaskError(f"{reference!r} names no action: write MODULE:NAME, such as tools:pay", path=path)
            found = registry.from_file(f"{module.removesuffix('.py')}:{name}", base, path=path)
            actions.append(registry.make_action(found, reference, path))
    return actions


# --- its keys


def _planner(document: Document) -> tuple[str, dict[str, Any]]:
    said = document.value.get("planner", "direct")
    if isinstance(said, str):
        return said, {}
    if not isinstance(said, dict):
        raise document.fault("is a name, MODULE:FUNCTION, or a mapping with `use` and `options`", ("planner",))
    for key in said:
        if key not in {"use", "name", "options"}:
            raise document.fault(_unknown(key, ["use", "options"]), ("planner", key))
    name = said.get("use", said.get("name"))
    if not isinstance(name, str):
        raise document.fault("needs `use`: the name of a planner, or MODULE:FUNCTION", ("planner",))
    return name, _mapping(document, said.get("options"), ("planner", "options"))


def _backends(document: Document) -> dict[str, Any]:
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
            raise document.fault("is a backend's spec, such as smollm2, or a mapping with `use` and options", ("backends", role))
    return roles


def _monitors(document: Document) -> list[Any] | None:
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


def _texts(document: Document, key: str) -> list[str]:
    said = _list(document, key)
    for number, each in enumerate(said):
        if not isinstance(each, str):
            raise document.fault(f"is text, not {_show(each)}", (key, number))
    return said


def _prompts(document: Document) -> str | None:
    said = document.value.get("prompts")
    if said is None:
        return None
    if not isinstance(said, str):
        raise document.fault(f"is a folder, not {_show(said)}", ("prompts",))
    if not (document.path.parent / said).is_dir():
        raise document.fault(f"there is no folder {said!r} beside the file", ("prompts",))
    return said


def _list(document: Document, key: str) -> list[Any]:
    said = document.value.get(key)
    if said is None:
        return []
    if not isinstance(said, list):
        raise document.fault(f"is a list, not {_show(said)}", (key,))
    return said


def _mapping(document: Document, said: Any, place: Place) -> dict[str, Any]:
    if said is None:
        return {}
    if not isinstance(said, dict):
        raise document.fault(f"is a mapping, not {_show(said)}", place)
    return said


def _show(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "..."


def read_sampling(said: Any) -> Sampling | None:
    """Give the policy that a task file names: `once`, `{majority: 5}` or `{ahead_by: 2, cap: 20, shorter_than: 750}`.

    Raises:
        TaskError: it names none.
    """
    if said is None:
        return None
    table = {said: None} if isinstance(said, str) else said
    if not isinstance(table, dict):
        raise TaskError(f"is `once`, `majority: N` or `ahead_by: K`, not {_show(said)}")
    known = ["once", "majority", "ahead_by", "cap", "shorter_than"]
    for key, number in table.items():
        if key not in known:
            raise TaskError(_unknown(str(key), known), path=(key,))
        if key != "once" and (not isinstance(number, int) or isinstance(number, bool) or number < 1):
            raise TaskError(f"is a number from 1 up, not {_show(number)}", path=(key,))
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


# --- the task


def _task(document: Document, config: Mapping[str, Any], changes: Changes, actions: list[str]) -> Task:
    value = document.value
    inputs, tainted = read_inputs(document)
    inputs.update(changes.inputs)
    untrusted = dict.fromkeys([*_texts(document, "untrusted"), *tainted])
    for number, name in enumerate(untrusted):
        if name not in inputs:
            raise document.fault(f"there is no input {name!r}{nearest(name, inputs)}", ("untrusted", number))
    fields = {name: value[name] for name in Task.model_fields if name in value}
    fields |= {"inputs": inputs, "untrusted": tuple(untrusted)}
    if "actions" in value:
        fields["actions"] = actions
    try:
        return Task.model_validate(fields)
    except ValidationError as error:
        raise _fault(document, error) from None


def _fault(document: Document, error: ValidationError) -> TaskError:
    """The first fault that pydantic found, in words for who wrote the file."""
    fault = error.errors(include_url=False)[0]
    place: Place = fault["loc"] or ("goals",)  # of the task as a whole only the goals' names are checked
    if fault["type"] == "extra_forbidden":
        return document.fault(_unknown(str(place[-1]), _known_at(place[:-1])), place)
    if fault["type"] == "missing":
        if place[:1] == ("goals",):
            return document.fault("says nothing: write `objective: ...`, `constraint: ...` or `principle: ...`", place[:-1])
        return document.fault("is missing: say what is asked" if place == ("prompt",) else "is missing", place)
    message = str(fault["msg"]).removeprefix("Value error, ").removeprefix("Input ")
    _, found = document.where(place)
    if found == ("answer",):
        message = "should be text, integer, number, boolean or a list of texts to choose from"
    shown = f", not {_show(fault['input'])}" if not isinstance(fault["input"], dict) or fault["type"] != "value_error" else ""
    return document.fault(message + shown, found)


def _known_at(place: Place) -> list[str]:
    """Keys that a part of a task may have."""
    model: Any = Task
    for part in place:
        if isinstance(part, str):
            annotation = model.model_fields[part].annotation
            model = next((each for each in (annotation, *get_args(annotation)) if _is_model(each)), Task)
    kinds = ["objective", "constraint", "principle"] if model is Goal else []
    return [*model.model_fields, *kinds]


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)
