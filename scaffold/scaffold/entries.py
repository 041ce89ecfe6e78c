"""Which plug-ins are installed, and what they declare about themselves.

Listing plug-ins is quick: neither the plug-ins nor pydantic are imported until one is loaded.
"""

from __future__ import annotations

import ast
import importlib.util
import re
import sys
from functools import cache
from importlib.metadata import Distribution, EntryPoint, distributions
from pathlib import Path
from typing import Any, Literal, TypeVar

from scaffold.errors import BrokenPlugin, MissingExtra, UnknownPlugin
from scaffold.tracebacks import described
from scaffold.vocabulary.cards import Card, MonitorCard

Family = Literal["planner", "monitor", "backend", "source", "model"]
_GROUPS: dict[Family, str] = {
    "planner": "scaffold.planners",
    "monitor": "scaffold.monitors",
    "backend": "scaffold.backends",
    "source": "scaffold.sources",
    "model": "scaffold.models",
}
_CARDS = "scaffold.cards"
_MONITOR_CARDS = "scaffold.monitor_cards"
_OURS = "[scaffold."  # prefix of the section header of each of our groups
C = TypeVar("C", Card, MonitorCard)


def installed(family: Family) -> dict[str, EntryPoint]:
    """Return the entry points of a family, by name, without importing anything."""
    return _of(_GROUPS[family])


def _of(group: str) -> dict[str, EntryPoint]:
    return {name: found[0] for (of, name), found in _entries(tuple(sys.path)).items() if of == group}


@cache
def _entries(_path: tuple[str, ...]) -> dict[tuple[str, str], list[EntryPoint]]:
    """Return our entry points in the distributions on a path, by group and name; of duplicates the first counts.

    `importlib.metadata.entry_points` would parse those of every distribution, at five times the cost.
    """
    found: dict[tuple[str, str], list[EntryPoint]] = {}
    seen = set()
    for distribution in distributions():
        if _OURS in (distribution.read_text("entry_points.txt") or "") and distribution.name not in seen:
            seen.add(distribution.name)
            for entry in distribution.entry_points:
                found.setdefault((entry.group, entry.name), []).append(entry)
    return found


def check_one(family: Family, name: str) -> None:
    """Check that only one distribution provides a plug-in: which of two comes first depends on the file system.

    Raises:
        BrokenPlugin: several do.
    """
    found = _entries(tuple(sys.path)).get((_GROUPS[family], name), [])
    if len(found) > 1:
        several = " and ".join(sorted(version_of(entry) for entry in found))
        raise BrokenPlugin(f"the {family} {name!r} is provided by {several}: uninstall one")


def version_of(entry: EntryPoint) -> str:
    """Return name and version of the distribution that provides a plug-in."""
    return "unknown" if entry.dist is None else _version(entry.dist)


@cache
def _version(distribution: Distribution) -> str:
    """Return name and version. Each access parses the whole metadata."""
    return f"{distribution.name} {distribution.version}"


def load(family: Family, name: str) -> Any:
    """Import a plug-in.

    Raises:
        UnknownPlugin: none has that name.
        BrokenPlugin: it does not import, or several distributions provide one of that name.
    """
    known = installed(family)
    entry = known.get(name)
    if entry is None:
        raise UnknownPlugin(family, name, known)
    check_one(family, name)
    try:
        return entry.load()
    except MissingExtra:
        raise
    except (Exception, SystemExit) as error:  # a third-party module may raise anything
        raise BrokenPlugin(
            f"the {family} {name!r} of {version_of(entry)} cannot be loaded: {described(error)}"
        ) from error


def card_of(name: str) -> Card | None:
    """Return the card of a backend; None if it has none.

    Raises:
        BrokenPlugin: its card cannot be read.
    """
    return _card(_CARDS, name, Card)


def monitor_card_of(name: str) -> MonitorCard | None:
    """Return the card of a monitor; None if it has none.

    Raises:
        BrokenPlugin: its card cannot be read.
    """
    return _card(_MONITOR_CARDS, name, MonitorCard)


def _card(group: str, name: str, kind: type[C]) -> C | None:
    entry = _of(group).get(name)
    if entry is None:
        return None
    try:
        found = entry.load()
    except Exception as error:  # a third-party module may raise anything
        raise BrokenPlugin(f"its card cannot be read: {type(error).__name__}: {error}") from error
    if not isinstance(found, kind):
        raise BrokenPlugin(f"its card is a {type(found).__name__}, not a {kind.__name__}")
    return found


def is_importable(module: str) -> bool:
    """Whether a module seems importable, judged without importing its package."""
    return _search(module) is not None


def first_line(entry: EntryPoint) -> str:
    """Return the first line of a plug-in's docstring, read from its source; empty if it has none.

    Raises:
        BrokenPlugin: its module does not exist.
    """
    found = _search(entry.module)
    if found is None:
        raise BrokenPlugin(f"there is no module {entry.module!r}")
    name = entry.attr.partition(".")[0]
    if not found.name.endswith(".py") or not name:
        return ""
    source = found.read_text(encoding="utf-8", errors="replace")
    return _docstring(source, name).strip().partition("\n")[0]


def _search(module: str) -> Path | None:
    """Return a module's file. Only the top-level package is looked up, which imports nothing."""
    top, *rest = module.split(".")
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    if not rest:
        return Path(spec.origin) if spec.origin else Path()
    for folder in spec.submodule_search_locations or ():
        place = Path(folder).joinpath(*rest)
        found = [place.with_suffix(".py"), place / "__init__.py", *place.parent.glob(f"{place.name}.*.so")]
        for path in found:
            if path.is_file():
                return path
    return None


def _docstring(source: str, name: str) -> str:
    """Return the docstring of one function or class; only its own lines are parsed."""
    begin = re.search(rf"^(async def|def|class) {re.escape(name)}\b", source, re.MULTILINE)
    if begin is None:
        return ""
    end = re.compile(r"^[^\s)#]", re.MULTILINE).search(source, begin.end())
    try:
        (parsed, *_) = ast.parse(source[begin.start() : end.start() if end else None]).body
    except (SyntaxError, ValueError):
        return ""
    if not isinstance(parsed, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return ""
    return ast.get_docstring(parsed) or ""
