"""Loads and makes plug-ins: the built-in ones use the same entry points as third-party ones."""

from __future__ import annotations

import copy
import inspect
import math
import reprlib
import sys
import warnings
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from pydantic import BaseModel, ValidationError
from typing_extensions import Format, get_annotations

from scaffold.entries import Family, installed, load, monitor_card_of
from scaffold.errors import BadInput, BrokenPlugin, MissingExtra, NotAuthorised, ScaffoldError, TaskError, nearest
from scaffold.fitting import first_fault, in_words
from scaffold.interfaces import Action, ActionSource, Backend, Monitor, Undoes
from scaffold.task_modules import import_beside
from scaffold.tracebacks import described
from scaffold.vocabulary.code import FIND, Find
from scaffold.vocabulary.review import MonitorSpec

if TYPE_CHECKING:
    from scaffold.vocabulary.moves import Planning
    from scaffold.vocabulary.task import Task


def load_all(family: Family) -> dict[str, Any]:
    """Import all plug-ins of a family; warn about one that fails, and leave it out."""
    loaded = {}
    for name in sorted(installed(family)):
        try:
            loaded[name] = load(family, name)
        except (BrokenPlugin, MissingExtra) as error:
            warnings.warn(str(error), stacklevel=2)
    return loaded


_METHODS: Mapping[Family, tuple[str, ...]] = {"monitor": ("review",), "backend": ("generate", "close")}


def check_shape(family: Family, name: str) -> None:
    """Import a plug-in and check that it has the right shape, as far as possible without instantiating it.

    Raises:
        BrokenPlugin: it does not import, or has another shape.
        MissingExtra: it needs an optional dependency that is not installed.
    """
    found = load(family, name)
    if family == "planner":
        try:
            _check_planner(found)
        except TaskError as error:
            raise BrokenPlugin(str(error.args[0])) from None
    elif not callable(found) and family != "model":
        raise BrokenPlugin(f"a {type(found).__name__} cannot make a {family}: it should be a class or a function")
    elif isinstance(found, type):
        lacking = [method for method in _METHODS.get(family, ()) if not callable(getattr(found, method, None))]
        if lacking:
            raise BrokenPlugin(f"the class {found.__name__} has no `{lacking[0]}`")


def from_file(reference: str, base: Path, *, path: tuple[str | int, ...] = ()) -> Any:
    """Resolve `module:name`; the module is a file or package beside the task file, else an installed one.

    Raises:
        TaskError: there is no such module or name, or it does not import.
    """
    module_name, _, attribute = reference.partition(":")
    module_name = module_name.removesuffix(".py")
    try:
        module = import_beside(module_name, base)
    except ModuleNotFoundError as error:
        if error.name == module_name.partition(".")[0]:
            raise TaskError(
                f"there is no module {module_name!r} in {base}, and none of that name is installed", path=path
            ) from None
        raise TaskError(f"{module_name!r} cannot be imported: {error}", path=path) from error
    except (Exception, SystemExit) as error:  # the user's module may raise anything
        raise TaskError(f"{module_name!r} cannot be imported: {described(error)}", path=path) from error
    found: Any = module
    for part in attribute.split("."):
        if not hasattr(found, part):
            names = [name for name in vars(found) if not name.startswith("_")]
            raise TaskError(f"{module_name!r} has no {attribute!r}{nearest(part, names)}", path=path)
        found = getattr(found, part)
    return found


def planner(
    function: Callable[..., Planning[Any]], options: Mapping[str, Any], base: Path | None = None
) -> Callable[[Task], Planning[Any]]:
    """Bind a planner's options, validated by the model with which its second parameter is annotated.

    Args:
        function: the planner.
        options: its options; code as `module:name` (`scaffold.vocabulary.code`), or the object itself.
        base: folder that `module:name` refers to.

    Raises:
        TaskError: the planner takes no options, or not these.
    """
    model = _check_planner(function)
    if model is None:
        if options:
            raise TaskError(f"the planner {_name(function)!r} takes no options", path=("planner", "options"))
        return function
    return Bound(
        function, _checked(model, options, ("planner", "options"), partial(from_file, base=base or Path.cwd()))
    )


class Bound:
    """A planner with its options."""

    def __init__(self, function: Callable[..., Planning[Any]], options: BaseModel) -> None:
        self._function = function
        self._options = options

    def __call__(self, task: Task) -> Planning[Any]:
        """Return the planner's generator for a task."""
        return self._function(task, self._options)

    def check(self, task: Task) -> None:
        """Check the options against the task, if their model has a method `check_task`.

        Raises:
            TaskError: they do not fit together.
        """
        check = getattr(type(self._options), "check_task", None)
        if callable(check):
            check(self._options, task)


