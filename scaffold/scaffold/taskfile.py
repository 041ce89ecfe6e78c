"""Reads a task file: the task, and the agent that solves it.

    prompt: Pay this month's invoices
    inputs:
      invoices: {file: invoices.csv, untrusted: true}
    goals:
      - constraint: pay only to accounts on the list
        rule: action.name != 'pay' || args.account in inputs.accounts
    planner: deliberate
    backends: {default: smollm2}
    actions: [tools:pay]

One file can be the template of many tasks with different inputs. Every fault in it is a TaskError that names the file,
the line and the key.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar, get_args, runtime_checkable

import msgspec
from pydantic import ValidationError

from scaffold import document as documents
from scaffold import registry
from scaffold.agent import Scaffold, planner_of
from scaffold.assembly import close_all
from scaffold.credentials import Credentials
from scaffold.document import Document, Faults, Place, show
from scaffold.errors import BadInput, TaskError, nearest, unknown
from scaffold.figures import read_calibration, read_monitorability
from scaffold.fitting import fields_at, first_fault, in_words
from scaffold.inputs import read_inputs
from scaffold.interfaces import ActionSource, TakesCredentials
from scaffold.sampling_setting import read_sampling
from scaffold.settings import (
    AGENT_KEYS,
    read_actions,
    read_backends,
    read_credentials,
    read_monitors,
    read_planner,
    read_policy,
    read_prompts,
    read_texts,
)
from scaffold.trace import sealing
from scaffold.vocabulary.task import Goal, GoalKind, Task
from scaffold.wrapping.scrubbing import holds_secret

if TYPE_CHECKING:
    from scaffold.interfaces import Action, Backend, Monitor


T = TypeVar("T")
Locate = Callable[..., AbstractContextManager[None]]


class Changes(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line adds to a task file.

    Attributes:
        backends: specs by role, replacing the file's.
        monitors: names of further monitors.
        inputs: inputs by name, replacing the file's.
    """

    backends: Mapping[str, str] = msgspec.field(default_factory=dict)
    monitors: tuple[str, ...] = ()
    inputs: Mapping[str, Any] = msgspec.field(default_factory=dict)
    seed: int | None = None
    observe: bool = False
    plan_only: bool = False


class Built(NamedTuple):
    """An agent, its task, and what is needed to rebuild the agent."""

    agent: Scaffold
    task: Task
    config: dict[str, Any]
    document: Document


@runtime_checkable
class _Held(Protocol):
    """A source that stays until all who have prepared it have closed it."""

    def release(self) -> None:
        """Forget who has: the next `close` ends it."""


class Shared:
    """Backends and sources of actions shared by several agents, one for each distinct description or reference."""

    def __init__(self) -> None:
        self._made: list[tuple[Any, Backend]] = []
        self._sources: list[tuple[Any, list[ActionSource]]] = []

    def backend(self, spec: Any) -> Backend:
        """Return the backend of a spec, or of a table with `use` and options."""
        for other, backend in self._made:
            if other == spec:
                return backend
        options = {"use": spec} if isinstance(spec, str) else dict(spec)
        backend = registry.make_backend(options.pop("use"), options)
        self._made.append((spec, backend))
        return backend

    def sources(self, kind: str, said: Any, base: Path, credentials: Any) -> list[ActionSource]:
        """Return the sources of a kind that a table describes, shared by tasks with the same credential places."""
        for other, sources in self._sources:
            if other == (kind, said, base, credentials):
                return sources
        sources = registry.make_sources(kind, said, base)
        self._sources.append(((kind, said, base, credentials), sources))
        return sources

    def found(self, source: ActionSource) -> None:
        """Close a source that was found by its reference, too, once however many tasks name it."""
        if not any(source is other for _, sources in self._sources for other in sources):
            self._sources.append((None, [source]))

    async def close(self) -> None:
        """Close the backends and the sources; the agents that shared them are not closed by themselves."""
        sources = [source for _, sources in self._sources for source in sources]
        for source in sources:
            if isinstance(source, _Held):
                source.release()
        await close_all(*sources, *(backend for _, backend in self._made))


def build(path: Path | str, changes: Changes | None = None, *, shared: Shared | None = None, **outside: Any) -> Built:
    """Build the agent and the task of a task file.

    Args:
        path: the file.
        changes: what the command line adds.
        shared: backends shared with other agents; close none of these until all are done.
        outside: arguments of Scaffold that no file can give: `journal`, `approvers`, `signer`, `on_event`.

    Raises:
        TaskError: something in the file is wrong; names the line, the key and the nearest valid name.
    """
    changes = changes or Changes()
    document = read(Path(path))
    config = _config(document, changes)
    agent, task = _made(
        document, config, changes, shared, outside, lambda names: _task(document, *_inputs(document, changes), names)
    )
    return Built(agent, task, config, document)


