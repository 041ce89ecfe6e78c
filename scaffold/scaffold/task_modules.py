"""Imports the modules and packages that lie beside a task file; each folder has its own, whatever others are called."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from pydantic import BaseModel


def import_beside(name: str, base: Path) -> ModuleType:
    """Return a module of a task's folder, or else an installed one.

    Raises:
        ModuleNotFoundError: there is neither, or it imports what is not there.
    """
    base = base.resolve()
    file = base / f"{name.replace('.', '/')}.py"
    in_package = (base / _top(name) / "__init__.py").is_file()
    if file.is_file() and not in_package:
        with _importing(base, file.parent):
            return _of_file(name, file)
    if in_package:
        with _importing(base):
            return importlib.import_module(name)
    return importlib.import_module(name)


def _of_file(name: str, file: Path) -> ModuleType:
    # Named after its path: it may be called like an installed module, such as `planner` or `types`.
    unique = f"_scaffold_task_{zlib.crc32(str(file).encode()):x}_{name.replace('.', '_')}"
    if unique in sys.modules:
        return sys.modules[unique]
    spec = importlib.util.spec_from_file_location(unique, file)
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError(name=name)
    module = importlib.util.module_from_spec(spec)
    sys.modules[unique] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[unique]
        raise
    return module


_imported: dict[Path, dict[str, ModuleType]] = {}  # by folder: what was imported from it under a plain name


@contextmanager
def _importing(base: Path, *inner: Path) -> Iterator[None]:
    """Let imports find a folder's own modules first, and none of another task's folder."""
    own = _imported.setdefault(base, {})
    others = [each for folder, modules in _imported.items() if folder != base for each in modules.items()]
    hidden = {name: module for name, module in others if sys.modules.get(name) is module}
    for name in hidden:
        del sys.modules[name]
    sys.modules.update(own)
    known = set(sys.modules)
    places = [str(place) for place in dict.fromkeys([*inner, base])]
    sys.path[:0] = places
    try:
        yield
    finally:
        for place in places:
            sys.path.remove(place)
        new = {name: sys.modules[name] for name in sys.modules.keys() - known if _lies_in(places, name)}
        own.update(new)
        for module in new.values():
            _complete(module)
        sys.modules.update(hidden)  # for what its own code imports, or looks up there, while it runs
        # What two folders have is in neither's place: an import that runs later fails, rather than find the other's.
        for top in {_top(name) for name in own} & {_top(name) for name, _ in others}:
            for name in [each for each in sys.modules if _top(each) == top]:
                del sys.modules[name]


def _top(name: str) -> str:
    return name.partition(".")[0]


def _lies_in(places: list[str], name: str) -> bool:
    module, top = sys.modules[name], _top(name)
    file = getattr(module, "__file__", None) or next(iter(getattr(module, "__path__", ())), "")
    return any(f"{file}/".startswith((f"{place}/{top}.", f"{place}/{top}/")) for place in places)


def _complete(module: ModuleType) -> None:
    """Have pydantic resolve a module's annotations now: later it may no longer stand under its name."""
    for each in list(vars(module).values()):
        if isinstance(each, type) and issubclass(each, BaseModel) and each.__module__ == module.__name__:
            each.model_rebuild(raise_errors=False)