def _check_planner(function: Callable[..., Any]) -> type[BaseModel] | None:
    """Check that an object is a planner; return the model of its options, or None if it takes none.

    Raises:
        TaskError: it is not a generator function, or needs arguments that no planner is given.
    """
    if not inspect.isgeneratorfunction(function):
        said = f"{_name(function)!r} is not a planner: a planner is a generator function (it contains `yield`)"
        raise TaskError(said, path=("planner",))
    parameters = _given(function)
    if len(parameters) < 2:  # noqa: PLR2004 - the task, the options
        return None
    model = _annotation(function, parameters[1].name)
    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        raise TaskError(f"the options of {_name(function)!r} should be a pydantic model", path=("planner", "options"))
    return model


def _given(function: Callable[..., Any]) -> list[inspect.Parameter]:
    """Return the parameters that receive the task and the options.

    Raises:
        TaskError: there is none for the task, or there are further required ones.
    """
    every = _signature(function).parameters.values()
    placed = [each for each in every if each.kind in {each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD}]
    asked = [each.name for each in every if each.default is each.empty and each.kind is each.KEYWORD_ONLY]
    asked += [each.name for each in placed[2:] if each.default is each.empty]
    if asked or not (placed or any(each.kind is each.VAR_POSITIONAL for each in every)):
        said = f"needs {', '.join(map(repr, asked))}" if asked else "has no parameters"
        wanted = "a planner is called with the task, and with its options if it has a second parameter"
        raise TaskError(f"{_name(function)!r} {said}: {wanted}", path=("planner",))
    return placed


def _name(function: Callable[..., Any]) -> str:
    return getattr(function, "__name__", type(function).__name__)


def _signature(function: Callable[..., Any]) -> inspect.Signature:
    """Return a function's signature, even if annotations name what is imported for type checking only."""
    if sys.version_info >= (3, 14):
        return inspect.signature(function, annotation_format=Format.FORWARDREF)
    return inspect.signature(function)


def _annotation(function: Callable[..., Any], name: str) -> Any:
    """Return the annotated type of a parameter; others may name what is imported for type checking only.

    Raises:
        TaskError: this one does, too.
    """
    while isinstance(function, partial):
        function = function.func
    function = inspect.unwrap(function)
    said = get_annotations(function, format=Format.FORWARDREF).get(name)
    if not isinstance(said, str):
        return said
    try:
        return eval(said, function.__globals__)  # noqa: S307 - the planner's own source, already running
    except NameError as error:
        cure = "its options are needed at run time: import that outside `if TYPE_CHECKING:`"
        raise TaskError(f"{_name(function)!r}: {error}, but {cure}", path=("planner", "options")) from None


def _checked(model: type[BaseModel], options: Mapping[str, Any], path: tuple[str | int, ...], find: Find) -> BaseModel:
    unknown = [name for name in options if name not in model.model_fields]
    if unknown:
        raise TaskError(f"no option {unknown[0]!r}{nearest(unknown[0], model.model_fields)}", path=(*path, unknown[0]))
    try:
        return model.model_validate(dict(options), context={FIND: find})
    except ValidationError as error:
        fault = first_fault(error)
        said = in_words(fault, model)
        given = "" if fault["type"] in _SAY_IT_ALL else f", not {reprlib.repr(fault['input'])}"
        raise TaskError(said + given, path=(*path, *fault["loc"])) from None


_SAY_IT_ALL = frozenset(  # pydantic's kinds of fault
    {"value_error", "extra_forbidden", "missing", "code", "too_short", "too_long"}
)


def make_monitor(name: str, settings: Mapping[str, Any], base: Path | None = None) -> Monitor:
    """Make a monitor with settings: an installed one, or the user's own class, `module:name`.

    Args:
        name: its name, or `module:name`.
        settings: its settings; under `spec`, changes to its spec, such as its timeout. A monitor that also takes `find`
            can be given code as `module:name`, and one that takes `base` is told the folder.
        base: folder that `module:name` and files are relative to.

    Raises:
        TaskError: it does not take these settings, or `spec` sets what cannot be set.
    """
    place = base or Path.cwd()
    factory = _own_monitor(name, place) if ":" in name else load("monitor", name)
    changes = settings.get("spec")
    settings = {each: said for each, said in settings.items() if each != "spec"}
    for given, value in {"find": partial(from_file, base=place), "base": place}.items():
        if given in settings:
            raise TaskError(f"the monitor {name!r} has no setting {given!r}", path=("monitors", name, given))
        if given in _signature(factory).parameters:
            settings = {**settings, given: value}
    monitor = _made(factory, "monitor", name, settings)
    if not isinstance(monitor, Monitor):
        raise BrokenPlugin(f"the monitor {name!r} has no `spec` or no `review`")
    if changes is not None:
        monitor = copy.copy(monitor)  # one that was made already may read other tasks as it is
        monitor.spec = _changed(monitor.spec, changes, ("monitors", name, "spec"))
    return monitor