class Template:
    """A task file from which many tasks are made: one agent for all of them, with different inputs.

    Args:
        document: the file, as returned by `read`.
        changes: what the command line adds.
        shared: backends shared with other agents.
        outside: arguments of Scaffold that no file can give.

    Attributes:
        agent: solves the tasks.
        config: what is needed to rebuild the agent.
        document: the file.
        inputs: the inputs common to all tasks.

    Raises:
        TaskError: something in the file is wrong.
    """

    def __init__(
        self, document: Document, changes: Changes | None = None, *, shared: Shared | None = None, **outside: Any
    ) -> None:
        changes = changes or Changes()
        self.document = document
        self.config = _config(document, changes)
        self.agent, (self._actions, self.inputs, self._tainted) = _made(
            document, self.config, changes, shared, outside, lambda names: (names, *_inputs(document, changes))
        )

    def task(self, inputs: Mapping[str, Any], prompt: str | None = None) -> Task:
        """Make one task for the agent, with further or replaced inputs and perhaps another prompt.

        Raises:
            TaskError: the file and these inputs do not make a task.
        """
        document = self.document
        if prompt is not None:
            document = Document(document.path, {**document.value, "prompt": prompt}, document.lines)
        task = _task(document, {**self.inputs, **inputs}, self._tainted, self._actions)
        with document.locating():
            self.agent.check(task)
        return task


def rebuild(
    config: Mapping[str, Any],
    backends: Mapping[str, str] | None = None,
    *,
    shared: Shared | None = None,
    **outside: Any,
) -> Scaffold:
    """Rebuild the agent of a run from what its trace holds.

    Args:
        config: the config in the trace.
        backends: specs by role, replacing those it began with.
        shared: backends shared with other agents.
        outside: arguments of Scaffold that no file can give.

    Raises:
        BadInput: the run was not started from a task file, or something it needs is gone.
    """
    if "base" not in config:
        raise BadInput("the run was started by a program, not from a task file, so only that program can resume it")
    if not Path(config["base"]).is_dir():
        raise BadInput(f"the folder of the run's task file is gone: {config['base']}")
    shared, backends, known = shared or Shared(), backends or {}, config["backends"]
    _warn_of_names("role", backends, known or {"default": ""}, of="run")
    config = {**config, "backends": {**known, **backends}}
    return _assemble(config, _actions(config, _nowhere, shared), _nowhere, backends, shared, outside)


def read(path: Path) -> Document:
    """Read a task file and check its top-level keys.

    Raises:
        TaskError: it is not a YAML mapping, or has a key that task files do not have.
    """
    try:
        document = documents.read(path)
    except TaskError as error:
        if error.args[0] == "is empty":
            raise TaskError("is empty: `scaffold init` writes an example to start from", where=error.where) from None
        raise
    return checked(document)


def checked(document: Document) -> Document:
    """Return a document if it has only the keys of task files.

    Raises:
        TaskError: it is not a mapping, or has a key that task files do not have.
    """
    if not isinstance(document.value, dict):
        raise document.fault("should be a mapping: `prompt: what is asked`, and so on")
    known = [*Task.model_fields, *AGENT_KEYS]
    for key in document.value:
        if key not in known:
            raise document.fault(unknown(key, known), (key,))
    return document


def actions_of(path: Path) -> list[Action]:
    """Return the actions that a task file names.

    Raises:
        TaskError: one of them does not exist, or is not an action.
    """
    document = read(path)
    with document.locating():
        config = {"base": str(path.resolve().parent), "actions": read_actions(document)}
        return registry.each_action(_actions(config, document.locating, Shared()))


def sources_of(path: Path) -> list[ActionSource]:
    """Return the sources of actions that a task file describes; their actions need not be known yet.

    Raises:
        TaskError: a table does not fit.
    """
    document = read(path)
    base = path.resolve().parent
    credentials = Credentials(read_credentials(document), base)
    found: list[ActionSource] = []
    for number, each in enumerate(read_actions(document)):
        for kind, said in each.items() if isinstance(each, dict) else ():
            with document.locating(within=("actions", number, kind)):
                found += registry.make_sources(kind, said, base)
    for each in found:
        if isinstance(each, TakesCredentials):
            each.take_credentials(credentials)
    return found