def _own_monitor(reference: str, base: Path) -> Callable[..., Any]:
    """Return the factory that `module:name` means; a ready-made monitor is returned as it is."""
    found = from_file(reference, base, path=("monitors", reference))
    if callable(found):
        return found  # type: ignore[no-any-return]  # just looked at
    if isinstance(found, Monitor):
        return lambda: found
    raise TaskError(f"{reference!r} is {kind_of(found)}, which cannot make a monitor", path=("monitors", reference))


_SAYABLE = ("band", "mode", "on_error", "on_missing", "on_timeout", "sample", "tier", "timeout_s")


def _changed(spec: MonitorSpec, changes: Any, path: tuple[str, ...]) -> MonitorSpec:
    """Return a monitor's spec with the task's changes; what it reads, and its role, cannot be changed."""
    if not isinstance(changes, Mapping):
        raise TaskError(f"should be a mapping with any of {', '.join(_SAYABLE)}", path=path)
    for key in changes:
        if key not in _SAYABLE:
            raise TaskError(f"no setting {key!r}{nearest(key, _SAYABLE)} (known: {', '.join(_SAYABLE)})", path=path)
    if spec.tier == 0 and {"mode", "sample", "tier"} & set(changes):
        raise TaskError(
            "a monitor of tier 0 is always enforced: `mode`, `sample` and `tier` cannot be changed", path=path
        )
    try:
        changed = msgspec.convert({**msgspec.to_builtins(spec), **changes}, MonitorSpec)
    except msgspec.ValidationError as error:
        raise TaskError(str(error), path=path) from None
    if not 0 < changed.timeout_s < math.inf:
        raise TaskError("should be a number of seconds above 0", path=(*path, "timeout_s"))
    return changed


def default_monitors() -> list[Monitor]:
    """Return the monitors whose spec makes them the default; cards spare importing the others."""
    made: list[Monitor] = []
    for name in installed("monitor"):
        try:
            card = monitor_card_of(name)
            if card is not None and not card.default:
                continue
            monitor = _made(load("monitor", name), "monitor", name, {})
        except TaskError:
            continue  # it needs settings, so it cannot be on by default
        except (BrokenPlugin, MissingExtra) as error:
            warnings.warn(str(error), stacklevel=2)
            continue
        if isinstance(monitor, Monitor):
            made.append(monitor)
    return [monitor for monitor in made if monitor.spec.default]


def backend_of(said: Any, *, path: tuple[str | int, ...] = ()) -> Backend:
    """Return the backend described by a spec (`smollm2`) or a table with `use` and options, or a given one as it is.

    Wrapping backends take their inner one in the same forms.

    Raises:
        UnknownPlugin: no backend has that name.
        TaskError: it is none of these, or the options do not fit.
        MissingKey: it needs a key, and the environment variable for it is not set.
    """
    if isinstance(said, str):
        return make_backend(said, {})
    if isinstance(said, Mapping):
        options = dict(said)
        spec = options.pop("use", None)
        if not isinstance(spec, str):
            raise TaskError("needs `use`: the backend's spec, such as `smollm2`", path=path)
        return make_backend(spec, options)
    if isinstance(said, Backend) and not isinstance(said, type):
        return said
    raise TaskError(f"{kind_of(said)} is not a backend", path=path)


def make_backend(spec: str, options: Mapping[str, Any]) -> Backend:
    """Make a backend from a spec: `NAME`, `NAME:MODEL`, or the address of a server.

    Raises:
        UnknownPlugin: no backend has that name.
        TaskError: it does not take these options.
        MissingKey: it needs a key, and the environment variable for it is not set.
    """
    name, _, model = spec.partition(":")
    if name in {"http", "https"}:
        name, model = "http", spec
    backend = _made(load("backend", name), "backend", name, options, model)
    if not isinstance(backend, Backend):
        raise BrokenPlugin(f"the backend {name!r} has no `profile`, no `generate` or no `close`")
    return backend