def inputs_of(path: Path) -> dict[str, Any]:
    """Return the inputs that a task file gives."""
    return read_inputs(read(path))[0]


def policy_of(path: Path) -> Path | None:
    """Return the policy file that a task file names, if any."""
    document = read(path)
    said = read_policy(document)
    for each in read_monitors(document) or ():
        if isinstance(each, dict) and isinstance(settings := each.get("policy"), dict):
            said = settings.get("file")
    return document.path.parent / said if said else None


@contextlib.contextmanager
def _nowhere(**_: Any) -> Any:
    yield


@contextlib.contextmanager
def _on_the_command_line(spec: Any) -> Any:
    """Blame a fault on the command line, not on a line of the file."""
    try:
        yield
    except TaskError as error:
        raise BadInput(f"the backend {spec!r}: {error}") from error


# --- the agent


def _config(document: Document, changes: Changes) -> dict[str, Any]:
    """Return what an agent is made of, as JSON from which it can be rebuilt."""
    value = document.value
    planner, options = read_planner(document)
    monitors = read_monitors(document)
    if changes.monitors:
        named = [monitor.spec.name for monitor in registry.default_monitors()] if monitors is None else monitors
        monitors = [*named, *(name for name in changes.monitors if name not in named)]
    policy = read_policy(document)
    if policy is not None:
        named = [monitor.spec.name for monitor in registry.default_monitors()] if monitors is None else monitors
        monitors = [*named, {"policy": {"file": policy}}]
    backends = read_backends(document)
    _warn_of_names("role", changes.backends, backends or {"default": ""})
    _warn_of_passwords({**backends, **changes.backends})
    return {
        "file": document.path.name,
        "base": str(document.path.resolve().parent),
        "planner": planner,
        "options": options,
        "backends": {**backends, **changes.backends},
        "monitors": monitors,
        "actions": read_actions(document),
        "prompts": read_prompts(document),
        "credentials": read_credentials(document),
        "sampling": value.get("sampling"),
        "seed": changes.seed,
        "observe": changes.observe,
        "plan_only": changes.plan_only,
    }


_MISSPELT = 0.9  # as similar as a typing error; more than `trusted` and `untrusted`


def _warn_of_names(what: str, given: Iterable[str], there: Collection[str], *, of: str = "file") -> None:
    """Warn of a name on the command line that is close to an existing one: it would be added without effect."""
    for name in given:
        close = "" if name in there else nearest(name, there, alike=_MISSPELT)
        if close:
            warnings.warn(f"the {of} has no {what} {name!r}{close}", stacklevel=2)


def _warn_of_passwords(backends: Mapping[str, Any]) -> None:
    """Warn of a backend whose URL holds a password or a key: the trace holds the URL, to rebuild the backend."""
    for role, spec in backends.items():
        if any(holds_secret(said) for said in _texts_in(spec)):
            told = f"the URL of the backend {role!r} contains a password or a key, which will also be in the trace"
            warnings.warn(f"{told}: give the key by an environment variable, named by `key_env`", stacklevel=2)


def _texts_in(spec: Any) -> Iterator[str]:
    """Yield the texts in a backend's spec, and in those of the backends it wraps."""
    if isinstance(spec, str):
        yield spec
    elif isinstance(spec, Mapping | list):
        for said in spec.values() if isinstance(spec, Mapping) else spec:
            yield from _texts_in(said)


def _made(
    document: Document,
    config: dict[str, Any],
    changes: Changes,
    shared: Shared | None,
    outside: dict[str, Any],
    read_task: Callable[[list[str]], T],
) -> tuple[Scaffold, T]:
    """Make the agent of a file, and read its task once the actions' names are known; report faults together."""
    shared, faults = shared or Shared(), Faults()
    actions: list[Action | ActionSource] = []
    with faults.gathered(document.locating()):
        actions = _actions(config, document.locating, shared)
        task = read_task([action.spec.name for action in registry.each_action(actions)])
    with faults.gathered(document.locating()):
        outside["calibration"] = read_calibration(document)
        outside["monitorability"] = read_monitorability(document)
    with faults.gathered(document.locating()):
        agent = _assemble(config, actions, document.locating, changes.backends, shared, outside)
    faults.tell()
    return agent, task