def _made(factory: Callable[..., Any], family: Family, name: str, settings: Mapping[str, Any], *positional: Any) -> Any:
    try:
        _signature(factory).bind(*positional, **settings)
    except TypeError as error:
        named = list(_signature(factory).parameters.values())[len(positional) :]
        known = [
            each.name
            for each in named
            if each.kind in {each.KEYWORD_ONLY, each.POSITIONAL_OR_KEYWORD} and each.name not in {"find", "base"}
        ]
        wrong = next((setting for setting in settings if setting not in known), "")
        hint = nearest(wrong, known) if wrong else ""
        if wrong and not hint:
            hint = f"; it takes {', '.join(known) or 'none'}" + (", beside `use`" if family == "backend" else "")
        path = () if family == "backend" else (family + "s", name)  # a backend is listed under its role
        raise TaskError(f"the {family} {name!r} cannot be made with these settings: {error}{hint}", path=path) from None
    _check_plain(factory, family, name, settings)
    try:
        return factory(*positional, **settings)
    except (BadInput, NotAuthorised):
        raise
    except ScaffoldError as error:  # already in our own words
        raise BrokenPlugin(f"the {family} {name!r} cannot be made: {error}") from error
    except Exception as error:
        raise BrokenPlugin(f"the {family} {name!r} cannot be made: {type(error).__name__}: {error}") from error


def make_action(found: Any, reference: str, path: tuple[str | int, ...]) -> Action | ActionSource:
    """Check that an object is an action, or a source of actions."""
    if isinstance(found, Action | ActionSource):
        return found
    raise TaskError(f"{reference!r} is not an action: decorate the function with @action(effect=...)", path=path)


def make_sources(kind: str, said: Any, base: Path) -> list[ActionSource]:
    """Make the sources of actions that a table of a task file describes, without starting them.

    Raises:
        UnknownPlugin: there are no sources of that kind.
        TaskError: the table does not fit.
    """
    made = _made(load("source", kind), "source", kind, {"base": base}, said)
    if not isinstance(made, list) or not all(isinstance(each, ActionSource) for each in made):
        raise BrokenPlugin(f"the source {kind!r} should return a list of sources with `actions`, `prepare` and `close`")
    return made


def kind_of(given: object) -> str:
    """Describe what was given, for a message; the commonest mistake is a class in place of an instance."""
    if isinstance(given, type):
        return f"the class {given.__name__} itself, not an instance,"
    name = type(given).__name__
    return f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}"


def by_role(given: Mapping[str, Any] | str | Backend | None) -> Mapping[str, Any]:
    """Return backends by role; a single one has the role `default`."""
    if given is None:
        return {}
    return given if isinstance(given, Mapping) else {"default": given}


def listed(given: Iterable[Any], what: str) -> list[Any]:
    """Return what was given as a list.

    Raises:
        TaskError: it is not a list; a text would be read character by character.
    """
    if isinstance(given, str | bytes | Mapping) or not isinstance(given, Iterable):
        raise TaskError(f"should be a list, not {kind_of(given)}", path=(what,))
    return list(given)


def each_action(given: Iterable[Action | ActionSource]) -> list[Action]:
    """Return the actions given, those of the given sources, and the actions that undo them.

    Raises:
        TaskError: an element is neither an action nor a source.
    """
    given = [make_action(each, getattr(each, "__name__", repr(each)), ("actions",)) for each in given]
    found = [one for each in given for one in (each.actions() if isinstance(each, ActionSource) else (each,))]
    undoing = [one.undoing for one in found if isinstance(one, Undoes) and one.undoing is not None]
    return [*found, *(one for one in undoing if not any(one is each for each in found))]


__all__ = [
    "backend_of",
    "by_role",
    "check_shape",
    "default_monitors",
    "each_action",
    "from_file",
    "installed",
    "kind_of",
    "listed",
    "load",
    "load_all",
    "make_action",
    "make_backend",
    "make_monitor",
    "make_sources",
    "planner",
]


_PLAIN: dict[str, tuple[tuple[type, ...], str]] = {
    "int": ((int,), "a whole number"),
    "float": ((int, float), "a number"),
    "str": ((str,), "text"),
    "bool": ((bool,), "true or false"),
    "None": ((type(None),), "nothing"),
    "Sequence": ((list, tuple, set, frozenset, str), "a list"),  # a text is one too: its factory says more of it
}


def _check_plain(factory: Callable[..., Any], family: Family, name: str, settings: Mapping[str, Any]) -> None:
    """Check the settings whose types are plain; others are left to the factory.

    Raises:
        TaskError: a setting has the wrong type.
    """
    for each in _signature(factory).parameters.values():
        said = each.annotation if isinstance(each.annotation, str) else getattr(each.annotation, "__name__", "")
        outermost = [kind.partition("[")[0] for kind in said.split(" | ")]
        kinds = [_PLAIN[kind] for kind in outermost if kind in _PLAIN]
        if each.name not in settings or len(kinds) != len(outermost):
            continue
        value = settings[each.name]
        fits = [kind for types, _ in kinds for kind in types]
        if not isinstance(value, tuple(fits)) or (isinstance(value, bool) and bool not in fits):
            wanted = " or ".join(words for _, words in kinds)
            path = (each.name,) if family == "backend" else (family + "s", name, each.name)
            raise TaskError(f"should be {wanted}, not {value!r:.80}", path=path)