def _assemble(
    config: Mapping[str, Any],
    actions: list[Action | ActionSource],
    locate: Locate,
    given: Mapping[str, str],
    shared: Shared | None,
    outside: Mapping[str, Any],
) -> Scaffold:
    base = Path(config["base"])
    faults = Faults()
    backends = _make_backends(config["backends"], locate, given, shared or Shared(), faults)
    monitors = None if config["monitors"] is None else _make_monitors(config["monitors"], locate, base, faults)
    with faults.gathered(locate(within=("sampling",))):
        sampling = read_sampling(config["sampling"])
    if faults.found:  # else making the agent finds it
        with faults.gathered(locate(within=("planner",))):
            planner_of(config["planner"], config["options"], base)
    faults.tell()
    sealing.from_environment()  # where the key of the environment is none, that is no fault of the file's
    with locate(within=("planner",)):
        return Scaffold(
            config["planner"],
            options=config["options"],
            backends=backends,
            monitors=monitors,
            actions=actions,
            prompts=base / config["prompts"] if config["prompts"] else None,
            credentials=config.get("credentials"),
            sampling=sampling,
            seed=config["seed"],
            observe=config["observe"],
            plan_only=config["plan_only"],
            base=base,
            **outside,
        )


def _make_backends(
    said: Mapping[str, Any], locate: Locate, given: Mapping[str, str], shared: Shared, faults: Faults
) -> dict[str, Backend]:
    """Make the backend of each role."""
    backends = {}
    for role, spec in said.items():
        located = _on_the_command_line(spec) if role in given else locate(within=("backends", role))
        with faults.gathered(located):
            backends[role] = shared.backend(spec)
    return backends


def _make_monitors(said: list[Any], locate: Locate, base: Path, faults: Faults) -> list[Monitor]:
    monitors = []
    for number, each in enumerate(said):
        name, settings = (each, {}) if isinstance(each, str) else next(iter(each.items()))
        with faults.gathered(locate(within=("policy",) if name == "policy" else ("monitors", number))):
            monitors.append(registry.make_monitor(name, settings or {}, base))
    return monitors


def _actions(config: Mapping[str, Any], locate: Locate, shared: Shared) -> list[Action | ActionSource]:
    base = Path(config["base"])
    actions: list[Action | ActionSource] = []
    for number, reference in enumerate(config["actions"] or ()):
        path = ("actions", number)
        for kind, said in reference.items() if isinstance(reference, dict) else ():
            with locate(within=(*path, kind)):
                if isinstance(said, str):
                    raise TaskError(f'write "{kind}:{said}" in quotes, without a space after the colon')
                sources = shared.sources(kind, said, base, config.get("credentials"))
                registry.each_action(sources)  # their actions must be known: check here, where a fault can be located
                actions += sources
        if isinstance(reference, dict):
            continue
        with locate(within=path):
            if not reference.partition(":")[2]:
                raise TaskError(
                    f"{reference!r} does not name an action: write MODULE:NAME, such as tools:pay", path=path
                )
            found = registry.make_action(registry.from_file(reference, base, path=path), reference, path)
            if isinstance(found, ActionSource):
                shared.found(found)
            actions.append(found)
    return actions


# --- the task


def _inputs(document: Document, changes: Changes) -> tuple[dict[str, Any], list[str]]:
    """Return the inputs from file and command line, and the names of those that the file calls untrusted."""
    inputs, tainted = read_inputs(document)
    _warn_of_names("input", changes.inputs, inputs)
    inputs.update(changes.inputs)
    return inputs, tainted


def _task(document: Document, inputs: dict[str, Any], tainted: list[str], actions: list[str]) -> Task:
    value = document.value
    untrusted = dict.fromkeys([*read_texts(document, "untrusted"), *tainted])
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
    """Return the first fault that pydantic found, in words for the file's author."""
    fault = first_fault(error)
    place: Place = fault["loc"] or ("goals",)  # the only check on the whole task is of the goals' names
    if fault["type"] == "extra_forbidden":
        return document.fault(unknown(str(place[-1]), _known_at(place[:-1])), place)
    if fault["type"] == "missing":
        if place[:1] == ("goals",):
            return document.fault(
                "has no statement: write `objective: ...`, `constraint: ...` or `principle: ...`", place[:-1]
            )
        return document.fault("is missing: write what is asked" if place == ("prompt",) else "is missing", place)
    message = in_words(fault, Task)
    _, found = document.where(place)
    if found == ("answer",):
        message = "should be text, integer, number, boolean or a list of texts to choose from"
    shown = (
        f", not {show(fault['input'])}"
        if not isinstance(fault["input"], dict) or fault["type"] != "value_error"
        else ""
    )
    return document.fault(message + shown, found)


def _known_at(place: Place) -> list[str]:
    """Return the keys that a part of a task may have."""
    fields = fields_at(Task, place)
    return [*fields, *get_args(GoalKind)] if fields == list(Goal.model_fields) else fields
